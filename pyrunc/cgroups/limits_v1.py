"""``linux.resources`` as settings for the cgroup v1 controllers (runtime-spec, config-linux.md; cgroup-v1/*.rst).

0 and absence mean "not set" for every limit where callers use 0 so (Docker sends ``cpu.shares: 0`` and
``blockIO.weight: 0``), except where the specification gives 0 a meaning: pids, hugetlb, throttles, idle, burst.
"""

from __future__ import annotations

from .. import errors
from .settings import RESOURCES, Setting, device_value, page_size, plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MIN_SHARES, MAX_SHARES = 2, 1 << 18

THROTTLES = (  # the property, its word in v1's file name, its key in v2's io.max
    ("throttleReadBpsDevice", "read_bps", "rbps"),
    ("throttleWriteBpsDevice", "write_bps", "wbps"),
    ("throttleReadIOPSDevice", "read_iops", "riops"),
    ("throttleWriteIOPSDevice", "write_iops", "wiops"),
)


def compile_limits(resources: dict[str, Any]) -> list[list[Setting]]:
    """Everything but the device rules, in the order of writing; a group's members depend on each other.

    Raises ConfigError for values that no kernel takes, UnsupportedError for ``unified``.
    """
    if resources.get("unified"):
        raise errors.UnsupportedError(f"{RESOURCES}unified: is of cgroup v2, and this host's controllers are mounted as v1")
    groups = [
        *pids(resources.get("pids") or {}),
        *_memory(resources.get("memory") or {}),
        *_block_io(resources.get("blockIO") or {}),
        *_cpu(resources.get("cpu") or {}),
        *cpuset(resources.get("cpu") or {}, noprefix=True),
        *hugetlb(resources.get("hugepageLimits") or [], "limit_in_bytes"),
        *_network(resources.get("network") or {}),
        *rdma(resources.get("rdma") or {}),
    ]
    return [group for group in groups if group]


def pids(section: dict[str, Any]) -> list[list[Setting]]:
    """The same file in v1 and v2. A limit of 0 is written as 1: the first process is there anyway, no fork succeeds
    either way, and clone3(CLONE_INTO_CGROUP) into a cgroup with pids.max 0 would be refused.
    """
    limit = section.get("limit")
    if limit is None:
        return []
    return [[Setting("pids", "pids.max", "max" if limit == -1 else limit or 1, "pids.limit")]]


def _memory(section: dict[str, Any]) -> list[list[Setting]]:
    # kernel and kernelTCP are left out: Linux 5.11 and 6.1 took those limits away, the specification advises against them.
    limit, swap = section.get("limit") or 0, section.get("swap") or 0
    bounds = []
    if limit:
        bounds.append(Setting("memory", "memory.limit_in_bytes", limit, "memory.limit"))
    if swap:
        bounds.append(Setting("memory", "memory.memsw.limit_in_bytes", swap, "memory.swap", optional=swap == -1))
    elif limit == -1:
        # Memory without a limit would still be held by a limit of memory+swap from before.
        bounds.append(Setting("memory", "memory.memsw.limit_in_bytes", -1, "memory.limit", optional=True))
    groups = [bounds]
    if section.get("reservation"):
        groups.append([Setting("memory", "memory.soft_limit_in_bytes", section["reservation"], "memory.reservation")])
    if section.get("disableOOMKiller"):
        groups.append([Setting("memory", "memory.oom_control", 1, "memory.disableOOMKiller")])
    swappiness = section.get("swappiness")
    if swappiness is not None and swappiness != -1:
        if not 0 <= swappiness <= 100:
            raise errors.ConfigError([(RESOURCES + "memory.swappiness", f"{swappiness} is not within 0 and 100")])
        groups.append([Setting("memory", "memory.swappiness", swappiness, "memory.swappiness")])
    if section.get("useHierarchy") is not None:
        groups.append([Setting("memory", "memory.use_hierarchy", int(section["useHierarchy"]), "memory.useHierarchy")])
    return groups


