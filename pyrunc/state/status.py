"""A container's status, worked out from the kernel each time, and which status allows which command.

runtime-spec "State", with ``paused`` as every runtime adds it. The phrases are an interface: containerd, CRI-O, podman and
Docker decide by them.
"""

from __future__ import annotations

from pyrunc import errors
from pyrunc.kernel import os
from pyrunc.kernel.proc import is_alive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrunc.state.record import Record

CREATING, CREATED, RUNNING, PAUSED, STOPPED = "creating", "created", "running", "paused", "stopped"

EXEC_FIFO = "exec.fifo"
"""In the container's directory for as long as the container waits for `start`."""

NOT_RUNNING = "container not running"


def status(record: Record, directory: int, frozen: Callable[[], bool]) -> str:
    """One of the five. `directory` is the container's under --root; `frozen` asks the cgroup, and only if init lives.

    A creation is over when its creator is, whatever the record says: then nobody will ever finish it. A zombie counts as
    stopped: its parent, not the runtime, has to collect it. Raises KernelError.
    """
    if not record.same_boot:
        return STOPPED
    if record.stage != CREATED:
        return CREATING if is_alive(record.creator_pid, record.creator_start) else STOPPED
    if not is_alive(record.pid, record.start):
        return STOPPED
    if frozen():
        return PAUSED
    try:
        os.stat(EXEC_FIFO, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return RUNNING
    except OSError as error:
        raise errors.KernelError.of(f"stat {EXEC_FIFO}", error) from error
    return CREATED


def require_startable(status: str) -> None:
    """`start`: only what is created. Raises WrongStatus."""
    if status == STOPPED:
        raise errors.WrongStatus("cannot start a container that has stopped", status)
    if status == RUNNING:
        raise errors.WrongStatus("cannot start an already running container", status)
    if status != CREATED:
        raise errors.WrongStatus(f"cannot start a container that is {status}", status)


def require_signalable(status: str) -> None:
    """`kill`: what has an init process and was created as a whole. Raises WrongStatus."""
    if status not in (CREATED, RUNNING, PAUSED):
        raise errors.WrongStatus(NOT_RUNNING, status)


def require_executable(status: str, *, ignore_paused: bool = False) -> None:
    """`exec`: what has namespaces to join. Raises WrongStatus; with `ignore_paused` the process will wait for `resume`."""
    if status == STOPPED:
        raise errors.WrongStatus(f"cannot exec in a stopped container: {NOT_RUNNING}", status)
    if status == PAUSED and not ignore_paused:
        raise errors.WrongStatus("cannot exec in a paused container (use --ignore-paused to override)", status)
    if status == CREATING:
        raise errors.WrongStatus(f"cannot exec in a container that is still being created: {NOT_RUNNING}", status)


def require_pausable(status: str) -> None:
    """`pause`. Raises WrongStatus."""
    if status == STOPPED:
        raise errors.WrongStatus(NOT_RUNNING, status)
    if status not in (CREATED, RUNNING):
        raise errors.WrongStatus(f"cannot pause a container that is {status}: {NOT_RUNNING}", status)


def require_paused(status: str) -> None:
    """`resume`. Raises WrongStatus."""
    if status != PAUSED:
        raise errors.WrongStatus("container not paused", status)


def require_deletable(status: str, id: str) -> None:
    """`delete` without --force: what has stopped, and what was never started, which the caller kills. Raises WrongStatus."""
    if status not in (STOPPED, CREATED):
        raise errors.WrongStatus(f"cannot delete container {id} that is not stopped: {status}", status)
