"""Rules for the ``linux`` object (runtime-spec config-linux.md)."""

from __future__ import annotations

from pyrunc.config.names import NAMESPACES, sysctl_path
from pyrunc.config.rules.text import check_absolute, check_absolutes, check_text, clean, member, one_of, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.config.rules.text import Faults

ID_MAX = 0xFFFFFFFF  # never mapped: it is (uid_t) -1, "no change" to chown(2) and setreuid(2)
MAP_LINES = 340  # user_namespaces(7), since Linux 4.15
MAJOR_MAX, MINOR_MAX = 0xFFF, 0xFFFFF  # the kernel's dev_t has 12 and 20 bits; mknod(2) drops the rest in silence

NOTIFY = "SCMP_ACT_NOTIFY"
PROPAGATIONS = ("private", "shared", "slave", "unbindable", "rprivate", "rshared", "rslave", "runbindable")

IPC_SYSCTLS = frozenset(
    "kernel/" + name for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")
)


def linux_rules(faults: Faults, linux: dict[str, Any], namespaces: dict[str, str]) -> None:
    """Rules for `linux`; `namespaces` is what namespace_rules found: type -> path, empty for a new one."""
    _user_namespace(faults, linux, namespaces)
    if linux.get("timeOffsets"):
        _time_offsets(faults, linux["timeOffsets"], namespaces)
    for name in ("maskedPaths", "readonlyPaths"):
        if paths := linux.get(name):
            if "mount" not in namespaces:
                faults.append(("linux." + name, "needs a mount namespace in linux.namespaces"))
            check_absolutes(faults, "linux." + name, paths)
    propagation = linux.get("rootfsPropagation")
    if propagation and propagation not in PROPAGATIONS:
        faults.append(("linux.rootfsPropagation", f"{quote(propagation)}: {one_of(PROPAGATIONS)}"))
    cgroup = linux.get("cgroupsPath")
    if cgroup and check_text(faults, "linux.cgroupsPath", cgroup) and "\n" in cgroup:
        faults.append(("linux.cgroupsPath", "must not contain a newline"))
    if sysctls := linux.get("sysctl"):
        _sysctls(faults, sysctls, namespaces)
    if devices := linux.get("devices"):
        _devices(faults, devices)
    if linux.get("personality") or linux.get("memoryPolicy"):
        _scheduling(faults, linux)
    if net_devices := linux.get("netDevices"):
        from pyrunc.config.rules.network import net_device_rules

        net_device_rules(faults, net_devices, namespaces)
    if rdt := linux.get("intelRdt"):
        from pyrunc.config.rules.resctrl import rdt_rules

        rdt_rules(faults, rdt)
    if resources := linux.get("resources"):
        resource_rules(faults, resources)
    if seccomp := linux.get("seccomp"):
        _listener(faults, seccomp)


def _scheduling(faults: Faults, linux: dict[str, Any]) -> None:
    from pyrunc.config.rules.scheduling import memory_policy_rules, personality_rules

    if personality := linux.get("personality"):
        personality_rules(faults, personality, "linux.personality")
    if policy := linux.get("memoryPolicy"):
        memory_policy_rules(faults, policy, "linux.memoryPolicy")


def namespace_rules(faults: Faults, listed: list[dict[str, Any]] | None) -> dict[str, str]:
    """Check ``linux.namespaces``; answers type -> path, the path empty for a namespace to be made."""
    found: dict[str, str] = {}
    for i, namespace in enumerate(listed or ()):
        at = f"linux.namespaces[{i}]"
        kind, path = namespace["type"], namespace.get("path") or ""
        if kind not in NAMESPACES:
            faults.append((at + ".type", f"unknown namespace type {quote(kind)}"))
        elif kind in found:
            faults.append((at + ".type", f"duplicate namespace type {quote(kind)}"))
        if path:
            check_absolute(faults, at + ".path", path)
        found[kind] = path
    return found


def _user_namespace(faults: Faults, linux: dict[str, Any], namespaces: dict[str, str]) -> None:
    for name in ("uidMappings", "gidMappings"):
        mappings = linux.get(name)
        if "user" not in namespaces:
            if mappings:
                faults.append(("linux." + name, "needs a user namespace in linux.namespaces"))
        elif not mappings and not namespaces["user"]:
            faults.append(("linux." + name, "a new user namespace needs at least one mapping"))
        check_mappings(faults, "linux." + name, mappings)


def check_mappings(faults: Faults, at: str, mappings: list[dict[str, int]] | None) -> None:
    """A list of id mappings as /proc/PID/uid_map takes it (user_namespaces(7)): sizes, bounds, overlaps, lines."""
    if not mappings:
        return
    if len(mappings) > MAP_LINES:
        faults.append((at, f"has {len(mappings)} mappings, the kernel takes {MAP_LINES}"))
    for i, mapping in enumerate(mappings):
        if mapping["size"] < 1:
            faults.append((f"{at}[{i}].size", "must be at least 1"))
        for side in ("containerID", "hostID"):
            if mapping[side] + mapping["size"] > ID_MAX:
                faults.append((f"{at}[{i}].{side}", f"the range ends beyond {ID_MAX - 1}, the highest id"))
    if len(mappings) > 1:
        for side in ("containerID", "hostID"):
            end, last = -1, 0
            for start, size, i in sorted((mapping[side], mapping["size"], i) for i, mapping in enumerate(mappings)):
                if start < end:
                    faults.append((f"{at}[{i}].{side}", f"overlaps {at}[{last}]"))
                if start + size > end:
                    end, last = start + size, i


