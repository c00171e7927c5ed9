"""``delete``: nothing of a container stays."""

from __future__ import annotations

from pyrunc import errors
from pyrunc.cgroups import frozen
from pyrunc.errors import PyruncError
from pyrunc.runtime.after import end, remove
from pyrunc.state.status import require_deletable, status
from pyrunc.state.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.log import Context
    from pyrunc.state.record import Record
    from pyrunc.state.store import Container


def delete(ctx: Context, id: str, *, force: bool) -> None:
    """Remove a stopped container, or one that was never started; with `force` any, also half-made ones and none at all.

    Raises ContainerMissing, WrongStatus, ContainerBusy, and what `after.remove` raises.
    """
    try:
        container = Store(ctx.root).open(id, lock=True)
    except errors.ContainerMissing:
        if force:
            return
        raise
    try:
        record = _record(container, force)
        if record:
            if not force:
                require_deletable(status(record, container.fd, lambda: frozen(record.cgroup)), id)
            end(ctx, container)
            remove(ctx, container)
        else:
            container.remove()
    finally:
        if container.fd >= 0:
            container.close()


def _record(container: Container, force: bool) -> Record | None:
    """None for a damaged or missing one, of which --force removes what can be found."""
    try:
        return container.record
    except PyruncError:
        if force:
            return None
        raise
