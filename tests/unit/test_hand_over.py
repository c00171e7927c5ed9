"""An fd for somebody's socket: who does not take it is not waited for without end, and who is slow gets all of it."""

from __future__ import annotations

import array
import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrunc.kernel.sys import hand_over
from tests.conftest import PROJECT, until
from tests.lifecycle.box import status_of
from tests.lifecycle.sockets import Stuck

LARGE = b"x" * (4 << 20)
"""More than any socket's buffer: nobody reads it by not reading."""


@pytest.fixture
def stuck(tmp_path: Path) -> Iterator[Stuck]:
    found = Stuck(tmp_path / "stuck")
    yield found
    found.close()


def test_a_backlog_that_stays_full(stuck: Stuck) -> None:
    begun = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        hand_over(str(stuck.path), b"x", 0, 300)
    assert caught.value.errno == errno.ETIMEDOUT
    assert 0.29 < time.monotonic() - begun < 10


def test_a_backlog_that_has_room_again(stuck: Stuck) -> None:
    threading.Timer(0.2, lambda: stuck.take().close()).start()
    hand_over(str(stuck.path), b"x", 0, 20_000)


def test_a_reader_that_does_not_read(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        with pytest.raises(TimeoutError):
            hand_over(str(tmp_path / "s"), LARGE, 0, 100)


def test_a_slow_reader_gets_all_and_the_fd_once(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        sender = threading.Thread(target=hand_over, args=(str(tmp_path / "s"), LARGE, 0, 20_000))
        sender.start()
        connection, _ = listener.accept()
        with connection:
            time.sleep(0.1)
            got, fds = 0, []
            while True:
                data, controls, _, _ = connection.recvmsg(1 << 20, socket.CMSG_SPACE(4 * 8))
                fds += [fd for _, _, raw in controls for fd in array.array("i", raw)]
                got += len(data)
                if not data:
                    break
        sender.join()
    for fd in fds:
        os.close(fd)
    assert (got, len(fds)) == (len(LARGE), 1)


@contextlib.contextmanager
def waiting(stuck: Stuck) -> Iterator[subprocess.Popen[str]]:
    """A process that is at it."""
    script = "import sys; from pyrunc.kernel.sys import hand_over; hand_over(sys.argv[1], b'x', 0, 20_000)"
    argv = [sys.executable, "-c", script, str(stuck.path)]
    with subprocess.Popen(argv, cwd=PROJECT, stderr=subprocess.PIPE, text=True) as process:
        try:
            number = {"x86_64": "42"}.get(os.uname().machine, "203")  # of connect(2)
            until(lambda: Path(f"/proc/{process.pid}/syscall").read_text().split()[0] == number, 20, "it does not wait")
            yield process
        finally:
            process.kill()


def test_a_stop_is_not_the_end_of_the_wait(stuck: Stuck) -> None:
    """connect(2) with a time-out fails with EINTR after SIGCONT (signal(7))."""
    with waiting(stuck) as process:
        process.send_signal(signal.SIGSTOP)
        until(lambda: status_of(process.pid, "State")[0][0] == "T", 20, "it does not stop")
        process.send_signal(signal.SIGCONT)
        until(lambda: status_of(process.pid, "State")[0][0] == "S", 20, "it does not go on")
        stuck.take().close()
        assert process.communicate(timeout=20) == (None, "") and process.returncode == 0


def test_sigint_ends_the_wait(stuck: Stuck) -> None:
    with waiting(stuck) as process:
        process.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in process.communicate(timeout=10)[1]
