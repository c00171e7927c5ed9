"""Statistics out of plain files, and the durations and numbers of `events`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pyrunc.cgroups import reopen
from pyrunc.cgroups.oom import Counter
from pyrunc.cgroups.stats import NO_LIMIT, numbers, pressure
from pyrunc.cgroups.stats_rdt import stats as rdt_stats
from pyrunc.cgroups.stats_v1 import stats as v1_stats
from pyrunc.cgroups.stats_v2 import stats as v2_stats
from pyrunc.cli.emit import json_text
from pyrunc.cli.events import seconds
from pyrunc.errors import CgroupError, UnsupportedError

ORDER = ["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces"]
CPUSET = {
    "cpu_exclusive": 0, "mem_hardwall": 0, "mem_exclusive": 0, "memory_migrate": 0, "memory_spread_page": 0,
    "memory_spread_slab": 0, "memory_pressure": 0, "sched_load_balance": 0, "sched_relax_domain_level": 0,
}  # fmt: skip
NO_MEMORY = {name: {"limit": 0, "failcnt": 0} for name in ("usage", "swap", "kernel", "kernelTCP")}


def fill(directory: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (directory / name).write_text(text)


@pytest.mark.parametrize("found", [v1_stats({}), v2_stats(None), v2_stats("/nonexistent")])
def test_without_any_controller(found: dict[str, Any]) -> None:
    assert list(found) == ORDER
    assert found == {
        "cpu": {"usage": {"kernel": 0, "user": 0}, "throttling": {}},
        "cpuset": CPUSET, "memory": NO_MEMORY, "pids": {}, "blkio": {}, "hugetlb": {}, "intel_rdt": {},
        "network_interfaces": None,
    }  # fmt: skip


def test_v1(tmp_path: Path) -> None:
    fill(tmp_path, {
        "cpu.stat": "nr_periods 3\nnr_throttled 2\nthrottled_time 700\nnr_bursts 9\n",
        "cpuacct.usage": "12345\n", "cpuacct.usage_percpu": "12000 345 \n", "cpuacct.stat": "user 2\nsystem 3\n",
        "cpuacct.usage_all": "cpu user system\n0 5 6\n1 7 8\n",
        "cpus": "0-1,3\n", "mems": "0\n", "cpu_exclusive": "1\n", "sched_load_balance": "1\n", "sched_relax_domain_level": "-1\n",
        "memory.stat": "rss 5\ncache 6\nactive_anon 1\n",
        "memory.limit_in_bytes": "100\n", "memory.usage_in_bytes": "50\n", "memory.max_usage_in_bytes": "60\n",
        "memory.failcnt": "7\n",
        "memory.memsw.limit_in_bytes": "200\n",
        "pids.current": "4\n", "pids.max": "max\n",
        "blkio.throttle.io_service_bytes_recursive": "8:0 Read 4096\n8:0 Write 0\nTotal 4096\n",
        "blkio.throttle.io_serviced_recursive": "8:0 Read 1\nTotal 1\n",
        "hugetlb.2MB.usage_in_bytes": "5\n", "hugetlb.2MB.failcnt": "1\n", "hugetlb.2MB.rsvd.usage_in_bytes": "9\n",
        "hugetlb.1GB.usage_in_bytes": "0\n",
    })  # fmt: skip
    names = ("cpu", "cpuacct", "cpuset", "memory", "pids", "blkio", "hugetlb")
    found = v1_stats(dict.fromkeys(names, str(tmp_path)))
    assert found["cpu"] == {
        "usage": {
            "total": 12345, "percpu": [12000, 345], "percpu_kernel": [6, 8], "percpu_user": [5, 7],
            "kernel": 30_000_000, "user": 20_000_000,
        },
        "throttling": {"periods": 3, "throttledPeriods": 2, "throttledTime": 700},
    }  # fmt: skip
    flags = {"cpu_exclusive": 1, "sched_load_balance": 1, "sched_relax_domain_level": -1}
    assert found["cpuset"] == {**CPUSET, **flags, "cpus": [0, 1, 3], "mems": [0]}
    assert list(found["cpuset"])[:4] == ["cpus", "cpu_exclusive", "mems", "mem_hardwall"]
    assert found["memory"]["usage"] == {"limit": 100, "usage": 50, "max": 60, "failcnt": 7}
    assert found["memory"]["swap"] == {"limit": 200, "failcnt": 0} and found["memory"]["cache"] == 6
    assert list(found["memory"]["raw"]) == ["active_anon", "cache", "rss"]
    assert found["pids"] == {"current": 4}
    assert found["blkio"] == {
        "ioServiceBytesRecursive": [{"major": 8, "op": "Read", "value": 4096}, {"major": 8, "op": "Write"}],
        "ioServicedRecursive": [{"major": 8, "op": "Read", "value": 1}],
    }
    assert list(found["hugetlb"].items()) == [("1GB", {"failcnt": 0}), ("2MB", {"usage": 5, "failcnt": 1})]
    fill(tmp_path, {
        "blkio.bfq.io_serviced_recursive": "8:16 Sync 3\nTotal 3\n", "blkio.bfq.time_recursive": "8:16 44\n",
    })  # fmt: skip
    assert v1_stats({"blkio": str(tmp_path)})["blkio"] == {
        "ioServicedRecursive": [{"major": 8, "minor": 16, "op": "Sync", "value": 3}],
        "ioTimeRecursive": [{"major": 8, "minor": 16, "value": 44}],
    }


PRESSURE = "some avg10=1.50 avg60=0.00 avg300=100.00 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"


def test_v2(tmp_path: Path) -> None:
    fill(tmp_path, {
        "cpu.stat": "usage_usec 12\nuser_usec 5\nsystem_usec 7\nnr_periods 1\nnr_throttled 1\nthrottled_usec 3\n",
        "cpu.pressure": PRESSURE,
        "memory.stat": "file 9\nanon 8\n", "memory.current": "40\n", "memory.max": "100\n", "memory.peak": "50\n",
        "memory.swap.current": "2\n", "memory.swap.max": "max\n",
        "pids.current": "4\n", "pids.max": "10\n",
        "io.stat": "8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=5 dios=6\n8:16 \n",
        "hugetlb.2MB.current": "5\n", "hugetlb.2MB.events": "max 3\n", "hugetlb.2MB.rsvd.current": "9\n",
    })  # fmt: skip
    found = v2_stats(str(tmp_path))
    assert found["cpu"]["usage"] == {"total": 12_000, "kernel": 7000, "user": 5000}
    assert found["cpu"]["throttling"] == {"periods": 1, "throttledPeriods": 1, "throttledTime": 3000}
    psi = '{"some":{"avg10":1.5,"avg60":0,"avg300":100,"total":77},"full":{"avg10":0,"avg60":0,"avg300":0,"total":0}}'
    assert json_text(found["cpu"]["psi"]) == psi and "psi" not in found["memory"]
    assert found["memory"] == {
        **NO_MEMORY, "cache": 9, "usage": {"limit": 100, "usage": 40, "max": 50, "failcnt": 0},
        "swap": {"limit": NO_LIMIT, "usage": 42, "failcnt": 0}, "raw": {"anon": 8, "file": 9},
    }  # fmt: skip
    assert found["pids"] == {"current": 4, "limit": 10}
    assert found["blkio"] == {
        "ioServiceBytesRecursive": [{"major": 8, "op": "Read", "value": 4096}, {"major": 8, "op": "Write"}],
        "ioServicedRecursive": [{"major": 8, "op": "Read", "value": 1}, {"major": 8, "op": "Write"}],
    }
    assert found["hugetlb"] == {"2MB": {"usage": 5, "failcnt": 3}}
    (tmp_path / "memory.swap.max").write_text("30\n")
    assert v2_stats(str(tmp_path))["memory"]["swap"]["limit"] == 130
    for name in ("pids.current", "pids.max"):
        (tmp_path / name).unlink()
    (tmp_path / "cgroup.procs").write_text("5\n6\n")
    assert v2_stats(str(tmp_path))["pids"] == {"current": 2}


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "cpu.stat").mkdir()
    with pytest.raises(CgroupError, match="read .*/cpu.stat: is a directory"):
        v2_stats(str(tmp_path))


def test_pressure_that_is_switched_off(tmp_path: Path) -> None:
    assert pressure(str(tmp_path), "cpu.pressure") is None


def test_the_disabled_manager_has_nothing_to_tell() -> None:
    with pytest.raises(UnsupportedError, match="no cgroups that could be asked"):
        reopen({"manager": "disabled"}).stats()


@pytest.mark.parametrize(("text", "expected"), [("", []), ("0\n", [0]), ("0-2,7", [0, 1, 2, 7])])
def test_lists_of_numbers(text: str, expected: list[int]) -> None:
    assert numbers(text) == expected


def test_kills_are_told_once(tmp_path: Path) -> None:
    events = tmp_path / "memory.events"
    events.write_text("oom 0\noom_kill 2\n")
    watch = Counter(str(tmp_path))
    assert not watch.struck()
    events.write_text("oom 1\noom_kill 2\n")
    assert not watch.struck()
    events.write_text("oom 1\noom_kill 4\n")
    assert watch.struck() and not watch.struck()
    watch.close()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5s", 5), ("300ms", 0.3), ("1m30s", 90), ("1h0.5m", 3630), ("-2s", -2), ("+2s", 2), ("0", 0), ("1.s", 1), (".5s", 0.5),
        ("100us", 1e-4), ("100\u00b5s", 1e-4), ("7ns", 7e-9),
        ("5", None), ("", None), ("s", None), ("5 s", None), ("5d", None), ("1e3s", None), ("--5s", None), (".s", None),
        ("\u0665s", None), ("5s\n", None),
    ],
)  # fmt: skip
def test_durations(text: str, expected: float | None) -> None:
    found = seconds(text)
    assert found == (pytest.approx(expected) if expected is not None else None)


@pytest.mark.parametrize("value", [0.0, 1.5, 100.0, 0.01, -3.25])
def test_fractions_in_json(value: float) -> None:
    assert json.loads(json_text({"x": [value]})) == {"x": [value]} and ".0" not in json_text(value).replace(".01", "")


def test_classes_of_service(tmp_path: Path) -> None:
    for name in ("info/L3", "info/MB", "info/L3_MON", "one/mon_data/mon_L3_00", "one/mon_groups/m/mon_data/mon_L3_01"):
        (tmp_path / name).mkdir(parents=True)
    fill(tmp_path / "info/L3", {"cbm_mask": "fffff\n", "min_cbm_bits": "1\n", "num_closids": "16\n"})
    fill(tmp_path / "info/MB", {"bandwidth_gran": "10\n", "delay_linear": "1\n", "min_bandwidth": "10\n", "num_closids": "8\n"})
    fill(tmp_path / "info/L3_MON", {"mon_features": "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes\n"})
    fill(tmp_path, {"schemata": "    MB:0=100\n    L3:0=fffff\n"})
    fill(tmp_path / "one", {"schemata": "    MB:0=20\n    L3:0=f\n"})
    fill(tmp_path / "one/mon_data/mon_L3_00", {"llc_occupancy": "5\n", "mbm_total_bytes": "7\n", "mbm_local_bytes": "0\n"})
    fill(tmp_path / "one/mon_groups/m/mon_data/mon_L3_01", {"llc_occupancy": "1\n"})
    found = rdt_stats(f"{tmp_path}/one", "")
    assert found == {
        "l3_cache_info": {"cbm_mask": "fffff", "min_cbm_bits": 1, "num_closids": 16},
        "l3_cache_schema_root": "L3:0=fffff", "l3_cache_schema": "L3:0=f",
        "mem_bw_info": {"bandwidth_gran": 10, "delay_linear": 1, "min_bandwidth": 10, "num_closids": 8},
        "mem_bw_schema_root": "MB:0=100", "mem_bw_schema": "MB:0=20",
        "mbm_stats": [{"mbm_total_bytes": 7}], "cmt_stats": [{"llc_occupancy": 5}],
    }  # fmt: skip
    assert list(found)[:3] == ["l3_cache_info", "l3_cache_schema_root", "l3_cache_schema"]
    assert rdt_stats(f"{tmp_path}/one", f"{tmp_path}/one/mon_groups/m")["cmt_stats"] == [{"llc_occupancy": 1}]
    assert rdt_stats(str(tmp_path), "")["l3_cache_schema"] == "L3:0=fffff"
    assert rdt_stats("/nonexistent/one", "") == {}
