"""Statistics of the cgroup v1 controllers (Documentation/admin-guide/cgroup-v1)."""

from __future__ import annotations

from ..kernel import os
from .stats import CPUSET_FLAGS, IO_TABLES, entry, flat, io_entry, number, numbers, pids, read, some, whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .stats import Section

TICK = 10_000_000
"""Nanoseconds of a clock tick as cpuacct.stat counts them: USER_HZ is 100 on every architecture of today."""

IO_FILES = ("io_service_bytes", "io_serviced", "io_queued", "io_service_time", "io_wait_time", "io_merged", "time", "sectors")
"""In the order of IO_TABLES."""

IO_KINDS = (("blkio.bfq.", "_recursive"), ("blkio.throttle.", "_recursive"), ("blkio.throttle.", ""))
"""Who may have counted, the most exact first: BFQ where it is the scheduler, the throttling layer everywhere."""


def stats(paths: Mapping[str, str]) -> Section:
    """`paths` are the container's directories by controller. Raises CgroupError."""
    cpu = flat(paths.get("cpu"), "cpu.stat")
    return whole(
        usage=_usage(paths.get("cpuacct")),
        throttling=some(
            periods=cpu.get("nr_periods"), throttledPeriods=cpu.get("nr_throttled"), throttledTime=cpu.get("throttled_time")
        ),
        cpuset=_cpuset(paths.get("cpuset")),
        memory=_memory(paths.get("memory")),
        pids=pids(paths.get("pids")),
        io=_io(paths.get("blkio")),
        hugetlb=_hugetlb(paths.get("hugetlb")),
    )


def _usage(directory: str | None) -> Section:
    # The lines behind the heading are: processor, nanoseconds for the user, nanoseconds in the kernel.
    each = [line.split() for line in read(directory, "cpuacct.usage_all").splitlines()[1:]]
    ticks = flat(directory, "cpuacct.stat")
    return {
        **some(
            total=number(directory, "cpuacct.usage"),
            percpu=[int(word) for word in read(directory, "cpuacct.usage_percpu").split()],
            percpu_kernel=[int(line[2]) for line in each],
            percpu_user=[int(line[1]) for line in each],
        ),
        "kernel": ticks.get("system", 0) * TICK,
        "user": ticks.get("user", 0) * TICK,
    }


def _cpuset(directory: str | None) -> Section:
    # Mounted with noprefix the files lack it, see limits_v1.
    prefix = "cpuset." if read(directory, "cpuset.cpus") else ""
    return {
        "cpus": numbers(read(directory, prefix + "cpus")),
        "mems": numbers(read(directory, prefix + "mems")),
        **{name: number(directory, prefix + name) for name in ("cpu_exclusive", *CPUSET_FLAGS)},
    }


def _memory(directory: str | None) -> Section:
    raw = flat(directory, "memory.stat")
    counters = {"usage": "memory.", "swap": "memory.memsw.", "kernel": "memory.kmem.", "kernelTCP": "memory.kmem.tcp."}
    found: Section = {"raw": raw, "cache": raw.get("cache", 0)}
    for name, prefix in counters.items():
        files = ("limit_in_bytes", "usage_in_bytes", "max_usage_in_bytes", "failcnt")
        found[name] = entry(*(number(directory, prefix + file) for file in files))
    return found


def _io(directory: str | None) -> dict[str, list[Section]]:
    for prefix, suffix in IO_KINDS:
        found = {
            table: list(_entries(read(directory, prefix + file + suffix)))
            for table, file in zip(IO_TABLES, IO_FILES, strict=True)
        }
        if any(found.values()):
            return found
    return {}


def _entries(text: str) -> Iterator[Section]:
    """Of lines ``8:0 Read 4096`` or ``8:0 4096``; the last one of a file is a ``Total`` of all devices."""
    for device, *op, value in (line.split() for line in text.splitlines()):
        if ":" in device:
            yield io_entry(device, "".join(op), int(value))


def _hugetlb(directory: str | None) -> Iterator[tuple[str, Section]]:
    for size in page_sizes(directory, ".usage_in_bytes"):
        prefix = f"hugetlb.{size}."
        usage, most = number(directory, prefix + "usage_in_bytes"), number(directory, prefix + "max_usage_in_bytes")
        yield size, {**some(usage=usage, max=most), "failcnt": number(directory, prefix + "failcnt")}


def page_sizes(directory: str | None, suffix: str) -> list[str]:
    """The sizes of huge pages that the kernel counts, by the files' names: ``hugetlb.2MB.usage_in_bytes``."""
    names = [] if directory is None or not os.path.isdir(directory) else os.listdir(directory)
    found = [name[len("hugetlb.") : -len(suffix)] for name in names if name.startswith("hugetlb.") and name.endswith(suffix)]
    return [size for size in found if "." not in size]
