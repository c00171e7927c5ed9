"""Which process a number means: a process id together with its start time, or a pidfd, never the number alone.

Start times are clock ticks since boot (proc_pid_stat(5), field 22), so a pair is good for one boot: see `boot_id`.
"""

from __future__ import annotations

from errno import EINVAL, ENOENT, ESRCH

from pyrunc import errors
from pyrunc.kernel import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import pidfd_send_signal
else:
    # The C module behind signal, which wraps it in enums.
    from _signal import pidfd_send_signal

DEAD = "ZXx"
"""State letters of a process that has ended: a zombie and the two that a reader can meet while it goes."""

_STAT_BYTES = 4096  # 52 numbers and a name of at most 64 bytes
_FIRST = 3  # the number, as proc_pid_stat(5) counts, of the field after the name
_STATE, _THREADS, _START = 3 - _FIRST, 20 - _FIRST, 22 - _FIRST


def parse_stat(line: bytes) -> tuple[str, int, int]:
    """(state letter, number of threads, start time) out of /proc/PID/stat. ValueError if it is not one.

    The name in it may be any bytes, brackets and newlines too, but nothing behind it holds a bracket.
    """
    fields = line[line.rfind(b")") + 1 :].split()
    if len(fields) <= _START or len(fields[_STATE]) != 1:
        raise ValueError("not the content of /proc/PID/stat")
    return fields[_STATE].decode("ascii"), int(fields[_THREADS]), int(fields[_START])


def process_state(pid: int) -> tuple[str, int] | None:
    """(state letter, start time) of a process, None when there is none. Raises KernelError if procfs cannot be read.

    A leader that has ended before its other threads is a zombie to procfs, but its process lives: it is given as ``S``.
    """
    path = f"/proc/{pid}/stat"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            line = os.read(fd, _STAT_BYTES)
        finally:
            os.close(fd)
    except (FileNotFoundError, ProcessLookupError):
        return None
    except OSError as error:
        raise errors.KernelError.of(f"read {path}", error) from error
    letter, threads, start = parse_stat(line)
    return "S" if letter == "Z" and threads > 1 else letter, start


def start_time(pid: int) -> int:
    """The start time of a process, also of a zombie. Raises KernelError, with ESRCH when there is no such process."""
    state = process_state(pid)
    if state is None:
        raise errors.KernelError(f"process {pid}", ESRCH)
    return state[1]


def is_alive(pid: int, start: int) -> bool:
    """Whether the process that had this id and start time has not ended. Raises KernelError as `process_state`."""
    state = process_state(pid) if pid > 0 else None
    return state is not None and state[1] == start and state[0] not in DEAD


def open_pidfd(pid: int, start: int) -> int | None:
    """A close-on-exec pidfd of this very process; None when it has ended. Raises KernelError.

    The id may be another process's by the time that pidfd_open(2) sees it, so the start time is compared after that: if
    the process is then still the one that is meant, it was so before.
    """
    if pid <= 0:
        return None
    try:
        fd = os.pidfd_open(pid)
    except OSError as error:
        # The id may be a thread's by now: EINVAL, on newer kernels ENOENT.
        if error.errno in (ESRCH, EINVAL, ENOENT):
            return None
        raise errors.KernelError.of(f"open process {pid}", error) from error
    try:
        if is_alive(pid, start):
            return fd
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def send_signal(pidfd: int, signal: int) -> bool:
    """pidfd_send_signal(2), 0 only probing; False if the process has ended and was collected. Raises KernelError."""
    try:
        pidfd_send_signal(pidfd, signal)
    except ProcessLookupError:
        return False
    except OSError as error:
        raise errors.KernelError.of(f"send signal {signal}", error) from error
    return True


def boot_id() -> str:
    """The kernel's random name for this boot (random(4)), empty where /proc/sys is hidden: then reboots cannot be told."""
    try:
        fd = os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(fd, 64).decode("ascii").strip()
        finally:
            os.close(fd)
    except OSError:
        return ""
