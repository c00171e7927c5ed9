"""When and where the process runs, as the last things before it becomes its user.

The runtime has set its rlimits by then, which may permit in a user namespace what else only the host's root may (RLIMIT_NICE
and RLIMIT_RTPRIO, sched(7)), and no seccomp filter forbids it yet.
"""

from __future__ import annotations

from pyrunc.config import scheduling as s
from pyrunc.plan import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.plan.ops import Op


def compile_scheduling(process: dict[str, Any], linux: dict[str, Any], at: str = "process") -> list[Op]:
    """The ops of a checked process and of its container's `linux`; `at` is the process's path."""
    plan = []
    if scheduler := process.get("scheduler"):
        plan.append(_scheduler(scheduler, at + ".scheduler"))
    if priority := process.get("ioPriority"):
        level = s.IO_CLASSES[priority["class"]] << s.IO_CLASS_SHIFT | (priority.get("priority") or 0)
        plan.append(ops.io_priority(at + ".ioPriority", level))
    if personality := linux.get("personality"):
        plan.append(ops.personality("linux.personality", s.DOMAINS[personality["domain"]]))
    if policy := linux.get("memoryPolicy"):
        mode = s.MEMORY_MODES[policy["mode"]] | _bits(policy.get("flags"), s.MEMORY_FLAGS)
        nodes = s.number_list(policy["nodes"], s.NODES) if policy.get("nodes") else b""
        plan.append(ops.memory_policy("linux.memoryPolicy", mode, nodes))
    return plan


def _scheduler(scheduler: dict[str, Any], at: str) -> Op:
    times = [scheduler.get(name) or 0 for name in ("runtime", "deadline", "period")]
    flags = _bits(scheduler.get("flags"), s.SCHEDULER_FLAGS)
    nice, priority = scheduler.get("nice") or 0, scheduler.get("priority") or 0
    return ops.scheduler(at, s.POLICIES[scheduler["policy"]], flags, nice, priority, *times)


def cpu_affinity(affinity: dict[str, Any] | None, name: str, at: str = "process") -> list[Op]:
    """The CPUs that ``execCPUAffinity`` has under `name`, if it has any."""
    text = (affinity or {}).get(name)
    return [ops.affinity(f"{at}.execCPUAffinity.{name}", s.number_list(text, s.CPUS))] if text else []


def _bits(names: list[str] | None, table: dict[str, int]) -> int:
    bits = 0
    for name in names or ():
        bits |= table[name]
    return bits
