"""A seccomp agent: it takes listeners on a socket, and answers what their filters notify of (seccomp_unotify(2))."""

from __future__ import annotations

import array
import fcntl
import json
import os
import select
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import until

RECEIVE, SEND, ID_VALID = 0xC0502100, 0xC0182101, 0x40082102  # SECCOMP_IOCTL_NOTIF_*, linux/seccomp.h
NOTIFICATION = struct.Struct("=QIIiIQ6Q")
ANSWER = struct.Struct("=QqiI")
CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE
SECONDS = 30

Decide = Callable[[int, int, tuple[int, ...]], "int | None"]
"""Of a pid, a system call's number and its arguments: the errno to answer with, or None to let it go on."""


class Agent:
    """Use as a context: at its end it has let go of every listener, and with that the calls fail that still wait."""

    def __init__(self, path: Path, decide: Decide) -> None:
        self.path = path
        self.decide = decide
        self.all: list[dict[str, Any]] = []
        self.calls: list[tuple[int, int]] = []
        self.faults: list[BaseException] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        directory = os.open(path.parent, os.O_PATH)
        self._socket.bind(f"/proc/self/fd/{directory}/{path.name}")
        os.close(directory)
        self._socket.listen()
        self._stop, self._stopped = os.pipe()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Agent:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.end()
        self._socket.close()
        self.path.unlink()
        os.close(self._stop)
        assert not self.faults, self.faults

    def messages(self, count: int) -> list[dict[str, Any]]:
        """All that have come, which must be so many; the last may be on its way."""
        until(lambda: len(self.all) >= count or bool(self.faults), SECONDS, "no message came")
        assert len(self.all) == count and not self.faults
        return self.all

    def end(self) -> None:
        """Let go of the listeners, as an agent does that dies."""
        if self._stopped >= 0:
            os.close(self._stopped)
            self._stopped = -1
            self._thread.join(SECONDS)
            assert not self._thread.is_alive()

    def _serve(self) -> None:
        listeners: list[int] = []
        poll = select.poll()
        for fd in (self._stop, self._socket.fileno()):
            poll.register(fd, select.POLLIN)
        try:
            while True:
                for fd, events in poll.poll():
                    if fd == self._stop:
                        return
                    if fd == self._socket.fileno():
                        listeners.append(self._take())
                        poll.register(listeners[-1], select.POLLIN)
                    elif events & select.POLLIN:
                        self._answer(fd)
                    else:  # the last process with the filter has ended
                        poll.unregister(fd)
        except BaseException as error:
            self.faults.append(error)
        finally:
            for fd in listeners:
                os.close(fd)

    def _take(self) -> int:
        """The message must be complete and the listener with its first part, as the specification has it."""
        connection, _ = self._socket.accept()
        with connection:
            connection.settimeout(SECONDS)
            data, controls, _, _ = connection.recvmsg(1 << 16, socket.CMSG_SPACE(4 * 8))
            while more := connection.recv(1 << 16):
                data += more
        assert [(level, kind) for level, kind, _ in controls] == [(socket.SOL_SOCKET, socket.SCM_RIGHTS)]
        (listener,) = array.array("i", controls[0][2])
        self.all.append(json.loads(data))
        return listener

    def _answer(self, listener: int) -> None:
        try:
            raw = fcntl.ioctl(listener, RECEIVE, bytes(NOTIFICATION.size))
        except FileNotFoundError:  # it was killed meanwhile
            return
        id_, pid, _, number, _, _, *arguments = NOTIFICATION.unpack(raw)
        self.calls.append((pid, number))
        error = self.decide(pid, number, tuple(arguments))
        answer = ANSWER.pack(id_, 0, 0 if error is None else -error, CONTINUE if error is None else 0)
        try:
            fcntl.ioctl(listener, SEND, answer)
        except FileNotFoundError:
            return
