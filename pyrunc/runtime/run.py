"""``run``: create and start in one, and unless detached wait and clean up."""

from __future__ import annotations

from pyrunc import errors
from pyrunc.errors import PyruncError
from pyrunc.kernel import os
from pyrunc.runtime.bundle import Options
from pyrunc.runtime.creation import Creation
from pyrunc.runtime.process import check_console

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.launch.notify import Notifier
    from pyrunc.log import Context


def run(ctx: Context, id: str, *, detach: bool, keep: bool, no_subreaper: bool, **settings: Any) -> int:
    """The exit status of the container's program, or 0 with `detach`. `keep` leaves the stopped container.

    Raises as `create` does; a poststart hook that fails stops and removes the container.
    """
    options = Options(**settings, waits=False)
    try:
        creation = Creation(ctx, id, options)
        check_console(creation.bundle.config["process"], options.console_socket, detached=detach)
        return supervise(ctx, creation, detach=detach, keep=keep, subreaper=not no_subreaper)
    except PyruncError as error:
        where = "pyrunc run failed: unable to start container process" if error.stage == "setup" else "pyrunc run failed"
        raise error.within(where) from None


def supervise(ctx: Context, creation: Creation, *, detach: bool, keep: bool, subreaper: bool) -> int:
    """Make the container and see it through to its end, or with `detach` to its beginning. Returns and raises as `run` does."""
    if not detach:
        return _foreground(ctx, creation, keep=keep, subreaper=subreaper)
    pid = _start(ctx, creation)
    if creation.notifier:
        _await_readiness(creation, creation.notifier, pid)
    creation.container.close()
    return 0


def _start(ctx: Context, creation: Creation) -> int:
    pid = creation.make()
    if creation.record.hooks.get("poststart"):
        from pyrunc.runtime.after import poststart

        poststart(ctx, creation.container)
    return pid


def _await_readiness(creation: Creation, notifier: Notifier, pid: int) -> None:
    """The others may have the container meanwhile, if only to kill it."""
    creation.container.unlock()
    pidfd = os.pidfd_open(pid)
    try:
        notifier.wait(pid, pidfd)
    finally:
        os.close(pidfd)


def _foreground(ctx: Context, creation: Creation, *, keep: bool, subreaper: bool) -> int:
    from pyrunc.launch.foreground import Foreground, become_subreaper

    if subreaper:
        become_subreaper()
    creation.meanwhile = _load_what_comes_after
    foreground = Foreground()
    pid = _start(ctx, creation)
    # Others may now kill, exec into and look at it; nobody else deletes a container that runs.
    creation.container.unlock()
    status = foreground.wait(pid, creation.console, creation.notifier)
    if not keep:
        _clean_up(ctx, creation)
    if creation.container.fd >= 0:
        creation.container.close()
    return status


def _load_what_comes_after() -> None:
    """What `_clean_up` imports, while the child is at work."""
    import pyrunc.runtime.after  # noqa: F401


def _clean_up(ctx: Context, creation: Creation) -> None:
    """Unless somebody else has deleted it meanwhile. Its init has been collected, and nobody writes a record but its creator."""
    from pyrunc.runtime.after import forget, remove_from_kernel

    try:
        creation.container.lock()
    except errors.ContainerMissing:
        return
    remove_from_kernel(ctx, creation.record)
    forget(ctx, creation.container, creation.record)
