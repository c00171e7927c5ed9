"""``pause`` and ``resume``: all processes of a container stand still, or go on."""

from __future__ import annotations

from pyrunc.cgroups import reopen
from pyrunc.state.status import require_pausable, require_paused, status
from pyrunc.state.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrunc.cgroups.manager import Manager
    from pyrunc.log import Context


def pause(ctx: Context, id: str) -> None:
    """Returns when every process of the created or running container stands still.

    Raises ContainerMissing, WrongStatus ("container not running"), ContainerBusy, UnsupportedError, CgroupError.
    """
    _change(ctx, id, require_pausable, lambda manager: manager.freeze())


def resume(ctx: Context, id: str) -> None:
    """The opposite; what is not paused is an error. Raises ContainerMissing, WrongStatus, ContainerBusy, CgroupError."""
    _change(ctx, id, require_paused, lambda manager: manager.thaw())


def _change(ctx: Context, id: str, require: Callable[[str], None], change: Callable[[Manager], None]) -> None:
    """Under the lock: by the time that we write, the cgroup must not be that of the next container of this ID."""
    container = Store(ctx.root).open(id, lock=True)
    try:
        manager = reopen(container.record.cgroup)
        require(status(container.record, container.fd, manager.frozen))
        change(manager)
    finally:
        container.close()
