"""``ps``: the processes of a container, as the host sees them."""

from __future__ import annotations

from pyrunc.cgroups import reopen
from pyrunc.state.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.log import Context


def processes(ctx: Context, id: str) -> list[int]:
    """Their process ids, also of those in cgroups that the container made for itself; none once it has stopped.

    Raises ContainerMissing, StateError, CgroupError.
    """
    container = Store(ctx.root).open(id, lock=False)
    try:
        record = container.record
        return sorted(reopen(record.cgroup).pids(all=True)) if record.same_boot else []
    finally:
        container.close()
