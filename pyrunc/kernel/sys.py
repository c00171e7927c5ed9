"""The shim, typed: what Python's own `os` does not offer. A failed call raises OSError with the kernel's errno.

The C side returns -errno and keeps no state; see native/shim/, one topic a file.
"""

from __future__ import annotations

from errno import EINTR

from pyrunc._shim import ffi, lib
from pyrunc.kernel import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from signal import SIG_DFL, SIGCHLD, signal
else:
    # The C module behind signal, which wraps it in enums.
    from _signal import SIG_DFL, SIGCHLD, signal


def _check(result: int, what: str | None = None) -> int:
    if result < 0:
        raise OSError(-result, os.strerror(-result), what)
    return result


def spawn(program: int, fds: Sequence[int], base: int) -> int:
    """Start the program in the fd `program` with ``fds[i]`` as its fd ``base + i``, no environment; its pid.

    It is not waited for until it executes, which takes the kernel a part of a millisecond: see `spawn_error`.
    """
    signal(SIGCHLD, SIG_DFL)  # for a caller who ignores it, which is inherited, the kernel would collect our children
    return _check(lib.pyrunc_spawn(program, list(fds), len(fds), base))


def spawn_error() -> int:
    """The errno with which the latest `spawn` ended instead of executing the program, else 0; asked when it has ended."""
    error: int = lib.pyrunc_spawn_error()
    return error


def prlimit(pid: int, resource: int, soft: int, hard: int) -> None:
    """prlimit(2) on another process; limits are unsigned 64-bit, all bits set means no limit."""
    _check(lib.pyrunc_prlimit(pid, resource, soft, hard))


def set_child_subreaper() -> None:
    """Orphaned descendants become this process's children, prctl(2)."""
    _check(lib.pyrunc_set_child_subreaper())


def signals_as_fd() -> int:
    """Block every signal for good, and read them from this fd instead, 128 bytes each (signalfd(2))."""
    return _check(lib.pyrunc_signalfd())


def take_fd(pid: int, number: int) -> int:
    """A copy of the fd `number` of the process, which must not end meanwhile and be collected (pidfd_getfd(2))."""
    return _check(lib.pyrunc_take_fd(pid, number))


def sealed_data(name: str, data: bytes | bytearray) -> int:
    """A memfd with `data` that nobody can change, ever."""
    return _check(lib.pyrunc_sealed_data(name.encode(), ffi.from_buffer(data), len(data)))


def sealed_program(name: str, path: str) -> int:
    """A sealed, executable memfd with the file's content (CVE-2019-5736)."""
    return _check(lib.pyrunc_sealed_program(name.encode(), os.fsencode(path)), path)


def channel() -> tuple[int, int]:
    """A pair of connected SEQPACKET sockets: (ours, the child's)."""
    fds = ffi.new("int[2]")
    _check(lib.pyrunc_channel(fds))
    return fds[0], fds[1]


def receive(channel: int, size: int) -> tuple[bytes, int | None]:
    """One message and the fd that came with it; an empty message is the end."""
    buffer = ffi.new("char[]", size)
    passed = ffi.new("int *")
    n = _check(lib.pyrunc_receive(channel, buffer, size, passed))
    return ffi.buffer(buffer, n)[:], passed[0] if passed[0] >= 0 else None


def hand_over(path: str, payload: bytes, fd: int, milliseconds: int) -> None:
    """Connect to the unix stream socket at `path` and send the payload with the fd (SCM_RIGHTS). ETIMEDOUT when whoever listens
    does not accept it, or read it, for so long."""
    arguments = (os.fsencode(path), payload, len(payload), fd, milliseconds)
    while (result := lib.pyrunc_hand_over(*arguments)) == -EINTR:
        pass  # a handler for the signal has run meanwhile, if there is one
    _check(result, path)


def unmount_below(dir: int, path: str, id: int, *, detach: bool) -> None:
    """Make the mount of this number (proc_pid_mountinfo(5)) at `path` below the directory private, with all on it, and detach it
    if that is asked for. No link is followed. ESTALE: something else is there."""
    _check(lib.pyrunc_unmount_below(dir, os.fsencode(path), id, detach))


def spawn_apart(program: str, argv: Sequence[str], env: Sequence[str], fds: Sequence[int], apart: tuple[str, str] | None) -> int:
    """Start a program of the host's with ``fds[i]`` as its fd ``3 + i``; its pid. It dies with us.

    `apart` is (root, keyring): it has our stdio, a new session keyring of that name, and a mount namespace of its own, where
    that directory is a mount point.
    """
    signal(SIGCHLD, SIG_DFL)  # as in `spawn`
    words = [[ffi.new("char[]", os.fsencode(word)) for word in words] for words in (argv, env)]
    step = ffi.new("int *")
    where = [ffi.new("char[]", os.fsencode(text)) for text in apart] if apart else [ffi.NULL, ffi.NULL]
    arrays = [ffi.new("char *[]", [*strings, ffi.NULL]) for strings in words]
    pid = lib.pyrunc_spawn_apart(os.fsencode(program), *arrays, list(fds), len(fds), *where, step)
    return _check(pid, ("session keyring", "mount namespace", apart and apart[0], program)[step[0]])
