"""Statistics of cgroup v2 (Documentation/admin-guide/cgroup-v2.rst), under the names that they had in v1."""

from __future__ import annotations

from . import files
from .stats import NO_LIMIT, entry, flat, io_entry, number, pids, pressure, read, some, whole
from .stats_v1 import page_sizes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .stats import Section

IO_COUNTERS = {
    "rbytes": ("ioServiceBytesRecursive", "Read"),
    "wbytes": ("ioServiceBytesRecursive", "Write"),
    "rios": ("ioServicedRecursive", "Read"),
    "wios": ("ioServicedRecursive", "Write"),
}


def stats(directory: str | None) -> Section:
    """`directory` is the container's, None if it has no cgroup. Raises CgroupError."""
    cpu = flat(directory, "cpu.stat")
    usage = {name: cpu.get(key, 0) * 1000 for name, key in (("kernel", "system_usec"), ("user", "user_usec"))}
    return whole(
        usage={**some(total=cpu.get("usage_usec", 0) * 1000), **usage},
        throttling=some(
            periods=cpu.get("nr_periods"),
            throttledPeriods=cpu.get("nr_throttled"),
            throttledTime=cpu.get("throttled_usec", 0) * 1000,
        ),
        cpuset={},
        memory=_memory(directory),
        pids=pids(directory) or some(current=len(read(directory, "cgroup.procs").split())),
        io=_io(directory),
        hugetlb=_hugetlb(directory),
        pressures=(
            pressure(directory, "cpu.pressure"), pressure(directory, "memory.pressure"), pressure(directory, "io.pressure")
        ),
    )  # fmt: skip


def _memory(directory: str | None) -> Section:
    """swap is memory and swap together, as in v1; their peaks cannot be added."""
    raw = flat(directory, "memory.stat")
    limit, usage = number(directory, "memory.max"), number(directory, "memory.current")
    swap, swapped = number(directory, "memory.swap.max"), number(directory, "memory.swap.current")
    return {
        "raw": raw,
        "cache": raw.get("file", 0),
        "usage": entry(limit, usage, number(directory, "memory.peak")),
        "swap": entry(NO_LIMIT if NO_LIMIT in (limit, swap) else limit + swap, usage + swapped),
    }


def _io(directory: str | None) -> dict[str, list[Section]]:
    found: dict[str, list[Section]] = {}
    for device, *pairs in (line.split() for line in read(directory, "io.stat").splitlines()):
        for key, _, value in (pair.partition("=") for pair in pairs):
            if key in IO_COUNTERS:
                table, op = IO_COUNTERS[key]
                found.setdefault(table, []).append(io_entry(device, op, int(value)))
    return found


def _hugetlb(directory: str | None) -> Iterator[tuple[str, Section]]:
    for size in page_sizes(directory, ".current"):
        failures = files.flat_value(read(directory, f"hugetlb.{size}.events"), "max")
        yield size, {**some(usage=number(directory, f"hugetlb.{size}.current")), "failcnt": failures}
