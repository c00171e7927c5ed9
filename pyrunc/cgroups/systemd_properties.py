"""A unit's properties (systemd.resource-control(5), org.freedesktop.systemd1(5)), as (name, (D-Bus type, value)).

Limits come from the very settings that are written to the cgroup's files, by the file's name, ``unified`` included: so that
what systemd writes, at any `systemctl daemon-reload`, is what we have written.
"""

from __future__ import annotations

from ..errors import ConfigError
from .devices import Inexpressible, v1_lines
from .limits_v2 import DEFAULT_PERIOD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TypeAlias

    from .devices import Rule
    from .settings import Setting
    from .systemd_names import Unit

    Property: TypeAlias = tuple[str, tuple[str, Any]]

INFINITY = (1 << 64) - 1
STEP = 10_000
"""Microseconds of a second: systemd keeps a quota in whole percent of a processor when it writes the unit's file."""

OOM_POLICY_SINCE, CPU_IDLE_SINCE, CPUSET_SINCE, PERIOD_SINCE = 253, 252, 244, 242

NUMBERS = {
    "memory.max": "MemoryMax", "memory.high": "MemoryHigh", "memory.low": "MemoryLow", "memory.min": "MemoryMin",
    "memory.swap.max": "MemorySwapMax", "memory.limit_in_bytes": "MemoryLimit", "pids.max": "TasksMax",
    "cpu.weight": "CPUWeight", "cpu.shares": "CPUShares", "blkio.weight": "BlockIOWeight",
}  # fmt: skip
CPUSETS = {"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}
IO_WEIGHTS = ("io.bfq.weight", "io.weight")
"""One number of systemd's, which makes BFQ's of it by a curve of its own; without it each daemon-reload would write 100."""
SUFFIXES = {letter: 10 * power for power, letter in enumerate("KMGTPE", 1)}


def of_unit(unit: Unit, container_id: str, pid: int, *, unified: bool) -> list[Property]:
    """What every container's unit has. A scope starts with the process `pid` in it, and its cgroup is the container's own."""
    properties: list[Property] = [("Description", ("s", f"pyrunc container {container_id}"))]
    if unit.is_slice:
        properties.append(("Wants", ("as", [unit.slice])))
    else:
        properties += [("Slice", ("s", unit.slice)), ("Delegate", ("b", True)), ("PIDs", ("au", [pid]))]
    kinds = ("Memory", "CPU", "IO" if unified else "BlockIO", "Tasks")
    properties += [(f"{kind}Accounting", ("b", True)) for kind in kinds]
    properties.append(("DefaultDependencies", ("b", False)))
    return properties


def of_start(unified: dict[str, str], version: int) -> list[Property]:
    """What can be set only when the unit is made."""
    if "memory.oom.group" not in unified or version < OOM_POLICY_SINCE:
        return []
    return [("OOMPolicy", ("s", "kill" if unified["memory.oom.group"] == "1" else "continue"))]


def of_limits(groups: Iterable[list[Setting]], version: int) -> list[Property]:
    """The properties for what is to be written; what this systemd has no property for is left to the files.

    Raises ConfigError for a value that systemd cannot be told.
    """
    last = {setting.file: setting for group in groups for setting in group if not _of_a_device(setting)}
    idle = "cpu.idle" in last and last["cpu.idle"].value == "1"
    properties: list[Property] = []
    for file, setting in last.items():
        if file in NUMBERS and not (idle and file == "cpu.weight"):
            properties.append((NUMBERS[file], ("t", _number(setting.value, setting))))
        elif file in IO_WEIGHTS:
            value = setting.other[1] if setting.other else setting.value.removeprefix("default ")
            properties.append(("IOWeight", ("t", _number(value, setting))))
        elif file in CPUSETS and version >= CPUSET_SINCE and setting.value:
            properties.append((CPUSETS[file], ("ay", _bits(setting))))
    if idle and version >= CPU_IDLE_SINCE:
        properties.append(("CPUWeight", ("t", 0)))
    return properties + _bandwidth(last, version)


def _of_a_device(setting: Setting) -> bool:
    return setting.file in IO_WEIGHTS and ":" in setting.value


def taken_back(properties: list[Property], before: list[Property]) -> list[Property]:
    """What takes `properties` back, where `before` were in force: those of the same name, else what means "not set"."""
    names, known = dict(properties), dict(before)
    unset: list[Property] = []
    for name, (kind, _) in names.items():
        if name not in known:
            unset.append((name, (kind, b"" if kind == "ay" else 0 if name in ("MemoryLow", "MemoryMin") else INFINITY)))
    return unset + [(name, value) for name, value in before if name in names]


def _number(value: str, setting: Setting) -> int:
    """A number as the kernel reads it, memparse() in lib/cmdline.c: with K, M, G ... for powers of 1024."""
    text = value.strip()
    if text in ("max", "-1"):
        return INFINITY
    shift = SUFFIXES.get(text[-1:].upper(), 0)
    digits = text[:-1] if shift else text
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 20):
        raise ConfigError([(setting.property, f"{value!r} is no number, so systemd cannot be told")])
    return min(int(digits) << shift, INFINITY)


