"""Files that are read and replaced as a whole."""

from __future__ import annotations

from errno import EFBIG

from pyrunc import errors
from pyrunc.kernel import os


def write_atomic(directory: int | str, name: str, data: bytes, mode: int = 0o600) -> None:
    """Make `data` the whole content of `name` in `directory` (a descriptor or a path): readers see all of it or the old file.

    `mode` is subject to the umask. A symbolic link called `name` is replaced, not followed. Nothing is synced to disk: the
    runtime's records mean nothing after a reboot. Raises KernelError; then the old file and no temporary one is there.
    """
    at, prefix = (directory, "") if isinstance(directory, int) else (None, directory + "/")
    temporary = f"{prefix}.{name}.{os.getpid()}"
    try:
        fd = _create(temporary, mode, at)
        try:
            try:
                while data:
                    data = data[os.write(fd, data) :]
            finally:
                os.close(fd)
            os.rename(temporary, prefix + name, src_dir_fd=at, dst_dir_fd=at)
        except BaseException:
            os.unlink(temporary, dir_fd=at)
            raise
    except OSError as error:
        raise errors.KernelError.of(f"write {prefix}{name}", error) from error


def write_new(directory: int, name: str, data: bytes, mode: int = 0o600) -> None:
    """Make the file `name` with this content, for readers that will not look before it is whole. Raises KernelError."""
    try:
        fd = _create(name, mode, directory)
        try:
            while data:
                data = data[os.write(fd, data) :]
        finally:
            os.close(fd)
    except OSError as error:
        raise errors.KernelError.of(f"write {name}", error) from error


def read_bounded(path: str, limit: int, *, at: int | None = None) -> bytes:
    """The content of a file of at most `limit` bytes, relative to the directory `at` if given.

    A symbolic link is refused, a FIFO does not block. Raises KernelError, with EFBIG beyond the limit.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=at)
        try:
            data = b""
            while len(data) <= limit and (more := os.read(fd, min(limit + 1 - len(data), 1 << 16))):
                data += more
        finally:
            os.close(fd)
    except OSError as error:
        raise errors.KernelError.of(f"read {path}", error) from error
    if len(data) > limit:
        raise errors.KernelError(f"read {path}", EFBIG)
    return data


def _create(path: str, mode: int, at: int | None) -> int:
    """A new file. Its name has our process id, so one that exists was left by a process that is dead."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, mode, dir_fd=at)
    except FileExistsError:
        os.unlink(path, dir_fd=at)
        return os.open(path, flags, mode, dir_fd=at)
