"""What kind of host this is, read from procfs when it is needed."""

from __future__ import annotations

from pyrunc import errors
from pyrunc.kernel import os


def original_environment() -> dict[str, str]:
    """The environment that the runtime was given. The interpreter adds LC_CTYPE to its own where no locale is set (PEP 538)."""
    raw = _read("/proc/self/environ").split(b"\0")
    return {name: value for name, equals, value in (os.fsdecode(entry).partition("=") for entry in raw) if equals}


def in_user_namespace() -> bool:
    """Whether the runtime itself is in a user namespace other than the first, where everything maps to itself."""
    return _read("/proc/self/uid_map").split() != [b"0", b"0", b"4294967295"]


def mount_points(*kinds: str) -> list[str]:
    """Where file systems of these types are mounted, as the runtime sees them (proc_pid_mountinfo(5))."""
    return [mount.point for mount in mounts() if mount.kind in kinds]


class Mount:
    """A line of mountinfo: the mount's number, good while it is there, its mount point, the type of its file system."""

    __slots__ = ("id", "kind", "point")

    def __init__(self, id: int, point: str, kind: str) -> None:
        self.id = id
        self.point = point
        self.kind = kind


def mounts() -> list[Mount]:
    """All that the runtime sees, in the kernel's order."""
    return parse_mounts(_read("/proc/self/mountinfo"))


def parse_mounts(mountinfo: bytes) -> list[Mount]:
    """Space, tab, newline and backslash are written there as octal escapes; other bytes as they are."""
    found = []
    for line in mountinfo.split(b"\n")[:-1]:
        left, _, right = os.fsdecode(line).partition(" - ")
        fields = left.split(" ")
        head, *escaped = fields[4].split("\\")
        point = head + "".join(chr(int(part[:3], 8)) + part[3:] for part in escaped)
        found.append(Mount(int(fields[0]), point, right.split(" ", 1)[0]))
    return found


def selinux_enabled() -> bool:
    """Whether SELinux has a policy: its file system is then mounted. Where a container cannot see that, it is off for it."""
    return bool(mount_points("selinuxfs"))


def _read(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = b""
            while more := os.read(fd, 1 << 16):
                data += more
            return data
        finally:
            os.close(fd)
    except OSError as error:
        raise errors.KernelError.of(f"read {path}", error) from error
