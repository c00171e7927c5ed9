"""Rules for when and where a process runs (runtime-spec config.md, "Linux Process"; config-linux.md, "Memory policy")."""

from __future__ import annotations

from pyrunc.config import scheduling as s
from pyrunc.config.rules.text import one_of, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.config.rules.text import Faults

NICE_MIN, NICE_MAX = -20, 19
PRIORITY_MAX = 99  # sched(7)
RUNTIME_MIN = 1024  # nanoseconds, sched_setattr(2)
DEADLINE_TIMES = ("runtime", "deadline", "period")
EXCLUSIVE = ("MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES")


def scheduler_rules(faults: Faults, scheduler: dict[str, Any], at: str) -> None:
    """`at` is the scheduler's own path. A parameter of another policy is a fault: the kernel would ignore it in silence."""
    policy = scheduler["policy"]
    nice, priority = scheduler.get("nice") or 0, scheduler.get("priority") or 0
    if policy in s.WITH_NICE:
        if not NICE_MIN <= nice <= NICE_MAX:
            faults.append((at + ".nice", f"must be in {NICE_MIN}..{NICE_MAX}, is {nice}"))
    elif nice:
        faults.append((at + ".nice", f"is only for {' and '.join(s.WITH_NICE)}, the policy is {policy}"))
    if policy in s.REAL_TIME:
        if not 1 <= priority <= PRIORITY_MAX:
            faults.append((at + ".priority", f"must be in 1..{PRIORITY_MAX}, is {priority}"))
    elif priority:
        faults.append((at + ".priority", f"is only for {' and '.join(s.REAL_TIME)}, the policy is {policy}"))
    if policy == "SCHED_DEADLINE":
        runtime, deadline, period = (scheduler.get(name) or 0 for name in DEADLINE_TIMES)
        _deadline(faults, runtime, deadline, period, at)
    else:
        for name in DEADLINE_TIMES:
            if scheduler.get(name):
                faults.append((f"{at}.{name}", f"is only for SCHED_DEADLINE, the policy is {policy}"))


def _deadline(faults: Faults, runtime: int, deadline: int, period: int, at: str) -> None:
    """A period of 0 is that of the deadline (sched_setattr(2)). The kernel's times are signed."""
    if runtime < RUNTIME_MIN:
        faults.append((at + ".runtime", f"must be at least {RUNTIME_MIN} ns, is {runtime}"))
    elif not runtime <= deadline < 1 << 63:
        faults.append((at + ".deadline", f"must be at least the runtime, {runtime}, and below 2^63, is {deadline}"))
    elif period and not deadline <= period < 1 << 63:
        faults.append((at + ".period", f"must be at least the deadline, {deadline}, and below 2^63, is {period}"))


def io_priority_rules(faults: Faults, priority: dict[str, Any], at: str) -> None:
    level = priority.get("priority") or 0
    if not 0 <= level <= s.IO_LEVEL_MAX:
        faults.append((at + ".priority", f"must be in 0..{s.IO_LEVEL_MAX}, is {level}"))


def affinity_rules(faults: Faults, affinity: dict[str, Any], at: str) -> None:
    for name in ("initial", "final"):
        if text := affinity.get(name):
            _list(faults, f"{at}.{name}", text, s.CPUS)


def memory_policy_rules(faults: Faults, policy: dict[str, Any], at: str) -> None:
    mode, nodes, flags = policy["mode"], policy.get("nodes"), policy.get("flags") or ()
    if nodes and mode in s.WITHOUT_NODES:
        faults.append((at + ".nodes", f"must be empty for {mode}, is {quote(nodes)}"))
    elif nodes:
        _list(faults, at + ".nodes", nodes, s.NODES)
    elif mode in s.WITH_NODES:
        faults.append((at + ".nodes", f"must not be empty for {mode}"))
    if all(name in flags for name in EXCLUSIVE):
        faults.append((at + ".flags", f"{' and '.join(EXCLUSIVE)} exclude each other"))


def personality_rules(faults: Faults, personality: dict[str, Any], at: str) -> None:
    """runtime-spec 1.3 defines no flag yet, so every one is a value that is not supported."""
    domain = personality.get("domain") or ""
    if domain not in s.DOMAINS:
        faults.append((at + ".domain", f"{quote(domain)}: {one_of(s.DOMAINS)}"))
    if flags := personality.get("flags"):
        faults.append((at + ".flags", f"{', '.join(map(quote, flags))}: no flag is supported, the specification has none"))


def _list(faults: Faults, at: str, text: str, below: int) -> None:
    try:
        s.number_list(text, below)
    except ValueError as error:
        faults.append((at, f"{quote(text)} is not a list such as 0-3,7: {error}"))
