"""``kill``: a signal for a container's init, and SIGKILL for all of its processes where init does not take them along."""

from __future__ import annotations

from pyrunc import errors
from pyrunc.kernel import os
from pyrunc.kernel.proc import open_pidfd, send_signal
from pyrunc.state.status import CREATED, NOT_RUNNING, STOPPED
from pyrunc.state.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.cgroups.manager import Manager
    from pyrunc.log import Context
    from pyrunc.state.store import Container

SIGKILL = 9


def kill(ctx: Context, id: str, signal: int, *, all: bool) -> None:
    """Send `signal` to the init of a created, running or paused container; 0 only probes.

    It also reaches a paused container, and SIGKILL thaws it. Without a PID namespace of its own, SIGKILL goes to every
    process of the container's cgroups. With `all`, a container that has stopped is no error, and SIGKILL ends what it has
    left behind. Raises ContainerMissing, WrongStatus ("container not running"), StateError, KernelError.
    """
    container = Store(ctx.root).open(id, lock=False)
    try:
        pidfd = open_init(container)
        if pidfd is None:
            if not all:
                raise errors.WrongStatus(NOT_RUNNING, STOPPED)
            if signal == SIGKILL and not container.record.private_pidns:
                # Without init to vouch for them, only the lock tells that the cgroups are still this container's.
                container.lock()
                _reopen(container).kill_all()
            return
        try:
            arrived = send_kill(ctx, container, pidfd) if signal == SIGKILL else send_signal(pidfd, signal)
        except errors.KernelError as error:
            raise error.within("unable to signal init") from None
        finally:
            os.close(pidfd)
        if not arrived and not all:
            raise errors.WrongStatus(NOT_RUNNING, STOPPED)
    finally:
        container.close()


def open_init(container: Container) -> int | None:
    """A pidfd of the init process of a container that has been created; None if it has ended, or was never completed."""
    record = container.record
    if record.stage != CREATED or not record.same_boot:
        return None
    return open_pidfd(record.pid, record.start)


def send_kill(ctx: Context, container: Container, pidfd: int) -> bool:
    """SIGKILL for the whole container, thawed if it is paused; does not wait. False if nothing was left. Raises KernelError."""
    from pyrunc.cgroups import frozen, verify

    record = container.record
    verify(record.cgroup)  # before anything is killed
    killed = False
    if not record.private_pidns:
        try:
            _reopen(container).kill_all()
            killed = True
        except errors.CgroupError as error:
            if not record.rootless:
                raise
            ctx.log.warning(f"{container.id}: only init is killed, its other processes may remain: {error.message}")
    killed = send_signal(pidfd, SIGKILL) or killed
    if frozen(record.cgroup):  # which is asked without the rest of a manager
        _reopen(container).thaw()
    return killed


def _reopen(container: Container) -> Manager:
    from pyrunc.cgroups import reopen

    return reopen(container.record.cgroup)
