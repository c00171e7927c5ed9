"""``start``: the byte that a created container waits for, and what became of it."""

from __future__ import annotations

import select
from errno import ENXIO

from pyrunc import errors
from pyrunc.cgroups import frozen
from pyrunc.errors import PyruncError
from pyrunc.kernel import os
from pyrunc.plan.opcodes import MSG_ERROR
from pyrunc.runtime.kill import open_init
from pyrunc.state.status import EXEC_FIFO, STOPPED, require_startable, status
from pyrunc.state.store import EXEC_REPLY, Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.log import Context
    from pyrunc.state.store import Container

MESSAGE_SIZE = 4096
POLLIN = 1


def start(ctx: Context, id: str) -> None:
    """Let the created container execute its program; returns when execve(2) has succeeded, and if a service manager is to be
    notified (launch/notify.py) when the program is ready or has ended.

    Raises ContainerMissing, WrongStatus, and what the child reports: HookError, ExecutableError. A startContainer or poststart
    hook that fails stops and removes the container (runtime-spec 1.3, lifecycle, steps 7 and 9).
    """
    container = Store(ctx.root).open(id, lock=True)
    try:
        record = container.record
        require_startable(status(record, container.fd, lambda: frozen(record.cgroup)))
        pidfd = open_init(container)
        if pidfd is None:
            raise errors.WrongStatus("cannot start a container that has stopped", STOPPED)
        try:
            _start(ctx, container, pidfd)
        finally:
            os.close(pidfd)
    finally:
        if container.fd >= 0:
            container.close()


def _start(ctx: Context, container: Container, pidfd: int) -> None:
    notifier = None
    if os.getenv("NOTIFY_SOCKET"):
        from pyrunc.launch.notify import listen

        notifier = listen(container.fd, ctx.log.warning)
    try:
        _go(container, pidfd)
    except errors.HookError:
        from pyrunc.runtime.after import abandon

        abandon(ctx, container)
        raise
    if container.record.hooks.get("poststart"):
        from pyrunc.runtime.after import poststart

        poststart(ctx, container)
    if notifier:
        container.unlock()  # for those who lose patience with it
        notifier.wait(container.record.pid, pidfd)


def _go(container: Container, pidfd: int) -> None:
    reply = container.open_fifo(EXEC_REPLY, os.O_RDONLY | os.O_NONBLOCK)
    try:
        try:
            go = container.open_fifo(EXEC_FIFO, os.O_WRONLY | os.O_NONBLOCK)
        except PyruncError as error:
            if error.errno == ENXIO:
                raise errors.WrongStatus("cannot start a container that has stopped", STOPPED) from None
            raise
        try:
            # First the name, then the byte: if we are killed in between, no container that runs is taken for a created one.
            container.remove_fifos()
            os.write(go, b"\n")
        except BrokenPipeError:
            raise errors.WrongStatus("cannot start a container that has stopped", STOPPED) from None
        finally:
            os.close(go)
        data = _wait(reply, pidfd)
    finally:
        os.close(reply)
    if data:
        raise _failure(container, data)


def _wait(reply: int, pidfd: int) -> bytes:
    """What the child says before the fifo's end, which comes with its execve(2) or its own."""
    poll = select.poll()
    poll.register(reply, POLLIN)
    poll.register(pidfd, POLLIN)
    data = b""
    while True:
        ready = [fd for fd, _ in poll.poll()]
        try:
            more = os.read(reply, MESSAGE_SIZE)
        except BlockingIOError:
            more = None
        if more:
            data += more
        elif more == b"" or pidfd in ready:
            return data


def _failure(container: Container, data: bytes) -> PyruncError:
    """The op is named by the plan, which is compiled once more from the copy of the config: only its end matters."""
    from pyrunc.plan.container import tail
    from pyrunc.plan.encode import Message
    from pyrunc.plan.failure import failure
    from pyrunc.runtime.process import own_config

    message = Message(data)
    if message.kind != MSG_ERROR:
        return PyruncError("the container answered with what is no error")
    ops = tail(own_config(container))
    return failure(ops[max(message.op - container.record.ops, -len(ops))], message.value, message.error, message.detail)
