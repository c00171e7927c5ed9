"""``events``: what a container uses, in intervals, and each strike of the OOM killer as it comes."""

from __future__ import annotations

import select
import time

from pyrunc.cgroups import reopen
from pyrunc.errors import WrongStatus
from pyrunc.kernel import os
from pyrunc.runtime.kill import open_init
from pyrunc.state.status import CREATING, STOPPED, status
from pyrunc.state.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pyrunc.cgroups.manager import Manager
    from pyrunc.log import Context
    from pyrunc.state.store import Container

    Event = dict[str, Any]

LEFT_SECONDS = 0.1
"""Between two looks at whether processes are left that have outlived init, for which nothing can be polled."""


def stats(ctx: Context, id: str) -> Event:
    """The event that tells what the container uses now. Raises ContainerMissing, WrongStatus, UnsupportedError, CgroupError."""
    container, manager = _open(ctx, id)
    container.close()
    return _stats(container, manager)


def events(ctx: Context, id: str, interval: float) -> Iterator[Event]:
    """Events as they come, until no process of the container is left; statistics after every `interval`, in seconds.

    Raises as `stats` does.
    """
    container, manager = _open(ctx, id)
    try:
        pidfd = open_init(container)
        if pidfd is None:
            raise _not_running(id)
        try:
            yield from _watch(ctx, container, manager, pidfd, interval)
        finally:
            os.close(pidfd)
    finally:
        container.close()


def _open(ctx: Context, id: str) -> tuple[Container, Manager]:
    container = Store(ctx.root).open(id, lock=False)
    try:
        manager = reopen(container.record.cgroup)
        if status(container.record, container.fd, manager.frozen) in (CREATING, STOPPED):
            raise _not_running(id)
    except BaseException:
        container.close()
        raise
    return container, manager


def _not_running(id: str) -> WrongStatus:
    return WrongStatus(f"container with id {id} is not running", STOPPED)


def _watch(ctx: Context, container: Container, manager: Manager, pidfd: int, interval: float) -> Iterator[Event]:
    id, record = container.id, container.record
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    oom = manager.watch_oom()
    if oom is None:
        ctx.log.warning(f"{id}: the kernel does not tell of the OOM killer in this container's cgroups")
    else:
        poll.register(oom.fd, oom.events)
    try:
        ended, tick = False, time.monotonic() + interval
        while True:
            wait = max(tick - time.monotonic(), 0)
            ready = [fd for fd, _ in poll.poll(1000 * min(wait, LEFT_SECONDS if ended else wait))]
            if pidfd in ready:
                # From here on it would always be ready. What it died of is asked for after that.
                ended = True
                poll.unregister(pidfd)
            gone = ended and (record.private_pidns or not manager.pids(all=True))
            if oom and oom.struck():
                yield {"type": "oom", "id": id}
            if gone:
                return
            if time.monotonic() >= tick:
                tick = max(tick + interval, time.monotonic())
                yield _stats(container, manager)
    finally:
        if oom:
            oom.close()


def _stats(container: Container, manager: Manager) -> Event:
    data = manager.stats()
    if container.record.rdt:
        from pyrunc.cgroups.resctrl import Group
        from pyrunc.cgroups.stats_rdt import stats

        if group := Group.of(container.record.rdt):
            data["intel_rdt"] = stats(group.path, group.monitor)
    return {"type": "stats", "id": container.id, "data": data}
