"""`update`: requests laid over what is in force, and what takes a write back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from pyrunc.cgroups import files
from pyrunc.cgroups.change import Journal, effective, merged, taken_back
from pyrunc.cgroups.devices import v1_lines, v1_steps
from pyrunc.cgroups.limits_v1 import compile_limits as v1_limits
from pyrunc.cgroups.limits_v2 import compile_limits as v2_limits
from pyrunc.cgroups.settings import write
from pyrunc.cli.options import parse_command
from pyrunc.cli.update import COMMAND, MEANING, RDT, resources, size, whole
from pyrunc.errors import CgroupError, UsageError

SAVED: dict[str, Any] = {
    "memory": {"limit": 100, "swap": 200, "checkBeforeUpdate": True},
    "cpu": {"shares": 512, "quota": 5000, "period": 10_000, "cpus": "0"},
    "pids": {"limit": 7},
    "blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 100}, {"major": 8, "minor": 16, "weight": 200}]},
    "hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
    "unified": {"memory.high": "1", "memory.min": "2"},
}


@pytest.mark.parametrize(
    ("change", "section", "expected"),
    [
        ({"memory": {"limit": 150}}, "memory", {"limit": 150, "swap": 200, "checkBeforeUpdate": True}),
        ({"memory": {"limit": 0, "swap": -1}}, "memory", {"limit": 100, "swap": -1, "checkBeforeUpdate": True}),
        ({"cpu": {"shares": 0, "idle": 0, "cpus": ""}}, "cpu", {**SAVED["cpu"], "idle": 0}),
        ({"cpu": {"burst": 0, "quota": -1}}, "cpu", {**SAVED["cpu"], "burst": 0, "quota": -1}),
        ({"pids": {"limit": 0}}, "pids", {"limit": 0}),
        ({"pids": {}}, "pids", {"limit": 7}),
        ({"unified": {"memory.high": "3"}}, "unified", {"memory.high": "3"}),
        (
            {"blockIO": {"weight": 5, "weightDevice": [{"major": 8, "minor": 16, "weight": 300}, {"major": 9, "minor": 0}]}},
            "blockIO",
            {
                "weightDevice": [
                    {"major": 8, "minor": 0, "weight": 100},
                    {"major": 8, "minor": 16, "weight": 300},
                    {"major": 9, "minor": 0},
                ],
                "weight": 5,
            },
        ),
        (
            {"hugepageLimits": [{"pageSize": "1GB", "limit": 2}]},
            "hugepageLimits",
            [{"pageSize": "2MB", "limit": 1}, {"pageSize": "1GB", "limit": 2}],
        ),
        ({"devices": []}, "devices", None),
    ],
)
def test_merged(change: dict[str, Any], section: str, expected: Any) -> None:
    before = repr(SAVED)
    result = merged(SAVED, change)
    assert result.get(section) == expected and repr(SAVED) == before
    assert {name: value for name, value in result.items() if name != section} == {
        name: value for name, value in SAVED.items() if name != section
    }


@pytest.mark.parametrize(
    ("change", "v1", "v2"),
    [
        ({"cpu": {"quota": 7000}}, {"cfs_period_us": "10000", "cfs_quota_us": "7000"}, {"max": "7000 10000"}),
        ({"cpu": {"period": 20_000}}, {"cfs_period_us": "20000", "cfs_quota_us": "5000"}, {"max": "5000 20000"}),
        ({"cpu": {"quota": -1}}, {"cfs_period_us": "10000", "cfs_quota_us": "-1"}, {"max": "max 10000"}),
        ({"cpu": {"idle": 0}}, {"idle": "0", "shares": "512"}, {"idle": "0", "weight": "59"}),
        ({"cpu": {"idle": 1}}, {"idle": "1"}, {"idle": "1"}),
        ({"memory": {"limit": 150}}, {"limit_in_bytes": "150"}, {"max": "150"}),
        ({"memory": {"swap": 300}}, {"limit_in_bytes": "100", "memsw.limit_in_bytes": "300"}, {"swap.max": "200", "max": "100"}),
        ({"memory": {"swap": -1}}, {"memsw.limit_in_bytes": "-1"}, {"swap.max": "max"}),
        ({"memory": {"limit": -1}}, {"limit_in_bytes": "-1", "memsw.limit_in_bytes": "-1"}, {"swap.max": "max", "max": "max"}),
        ({"pids": {"limit": 9}}, {"max": "9"}, {"max": "9"}),
        ({}, {}, {}),
    ],
)
def test_only_what_is_asked_for_is_written(change: dict[str, Any], v1: dict[str, str], v2: dict[str, str]) -> None:
    for compile_limits, expected in ((v1_limits, v1), (v2_limits, v2)):
        settings = [setting for group in compile_limits(effective(SAVED, change)) for setting in group]
        assert {setting.file.partition(".")[2]: setting.value for setting in settings} == expected


def test_the_check_before_an_update_is_kept() -> None:
    assert effective(SAVED, {"memory": {"limit": 5}})["memory"] == {"limit": 5, "checkBeforeUpdate": True}
    assert effective({}, {"memory": {"limit": 5}}) == {"memory": {"limit": 5}}


@pytest.mark.parametrize(
    ("file", "value", "text", "expected"),
    [
        ("pids.max", "5", "max\n", "max"),
        ("cpu.max", "1000 2000", "max 100000\n", "max 100000"),
        ("cpuset.cpus", "0", "\n", "\n"),
        ("memory.oom_control", "1", "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n", "0"),
        ("io.max", "8:0 rbps=5", "8:0 rbps=7 wbps=max\n8:16 rbps=1\n", "8:0 rbps=7 wbps=max"),
        ("io.max", "8:0 rbps=5", "", "8:0 rbps=max wbps=max riops=max wiops=max"),
        ("blkio.throttle.read_bps_device", "8:0 5", "8:0 9\n", "8:0 9"),
        ("blkio.throttle.read_bps_device", "8:0 5", "8:16 9\n", "8:0 0"),
        ("io.weight", "8:0 50", "default 100\n", "8:0 default"),
        ("io.weight", "50", "default 100\n8:0 200\n", "default 100"),
        ("io.latency", "8:0 target=5", "", None),
        ("net_prio.ifpriomap", "eth0 5", "lo 0\neth0 3\n", "eth0 3"),
        ("rdma.max", "mlx hca_handle=1", "mlx hca_handle=max hca_object=max\n", "mlx hca_handle=max hca_object=max"),
        ("unknown.list", "a", "a\nb\n", None),
    ],
)
def test_what_takes_a_write_back(file: str, value: str, text: str, expected: str | None) -> None:
    assert taken_back(file, value, text) == expected


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name, text in (("pids.max", "max\n"), ("cpu.weight", "59\n"), ("cpu.idle", "0\n"), ("memory.max", "100\n")):
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_refusal_takes_back_what_came_before(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_file, order = files.write, []

    def refusing(path: str, value: str, at: int | None = None) -> None:
        if path.endswith("memory.max") and value == "7":
            raise OSError(16, "")
        order.append((Path(path).name, value))
        Path(path).write_text("")
        write_file(path, value, at)

    monkeypatch.setattr(files, "write", refusing)
    journal = Journal()
    places = dict.fromkeys(("pids", "cpu", "memory"), str(directory))
    groups = [*v2_limits({"pids": {"limit": 3}}), *v2_limits({"cpu": {"idle": 1}}), *v2_limits({"memory": {"limit": 7}})]
    with pytest.raises(CgroupError, match="memory.limit"):
        write(places, groups, absent="", journal=journal)
    assert order == [("pids.max", "3"), ("cpu.idle", "1")]
    del order[:]
    assert journal.undo() == []
    # The weight comes after idle is off, because an idle cgroup refuses it.
    assert order == [("memory.max", "100"), ("cpu.idle", "0"), ("cpu.weight", "59"), ("pids.max", "max")]
    assert journal.undo() == [] and len(order) == 4


def test_what_cannot_be_undone_is_named(directory: Path) -> None:
    journal = Journal()
    journal.note(str(directory), "pids.max", "5")
    journal.note(str(directory), "missing", "5")
    (directory / "pids.max").unlink()
    assert journal.undo() == [f"{directory}/pids.max"]


# --- the lists of v1

MASKS = st.sampled_from(["r", "w", "m", "rw", "rm", "wm", "rwm"])
LISTS = st.dictionaries(st.sampled_from(["c 1:3", "c 1:5", "c 136:*", "b 8:0", "c *:*"]), MASKS)


@given(LISTS, LISTS)
def test_changes_of_device_lists_lose_nothing_on_the_way(have: dict[str, str], want: dict[str, str]) -> None:
    current, wanted = ([f"{device} {access}" for device, access in entries.items()] for entries in (have, want))
    state = {device: set(access) for device, access in have.items()}
    if not have:
        return
    for verb, lines in v1_steps(current, False, wanted):
        for line in lines:
            device, access = line.rsplit(" ", 1)
            state.setdefault(device, set())
            state[device] = state[device] | set(access) if verb == "allow" else state[device] - set(access)
            kept = {device: set(access) & set(have.get(device, "")) for device, access in want.items()}
            assert all(bits <= state.get(device, set()) for device, bits in kept.items())
    assert {device: bits for device, bits in state.items() if bits} == {device: set(access) for device, access in want.items()}


@pytest.mark.parametrize("current", [["a *:* rwm"], []])
def test_device_lists_that_allow_everything_are_written_as_a_whole(current: list[str]) -> None:
    assert v1_steps(current, False, ["c 1:3 rwm"]) == [("deny", ["a"]), ("allow", ["c 1:3 rwm"])]
    assert v1_steps(current, True, ["c 1:3 w"]) == [("allow", ["a"]), ("deny", ["c 1:3 w"])]
    assert v1_lines([]) == (False, [])


# --- the command line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-1", -1), ("0", 0), ("512", 512), ("512m", 512 << 20), ("1g", 1 << 30), ("1G", 1 << 30), ("64MiB", 64 << 20),
        ("10kb", 10 << 10), ("1.5g", 3 << 29), (".5k", 512), ("3 kb", 3 << 10), ("7b", 7), ("2t", 2 << 40), ("1p", 1 << 50),
        ("9223372036854775807", (1 << 63) - 1),
        ("9223372036854775808", None), ("9000000t", None), ("-5", None), ("", None), ("m", None), ("1x", None), ("1mm", None),
        ("1.2.3m", None), ("1e3", None), ("\u0661", None), ("0x10", None), ("1 0", None), ("1" * 5000, None),
    ],
)  # fmt: skip
def test_sizes(text: str, expected: int | None) -> None:
    assert size(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("5", 5), ("-1", -1), ("+3", 3), ("", None), ("-", None), ("1m", None), ("9" * 20, None)]
)
def test_numbers(text: str, expected: int | None) -> None:
    assert whole(text) == expected


def test_every_option_has_its_member() -> None:
    assert {option.name for option in (*COMMAND.options, *COMMAND.hidden)} == {"resources", *RDT, *(name for name, *_ in MEANING)}
    words = [word for name, _, _, kind in MEANING for word in (f"--{name}", "0-1" if kind is str else "3")]
    assert resources(parse_command(COMMAND, [*words, "id"])) == {
        "blockIO": {"weight": 3},
        "cpu": {
            **dict.fromkeys(("period", "quota", "burst", "realtimePeriod", "realtimeRuntime", "shares", "idle"), 3),
            "cpus": "0-1", "mems": "0-1",
        },
        "memory": dict.fromkeys(("limit", "reservation", "swap", "kernel", "kernelTCP"), 3),
        "pids": {"limit": 3},
    }  # fmt: skip


@pytest.mark.parametrize("words", [["--memory", "5q"], ["--cpu-quota", "ten"], ["--pids-limit", "1.5"], ["--memory=-2"]])
def test_values_that_are_none(words: list[str]) -> None:
    with pytest.raises(UsageError, match=f'invalid value ".*" for {words[0].partition("=")[0]}'):
        resources(parse_command(COMMAND, [*words, "id"]))