def _time_offsets(faults: Faults, offsets: dict[str, Any], namespaces: dict[str, str]) -> None:
    if namespaces.get("time") != "":
        faults.append(("linux.timeOffsets", "needs a new time namespace in linux.namespaces"))
    for clock in ("monotonic", "boottime"):
        nanosecs = (offsets.get(clock) or {}).get("nanosecs") or 0
        if nanosecs > 999_999_999:
            faults.append((f"linux.timeOffsets.{clock}.nanosecs", f"must be below a second, is {nanosecs}"))


def _listener(faults: Faults, seccomp: dict[str, Any]) -> None:
    """Rules for seccomp's NOTIFY and the agent it needs; the rest of a profile is checked where it is compiled.

    To notify of write(2), or of all calls, is what runc cannot do; a profile that it refuses shall not run here alone.
    """
    at, path = "linux.seccomp.listenerPath", seccomp.get("listenerPath")
    if path:
        check_absolute(faults, at, path)
    if seccomp.get("listenerMetadata") and not path:
        faults.append(("linux.seccomp.listenerMetadata", "must not be set without listenerPath"))
    if seccomp["defaultAction"] == NOTIFY:
        faults.append(("linux.seccomp.defaultAction", f"{NOTIFY} cannot be used as default action"))
    for i, rule in enumerate(seccomp.get("syscalls") or ()):
        if rule["action"] == NOTIFY:
            if "write" in rule["names"]:
                faults.append((f"linux.seccomp.syscalls[{i}].names", f"{NOTIFY} cannot be used for the write syscall"))
            if not path:
                faults.append((f"linux.seccomp.syscalls[{i}].action", f"{NOTIFY} needs listenerPath"))


def _sysctls(faults: Faults, sysctls: dict[str, str], namespaces: dict[str, str]) -> None:
    for key, value in sysctls.items():
        at = member("linux.sysctl", key)
        if check_text(faults, at, key) and (text := _sysctl(sysctl_path(key), namespaces)):
            faults.append((at, text))
        check_text(faults, at, value)


def _sysctl(path: str, namespaces: dict[str, str]) -> str | None:
    """What is wrong with a sysctl. Only what a namespace confines may be set: all else would be the host's."""
    parts = path.split("/")
    if not all(part not in ("", ".", "..") for part in parts):
        return "is not the name of a sysctl"
    if path == "kernel/hostname":
        return "is set by the property hostname"
    if path in IPC_SYSCTLS or path.startswith("fs/mqueue/"):
        needs = "ipc"
    elif path == "kernel/domainname":
        needs = "uts"
    elif parts[0] == "net" and len(parts) > 1:
        needs = "network"
    elif parts[0] == "user" and len(parts) > 1:
        needs = "user"
    else:
        return "is not in a separate kernel namespace"
    return None if needs in namespaces else f"needs a namespace of type {needs} in linux.namespaces"


def _devices(faults: Faults, devices: list[dict[str, Any]]) -> None:
    seen: dict[str, tuple[Any, ...]] = {}
    for i, device in enumerate(devices):
        at = f"linux.devices[{i}]."
        kind, path = device["type"], device["path"]
        node = (kind.replace("u", "c"), *(() if kind == "p" else (device.get("major"), device.get("minor"))))
        if len(kind) != 1 or kind not in "cbup":
            faults.append((at + "type", f"{quote(kind)}: {one_of('cbup')}"))
        elif kind != "p":
            _numbers(faults, device, at)
        if not check_absolute(faults, at + "path", path):
            continue
        if ".." in path.split("/") or clean(path) == "/":
            faults.append((at + "path", f"{quote(path)} must name a file, without .."))
        elif seen.setdefault(clean(path), node) != node:
            faults.append((at + "path", f"{quote(path)} is listed before as a different device"))


def _numbers(faults: Faults, device: dict[str, Any], at: str) -> None:
    for name, most in (("major", MAJOR_MAX), ("minor", MINOR_MAX)):
        number = device.get(name)
        if number is None:
            faults.append((at + name, "is required for a device of this type"))
        elif not 0 <= number <= most:
            faults.append((at + name, f"must be in 0..{most}, is {number}"))


def resource_rules(faults: Faults, resources: dict[str, Any], at: str = "linux.resources.") -> None:
    """Arithmetic of ``linux.resources``; what a hierarchy can do with the values is for cgroups/ to say."""
    for i, rule in enumerate(resources.get("devices") or ()):
        access, kind = rule.get("access") or "", rule.get("type") or "a"
        if not access or not set(access) <= {"r", "w", "m"}:
            faults.append((f"{at}devices[{i}].access", f"must be one or more of r, w and m, is {quote(access)}"))
        if kind not in ("a", "b", "c"):
            faults.append((f"{at}devices[{i}].type", f"{quote(kind)}: {one_of('abc')}"))
        for name in ("major", "minor"):
            if (rule.get(name) or 0) < -1:
                faults.append((f"{at}devices[{i}].{name}", f"must be -1 (any) or a number, is {rule[name]}"))
    memory = resources.get("memory") or {}
    limit, swap = memory.get("limit") or 0, memory.get("swap") or 0
    if 0 < swap < limit:
        faults.append((at + "memory.swap", f"memory and swap together, {swap}, are less than the memory limit, {limit}"))
    if (memory.get("swappiness") or 0) > 100:
        faults.append((at + "memory.swappiness", f"must be in 0..100, is {memory['swappiness']}"))
    for device, limits in (resources.get("rdma") or {}).items():
        if limits.get("hcaHandles") is None and limits.get("hcaObjects") is None:
            faults.append((member(at + "rdma", device), "needs hcaHandles, hcaObjects or both"))
    cpu = resources.get("cpu") or {}
    burst, quota = cpu.get("burst") or 0, cpu.get("quota") or 0
    if 0 < quota < burst:
        faults.append((at + "cpu.burst", f"{burst} is above the quota, {quota}"))
