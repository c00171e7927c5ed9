"""What kind of host this is, read from procfs when it is needed."""

from __future__ import annotations

from pyrunc.errors import KernelError
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
    found = []
    for line in _read("/proc/self/mountinfo").splitlines():
        left, _, right = os.fsdecode(line).partition(" - ")
        if right.split(" ", 1)[0] in kinds:
            head, *escaped = left.split(" ")[4].split("\\")
            found.append(head + "".join(chr(int(part[:3], 8)) + part[3:] for part in escaped))
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
        raise KernelError.of(f"read {path}", error) from error
