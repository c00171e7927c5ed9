"""What the kernel says of a process's scheduling, by system calls that Python does not have, and numbers of its own."""

from __future__ import annotations

import ctypes
import os
import platform
import struct

_GENERIC = {
    "sched_getattr": 275, "sched_setattr": 274, "ioprio_get": 31, "ioprio_set": 30, "set_mempolicy": 237, "personality": 92,
}  # fmt: skip
_X86_64 = {
    "sched_getattr": 315, "sched_setattr": 314, "ioprio_get": 252, "ioprio_set": 251, "set_mempolicy": 238, "personality": 135,
}  # fmt: skip
CALLS = _X86_64 if platform.machine() == "x86_64" else _GENERIC

_libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> int:
    """One system call. OSError for a failure."""
    result = int(_libc.syscall(CALLS[name], *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), name)
    return result


def sched_attr(pid: int) -> tuple[int, ...]:
    """(policy, flags, nice, priority, runtime, deadline, period) of a process: struct sched_attr, sched_setattr(2)."""
    buffer = ctypes.create_string_buffer(48)
    call("sched_getattr", pid, buffer, 48, 0)
    return struct.unpack("=IIQiIQQQ", buffer.raw)[1:]


def permitted(policy: int, priority: int = 0, times: tuple[int, int, int] = (0, 0, 0)) -> bool:
    """Whether this machine lets us: a kernel with CONFIG_RT_GROUP_SCHED, a cpuset or a missing CAP_SYS_NICE may not."""
    pid = os.fork()
    if pid == 0:
        try:
            call("sched_setattr", 0, struct.pack("=IIQiIQQQ", 48, policy, 0, 0, priority, *times), 0)
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


def io_priority(pid: int) -> tuple[int, int]:
    """(class, level)."""
    value = call("ioprio_get", 1, pid)
    return value >> 13, value & 0x1FFF


def numa() -> bool:
    """Whether this kernel has memory policies."""
    return os.path.exists("/proc/self/numa_maps")
