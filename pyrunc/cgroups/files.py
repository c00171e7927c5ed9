"""The few ways in which files and directories of a cgroup file system are touched.

cgroupfs has no symbolic links, so a last component that is one means that this is no cgroup: it is never followed.
Errors stay OSErrors here; the managers translate them, because they know what the file was for.
"""

from __future__ import annotations

from errno import EBUSY, ENODEV, ENOENT, ENOTEMPTY, EOPNOTSUPP

from ..kernel import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC

GONE = (ENOENT, ENODEV)
"""A cgroup's file after the cgroup was removed: before and after it was opened."""


def open_directory(path: str, at: int | None = None) -> int:
    """A readable, close-on-exec descriptor of a directory that is no symbolic link."""
    return os.open(path, _DIRECTORY, dir_fd=at)


def read(path: str, at: int | None = None) -> str:
    """The whole file as text."""
    return os.fsdecode(read_bytes(path, at))


def read_bytes(path: str, at: int | None = None) -> bytes:
    """The whole file; kernfs and procfs may hand it out in pieces of a page."""
    fd = os.open(path, _READ, dir_fd=at)
    try:
        data = os.read(fd, 4096)
        while data and (more := os.read(fd, 65536)):
            data += more
    finally:
        os.close(fd)
    return data


def write(path: str, value: str, at: int | None = None) -> None:
    """Write `value` by one write(2), the unit in which the kernel parses it. Never creates a file."""
    fd = os.open(path, _WRITE, dir_fd=at)
    try:
        os.write(fd, os.fsencode(value))
    finally:
        os.close(fd)


def write_each(path: str, values: list[str]) -> tuple[str, int] | None:
    """Write the values in order, each by its own write(2). Stops at what is refused and returns it with the errno."""
    value = ""
    try:
        fd = os.open(path, _WRITE)
        try:
            for value in values:
                os.write(fd, os.fsencode(value))
        finally:
            os.close(fd)
    except OSError as error:
        return value, error.errno or 0
    return None


def flat_value(text: str, key: str) -> int:
    """The number of `key` in a flat keyed file (``oom_kill 3``), 0 when the kernel does not have the key."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == key:
            return int(value)
    return 0


def processes(path: str, at: int | None = None) -> list[int]:
    """The processes of one cgroup; 0, a process outside of our PID namespace, is left out (kill(0) is the caller's group).

    A threaded cgroup has no list of its own: its processes are in that of the domain above it (cgroups(7)).
    """
    try:
        text = read(path + "/cgroup.procs", at)
    except OSError as error:
        if error.errno in GONE or error.errno == EOPNOTSUPP:
            return []
        raise
    return [pid for pid in map(int, text.split()) if pid > 0]


def processes_below(path: str) -> list[int]:
    """The processes of all descendants of a cgroup, not of itself."""
    pids: list[int] = []
    for parent, name in descendants(path):
        pids += processes(name, parent)
    return pids


def descendants(path: str) -> Iterator[tuple[int, str]]:
    """Every directory below `path`, children before their parents, as (descriptor of the parent, name).

    One descriptor is open at a time and names are relative, because a container may nest its cgroups deeper than
    PATH_MAX, the limit of descriptors and Python's recursion allow. The descriptor is valid until the next step.
    """
    try:
        fd = open_directory(path)
    except OSError as error:
        if error.errno in GONE:
            return
        raise
    try:
        levels = [_children(fd)]
        while True:
            if levels[-1]:
                try:
                    below = open_directory(levels[-1][-1], fd)
                except OSError as error:
                    if error.errno not in GONE:
                        raise
                    levels[-1].pop()
                    continue
                os.close(fd)
                fd = below
                levels.append(_children(fd))
                continue
            levels.pop()
            if not levels:
                return
            above = open_directory("..", fd)
            os.close(fd)
            fd = above
            yield fd, levels[-1].pop()
    finally:
        os.close(fd)


def remove(path: str) -> bool:
    """Remove a cgroup and those below it; False when one is still in use. A cgroup that does not exist counts as removed."""
    if _rmdir(path, None):
        return True
    for parent, name in descendants(path):
        _rmdir(name, parent)
    return _rmdir(path, None)


def _rmdir(path: str, at: int | None) -> bool:
    try:
        os.rmdir(path, dir_fd=at)
    except OSError as error:
        if error.errno in (EBUSY, ENOTEMPTY):
            return False
        if error.errno not in GONE:
            raise
    return True


def _children(fd: int) -> list[str]:
    try:
        with os.scandir(fd) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        if error.errno in GONE:
            return []
        raise
