"""``linux.resources`` as settings for cgroup v2 (runtime-spec, config-linux.md; Documentation/admin-guide/cgroup-v2.rst).

The configuration is written in v1's terms; this is the one place that converts. 0 and absence mean "not set" as in limits_v1.
"""

from __future__ import annotations

from .. import errors
from .limits_v1 import THROTTLES, cpuset, hugetlb, pids, rdma
from .settings import RESOURCES, Setting, device_value, file_name, plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

CONTROLLERS = ("cpu", "cpuset", "hugetlb", "io", "memory", "pids", "rdma")
DEFAULT_PERIOD = 100_000  # microseconds, the kernel's own


def compile_limits(resources: dict[str, Any]) -> list[list[Setting]]:
    """Everything but the device rules, in the order of writing, ``unified`` last; a group's members depend on each other.

    Raises ConfigError for values that contradict each other, UnsupportedError for what only v1 has.
    """
    _refuse_v1_only(resources)
    cpu = resources.get("cpu") or {}
    groups = [
        *pids(resources.get("pids") or {}),
        *_memory(resources.get("memory") or {}),
        *_io(resources.get("blockIO") or {}),
        *_cpu(cpu),
        *cpuset(cpu, noprefix=False),
        *hugetlb(resources.get("hugepageLimits") or [], "max"),
        *rdma(resources.get("rdma") or {}),
        *_unified(resources.get("unified") or {}),
    ]
    return [group for group in groups if group]


def weight_of_shares(shares: int) -> int:
    """cpu.weight (1..10000) for cpu.shares (2..262144): 2 is 1, 1024 is 100, 262144 is 10000, and between them
    ``10 ** ((l*l + 125*l) / 612 - 7/34)`` with l = log2(shares), rounded up; what lies outside is clamped.

    Systemd and Kubernetes use the same curve (kubernetes/enhancements 2254, revised in 2025), the line before it made
    1024 shares 39 and so favoured a process outside over a container with the default.
    """
    if shares <= 2:
        return 1
    if shares >= 1 << 18:
        return 10_000
    from math import ceil, log2

    exponent = log2(shares)
    return ceil(10 ** ((exponent * exponent + 125 * exponent) / 612 - 7 / 34))


def _refuse_v1_only(resources: dict[str, Any]) -> None:
    for section, name in (
        ("memory", "swappiness"),
        ("memory", "disableOOMKiller"),
        ("cpu", "realtimeRuntime"),
        ("cpu", "realtimePeriod"),
        ("blockIO", "leafWeight"),
        ("network", "classID"),
        ("network", "priorities"),
    ):
        value = (resources.get(section) or {}).get(name)
        # For swappiness 0 is a wish and -1 is none.
        if value not in (None, -1) if name == "swappiness" else value:
            path = f"{RESOURCES}{section}.{name}"
            raise errors.UnsupportedError(f"{path}: cgroup v2 has nothing like it", config_path=path)
    if (resources.get("memory") or {}).get("useHierarchy") is False:
        path = RESOURCES + "memory.useHierarchy"
        raise errors.UnsupportedError(f"{path}: cgroup v2 is always hierarchical", config_path=path)


def _limit(value: int) -> object:
    return "max" if value == -1 else value


def _memory(section: dict[str, Any]) -> list[list[Setting]]:
    limit, swap = section.get("limit") or 0, section.get("swap") or 0
    groups = []
    swap_max = _swap_max(limit, swap)
    if swap_max is not None:
        # Without swap in the kernel there is no file, nor anything to limit.
        optional = swap_max in (0, "max")
        groups.append([Setting("memory", "memory.swap.max", swap_max, "memory.swap", optional=optional)])
    if limit:
        groups.append([Setting("memory", "memory.max", _limit(limit), "memory.limit")])
    if section.get("reservation"):
        groups.append([Setting("memory", "memory.low", _limit(section["reservation"]), "memory.reservation")])
    return groups


def _swap_max(limit: int, swap: int) -> object | None:
    """The configuration's swap is memory+swap, as in v1; v2 limits swap alone."""
    if swap == -1 or (limit == -1 and swap == 0):
        return "max"
    if swap == 0:
        return None
    fault = ""
    if limit in (0, -1):
        fault = "needs a memory limit, because it bounds the sum of memory and swap"
    elif swap < limit:
        fault = f"{swap} is less than memory.limit, {limit}"
    if fault:
        raise errors.ConfigError([(RESOURCES + "memory.swap", fault)])
    return swap - limit


def _cpu(section: dict[str, Any]) -> list[list[Setting]]:
    groups = []
    idle, shares = section.get("idle"), section.get("shares")
    if idle is not None:
        groups.append([Setting("cpu", "cpu.idle", idle, "cpu.idle")])
    if shares and not idle:
        groups.append([Setting("cpu", "cpu.weight", weight_of_shares(shares), "cpu.shares")])
    quota, period, burst = section.get("quota") or 0, section.get("period") or 0, section.get("burst")
    bandwidth = []
    if quota or period:
        value = f"{quota if quota > 0 else 'max'} {period or DEFAULT_PERIOD}"
        bandwidth.append(Setting("cpu", "cpu.max", value, "cpu.quota" if quota else "cpu.period"))
    if burst is not None:
        bandwidth.append(Setting("cpu", "cpu.max.burst", burst, "cpu.burst", optional=burst == 0))
    return [*groups, bandwidth]


def _io(section: dict[str, Any]) -> list[list[Setting]]:
    groups = []
    if section.get("weight"):
        groups.append([_weight(None, section["weight"], "blockIO.weight")])
    for index, entry in enumerate(section.get("weightDevice") or []):
        where = f"blockIO.weightDevice[{index}]"
        if entry.get("leafWeight"):
            raise errors.UnsupportedError(f"{RESOURCES}{where}.leafWeight: cgroup v2 has nothing like it")
        if entry.get("weight"):
            groups.append([_weight(entry, entry["weight"], where + ".weight")])
    for name, _, key in THROTTLES:
        for index, entry in enumerate(section.get(name) or []):
            # v1's 0 takes a limit away; v2 refuses 0.
            where = f"blockIO.{name}[{index}]"
            groups.append([Setting("io", "io.max", device_value(entry, f"{key}={entry['rate'] or 'max'}", where), where)])
    return groups


def _weight(entry: Mapping[str, Any] | None, weight: int, property: str) -> Setting:
    """BFQ's weight has v1's range, 1..1000; io.weight, 1..10000, is blk-iocost's. Without an entry it is the default's."""
    values: list[object] = [weight, 1 + (weight - 10) * 9999 // 990]
    if entry is not None:
        values = [device_value(entry, str(value), property) for value in values]
    return Setting("io", "io.bfq.weight", values[0], property, other=("io.weight", values[1]))


def _unified(section: dict[str, Any]) -> list[list[Setting]]:
    """Files by name, in the config's order; the lines of a value are written one by one, as nested keyed files need it."""
    groups = []
    for key, value in section.items():
        where = "unified." + key
        for line in str(value).split("\n"):
            if line or not value:
                groups.append([Setting("", file_name(key, where), plain(line, where), where)])
    return groups
