"""update: what the kernel has afterwards, and that a refusal changes nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.lifecycle.box import Box, one_line
from tests.lifecycle.limits import HOST, V1, V2, file_of, paths, read

V2_HOST = HOST.version == 2
MIB = 1 << 20
WITHOUT_JSONSCHEMA = "does not match the schema"


def update(box: Box, *words: object, **kw: Any) -> None:
    done = box.cli("update", *words, box.id, check=True, **kw)
    assert (done.stdout, done.stderr) == ("", "")


def everything(box: Box) -> dict[str, str]:
    """Every limit that this host has a file for."""
    found = {}
    for limit in V2 if V2_HOST else V1:
        controller, name = ("", V2[limit]) if V2_HOST else V1[limit]
        path = Path(paths(box).get(controller, "/nonexistent"), name)
        if path.exists():
            found[limit] = path.read_text().strip()
    return found


OPTIONS = [  # the options, the limit that they change, what it then is on v1 and on v2
    (["--memory", "64m"], "memory", str(64 * MIB), str(64 * MIB)),
    (["--memory-reservation", "0.5g"], "reservation", str(512 * MIB), str(512 * MIB)),
    (["--memory=-1"], "memory", str((1 << 63) - 4096), "max"),
    (["--cpu-share", "512"], "shares", "512", "59"),
    (["--cpu-quota", "50000"], "quota", "50000", "50000 100000"),
    (["--cpu-period", "50000"], "period", "50000", "50000 50000"),
    (["--cpu-burst", "20000"], "burst", "20000", "20000"),
    (["--cpu-idle", "1"], "idle", "1", "1"),
    (["--cpu-idle", "0"], "shares", "512", "59"),
    (["--cpuset-cpus", "0"], "cpus", "0", "0"),
    (["--cpuset-mems", "0"], "mems", "0", "0"),
    (["--pids-limit", "77"], "pids", "77", "77"),
    (["--pids-limit", "-1"], "pids", "max", "max"),
    (["--pids-limit", "0"], "pids", "1", "1"),
    (["--blkio-weight", "300"], "weight", "300", "default 300"),
]


def test_every_option(box: Box) -> None:
    box.up()
    for words, limit, v1, v2 in OPTIONS:
        if limit in everything(box):
            update(box, *words)
            assert everything(box)[limit] == (v2 if V2_HOST else v1), words
    box.down()


def test_what_is_not_named_stays(box: Box) -> None:
    box.linux["resources"].update(memory={"limit": 64 * MIB}, pids={"limit": 50}, cpu={"quota": 40_000, "period": 50_000})
    box.up()
    before = everything(box)
    update(box)
    update(box, "--cpu-share", "300")
    update(box, "--cpu-quota", "30000")
    after = everything(box)
    if V2_HOST:
        assert after == {**before, "shares": "39", "quota": "30000 50000"}
        # The period is known though only the quota was named, also the second time.
        update(box, "--cpu-period", "60000")
        assert read(box, "quota") == ("30000 60000",)
    else:
        assert after == {**before, "shares": "300", "quota": "30000"} and before["period"] == "50000"
    box.down()


def test_memory_up_and_down_with_its_swap(box: Box) -> None:
    box.linux["resources"]["memory"] = {"limit": 64 * MIB, "swap": 64 * MIB}
    box.up()
    try:
        file_of(box, "swap")
        for limit, swap in ((128, 160), (32, 32), (256, 512)):
            update(box, "--memory", f"{limit}m", "--memory-swap", f"{swap}m")
            assert read(box, "memory", "swap") == (str(limit * MIB), str((swap - limit if V2_HOST else swap) * MIB))
        if not V2_HOST:
            done = box.cli("update", "--memory", "600m", box.id, check=1)
            assert "linux.resources.memory.limit: write" in one_line(done) and "memory.swap" in done.stderr
        update(box, "--memory-swap", "300m")
        assert read(box, "swap") == (str((44 if V2_HOST else 300) * MIB),)
        update(box, "--memory=-1")
        assert read(box, "swap")[0] in ("max", str((1 << 63) - 4096))
    finally:
        box.down()


@pytest.mark.parametrize("source", ["-", "file"])
def test_a_file_of_resources_with_names_in_any_case(box: Box, tmp_path: Path, source: str) -> None:
    """As go-runc and podman call it; of a file and options the file counts."""
    text = json.dumps({"Memory": {"LIMIT": 96 * MIB}, "CPU": None, "pids": {"limit": 33}, "unknown": 1})
    box.up()
    if source == "file":
        (tmp_path / "resources").write_text(text)
        update(box, "--pids-limit", "5", "-r", tmp_path / "resources")
    else:
        update(box, "--resources", "-", input=text)
    assert read(box, "memory", "pids") == (str(96 * MIB), "33")
    box.down()


REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"pids": {"limit": 9}, "cpu": {"cpus": "9999"}}, "linux.resources.cpu.cpus: write '9999' to "),
    ({"pids": {"limit": 9}, "memory": {"limit": 80 * MIB}, "cpu": {"quota": 5}}, "linux.resources.cpu.quota: write "),
    ({"pids": {"limit": 9}, "cpu": {"shares": 99, "idle": 0, "mems": "77"}}, "linux.resources.cpu.mems: write '77' to "),
    ({"pids": {"limit": 9}, "hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}, "linux.resources.hugepageLimits[0]: "),
    ({"pids": {"limit": 9}, "memory": {"limit": -7}}, "linux.resources.memory.limit: write '-7' to "),
    ({"pids": {"limit": 1 << 64}}, "pids.limit: "),
    ({"memory": {"limit": 50 * MIB, "swap": 40 * MIB}}, "linux.resources.memory.swap: "),
    ({"cpu": {"quota": 5000, "burst": 6000}}, "linux.resources.cpu.burst: 6000 is above the quota, 5000"),
    ({"devices": [{"allow": True, "access": "x"}]}, "devices[0].access: "),
]


def test_a_refusal_changes_nothing(box: Box) -> None:
    box.linux["resources"].update(memory={"limit": 64 * MIB}, pids={"limit": 50}, cpu={"shares": 200})
    box.up()
    before = everything(box)
    for change, told in REFUSALS:
        message = one_line(box.cli("update", "-r", "-", box.id, input=json.dumps(change), check=1))
        assert told in message or WITHOUT_JSONSCHEMA in message
        assert everything(box) == before
    assert not (box.cli.root / box.id / "resources.json").exists()
    update(box, "--pids-limit", "51")
    assert everything(box) == {**before, "pids": "51"}
    box.down()


def test_bad_options_and_containers(box: Box) -> None:
    assert one_line(box.cli("update", "--pids-limit", "5", box.id, check=1)) == "container does not exist"
    box.args("true").create()
    assert one_line(box.cli("update", "--memory", "5q", box.id, check=1)) == 'invalid value "5q" for --memory'
    for text, told in (("{", "-: line 1, column 2: "), ("[]", "-: "), ("", "-: line 1, column 1: ")):
        message = one_line(box.cli("update", "-r", "-", box.id, input=text, check=1))
        assert message.startswith(told) or WITHOUT_JSONSCHEMA in message
    assert one_line(box.cli("update", "-r", "/nonexistent", box.id, check=1)) == "read /nonexistent: no such file or directory"
    box.start()
    box.stopped()
    assert one_line(box.cli("update", "--pids-limit", "5", box.id, check=1)) == "container not running"
    box.delete()


def test_created_and_paused_containers_can_be_updated(box: Box) -> None:
    box.create()
    update(box, "--pids-limit", "40")
    assert read(box, "pids") == ("40",) and box.status == "created"
    box.cli("pause", box.id, check=True)
    update(box, "--pids-limit", "41")
    assert read(box, "pids") == ("41",) and box.status == "paused"
    box.down()


def test_kernel_memory_is_let_go_with_a_warning(box: Box) -> None:
    box.create()
    before = everything(box)
    update(box, "--kernel-memory", "5m", "--kernel-memory-tcp", "5m")
    done = box.cli("--log-level", "warning", "update", "--kernel-memory", "5m", box.id, check=True)
    assert "linux.resources.memory.kernel is ignored" in done.stderr and everything(box) == before
    box.down()


KMSG = {"type": "c", "major": 1, "minor": 11}


def test_device_rules_change_only_when_they_are_named(box: Box) -> None:
    """Somebody else's rule, a GPU plugin's for instance, survives an update that repeats those of the config."""
    nothing = [{"allow": False, "access": "rwm"}]
    box.process["capabilities"]["bounding"] = box.process["capabilities"]["effective"] = ["CAP_MKNOD", "CAP_SYSLOG"]
    box.process["capabilities"]["permitted"] = ["CAP_MKNOD", "CAP_SYSLOG"]
    box.linux["resources"]["devices"] = nothing
    box.writable().up()
    box.ex("mknod /kmsg c 1 11")
    opens = "(: </kmsg) 2>/dev/null && echo yes || echo no"
    assert box.ex(opens) == "no\n"
    if not V2_HOST:
        Path(paths(box)["devices"], "devices.allow").write_text("c 1:11 r")
        for words, text in (["--pids-limit", "50"], None), (["-r", "-"], json.dumps({"devices": nothing})):
            update(box, *words, input=text)
            assert box.ex(opens) == "yes\n"
        Path(paths(box)["devices"], "devices.deny").write_text("c 1:11 r")
    for devices, expected in (([*nothing, {"allow": True, **KMSG, "access": "r"}], "yes"), (nothing, "no")):
        update(box, "-r", "-", input=json.dumps({"devices": devices}))
        assert box.ex(opens) == expected + "\n"
        assert box.ex("echo x >/dev/null && echo ok") == "ok\n"
    allowed = [*nothing, {"allow": True, **KMSG, "access": "r"}]
    text = json.dumps({"devices": allowed, "pids": {"limit": -5}})
    message = one_line(box.cli("update", "-r", "-", box.id, check=1, input=text))
    assert message.startswith("linux.resources.pids.limit: ") and box.ex(opens) == "no\n"
    box.down()


def test_no_device_is_lost_for_a_moment(box: Box) -> None:
    nothing = {"allow": False, "access": "rwm"}
    box.linux["resources"]["devices"] = [nothing]
    box.args("sh", "-c", "while (: </dev/zero) && (: >/dev/null); do :; done; exec sleep 0")
    box.create()
    box.start()
    for n in range(6):
        rules = [nothing, {"allow": True, "type": "c", "major": 10, "minor": 200 + n, "access": "rw"}]
        update(box, "-r", "-", input=json.dumps({"devices": rules}))
    assert box.status == "running", "an open of /dev/zero or /dev/null has failed"
    box.down()


def test_what_cgroup_v1_cannot_express_does_not_change_hands(box: Box) -> None:
    if V2_HOST or "" not in {name for hierarchy in HOST.hierarchies for name in hierarchy.controllers}:
        pytest.skip("needs cgroup v1 beside a cgroup2")
    box.create()
    rules = [{"allow": True, "type": "c", "access": "rwm"}, {"allow": False, **KMSG, "access": "rw"}]
    message = one_line(box.cli("update", "-r", "-", box.id, check=1, input=json.dumps({"devices": rules})))
    assert message.startswith("linux.resources.devices: rules that cgroup v1 can express cannot take the place")
    box.down()


def test_the_check_before_an_update(box: Box) -> None:
    """cgroup v1 refuses a limit below the usage by itself; v2 would reclaim and kill."""
    box.linux["resources"]["memory"] = {"limit": 64 * MIB, "checkBeforeUpdate": True}
    box.up()
    box.cli("exec", "--detach", box.id, "sh", "-c", "head -c 20971520 /dev/zero | tail -n 1 | sleep 1000", check=True)
    usage = file_of(box, "memory").with_name("memory.current" if V2_HOST else "memory.usage_in_bytes")
    from tests.conftest import until

    until(lambda: int(usage.read_text()) > 20 * MIB, 30, "the memory is not in use")
    message = one_line(box.cli("update", "--memory", "8m", box.id, check=1))
    assert message.startswith("linux.resources.memory.limit: ") and ("usage" in message or "in use" in message)
    assert read(box, "memory") == (str(64 * MIB),) and box.status == "running"
    box.down()


def test_the_disabled_manager_has_nothing_to_update(box: Box) -> None:
    box.bundle.write()
    box.cli("--cgroup-manager", "disabled", "create", "--bundle", box.bundle, box.id, check=True)
    for limit in ("5", "0", "-1"):
        message = one_line(box.cli("update", "--pids-limit", limit, box.id, check=1))
        assert message == "the container has no cgroups that could be limited"
    box.cli("update", box.id, check=True)  # of nothing, which is in force
    assert one_line(box.cli("pause", box.id, check=1)).startswith("the container has no cgroup that can be frozen")
    box.down()


@pytest.mark.skipif(os.cpu_count() == 1, reason="needs two processors")
def test_the_processes_feel_it(box: Box) -> None:
    box.up()
    update(box, "--cpuset-cpus", "0", "--pids-limit", "4")
    assert box.ex("grep Cpus_allowed_list: /proc/1/status").split() == ["Cpus_allowed_list:", "0"]
    assert "can't fork" in box.exec(box.id, "sh", "-c", "sleep 5 & sleep 5 & sleep 5 & sleep 5 &", check=2).stderr
    box.down()
