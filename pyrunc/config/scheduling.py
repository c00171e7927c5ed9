"""When and where a process runs: names of scheduling, I/O priority, memory policy and personality, as numbers of Linux's ABI.

Sources: sched_setattr(2) and linux/sched.h; ioprio_set(2) and linux/ioprio.h; set_mempolicy(2) and linux/mempolicy.h;
personality(2) and linux/personality.h; runtime-spec config.md and config-linux.md. Loaded only where a config names one of them.
"""

from __future__ import annotations

POLICIES = {
    "SCHED_OTHER": 0, "SCHED_FIFO": 1, "SCHED_RR": 2, "SCHED_BATCH": 3, "SCHED_ISO": 4, "SCHED_IDLE": 5, "SCHED_DEADLINE": 6,
}  # fmt: skip
WITH_NICE = ("SCHED_OTHER", "SCHED_BATCH")
REAL_TIME = ("SCHED_FIFO", "SCHED_RR")

SCHEDULER_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01, "SCHED_FLAG_RECLAIM": 0x02, "SCHED_FLAG_DL_OVERRUN": 0x04, "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10, "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20, "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}  # fmt: skip

IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
IO_CLASS_SHIFT = 13
IO_LEVEL_MAX = 7

MEMORY_MODES = {
    "MPOL_DEFAULT": 0, "MPOL_PREFERRED": 1, "MPOL_BIND": 2, "MPOL_INTERLEAVE": 3, "MPOL_LOCAL": 4, "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}  # fmt: skip
MEMORY_FLAGS = {"MPOL_F_NUMA_BALANCING": 0x2000, "MPOL_F_RELATIVE_NODES": 0x4000, "MPOL_F_STATIC_NODES": 0x8000}
WITHOUT_NODES = ("MPOL_DEFAULT", "MPOL_LOCAL")
WITH_NODES = ("MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_WEIGHTED_INTERLEAVE", "MPOL_PREFERRED_MANY")

DOMAINS = {"LINUX": 0x0000, "LINUX32": 0x0008}

CPUS = 8192
"""More than any kernel is built for (NR_CPUS)."""
NODES = 1024
"""As many as any kernel is built for (NODES_SHIFT)."""


def number_list(text: str, below: int) -> bytes:
    """A list such as ``0-3,7``, as cpuset(7) writes it, as a bit mask: bit n of it, counted from the lowest of the first byte, is
    number n. Spaces around numbers are allowed. ValueError, with what is wrong, for anything else."""
    mask = 0
    for part in text.split(","):
        first, dash, last = part.partition("-")
        low = _number(first, below)
        high = _number(last, below) if dash else low
        if low > high:
            raise ValueError(f"the range {part.strip()} is the wrong way round")
        mask |= (1 << high + 1) - (1 << low)
    return mask.to_bytes((mask.bit_length() + 63) // 64 * 8, "little")


def _number(text: str, below: int) -> int:
    digits = text.strip(" ")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 9:
        raise ValueError(f"{digits!a} is not a number" if digits else "a number is missing")
    if int(digits) >= below:
        raise ValueError(f"{int(digits)} is not below {below}")
    return int(digits)


def numbers(mask: bytes) -> str:
    """The list of a bit mask, in its shortest form."""
    bits = int.from_bytes(mask, "little")
    parts = []
    low = 0
    while bits >> low:
        if not bits >> low & 1:
            low += 1
            continue
        high = low
        while bits >> high + 1 & 1:
            high += 1
        parts.append(f"{low}-{high}" if high > low else str(low))
        low = high + 1
    return ",".join(parts)
