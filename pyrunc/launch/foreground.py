"""A process in the foreground: signals passed on, the terminal relayed, its end awaited.

Terminal modules are imported only where there is a terminal.
"""

from __future__ import annotations

import gc
from sys import byteorder

from pyrunc import errors
from pyrunc.kernel import os, sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.launch.notify import Notifier

SIGCHLD, SIGURG, SIGWINCH = 17, 23, 28
SIGINFO_SIZE = 128  # struct signalfd_siginfo; its first four bytes are the number
POLLIN = 1


class Foreground:
    """Make it before the launch, so that no signal is lost between: they are held until `wait`, and from then on passed on."""

    def __init__(self) -> None:
        self._signals = sys.signals_as_fd()

    def wait(self, pid: int, console: int = -1, notifier: Notifier | None = None) -> int:
        """Relay until the process ends; its status as a shell would say it: 128 + n when a signal ended it."""
        gc.freeze()  # what start-up made stays, and to look through it once would cost a millisecond
        gc.enable()  # the launcher has turned it off, and this may take days
        if console < 0 and not notifier:
            status = self._signals_alone(pid)
        else:
            status = self._with_others(pid, console, notifier)
        return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

    def _signals_alone(self, pid: int) -> int:
        """The end of the process is a signal too."""
        os.set_blocking(self._signals, True)
        while (status := _collect(pid)) is None:
            self._forward(pid, None)
        return status

    def _with_others(self, pid: int, console: int, notifier: Notifier | None) -> int:
        pidfd = os.pidfd_open(pid)
        relay = None
        try:
            if console >= 0:
                from pyrunc.launch.terminal import Relay

                relay = Relay(console)
                relay.resize()
            return self._loop(pid, pidfd, relay, notifier)
        finally:
            os.close(pidfd)
            if relay:
                relay.close()

    def _loop(self, pid: int, pidfd: int, relay: Any, notifier: Notifier | None) -> int:
        import select

        poll = select.poll()
        poll.register(self._signals, POLLIN)
        poll.register(pidfd, POLLIN)
        if relay:
            relay.register(poll)
        if notifier:
            poll.register(notifier.fd, POLLIN)
        status = None
        while status is None:
            ready = dict(poll.poll())
            if self._signals in ready:
                self._forward(pid, relay)
            if relay:
                relay.move(poll, ready)
            if notifier and notifier.fd in ready and notifier.pass_on(os.getpid(), stays=True):
                poll.unregister(notifier.fd)
                notifier.close()
                notifier = None
            status = _collect(pid)
        if relay:
            relay.drain()
        return status

    def _forward(self, pid: int, relay: Any) -> None:
        """SIGCHLD tells of our own children, SIGURG is sent by runtimes of languages to themselves. Nobody but we collects the
        process, so the number means it and no other."""
        try:
            data = os.read(self._signals, SIGINFO_SIZE * 64)
        except BlockingIOError:
            return
        for at in range(0, len(data), SIGINFO_SIZE):
            number = int.from_bytes(data[at : at + 4], byteorder)
            if number == SIGWINCH and relay:
                relay.resize()
            elif number not in (SIGCHLD, SIGURG):
                try:
                    os.kill(pid, number)
                except OSError as error:
                    raise errors.KernelError.of(f"send signal {number}", error) from error


def _collect(pid: int) -> int | None:
    """The status of the process if it has ended. The orphans that a subreaper is given go the same way: as zombies they would
    fill up the container's pids.max."""
    try:
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == pid:
                return ended[1]
    except ChildProcessError:
        pass
    return None


def become_subreaper() -> None:
    """Orphans of the container's init, where it has no pid namespace of its own, become ours (prctl(2))."""
    sys.set_child_subreaper()
