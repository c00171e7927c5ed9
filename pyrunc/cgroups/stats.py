"""What a container uses, in the JSON form of runc's ``events``: the names, their order, and 0 left out as Go leaves it out.

This is the frame and the readers; stats_v1 and stats_v2 fill it. Times are nanoseconds, sizes bytes. A file that the kernel
does not have counts as 0, because controllers come and go with kernels and with what a parent enables.
"""

from __future__ import annotations

from errno import EOPNOTSUPP

from ..errors import CgroupError
from . import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Section = dict[str, Any]

NO_LIMIT = (1 << 64) - 1
"""How "max" is told."""

CPUSET_FLAGS = (
    *("mem_hardwall", "mem_exclusive", "memory_migrate", "memory_spread_page", "memory_spread_slab", "memory_pressure"),
    *("sched_load_balance", "sched_relax_domain_level"),
)
IO_TABLES = (
    *("ioServiceBytesRecursive", "ioServicedRecursive", "ioQueueRecursive", "ioServiceTimeRecursive", "ioWaitTimeRecursive"),
    *("ioMergedRecursive", "ioTimeRecursive", "sectorsRecursive"),
)


def read(directory: str | None, file: str) -> str:
    """A file's text, empty where there is none. Raises CgroupError."""
    if directory is None:
        return ""
    try:
        return files.read(f"{directory}/{file}")
    except OSError as error:
        # Pressure that is compiled in and switched off cannot be asked for.
        if error.errno in (*files.GONE, EOPNOTSUPP):
            return ""
        raise CgroupError.of(f"read {directory}/{file}", error) from None


def number(directory: str | None, file: str) -> int:
    """The one number of a file; ``max`` is NO_LIMIT."""
    text = read(directory, file).strip()
    return NO_LIMIT if text == "max" else int(text or 0)


def flat(directory: str | None, file: str) -> dict[str, int]:
    """A flat keyed file: ``nr_periods 5``."""
    pairs = (line.split() for line in read(directory, file).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}


def some(**members: object) -> Section:
    """Those that are not 0 or empty."""
    return {name: value for name, value in members.items() if value}


def numbers(text: str) -> list[int]:
    """A list of processors or memory nodes, such as ``0-2,7``."""
    found: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def entry(limit: int = 0, usage: int = 0, most: int = 0, failures: int = 0) -> Section:
    """One of memory's counters."""
    return {"limit": limit, **some(usage=usage, max=most), "failcnt": failures}


def pids(directory: str | None) -> Section:
    """The same files in v1 and v2."""
    limit = number(directory, "pids.max")
    return some(current=number(directory, "pids.current"), limit=0 if limit == NO_LIMIT else limit)


def io_entry(device: str, op: str, value: int) -> Section:
    major, _, minor = device.partition(":")
    return some(major=int(major), minor=int(minor), op=op, value=value)


def pressure(directory: str | None, file: str) -> Section | None:
    """Pressure stall information (Documentation/accounting/psi.rst) of some and of all tasks; None where there is none."""
    found: Section = {kind: dict.fromkeys(("avg10", "avg60", "avg300", "total"), 0) for kind in ("some", "full")}
    lines = read(directory, file).splitlines()
    for kind, *pairs in map(str.split, lines):
        for name, _, value in (pair.partition("=") for pair in pairs):
            found.setdefault(kind, {})[name] = int(value) if name == "total" else float(value)
    return found if lines else None


def whole(
    *, usage: Section, throttling: Section, cpuset: Section, memory: Section, pids: Section, io: dict[str, list[Section]],
    hugetlb: Iterable[tuple[str, Section]], pressures: tuple[Section | None, Section | None, Section | None] = (None,) * 3,
) -> Section:  # fmt: skip
    """All of it; `pressures` are those of cpu, memory and io. ``intel_rdt`` is for the caller to fill."""
    cpu, mem, blk = ({"psi": found} if found else {} for found in pressures)
    raw = {name: memory["raw"][name] for name in sorted(memory["raw"])}
    return {
        "cpu": {"usage": {**usage}, "throttling": throttling, **cpu},
        "cpuset": {
            **some(cpus=cpuset.get("cpus")),
            "cpu_exclusive": cpuset.get("cpu_exclusive", 0),
            **some(mems=cpuset.get("mems")),
            **{name: cpuset.get(name, 0) for name in CPUSET_FLAGS},
        },
        "memory": {
            **some(cache=memory["cache"]),
            **{name: memory.get(name) or entry() for name in ("usage", "swap", "kernel", "kernelTCP")},
            **some(raw=raw),
            **mem,
        },
        "pids": pids,
        "blkio": {**{name: io[name] for name in IO_TABLES if io.get(name)}, **blk},
        "hugetlb": dict(sorted(hugetlb)),
        "intel_rdt": {},
        "network_interfaces": None,
    }
