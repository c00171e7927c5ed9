"""The relay between the caller's terminal and the container's: raw bytes both ways, and the size."""

from __future__ import annotations

import fcntl
import termios
import tty

from pyrunc.kernel import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

POLLIN, POLLOUT = 1, 4
CHUNK = 65536


class Relay:
    """Stdin to the pty's master, the master to stdout. The caller's terminal is raw meanwhile, if stdin is one."""

    def __init__(self, master: int) -> None:
        self.master = master
        self.saved: Any = None
        self.stdin_open = True
        self.to_master = b""
        os.set_blocking(master, False)
        if os.isatty(0):
            self.saved = termios.tcgetattr(0)
            tty.setraw(0)
            raw = termios.tcgetattr(0)
            # The container's side writes bare newlines (native/init, CONSOLE); ours makes lines of them.
            raw[1] |= termios.OPOST
            termios.tcsetattr(0, termios.TCSANOW, raw)
        self.size_from = next((fd for fd in (0, 1, 2) if os.isatty(fd)), -1)

    def register(self, poll: Any) -> None:
        poll.register(0, POLLIN)
        poll.register(self.master, POLLIN)

    def resize(self) -> None:
        """Give the container's terminal the size of ours; without one, of the controlling terminal, or leave it."""
        fd = self.size_from
        try:
            if fd < 0:
                fd = os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
            size = fcntl.ioctl(fd, termios.TIOCGWINSZ, b"\0" * 8)
        except OSError:
            return
        finally:
            if fd >= 0 and fd != self.size_from:
                os.close(fd)
        if any(size[:4]):
            fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)

    def move(self, poll: Any, ready: dict[int, int]) -> None:
        """Whatever can go now; a full pty is written to when it has room again."""
        if 0 in ready and self.stdin_open:
            data = self._read(0)
            if not data:
                self.stdin_open = False
                poll.unregister(0)
                data = b"\x04" if self.saved is None else b""  # the end of a file, as a terminal's reader knows it
            self.to_master += data
        if self.master in ready and ready[self.master] & ~POLLOUT and not self._output():
            poll.unregister(self.master)
            return
        if self.to_master:
            self._input()
        if self.master >= 0:
            poll.modify(self.master, POLLIN | (POLLOUT if self.to_master else 0))

    def _input(self) -> None:
        try:
            self.to_master = self.to_master[os.write(self.master, self.to_master) :]
        except BlockingIOError:
            pass
        except OSError:
            self.to_master = b""

    def _output(self) -> bool:
        """False when the last holder of the container's terminal is gone."""
        data = self._read(self.master)
        while data:
            try:
                data = data[os.write(1, data) :]
            except OSError:
                break
        return data is not None

    def _read(self, fd: int) -> bytes | None:
        """None at the end, b"" when there is nothing now."""
        try:
            return os.read(fd, CHUNK) or None
        except BlockingIOError:
            return b""
        except OSError:
            return None

    def drain(self) -> None:
        """What the process wrote last."""
        while True:
            data = self._read(self.master)
            if not data:
                return
            try:
                os.write(1, data)
            except OSError:
                return

    def close(self) -> None:
        """The caller's terminal as it was."""
        os.close(self.master)
        if self.saved is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, self.saved)
