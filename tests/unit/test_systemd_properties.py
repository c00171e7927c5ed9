"""``linux.resources`` as a unit's properties."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from pyrunc.cgroups import limits_v1, limits_v2
from pyrunc.cgroups.devices import rules_of
from pyrunc.cgroups.systemd_names import unit_of
from pyrunc.cgroups.systemd_properties import INFINITY, of_devices, of_limits, of_start, of_unit, rounded, taken_back
from pyrunc.errors import ConfigError

MODERN = 255
MEBI = 1 << 20


def v2(resources: dict[str, Any], version: int = MODERN) -> list[tuple[str, tuple[str, Any]]]:
    return of_limits(limits_v2.compile_limits(rounded(resources) or {}), version)


def v1(resources: dict[str, Any], version: int = MODERN) -> list[tuple[str, tuple[str, Any]]]:
    return of_limits(limits_v1.compile_limits(rounded(resources) or {}), version)


def test_what_every_scope_has() -> None:
    unit = unit_of("a-b.slice:p:c", "id", user=False)
    assert of_unit(unit, "id", 77, unified=True) == [
        ("Description", ("s", "pyrunc container id")),
        ("Slice", ("s", "a-b.slice")),
        ("Delegate", ("b", True)),
        ("PIDs", ("au", [77])),
        ("MemoryAccounting", ("b", True)),
        ("CPUAccounting", ("b", True)),
        ("IOAccounting", ("b", True)),
        ("TasksAccounting", ("b", True)),
        ("DefaultDependencies", ("b", False)),
    ]
    assert ("BlockIOAccounting", ("b", True)) in of_unit(unit, "id", 77, unified=False)


def test_a_slice_has_a_parent_and_no_process() -> None:
    names = dict(of_unit(unit_of("a.slice::a-b.slice", "id", user=False), "id", 77, unified=True))
    assert names["Wants"] == ("as", ["a.slice"]) and not {"Slice", "PIDs", "Delegate"} & names.keys()


@pytest.mark.parametrize(
    "resources, expected",
    [
        ({"memory": {"limit": 64 * MEBI}}, {"MemoryMax": 64 * MEBI}),
        ({"memory": {"limit": -1}}, {"MemoryMax": INFINITY, "MemorySwapMax": INFINITY}),
        ({"memory": {"limit": 2, "swap": 5, "reservation": 1}}, {"MemoryMax": 2, "MemorySwapMax": 3, "MemoryLow": 1}),
        ({"memory": {"limit": 2, "swap": 2}}, {"MemoryMax": 2, "MemorySwapMax": 0}),
        ({"pids": {"limit": 20}}, {"TasksMax": 20}),
        ({"pids": {"limit": 0}}, {"TasksMax": 1}),
        ({"pids": {"limit": -1}}, {"TasksMax": INFINITY}),
        ({"cpu": {"shares": 1024}}, {"CPUWeight": 100}),
        ({"cpu": {"shares": 512, "idle": 1}}, {"CPUWeight": 0}),
        ({"cpu": {"shares": 512, "idle": 0}}, {"CPUWeight": 59}),
        ({"cpu": {"quota": 50_000}}, {"CPUQuotaPerSecUSec": 500_000, "CPUQuotaPeriodUSec": 100_000}),
        ({"cpu": {"quota": 33_333, "period": 50_000}}, {"CPUQuotaPerSecUSec": 670_000, "CPUQuotaPeriodUSec": 50_000}),
        ({"cpu": {"quota": -1}}, {"CPUQuotaPerSecUSec": INFINITY, "CPUQuotaPeriodUSec": 100_000}),
        ({"cpu": {"cpus": "0-2,9", "mems": "0"}}, {"AllowedCPUs": b"\x07\x02", "AllowedMemoryNodes": b"\x01"}),
        ({"blockIO": {"weight": 200}}, {"IOWeight": 1920}),
        ({"blockIO": {"weight": 200, "weightDevice": [{"major": 8, "minor": 0, "weight": 10}]}}, {"IOWeight": 1920}),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": 1}], "rdma": {"x": {"hcaHandles": 1}}}, {}),
        ({"unified": {"memory.high": "1G", "memory.min": "3k", "cpu.weight": "7"}},
         {"MemoryHigh": 1 << 30, "MemoryMin": 3072, "CPUWeight": 7}),
        ({"unified": {"cpu.max": "max 50000"}}, {"CPUQuotaPerSecUSec": INFINITY, "CPUQuotaPeriodUSec": 50_000}),
        ({"unified": {"cpu.max": "20001"}}, {"CPUQuotaPerSecUSec": 210_000}),
        ({"cpu": {"quota": (1 << 63) - 1, "period": 1}}, {"CPUQuotaPerSecUSec": INFINITY, "CPUQuotaPeriodUSec": 1}),
        ({"unified": {"cpu.idle": "1", "cpu.weight": "7"}}, {"CPUWeight": 0}),
        ({"unified": {"cpuset.cpus": "1", "cpuset.mems": ""}}, {"AllowedCPUs": b"\x02"}),
        ({"unified": {"memory.swap.max": "max", "pids.max": "5"}}, {"MemorySwapMax": INFINITY, "TasksMax": 5}),
        ({"unified": {"io.weight": "default 30\n8:0 50"}}, {"IOWeight": 30}),
        ({"unified": {"misc.max": "x 1", "io.max": "8:0 rbps=1"}}, {}),
        ({"pids": {"limit": 3}, "unified": {"pids.max": "8"}}, {"TasksMax": 8}),
    ],
)  # fmt: skip
def test_v2(resources: dict[str, Any], expected: dict[str, Any]) -> None:
    kinds = {bytes: "ay", int: "t"}
    assert dict(v2(resources)) == {name: (kinds[type(value)], value) for name, value in expected.items()}


@pytest.mark.parametrize(
    "resources, expected",
    [
        ({"memory": {"limit": 64 * MEBI, "swap": 70 * MEBI, "reservation": 5}}, {"MemoryLimit": 64 * MEBI}),
        ({"cpu": {"shares": 512}}, {"CPUShares": 512}),
        ({"cpu": {"quota": 20_000}}, {"CPUQuotaPerSecUSec": 200_000}),
        ({"cpu": {"quota": 20_000, "period": 40_000}}, {"CPUQuotaPerSecUSec": 500_000, "CPUQuotaPeriodUSec": 40_000}),
        ({"cpu": {"period": 40_000}}, {"CPUQuotaPerSecUSec": INFINITY, "CPUQuotaPeriodUSec": 40_000}),
        ({"blockIO": {"weight": 200, "leafWeight": 10}}, {"BlockIOWeight": 200}),
        ({"pids": {"limit": -1}, "network": {"classID": 5}}, {"TasksMax": INFINITY}),
    ],
)
def test_v1(resources: dict[str, Any], expected: dict[str, int]) -> None:
    assert dict(v1(resources)) == {name: ("t", value) for name, value in expected.items()}


def test_an_old_systemd_is_not_told_what_it_does_not_know() -> None:
    resources = {"cpu": {"cpus": "0", "quota": 10_000, "idle": 1}, "pids": {"limit": 4}}
    names = [name for name, _ in v2(resources, 241)]
    assert names == ["TasksMax", "CPUQuotaPerSecUSec"]
    assert [name for name, _ in v2(resources, 244)] == ["TasksMax", "AllowedCPUs", "CPUQuotaPerSecUSec", "CPUQuotaPeriodUSec"]
    assert ("CPUWeight", ("t", 0)) in v2(resources, 252)


def test_oom_policy() -> None:
    assert of_start({"memory.oom.group": "1"}, 253) == [("OOMPolicy", ("s", "kill"))]
    assert of_start({"memory.oom.group": "0"}, 253) == [("OOMPolicy", ("s", "continue"))]
    assert of_start({"memory.oom.group": "1"}, 252) == of_start({"memory.max": "1"}, 253) == []


@pytest.mark.parametrize(
    "resources, words",
    [
        ({"unified": {"memory.max": "much"}}, "linux.resources.unified.memory.max: 'much' is no number"),
        ({"unified": {"memory.max": "-5"}}, "is no number"),
        ({"unified": {"memory.max": "9" * 5000}}, "is no number"),
        ({"unified": {"cpu.max": "much 5"}}, "linux.resources.unified.cpu.max: much 5 is no quota"),
        ({"unified": {"cpu.max": "5 0"}}, "is no quota"),
        ({"unified": {"cpu.max": "max -5"}}, "is no quota"),
        ({"unified": {"cpu.max": "9" * 5000}}, "is no quota"),
        ({"pids": {"limit": -5}}, "linux.resources.pids.limit: '-5' is no number"),
        ({"cpu": {"cpus": "1-"}}, "linux.resources.cpu.cpus: '1-' is no list"),
        ({"cpu": {"cpus": "3-1"}}, "is no list"),
        ({"cpu": {"cpus": "0-9:2/4"}}, "is no list"),
        ({"cpu": {"cpus": "9" * 5000}}, "is no list"),
        ({"cpu": {"mems": "0-99999999"}}, "linux.resources.cpu.mems: '0-99999999' is no list"),
    ],
)
def test_values_that_systemd_cannot_be_told(resources: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        v2(resources)
    assert words in caught.value.message


@settings(deadline=None)
@given(st.integers(1, 1 << 40), st.integers(1000, 1_000_000))
def test_a_quota_is_rounded_up_to_what_systemd_keeps(quota: int, period: int) -> None:
    cpu = (rounded({"cpu": {"quota": quota, "period": period}}) or {})["cpu"]
    assert quota <= cpu["quota"] <= quota + period // 100 + 1
    assert rounded({"cpu": cpu}) == {"cpu": cpu}, "once is enough"
    per_second = dict(v2({"cpu": cpu}))["CPUQuotaPerSecUSec"][1]
    assert per_second % 10_000 == 0 and cpu["quota"] == per_second * period // 1_000_000, "as systemd computes it"


@pytest.mark.parametrize("resources", [None, {}, {"cpu": {"quota": -1}}, {"cpu": {"shares": 5}}, {"cpu": None}])
def test_nothing_to_round(resources: Any) -> None:
    assert rounded(resources) is resources


DENY_ALL = {"allow": False, "access": "rwm"}
ALLOW_ALL = {"allow": True, "access": "rwm"}


def devices(*rules: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    properties, exact = of_devices(rules_of({"devices": list(rules)}))
    assert properties[1] == ("DeviceAllow", ("a(ss)", [])), "what was there goes first"
    found: dict[str, Any] = {name: value[1] for name, value in properties}
    return found, exact


def test_device_rules() -> None:
    found, exact = devices(DENY_ALL, {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
                           {"allow": True, "type": "b", "major": 8, "access": "r"})  # fmt: skip
    assert exact and found["DevicePolicy"] == "strict"
    assert found["DeviceAllow"] == [
        *(("/dev/char/10:229", "rw"), ("block-8", "r"), ("char-*", "m"), ("block-*", "m")),
        *((f"/dev/char/1:{minor}", "rwm") for minor in (3, 5, 7, 8, 9)),
        *(("/dev/char/5:0", "rwm"), ("/dev/char/5:2", "rwm"), ("char-136", "rwm"), ("/dev/char/10:200", "rwm")),
    ]


def test_all_devices() -> None:
    assert devices(ALLOW_ALL) == ({"DevicePolicy": "auto", "DeviceAllow": []}, True)


@pytest.mark.parametrize(
    "rules",
    [
        [ALLOW_ALL, {"allow": False, "type": "c", "major": 1, "minor": 11, "access": "rwm"}],
        [DENY_ALL, {"allow": True, "type": "c", "access": "rwm"}, {"allow": False, "type": "c", "major": 1, "access": "rw"}],
    ],
)
def test_exceptions_are_more_than_systemd_can_be_told(rules: list[dict[str, Any]]) -> None:
    assert devices(*rules) == ({"DevicePolicy": "auto", "DeviceAllow": []}, False)


def test_one_minor_number_of_all_majors_is_told_as_all() -> None:
    found, exact = devices(DENY_ALL, {"allow": True, "type": "c", "minor": 3, "access": "r"})
    assert not exact and ("char-*", "r") in found["DeviceAllow"]


def test_what_takes_properties_back() -> None:
    new: list[Any] = [("MemoryMax", ("t", 5)), ("TasksMax", ("t", 5)), ("MemoryLow", ("t", 5)), ("AllowedCPUs", ("ay", b"\1"))]
    old: list[Any] = [("TasksMax", ("t", 9)), ("CPUWeight", ("t", 7))]
    assert taken_back(new, old) == [
        ("MemoryMax", ("t", INFINITY)), ("MemoryLow", ("t", 0)), ("AllowedCPUs", ("ay", b"")), ("TasksMax", ("t", 9)),
    ]  # fmt: skip
