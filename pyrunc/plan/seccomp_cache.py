"""Compiled seccomp filters, one file each, so that a profile which was seen before costs one read.

An entry is taken only as it was left: in a directory of ours that is closed to others, a regular file of ours, small, made of
this very profile, whole, and by the libseccomp that is still installed. Anything else is a miss, and what cannot be written is
not kept: the cache is never a reason to fail.
"""

from __future__ import annotations

from _imp import source_hash
from _struct import Struct
from marshal import dumps
from stat import S_IFDIR, S_IFREG, S_ISDIR

from pyrunc import __version__
from pyrunc.kernel import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ENTRIES_MAX = 64
ENTRY_BYTES_MAX = 1 << 17
"""The longest program is a quarter of it; a profile that leaves no room for its own is compiled each time."""

_FORMAT = b"pyrunc seccomp 3"
_CHECKSUM_BYTES = 8
_HEAD = Struct("=IqqqH")
"""Flags; the inode, size and time of change of libseccomp; the length of its path, which follows, and then the program."""


def key_of(profile: dict[str, Any]) -> bytes:
    """All that decides about the result, but for libseccomp, which is not loaded yet.

    Marshalled in version 2, which knows no references, JSON values are never equal for different ones, and always for the same
    text of a config. None of them is the beginning of another, as each tells where it ends.
    """
    host = os.uname()
    return dumps((_FORMAT, __version__, host.release, host.machine, profile), 2)


def name_of(key: bytes) -> str:
    """The file's name. Two keys may share one: the entry has the key in full."""
    return _checksum(key).hex()


def load(directory: str, key: bytes) -> tuple[bytes, int] | None:
    """The program and the flags that `store` kept under this key; None for anything missing, foreign, damaged or stale."""
    try:
        entry = _read(directory, name_of(key))
    except OSError:
        return None
    body = entry[len(key) + _CHECKSUM_BYTES :]
    if len(body) < _HEAD.size or entry != _entry(key, body):
        return None
    flags, *identity, path_bytes = _HEAD.unpack_from(body)
    start = _HEAD.size + path_bytes
    if _identity(body[_HEAD.size : start]) != tuple(identity):
        return None
    return body[start:], flags


def store(directory: str, key: bytes, bpf: bytes, flags: int, library: str) -> None:
    """Keep a filter that the libseccomp at the path `library` made; the oldest entries leave when there are too many."""
    path = os.fsencode(library)
    identity = _identity(path)
    if identity is None:
        return
    entry = _entry(key, _HEAD.pack(flags, *identity, len(path)) + path + bpf)
    if len(entry) > ENTRY_BYTES_MAX:
        return
    try:
        dir_fd = _make_directory(directory)
        try:
            _write(dir_fd, name_of(key), entry)
            _prune(dir_fd)
        finally:
            os.close(dir_fd)
    except OSError:
        return


def _entry(key: bytes, body: bytes) -> bytes:
    return key + _checksum(body) + body


def _checksum(data: bytes) -> bytes:
    """Against accidents: who could write here could compute any. The interpreter has it for what it has compiled itself; to make
    a module of digests ready costs more than the digest."""
    return source_hash(0, data)


def _identity(library: bytes) -> tuple[int, int, int] | None:
    try:
        found = os.stat(library)
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_size, found.st_ctime_ns


def _make_directory(directory: str) -> int:
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        pass
    return _open_directory(directory)


def _open_directory(directory: str) -> int:
    """Raises OSError, also (EPERM) when others could have written there."""
    dir_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    found = os.fstat(dir_fd)
    if found.st_mode == S_IFDIR | 0o700 and found.st_uid == os.geteuid():
        return dir_fd
    os.close(dir_fd)
    raise PermissionError(directory)


def _read(directory: str, name: str) -> bytes:
    dir_fd = _open_directory(directory)
    try:
        # A fifo would make the open wait.
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=dir_fd)
    finally:
        os.close(dir_fd)
    try:
        found = os.fstat(fd)
        ours = found.st_mode == S_IFREG | 0o600 and found.st_uid == os.geteuid()
        return os.read(fd, found.st_size) if ours and found.st_size <= ENTRY_BYTES_MAX else b""
    finally:
        os.close(fd)


def _write(dir_fd: int, name: str, entry: bytes) -> None:
    temporary = f"{name}.{os.urandom(8).hex()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=dir_fd)
    try:
        try:
            os.write(fd, entry)  # one that is cut short fails its checksum
        finally:
            os.close(fd)
        os.rename(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    except OSError:
        os.unlink(temporary, dir_fd=dir_fd)
        raise


def _prune(dir_fd: int) -> None:
    with os.scandir(dir_fd) as entries:
        found = [(entry.stat(follow_symlinks=False), entry.name) for entry in entries]
    files = sorted((stat.st_mtime_ns, name) for stat, name in found if not S_ISDIR(stat.st_mode))
    for _, name in files[:-ENTRIES_MAX]:
        os.unlink(name, dir_fd=dir_fd)
