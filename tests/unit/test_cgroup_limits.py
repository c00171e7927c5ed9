"""``linux.resources`` as settings, and settings as writes."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from pyrunc.cgroups import files, limits_v1, limits_v2
from pyrunc.cgroups.limits_v2 import weight_of_shares
from pyrunc.cgroups.settings import Setting, write
from pyrunc.errors import CgroupError, ConfigError, UnsupportedError

VERSIONS = [limits_v1.compile_limits, limits_v2.compile_limits]
Compile = Callable[[dict[str, Any]], list[list[Setting]]]

EVERYTHING: dict[str, Any] = {
    "memory": {
        "limit": 64 << 20,
        "swap": 96 << 20,
        "reservation": 32 << 20,
        "kernel": 1,
        "kernelTCP": 1,
        "checkBeforeUpdate": True,
    },
    "cpu": {"shares": 1024, "quota": 50_000, "period": 100_000, "burst": 10_000, "cpus": "0-1", "mems": "0"},
    "pids": {"limit": 42},
    "blockIO": {
        "weight": 100,
        "weightDevice": [{"major": 8, "minor": 0, "weight": 500}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1000}],
        "throttleWriteBpsDevice": [{"major": 8, "minor": 0, "rate": 2000}],
        "throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 30}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 0}],
    },
    "hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}],
    "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}},
}


def flat(compiled: list[list[Setting]]) -> list[tuple[str, str, str]]:
    return [
        (setting.file, setting.value, setting.property.removeprefix("linux.resources."))
        for group in compiled
        for setting in group
    ]


def test_v1_everything() -> None:
    v1_only = {
        "memory": {**EVERYTHING["memory"], "swappiness": 0, "disableOOMKiller": True, "useHierarchy": True},
        "cpu": {**EVERYTHING["cpu"], "realtimePeriod": 1_000_000, "realtimeRuntime": 950_000, "idle": 0},
        "blockIO": {**EVERYTHING["blockIO"], "leafWeight": 10},
        "network": {"classID": 0x100001, "priorities": [{"name": "eth0", "priority": 5}]},
    }
    assert flat(limits_v1.compile_limits({**EVERYTHING, **v1_only})) == [
        ("pids.max", "42", "pids.limit"),
        ("memory.limit_in_bytes", str(64 << 20), "memory.limit"),
        ("memory.memsw.limit_in_bytes", str(96 << 20), "memory.swap"),
        ("memory.soft_limit_in_bytes", str(32 << 20), "memory.reservation"),
        ("memory.oom_control", "1", "memory.disableOOMKiller"),
        ("memory.swappiness", "0", "memory.swappiness"),
        ("memory.use_hierarchy", "1", "memory.useHierarchy"),
        ("blkio.weight", "100", "blockIO.weight"),
        ("blkio.leaf_weight", "10", "blockIO.leafWeight"),
        ("blkio.weight_device", "8:0 500", "blockIO.weightDevice[0].weight"),
        ("blkio.throttle.read_bps_device", "8:0 1000", "blockIO.throttleReadBpsDevice[0]"),
        ("blkio.throttle.write_bps_device", "8:0 2000", "blockIO.throttleWriteBpsDevice[0]"),
        ("blkio.throttle.read_iops_device", "8:0 30", "blockIO.throttleReadIOPSDevice[0]"),
        ("blkio.throttle.write_iops_device", "8:0 0", "blockIO.throttleWriteIOPSDevice[0]"),
        ("cpu.idle", "0", "cpu.idle"),
        ("cpu.shares", "1024", "cpu.shares"),
        ("cpu.rt_period_us", "1000000", "cpu.realtimePeriod"),
        ("cpu.rt_runtime_us", "950000", "cpu.realtimeRuntime"),
        ("cpu.cfs_period_us", "100000", "cpu.period"),
        ("cpu.cfs_quota_us", "50000", "cpu.quota"),
        ("cpu.cfs_burst_us", "10000", "cpu.burst"),
        ("cpuset.cpus", "0-1", "cpu.cpus"),
        ("cpuset.mems", "0", "cpu.mems"),
        ("hugetlb.2MB.limit_in_bytes", str(4 << 20), "hugepageLimits[0]"),
        ("hugetlb.2MB.rsvd.limit_in_bytes", str(4 << 20), "hugepageLimits[0]"),
        ("net_cls.classid", str(0x100001), "network.classID"),
        ("net_prio.ifpriomap", "eth0 5", "network.priorities[0]"),
        ("rdma.max", "mlx5_1 hca_handle=3 hca_object=10000", "rdma.mlx5_1"),
    ]


def test_v2_everything() -> None:
    unified = {"memory.high": "50M", "io.max": "8:0 rbps=1\n8:16 wbps=2\n"}
    compiled = limits_v2.compile_limits({"unified": unified, **EVERYTHING})
    assert flat(compiled) == [
        ("pids.max", "42", "pids.limit"),
        ("memory.swap.max", str(32 << 20), "memory.swap"),
        ("memory.max", str(64 << 20), "memory.limit"),
        ("memory.low", str(32 << 20), "memory.reservation"),
        ("io.bfq.weight", "100", "blockIO.weight"),
        ("io.bfq.weight", "8:0 500", "blockIO.weightDevice[0].weight"),
        ("io.max", "8:0 rbps=1000", "blockIO.throttleReadBpsDevice[0]"),
        ("io.max", "8:0 wbps=2000", "blockIO.throttleWriteBpsDevice[0]"),
        ("io.max", "8:0 riops=30", "blockIO.throttleReadIOPSDevice[0]"),
        ("io.max", "8:0 wiops=max", "blockIO.throttleWriteIOPSDevice[0]"),
        ("cpu.weight", "100", "cpu.shares"),
        ("cpu.max", "50000 100000", "cpu.quota"),
        ("cpu.max.burst", "10000", "cpu.burst"),
        ("cpuset.cpus", "0-1", "cpu.cpus"),
        ("cpuset.mems", "0", "cpu.mems"),
        ("hugetlb.2MB.max", str(4 << 20), "hugepageLimits[0]"),
        ("hugetlb.2MB.rsvd.max", str(4 << 20), "hugepageLimits[0]"),
        ("rdma.max", "mlx5_1 hca_handle=3 hca_object=10000", "rdma.mlx5_1"),
        ("memory.high", "50M", "unified.memory.high"),
        ("io.max", "8:0 rbps=1", "unified.io.max"),
        ("io.max", "8:16 wbps=2", "unified.io.max"),
    ]
    others = {setting.value: setting.other for group in compiled for setting in group if setting.other}
    assert others == {"100": ("io.weight", "910"), "8:0 500": ("io.weight", "8:0 4950")}


@pytest.mark.parametrize("compile_limits", VERSIONS)
@pytest.mark.parametrize(
    "resources",
    [
        {},
        {"cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": ""}},
        {"memory": {"limit": 0, "swap": 0, "reservation": 0, "disableOOMKiller": False, "kernel": 5, "kernelTCP": 5}},
        {"blockIO": {"weight": 0, "leafWeight": 0, "weightDevice": [], "throttleReadBpsDevice": None}},
        {"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 0}]}},
        {"network": {"classID": 0, "priorities": []}, "unified": {}, "rdma": {}, "hugepageLimits": [], "pids": {}},
        {"memory": None, "cpu": None, "pids": None, "blockIO": None, "hugepageLimits": None, "network": None, "unified": None},
        {"memory": {"swappiness": -1}},
    ],
)
def test_what_means_not_set(compile_limits: Compile, resources: dict[str, Any]) -> None:
    assert compile_limits(resources) == []


@pytest.mark.parametrize("compile_limits", VERSIONS)
@pytest.mark.parametrize(("limit", "value"), [(-1, "max"), (0, "1"), (1, "1"), (7, "7")])
def test_pids(compile_limits: Compile, limit: int, value: str) -> None:
    assert flat(compile_limits({"pids": {"limit": limit}})) == [("pids.max", value, "pids.limit")]


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        ({"limit": -1}, [("memory.swap.max", "max"), ("memory.max", "max")]),
        ({"limit": 100}, [("memory.max", "100")]),
        ({"limit": 100, "swap": -1}, [("memory.swap.max", "max"), ("memory.max", "100")]),
        ({"swap": -1}, [("memory.swap.max", "max")]),
        ({"limit": 100, "swap": 100}, [("memory.swap.max", "0"), ("memory.max", "100")]),
        ({"reservation": -1}, [("memory.low", "max")]),
    ],
)
def test_v2_memory_and_swap(memory: dict[str, int], expected: list[tuple[str, str]]) -> None:
    assert [entry[:2] for entry in flat(limits_v2.compile_limits({"memory": memory}))] == expected


@pytest.mark.parametrize(
    "memory", [{"swap": 100}, {"limit": -1, "swap": 100}, {"limit": 100, "swap": 99}, {"limit": 100, "swap": -2}]
)
def test_v2_swap_that_cannot_be(memory: dict[str, int]) -> None:
    with pytest.raises(ConfigError) as caught:
        limits_v2.compile_limits({"memory": memory})
    assert caught.value.config_path == "linux.resources.memory.swap"


def test_v1_memory_without_limit_frees_swap_too() -> None:
    ((limit, swap),) = limits_v1.compile_limits({"memory": {"limit": -1}})
    assert (limit.value, swap.value, swap.optional) == ("-1", "-1", True)


@pytest.mark.parametrize(
    ("cpu", "value"),
    [
        ({"quota": -1}, "max 100000"),
        ({"quota": 5000}, "5000 100000"),
        ({"period": 50000}, "max 50000"),
        ({"quota": 1, "period": 2}, "1 2"),
    ],
)
def test_v2_quota(cpu: dict[str, int], value: str) -> None:
    assert [entry[:2] for entry in flat(limits_v2.compile_limits({"cpu": cpu}))] == [("cpu.max", value)]


@pytest.mark.parametrize("compile_limits", VERSIONS)
def test_idle_makes_shares_meaningless(compile_limits: Compile) -> None:
    assert [entry[:2] for entry in flat(compile_limits({"cpu": {"idle": 1, "shares": 512}}))] == [("cpu.idle", "1")]


@pytest.mark.parametrize(
    ("shares", "weight"), [(0, 1), (2, 1), (3, 2), (512, 59), (1024, 100), (262144, 10000), (1 << 40, 10000)]
)
def test_weights(shares: int, weight: int) -> None:
    assert weight_of_shares(shares) == weight


@given(st.integers(2, 1 << 18), st.integers(2, 1 << 18))
def test_weights_keep_the_order(one: int, two: int) -> None:
    assert 1 <= weight_of_shares(min(one, two)) <= weight_of_shares(max(one, two)) <= 10_000


@pytest.mark.parametrize(
    ("compile_limits", "resources", "path"),
    [
        (limits_v1.compile_limits, {"unified": {"memory.max": "1"}}, "unified"),
        (limits_v2.compile_limits, {"memory": {"swappiness": 10}}, "memory.swappiness"),
        (limits_v2.compile_limits, {"memory": {"swappiness": 0}}, "memory.swappiness"),
        (limits_v2.compile_limits, {"memory": {"disableOOMKiller": True}}, "memory.disableOOMKiller"),
        (limits_v2.compile_limits, {"memory": {"useHierarchy": False}}, "memory.useHierarchy"),
        (limits_v2.compile_limits, {"cpu": {"realtimeRuntime": 1}}, "cpu.realtimeRuntime"),
        (limits_v2.compile_limits, {"blockIO": {"leafWeight": 10}}, "blockIO.leafWeight"),
        (
            limits_v2.compile_limits,
            {"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "leafWeight": 1}]}},
            "blockIO.weightDevice[0]",
        ),
        (limits_v2.compile_limits, {"network": {"classID": 1}}, "network.classID"),
    ],
)
def test_what_the_other_version_has(compile_limits: Compile, resources: dict[str, Any], path: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"^linux\.resources\.{path.replace('[', '.').replace(']', '.')}"):
        compile_limits(resources)


@pytest.mark.parametrize("compile_limits", VERSIONS)
@pytest.mark.parametrize(
    ("resources", "path"),
    [
        ({"cpu": {"cpus": "0\n1"}}, "cpu.cpus"),
        ({"cpu": {"mems": "0\0"}}, "cpu.mems"),
        ({"hugepageLimits": [{"pageSize": "../memory.limit", "limit": 1}]}, "hugepageLimits[0].pageSize"),
        ({"hugepageLimits": [{"pageSize": "2MB/../x", "limit": 1}]}, "hugepageLimits[0].pageSize"),
        ({"hugepageLimits": [{"pageSize": "MB", "limit": 1}]}, "hugepageLimits[0].pageSize"),
        ({"hugepageLimits": [{"pageSize": "02MB", "limit": 1}]}, "hugepageLimits[0].pageSize"),
        ({"hugepageLimits": [{"pageSize": "\u0662MB", "limit": 1}]}, "hugepageLimits[0].pageSize"),
        ({"blockIO": {"weightDevice": [{"major": (1 << 32) + 8, "minor": 0, "weight": 10}]}}, "blockIO.weightDevice[0].weight"),
        ({"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": -1, "rate": 1}]}}, "blockIO.throttleReadBpsDevice[0]"),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": 1 << 64}]}, "hugepageLimits[0]"),
        ({"pids": {"limit": -(1 << 70)}}, "pids.limit"),
        ({"rdma": {"mlx\nother": {"hcaHandles": 1}}}, "rdma"),
    ],
)
def test_strings_that_would_be_more_than_a_value(compile_limits: Compile, resources: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compile_limits(resources)
    assert caught.value.config_path == "linux.resources." + path


@pytest.mark.parametrize("key", ["a/b", "../memory.max", "", ".", "..", ".hidden", "a\nb", "a\0"])
def test_unified_keys_that_are_no_files(key: str) -> None:
    with pytest.raises(ConfigError, match="linux.resources.unified"):
        limits_v2.compile_limits({"unified": {key: "1"}})


@pytest.mark.parametrize(
    ("resources", "path"),
    [
        ({"cpu": {"shares": 1}}, "cpu.shares"),
        ({"cpu": {"shares": 262145}}, "cpu.shares"),
        ({"cpu": {"shares": -5}}, "cpu.shares"),
        ({"memory": {"swappiness": 101}}, "memory.swappiness"),
        ({"memory": {"swappiness": -2}}, "memory.swappiness"),
        ({"network": {"priorities": [{"name": "eth0 9\neth1", "priority": 1}]}}, "network.priorities[0].name"),
    ],
)
def test_v1_values_out_of_range(resources: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        limits_v1.compile_limits(resources)
    assert caught.value.config_path == "linux.resources." + path


ABSENT = "no hierarchy with the controller {} is mounted"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name in ("cpu.shares", "blkio.bfq.weight", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"):
        (tmp_path / name).write_text("")
    return tmp_path


def test_writes_reach_their_files(directory: Path) -> None:
    write({"cpu": str(directory)}, [[Setting("cpu", "cpu.shares", 5, "cpu.shares")]], absent=ABSENT)
    assert (directory / "cpu.shares").read_text() == "5"


def test_the_second_choice_of_a_file(directory: Path) -> None:
    write({"blkio": str(directory)}, limits_v1.compile_limits({"blockIO": {"weight": 300}}), absent=ABSENT)
    assert (directory / "blkio.bfq.weight").read_text() == "300"


def test_a_missing_file_names_property_and_file(directory: Path) -> None:
    with pytest.raises(UnsupportedError) as caught:
        write({"blkio": str(directory)}, limits_v1.compile_limits({"blockIO": {"leafWeight": 300}}), absent=ABSENT)
    assert caught.value.message == f"linux.resources.blockIO.leafWeight: this kernel offers no blkio.leaf_weight in {directory}"
    assert caught.value.config_path == "linux.resources.blockIO.leafWeight"
    assert not (directory / "blkio.leaf_weight").exists()


def test_a_missing_v2_file_points_at_the_parent(directory: Path) -> None:
    (directory / "cgroup.controllers").write_text("")
    with pytest.raises(UnsupportedError, match="linux.resources.unified.io.latency") as caught:
        write({"": str(directory)}, limits_v2.compile_limits({"unified": {"io.latency": "x"}}), absent=ABSENT)
    assert caught.value.hint == f"is the controller io in {directory.parent}/cgroup.subtree_control?"


def test_an_optional_file_may_be_missing_but_not_the_cgroup(directory: Path) -> None:
    optional = [[Setting("cpu", "cpu.cfs_burst_us", 0, "cpu.burst", optional=True)]]
    write({"cpu": str(directory)}, optional, absent=ABSENT)
    with pytest.raises(CgroupError, match="no such file or directory"):
        write({"cpu": str(directory / "gone")}, optional, absent=ABSENT)


def test_a_missing_controller_is_named() -> None:
    with pytest.raises(
        UnsupportedError, match=r"linux\.resources\.pids\.limit: no hierarchy with the controller pids is mounted"
    ):
        write({}, limits_v1.compile_limits({"pids": {"limit": 1}}), absent=ABSENT)


def test_a_symbolic_link_is_not_followed(directory: Path) -> None:
    victim = directory / "victim"
    victim.write_text("untouched")
    (directory / "cpu.idle").symlink_to(victim)
    with pytest.raises(CgroupError, match="too many levels of symbolic links"):
        write({"cpu": str(directory)}, [[Setting("cpu", "cpu.idle", 1, "cpu.idle")]], absent=ABSENT)
    assert victim.read_text() == "untouched"


class Bounded:
    """A kernel in which the memory limit may not exceed memory+swap, as mem_cgroup_resize_max has it."""

    def __init__(self, memory: int, memsw: int) -> None:
        self.values = {"memory.limit_in_bytes": memory, "memory.memsw.limit_in_bytes": memsw}

    def write(self, path: str, value: str, at: int | None = None) -> None:
        after = self.values | {os.path.basename(path): int(value)}
        if after["memory.limit_in_bytes"] > after["memory.memsw.limit_in_bytes"]:
            raise OSError(errno.EINVAL, "")
        self.values = after


@settings(max_examples=60)
@given(st.lists(st.integers(1, 9), min_size=4, max_size=4))
def test_values_that_bound_each_other_find_their_order(numbers: list[int]) -> None:
    old, old_swap, new, new_swap = min(numbers[:2]), max(numbers[:2]), numbers[2], numbers[3]
    kernel = Bounded(old, old_swap)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "write", kernel.write)
        groups = limits_v1.compile_limits({"memory": {"limit": new, "swap": new_swap}})
        if new <= new_swap:
            write({"memory": "/m"}, groups, absent=ABSENT)
            assert list(kernel.values.values()) == [new, new_swap]
        else:
            with pytest.raises(
                CgroupError, match=r"linux\.resources\.memory\.(limit|swap): write '\d' to /m/.*: invalid argument"
            ):
                write({"memory": "/m"}, groups, absent=ABSENT)


@pytest.mark.parametrize("name", ["docker", "podman", "containerd"])
@pytest.mark.parametrize("compile_limits", VERSIONS)
def test_what_real_engines_send_is_accepted(shared: Path, name: str, compile_limits: Compile) -> None:
    resources = json.loads((shared / f"configs/{name}.json").read_text())["linux"]["resources"]
    expected = {"docker": [], "podman": ["pids.max"], "containerd": ["cpu.shares"]}[name]
    if compile_limits is limits_v2.compile_limits:
        expected = [file.replace("shares", "weight") for file in expected]
    assert [file for file, _, _ in flat(compile_limits(resources))] == expected
