"""A process in the foreground: signals passed on, the terminal relayed, its end awaited.

Terminal modules are imported only where there is a terminal.
"""

from __future__ import annotations

import os
import select

import _signal

from pyrunc.kernel.proc import send_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SIGCHLD, SIGURG, SIGWINCH, SIGKILL, SIGSTOP = 17, 23, 28, 9, 19
POLLIN, POLLOUT, POLLHUP = 1, 4, 16
KEPT = {SIGCHLD, SIGURG, SIGKILL, SIGSTOP}
"""Signals that are the runtime's own affair, or that cannot be caught."""


class Foreground:
    """Use as a context manager around the launch, so that no signal is lost between: they are held until `wait`."""

    def __init__(self) -> None:
        self._wake, self._write_end = os.pipe()
        self._pending: list[int] = []
        self._saved: Any = None

    def __enter__(self) -> Foreground:
        os.set_blocking(self._wake, False)
        os.set_blocking(self._write_end, False)
        for number in range(1, 65):
            if number not in KEPT - {SIGCHLD} and number not in (32, 33):
                _signal.signal(number, self._caught)
        _signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()
        _signal.set_wakeup_fd(-1)
        for fd in (self._wake, self._write_end):
            os.close(fd)

    def _caught(self, number: int, frame: object) -> None:
        """The wakeup fd carries the number; this is here so that the signal is caught at all."""

    def wait(self, pid: int, console: int = -1) -> int:
        """Relay until the process ends; its status as a shell would say it: 128 + n when a signal ended it."""
        pidfd = os.pidfd_open(pid)
        relay = None
        try:
            if console >= 0:
                from pyrunc.launch.terminal import Relay

                relay = Relay(console)
                relay.resize()
            status = self._loop(pid, pidfd, relay)
        finally:
            os.close(pidfd)
            if relay:
                relay.close()
        return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

    def _loop(self, pid: int, pidfd: int, relay: Any) -> int:
        poll = select.poll()
        poll.register(self._wake, POLLIN)
        poll.register(pidfd, POLLIN)
        if relay:
            relay.register(poll)
        while True:
            ready = dict(poll.poll())
            if self._wake in ready:
                self._forward(pidfd, relay)
            if relay:
                relay.move(poll, ready)
            if pidfd in ready:
                if relay:
                    relay.drain()
                return os.waitpid(pid, 0)[1]

    def _forward(self, pidfd: int, relay: Any) -> None:
        try:
            numbers = os.read(self._wake, 256)
        except BlockingIOError:
            return
        for number in numbers:
            if number == SIGWINCH and relay:
                relay.resize()
            elif number not in KEPT:
                send_signal(pidfd, number)

    def restore(self) -> None:
        """Default dispositions again, for what the runtime does after."""
        for number in range(1, 65):
            if number not in KEPT and number not in (32, 33):
                _signal.signal(number, _signal.SIG_DFL)


def become_subreaper() -> None:
    """Orphans of the container's init, where it has no pid namespace of its own, become ours (prctl(2))."""
    from pyrunc.kernel import sys

    sys.set_child_subreaper()