def _cpu(section: dict[str, Any]) -> list[list[Setting]]:
    groups = []
    idle, shares = section.get("idle"), section.get("shares")
    if idle is not None:
        groups.append([Setting("cpu", "cpu.idle", idle, "cpu.idle")])
    # An idle cgroup has the least weight there is and refuses shares.
    if shares and not idle:
        if not MIN_SHARES <= shares <= MAX_SHARES:
            # The kernel would clamp without a word.
            raise errors.ConfigError([(RESOURCES + "cpu.shares", f"{shares} is not within {MIN_SHARES} and {MAX_SHARES}")])
        groups.append([Setting("cpu", "cpu.shares", shares, "cpu.shares")])
    realtime = []
    if section.get("realtimePeriod"):
        realtime.append(Setting("cpu", "cpu.rt_period_us", section["realtimePeriod"], "cpu.realtimePeriod"))
    if section.get("realtimeRuntime"):
        realtime.append(Setting("cpu", "cpu.rt_runtime_us", section["realtimeRuntime"], "cpu.realtimeRuntime"))
    bandwidth = []
    if section.get("period"):
        bandwidth.append(Setting("cpu", "cpu.cfs_period_us", section["period"], "cpu.period"))
    if section.get("quota"):
        bandwidth.append(Setting("cpu", "cpu.cfs_quota_us", section["quota"], "cpu.quota"))
    if section.get("burst") is not None:
        # Kernels before 5.14 cannot burst, which is what 0 asks for.
        optional = section["burst"] == 0
        bandwidth.append(Setting("cpu", "cpu.cfs_burst_us", section["burst"], "cpu.burst", optional=optional))
    return [*groups, realtime, bandwidth]


def cpuset(section: dict[str, Any], *, noprefix: bool) -> list[list[Setting]]:
    """The same files in v1 and v2, except that a v1 hierarchy can be mounted with `noprefix`, as on Android (cpuset(7))."""
    groups = []
    for name in ("cpus", "mems"):
        if section.get(name):
            where = "cpu." + name
            value = plain(section[name], where)
            groups.append([Setting("cpuset", "cpuset." + name, value, where, other=(name, value) if noprefix else None)])
    return groups


def _block_io(section: dict[str, Any]) -> list[list[Setting]]:
    groups = []
    for name, file in (("weight", "weight"), ("leafWeight", "leaf_weight")):
        if section.get(name):
            groups.append([_weight(file, section[name], "blockIO." + name)])
    for index, entry in enumerate(section.get("weightDevice") or []):
        for name, file in (("weight", "weight_device"), ("leafWeight", "leaf_weight_device")):
            if entry.get(name):
                where = f"blockIO.weightDevice[{index}].{name}"
                groups.append([_weight(file, device_value(entry, entry[name], where), where)])
    for name, file, _ in THROTTLES:
        for index, entry in enumerate(section.get(name) or []):
            where = f"blockIO.{name}[{index}]"
            groups.append([Setting("blkio", f"blkio.throttle.{file}_device", device_value(entry, entry["rate"], where), where)])
    return groups


def _weight(file: str, value: object, property: str) -> Setting:
    # Linux 5.0 removed CFQ with blkio.weight; BFQ has files of its own, though none for leaves.
    other = None if file.startswith("leaf") else ("blkio.bfq." + file, value)
    return Setting("blkio", "blkio." + file, value, property, other=other)


def hugetlb(section: list[dict[str, Any]], file: str) -> list[list[Setting]]:
    """`file` is the last part of the names, by which v1 and v2 differ."""
    groups = []
    for index, entry in enumerate(section):
        where = f"hugepageLimits[{index}]"
        size = page_size(entry["pageSize"], where + ".pageSize")
        groups.append([Setting("hugetlb", f"hugetlb.{size}.{file}", entry["limit"], where)])
        groups.append([Setting("hugetlb", f"hugetlb.{size}.rsvd.{file}", entry["limit"], where, optional=True)])
    return groups


def _network(section: dict[str, Any]) -> list[list[Setting]]:
    groups = []
    if section.get("classID"):
        groups.append([Setting("net_cls", "net_cls.classid", section["classID"], "network.classID")])
    for index, entry in enumerate(section.get("priorities") or []):
        where = f"network.priorities[{index}]"
        value = f"{plain(entry['name'], where + '.name')} {entry['priority']}"
        groups.append([Setting("net_prio", "net_prio.ifpriomap", value, where)])
    return groups


def rdma(section: dict[str, Any]) -> list[list[Setting]]:
    """The same file in v1 and v2."""
    groups = []
    for device, limits in section.items():
        words = [plain(device, "rdma")]
        for name, key in (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object")):
            if limits.get(name) is not None:
                words.append(f"{key}={limits[name]}")
        groups.append([Setting("rdma", "rdma.max", " ".join(words), f"rdma.{device}")])
    return groups