def _bits(setting: Setting) -> bytes:
    """A list such as ``0-2,7`` as a mask, processor 0 in the lowest bit of the first byte."""
    mask = 0
    for part in setting.value.split(","):
        first, dash, last = part.strip().partition("-")
        last = last if dash else first
        numbers = first.isdecimal() and last.isdecimal() and len(first + last) <= 10
        if not numbers or not int(first) <= int(last) < 1 << 16:
            raise ConfigError([(setting.property, f"{setting.value!r} is no list such as 0-2,7, so systemd cannot be told")])
        mask |= (1 << int(last) + 1) - (1 << int(first))
    return mask.to_bytes((mask.bit_length() + 7) // 8, "little")


def _bandwidth(last: dict[str, Setting], version: int) -> list[Property]:
    quota, period = "", ""
    if "cpu.max" in last:
        quota, _, period = last["cpu.max"].value.strip().partition(" ")
    if "cpu.cfs_quota_us" in last:
        quota = last["cpu.cfs_quota_us"].value
    if "cpu.cfs_period_us" in last:
        period = last["cpu.cfs_period_us"].value
    if not (quota + period):
        return []
    try:
        microseconds = min(int(period or DEFAULT_PERIOD), INFINITY)
        per_second = _per_second(int(quota), microseconds) if quota not in ("", "max") and int(quota) > 0 else INFINITY
        if microseconds <= 0:
            raise ValueError
    except (ValueError, ZeroDivisionError):
        at = next(last[file].property for file in ("cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us") if file in last)
        raise ConfigError([(at, f"{quota} {period} is no quota and period, so systemd cannot be told")]) from None
    properties: list[Property] = [("CPUQuotaPerSecUSec", ("t", min(per_second, INFINITY)))]
    if period and version >= PERIOD_SINCE:
        properties.append(("CPUQuotaPeriodUSec", ("t", microseconds)))
    return properties


def _per_second(quota: int, period: int) -> int:
    return -(-quota * 1_000_000 // (period * STEP)) * STEP


def rounded(resources: dict[str, Any] | None) -> dict[str, Any] | None:
    """The resources with the cpu quota rounded up to what systemd can keep, a percent of a processor (10 ms a second)."""
    cpu = (resources or {}).get("cpu") or {}
    quota, period = cpu.get("quota") or 0, cpu.get("period") or DEFAULT_PERIOD
    if resources is None or quota <= 0:
        return resources
    return {**resources, "cpu": {**cpu, "quota": _per_second(quota, period) * period // 1_000_000}}


def of_devices(rules: list[Rule]) -> tuple[list[Property], bool]:
    """The properties for the device rules, and whether they say the very same.

    systemd has only lists of what is allowed, of a device, of a major number or of all. Where the rules mean less than such a
    list can say, it says more: they are then enforced by somebody else.
    """
    exact, entries, everything = True, [], False
    try:
        everything, lines = v1_lines(rules)
        exact = not (everything and lines)
    except Inexpressible:
        everything, exact, lines = True, False, []
    for line in [] if everything else lines:
        kind, numbers, access = line.split(" ")
        name = "char" if kind == "c" else "block"
        major, minor = numbers.split(":")
        if major == "*":
            exact = exact and minor == "*"
            entries.append((f"{name}-*", access))
        elif minor == "*":
            entries.append((f"{name}-{major}", access))
        else:
            entries.append((f"/dev/{name}/{major}:{minor}", access))
    # The empty list takes away what was there, as does an empty assignment in a unit's file.
    properties: list[Property] = [("DevicePolicy", ("s", "auto" if everything else "strict")), ("DeviceAllow", ("a(ss)", []))]
    if entries:
        properties.append(("DeviceAllow", ("a(ss)", entries)))
    return properties, exact
