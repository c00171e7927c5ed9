"""What comes after a container's life or beside it: the poststart and poststop hooks, the end, the removal."""

from __future__ import annotations

import time

from pyrunc import errors
from pyrunc.cgroups import reopen
from pyrunc.errors import PyruncError
from pyrunc.kernel import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.cgroups.manager import Manager
    from pyrunc.log import Context
    from pyrunc.state.record import Record
    from pyrunc.state.store import Container

KILL_SECONDS = 10.0


def poststart(ctx: Context, container: Container) -> None:
    """Run them; the container of one that fails is stopped and removed (runtime-spec 1.3). Raises HookError."""
    from pyrunc.launch.hooks import run_hooks
    from pyrunc.runtime.hoststate import hook_state

    record = container.record
    try:
        run_hooks("poststart", record.hooks.get("poststart"), hook_state(record, "running", record.pid))
    except PyruncError:
        abandon(ctx, container)
        raise


def abandon(ctx: Context, container: Container) -> None:
    """End and remove the container of a hook that failed; what goes wrong with that is told in the debug log."""
    try:
        end(ctx, container)
        remove(ctx, container)
    except PyruncError as error:
        ctx.log.debug(f"after a failed hook: {error.message}")


def end(ctx: Context, container: Container) -> None:
    """SIGKILL for the container, and wait until its init is gone. Raises StateError when that takes over 10 seconds."""
    from pyrunc.runtime.kill import open_init, send_kill

    pidfd = open_init(container)
    if pidfd is None:
        return
    try:
        import select

        send_kill(ctx, container, pidfd)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(int(KILL_SECONDS * 1000)):
            raise errors.StateError(f"container init still running {KILL_SECONDS:g} s after SIGKILL")
    finally:
        os.close(pidfd)


def remove(ctx: Context, container: Container) -> None:
    """Remove cgroups, mounts and record of a container whose init has ended, then run its poststop hooks.

    Processes that outlived init, where it had no pid namespace of its own, are killed. What it has mounted is left only where
    it had no mount namespace, see `hostmounts`. The container is closed. Raises
    CgroupError, StateError, KernelError; for the hooks see `poststop`.
    """
    record = container.record
    if record.same_boot:
        remove_from_kernel(ctx, record)
    forget(ctx, container, record)


def remove_from_kernel(ctx: Context, record: Record) -> None:
    """The part of `remove` that undoes what the kernel has of a container of this boot: processes, mounts and cgroups."""
    manager = reopen(record.cgroup)
    if manager.pids(all=True):
        manager.kill_all()
        _wait_empty(manager)
    if record.mounts:
        from pyrunc.runtime.hostmounts import detach

        detach(ctx, record.rootfs, record.mounts)
    manager.destroy()
    if record.rdt:
        from pyrunc.cgroups.resctrl import Group

        if group := Group.of(record.rdt):
            group.remove()


def forget(ctx: Context, container: Container, record: Record) -> None:
    """The rest of `remove`: the directory, and what the hooks do."""
    container.remove()
    container.close()
    poststop(ctx, record)


def _wait_empty(manager: Manager) -> None:
    deadline = time.monotonic() + KILL_SECONDS
    while manager.pids(all=True) and time.monotonic() < deadline:
        time.sleep(0.01)


def poststop(ctx: Context, record: Record) -> None:
    """Run them all; one that fails is a warning (runtime-spec, lifecycle, step 13)."""
    for hook in record.hooks.get("poststop") or ():
        from pyrunc.launch.hooks import run_hooks
        from pyrunc.runtime.hoststate import hook_state

        try:
            run_hooks("poststop", [hook], hook_state(record, "stopped", 0))
        except PyruncError as error:
            ctx.log.warning(error.message)
