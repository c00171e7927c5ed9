"""How a process gets into its cgroups by itself: see native/init/cgroup.c for why."""

from __future__ import annotations

from pyrunc.plan import ops
from pyrunc.plan.opcodes import SYNC_CGROUP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyrunc.plan.ops import Op


def enterable(entry: tuple[Sequence[str], str | None], *, user: bool) -> tuple[Sequence[str], str | None]:
    """What to open of the cgroups. Root of a `user` namespace may not have a child born in a host's cgroup2 (clone3(2) asks
    who clones), but a file that was opened before keeps the rights of who opened it."""
    tasks, cgroup2 = entry
    return ([*tasks, f"{cgroup2}/cgroup.procs"], None) if cgroup2 and user else (tasks, cgroup2)


def open_cgroups(tasks: Sequence[str], cgroup2: str | None) -> list[Op]:
    """Wait until the cgroups are there, and open them. A cgroup2 is entered by a fork; without one the runtime moves us."""
    plan = [ops.sync(SYNC_CGROUP)]
    plan += [ops.open_cgroup(path, slot, cgroup2=False) for slot, path in enumerate(tasks)]
    if cgroup2 is not None:
        plan.append(ops.open_cgroup(cgroup2, 0, cgroup2=True))
    return plan
