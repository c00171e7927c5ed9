"""What to do about an op that failed, where the errno alone would leave its reader alone. Loaded with the message."""

from __future__ import annotations

from errno import EINVAL, ENOSPC, EPERM

from pyrunc.config.names import NAMESPACES
from pyrunc.plan import opcodes as c

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.plan.ops import Op

FILE_SYSTEMS = {  # statfs(2), linux/magic.h
    0x794C7630: "overlay", 0x01021994: "tmpfs", 0xEF53: "ext2, ext3 or ext4", 0x58465342: "xfs", 0x9123683E: "btrfs",
    0x9FA0: "proc", 0x62656572: "sysfs", 0x27E0EB: "cgroup", 0x63677270: "cgroup2", 0x1CD1: "devpts", 0x19800202: "mqueue",
    0x6969: "nfs", 0xFF534D42: "cifs", 0xFE534D42: "smb2", 0x65735546: "fuse", 0x73717368: "squashfs", 0xE0F5E1E2: "erofs",
    0x01021997: "9p", 0x4D44: "vfat", 0x2011BAB0: "exfat", 0x00C36400: "ceph", 0x2FC12FC1: "zfs", 0x858458F6: "ramfs",
    0xF15F: "ecryptfs", 0x6E736673: "nsfs", 0x64626720: "debugfs", 0x74726163: "tracefs", 0xCAFE4A11: "bpf",
}  # fmt: skip

SCHEDULER = (
    "a real-time policy or a smaller nice value needs CAP_SYS_NICE on the host, or RLIMIT_RTPRIO or RLIMIT_NICE in"
    " process.rlimits; some kernels want linux.resources.cpu.realtimeRuntime too (CONFIG_RT_GROUP_SCHED); SCHED_DEADLINE"
    " excludes a cpuset (sched(7))"
)
IO_PRIORITY = "IOPRIO_CLASS_RT needs CAP_SYS_NICE on the host"


def file_system(number: str) -> str:
    """The type of a file system whose statfs(2) number init has told."""
    magic = int(number) if number.isdigit() else 0
    return f"a file system of type {FILE_SYSTEMS.get(magic, f'{magic:#x}')}"


def hint(op: Op, place: int, errno: int) -> str | None:
    if op.code == c.OP_UNSHARE and op.value(0) & NAMESPACES["user"]:
        return user_namespaces(errno)
    if place == c.AT_MAPIDS:
        return _mapping(errno)
    if place == c.AT_ATTRIBUTES and errno == EPERM:
        return "what the mount's owner has set cannot be taken away in a user namespace (locked, mount_namespaces(7))"
    if op.code == c.OP_REMOUNT and errno == EPERM:
        return 'the file system is not the container\'s: with the option "bind" the mount alone changes'
    if op.code in (c.OP_SCHEDULER, c.OP_IO_PRIORITY) and errno == EPERM:
        return SCHEDULER if op.code == c.OP_SCHEDULER else IO_PRIORITY
    return None


def _mapping(errno: int) -> str | None:
    if errno == EINVAL:
        return "this kernel cannot map the ids of that file system, or it is mapped already"
    if errno == EPERM:
        return "only who owns the file system's user namespace may map its ids, and no mount's twice"
    return None


def user_namespaces(errno: int) -> str | None:
    """Why the kernel makes no user namespace here, from the sysctls that may forbid it (user_namespaces(7))."""
    if errno == ENOSPC:
        return "raise the sysctl user.max_user_namespaces, which is {} here".format(_sysctl("user/max_user_namespaces") or "0")
    if errno != EPERM:
        return None
    if _sysctl("kernel/unprivileged_userns_clone") == "0":
        return "ordinary users may make no user namespace: sysctl kernel.unprivileged_userns_clone=1 allows it (Debian)"
    if _sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1":
        return "AppArmor restricts user namespaces: give pyrunc a profile with `userns,`, or set" + (
            " the sysctl kernel.apparmor_restrict_unprivileged_userns=0"
        )
    return "the kernel makes no user namespace for a chrooted process, nor where a security module or seccomp forbids it"


def _sysctl(name: str) -> str:
    try:
        with open(f"/proc/sys/{name}", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
