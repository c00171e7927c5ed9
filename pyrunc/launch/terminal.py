"""The relay between the caller's terminal and the container's: raw bytes both ways, and the size."""

from __future__ import annotations

import fcntl
import select
import termios
import tty

from pyrunc.kernel import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

POLLIN, POLLOUT = 1, 4
CHUNK = 65536
DRAIN_MS = 50
"""For how long output may be on its way through the kernel's queue after its writer has ended."""
DRAIN_BYTES = 1 << 20
"""More than the queue holds (640 KiB, TTYB_DEFAULT_MEM_LIMIT): what comes after that is another writer's."""


def copy_size(master: int) -> None:
    """Give the container's terminal the size of ours; without one, of the controlling terminal, or leave it."""
    ours = next((fd for fd in (0, 1, 2) if os.isatty(fd)), -1)
    fd = ours
    try:
        if fd < 0:
            fd = os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
        size = fcntl.ioctl(fd, termios.TIOCGWINSZ, b"\0" * 8)
    except OSError:
        return
    finally:
        if fd != ours:
            os.close(fd)
    if any(size[:4]):
        fcntl.ioctl(master, termios.TIOCSWINSZ, size)


class Relay:
    """Stdin to the pty's master, the master to stdout. The caller's terminal is raw meanwhile, if stdin is one."""

    def __init__(self, master: int) -> None:
        self.master = master
        self.saved: Any = None
        self._watched = {0, master}
        self._to_master = b""
        self._reading = True
        self._in_a_line = False
        os.set_blocking(master, False)
        if os.isatty(0):
            self.saved = termios.tcgetattr(0)
            tty.setraw(0, termios.TCSANOW)  # what was typed ahead is for the container
            raw = termios.tcgetattr(0)
            # The container's side writes bare newlines (native/init, CONSOLE); ours makes lines of them.
            raw[1] |= termios.OPOST
            termios.tcsetattr(0, termios.TCSANOW, raw)

    def register(self, poll: Any) -> None:
        for fd in self._watched:
            poll.register(fd, POLLIN)

    def resize(self) -> None:
        """Give the container's terminal the size of ours."""
        copy_size(self.master)

    def move(self, poll: Any, ready: dict[int, int]) -> None:
        """Whatever can go now; a full pty is written to when it has room again."""
        if 0 in ready and 0 in self._watched:
            data = self._read(0)
            if data is None:
                self._ignore(poll, 0)
                data = self._end_of_input()
            self._in_a_line = data[-1:] != b"\n" if data else self._in_a_line
            self._to_master += data
        if self.master not in self._watched:
            return
        if ready.get(self.master, 0) & ~POLLOUT and self._output() < 0:
            for fd in tuple(self._watched):
                self._ignore(poll, fd)
            return
        if self._to_master:
            self._input()
        poll.modify(self.master, POLLIN | (POLLOUT if self._to_master else 0))
        self._read_on(poll, len(self._to_master) < CHUNK)

    def _read_on(self, poll: Any, room: bool) -> None:
        """Stdin may be a file of any length and the program one that reads nothing of it."""
        if 0 in self._watched and room != self._reading:
            self._reading = room
            if room:
                poll.register(0, POLLIN)
            else:
                poll.unregister(0)

    def _ignore(self, poll: Any, fd: int) -> None:
        self._watched.remove(fd)
        if fd != 0 or self._reading:
            poll.unregister(fd)

    def _end_of_input(self) -> bytes:
        """The end of a file as a terminal's reader knows it, termios(3) VEOF: within a line the first one only ends that."""
        if self.saved is not None:
            return b""
        return b"\x04\x04" if self._in_a_line else b"\x04"

    def _input(self) -> None:
        try:
            self._to_master = self._to_master[os.write(self.master, self._to_master) :]
        except BlockingIOError:
            pass
        except OSError:
            self._to_master = b""

    def _output(self) -> int:
        """How many bytes there were; negative when the last holder of the container's terminal is gone."""
        data = self._read(self.master)
        rest = data
        while rest:
            try:
                rest = rest[os.write(1, rest) :]
            except OSError:
                break
        return -1 if data is None else len(data)

    def _read(self, fd: int) -> bytes | None:
        """None at the end, b"" when there is nothing now."""
        try:
            return os.read(fd, CHUNK) or None
        except BlockingIOError:
            return b""
        except OSError:
            return None

    def drain(self) -> None:
        """What the process wrote last, up to the end of it; others that hold the terminal open are not waited for long."""
        poll = select.poll()
        poll.register(self.master, POLLIN)
        left = DRAIN_BYTES
        while left > 0 and poll.poll(DRAIN_MS) and (length := self._output()) >= 0:
            left -= length

    def close(self) -> None:
        """The caller's terminal as it was."""
        os.close(self.master)
        if self.saved is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, self.saved)
