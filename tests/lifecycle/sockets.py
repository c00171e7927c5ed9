"""The callers' ends: console and pidfd sockets, ptys of our own, and sockets of those who do not read."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import select
import socket
import struct
import termios
import time
from pathlib import Path


class Receiver:
    """A listening unix socket, as conmon and the shims have one, that takes one connection with one message and one fd."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # A name that does not fit sun_path is bound through a descriptor of its directory.
        directory = os.open(path.parent, os.O_PATH)
        try:
            self.socket.bind(f"/proc/self/fd/{directory}/{path.name}")
        finally:
            os.close(directory)
        self.socket.listen()
        self.socket.settimeout(20)

    def receive(self) -> tuple[bytes, int]:
        """The payload and the descriptor of the one message."""
        connection, _ = self.socket.accept()
        with connection:
            connection.settimeout(20)
            data, controls, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4 * 8))
            assert connection.recv(1) == b""
        assert [(level, kind) for level, kind, _ in controls] == [(socket.SOL_SOCKET, socket.SCM_RIGHTS)]
        fds = array.array("i", controls[0][2])
        assert len(fds) == 1
        return data, fds[0]

    def close(self) -> None:
        self.socket.close()
        self.path.unlink()


class Stuck:
    """A listening unix socket whose backlog is full and stays so: connect(2) waits there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        self._socket.listen(0)
        self._waiting = [self._client()]
        with contextlib.suppress(BlockingIOError):
            while True:
                self._waiting[-1].connect(str(path))
                self._waiting.append(self._client())

    def _client(self) -> socket.socket:
        return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)

    def take(self) -> socket.socket:
        """A connection that was waiting; another one may come."""
        return self._socket.accept()[0]

    def close(self) -> None:
        for one in (*self._waiting, self._socket):
            one.close()
        self.path.unlink()


def fill(receiver: socket.socket) -> int:
    """Send b"full" until no more is taken, net.unix.max_dgram_qlen; how many that were."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(receiver.getsockname())
        sender.setblocking(False)
        sent = 0
        try:
            while True:
                sender.send(b"full")
                sent += 1
        except BlockingIOError:
            return sent


class Terminal:
    """The master side of a pty."""

    def __init__(self, master: int) -> None:
        self.fd = master
        self.text = b""

    def send(self, data: bytes) -> None:
        os.write(self.fd, data)

    def expect(self, text: bytes, seconds: float = 10) -> bytes:
        """Read until `text` has come; what came, up to its end. Fails the test when it does not come in time."""
        end = time.monotonic() + seconds
        while text not in self.text:
            left = end - time.monotonic()
            assert left > 0 and select.select([self.fd], [], [], left)[0], f"no {text!r} in {self.text!r}"
            data = self._read()
            assert data, f"the end came before {text!r}: {self.text!r}"
            self.text += data
        before, _, self.text = self.text.partition(text)
        return before + text

    def rest(self) -> bytes:
        """All that comes until the other side is closed."""
        while data := self._read():
            self.text += data
        return self.text

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def size(self) -> tuple[int, int]:
        rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(self.fd, termios.TIOCGWINSZ, b"\0" * 8))
        return rows, columns

    def close(self) -> None:
        os.close(self.fd)

    def _read(self) -> bytes:
        try:
            return os.read(self.fd, 65536)
        except OSError:  # EIO: the last holder of the other side is gone
            return b""
