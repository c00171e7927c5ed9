"""Terminals: console sockets, sizes, and the foreground `run` and `exec` on a pty of the test's own."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import until
from tests.lifecycle.box import Box, one_line
from tests.lifecycle.sockets import Receiver, Terminal


@pytest.fixture
def receiver(session_dir: Path, box: Box) -> Iterator[Receiver]:
    found = Receiver(session_dir / f"{box.id}.sock")
    yield found
    found.close()


class Session:
    """A command of pyrunc with a pty for its stdio, as its controlling terminal."""

    def __init__(self, argv: list[str], ahead: bytes = b"", rows: int = 31, columns: int = 97) -> None:
        master, slave = pty.openpty()
        self.terminal = Terminal(master)
        self.terminal.resize(rows, columns)
        self.terminal.send(ahead)
        self.mode = termios.tcgetattr(slave)
        self.slave = slave
        self.process = subprocess.Popen(
            argv, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),  # the first that a session's leader opens is its own
        )  # fmt: skip

    def wait(self) -> int:
        """The exit status; the terminal must be as it was."""
        status = self.process.wait(timeout=20)
        assert termios.tcgetattr(self.slave) == self.mode
        os.close(self.slave)
        self.terminal.rest()
        self.terminal.close()
        return status


@pytest.fixture
def session() -> Iterator[Callable[..., Session]]:
    made: list[Session] = []

    def start(argv: list[str], ahead: bytes = b"") -> Session:
        made.append(Session(argv, ahead))
        return made[-1]

    yield start
    for one in made:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


def on_terminal(box: Box, script: str) -> Box:
    box.process["terminal"] = True
    return box.args("sh", "-c", script)


def test_a_console_socket(box: Box, receiver: Receiver) -> None:
    box.process["consoleSize"] = {"height": 41, "width": 133}
    script = "tty; stty size; ls -l /dev/console | cut -c-10; readlink /proc/self/fd/2; echo to-console >/dev/console; cat"
    on_terminal(box, script)
    box.create("--console-socket", receiver.path)
    payload, master = receiver.receive()
    assert payload.startswith(b"/dev/")
    terminal = Terminal(master)
    assert terminal.size() == (41, 133)
    box.start()
    # Bare newlines: ONLCR is off, as with runc.
    assert terminal.expect(b"to-console\n") == b"/dev/pts/0\n41 133\ncrw--w----\n/dev/pts/0\nto-console\n"
    terminal.send(b"hello\r")
    terminal.expect(b"hello\nhello\n")
    terminal.send(b"\x04")
    assert terminal.rest() == b""
    terminal.close()
    box.stopped()
    box.delete()


def test_the_terminal_is_the_controlling_one(box: Box, receiver: Receiver) -> None:
    on_terminal(box, "trap 'echo interrupted; exit 9' INT; echo ready; while :; do sleep 0.05; done")
    box.create("--console-socket", receiver.path)
    terminal = Terminal(receiver.receive()[1])
    box.start()
    terminal.expect(b"ready\n")
    terminal.send(b"\x03")
    terminal.expect(b"interrupted\n")
    terminal.close()
    box.stopped()
    box.delete()


def test_a_console_socket_with_a_path_that_does_not_fit_sun_path(box: Box, session_dir: Path) -> None:
    directory = session_dir / ("d" * 100)
    directory.mkdir(exist_ok=True)
    found = Receiver(directory / f"{box.id}.sock")
    assert len(str(found.path)) > 108
    on_terminal(box, "true")
    box.create("--console-socket", found.path)
    os.close(found.receive()[1])
    found.close()
    box.down()


def test_a_user_owns_the_terminal(box: Box, receiver: Receiver) -> None:
    box.process["user"] = {"uid": 1000, "gid": 1000}
    on_terminal(box, "stat -c '%u' $(tty); echo x >$(tty)")
    box.create("--console-socket", receiver.path)
    terminal = Terminal(receiver.receive()[1])
    box.start()
    assert terminal.expect(b"x\n") == b"1000\nx\n"
    terminal.close()
    box.stopped()
    box.delete()


@pytest.mark.parametrize("size", [None, {"height": 0, "width": 80}, {"height": 24, "width": 0}])
def test_a_size_counts_only_as_a_whole(box: Box, receiver: Receiver, size: dict[str, int] | None) -> None:
    if size:
        box.process["consoleSize"] = size
    on_terminal(box, "true")
    box.create("--console-socket", receiver.path)
    terminal = Terminal(receiver.receive()[1])
    assert terminal.size() == (0, 0)
    terminal.close()
    box.down()


def test_a_size_without_a_terminal_is_ignored(box: Box) -> None:
    box.process["consoleSize"] = {"height": 1 << 20, "width": 2}
    assert box.sh("tty || true") == "not a tty\n"


@pytest.mark.parametrize("command", [("create",), ("run", "--detach")])
def test_a_terminal_that_nobody_takes(box: Box, command: tuple[str, ...]) -> None:
    on_terminal(box, "true")
    message = box.refused(*command[1:], command=command[0])
    assert "process.terminal: " in message and "console socket" in message
    assert not box.exists()


def test_a_console_socket_without_a_terminal(box: Box, receiver: Receiver) -> None:
    assert "process.terminal: " in box.refused("--console-socket", receiver.path)


def test_a_console_socket_where_nobody_listens(box: Box) -> None:
    on_terminal(box, "true")
    message = box.refused("--console-socket", "/no/such/socket")
    assert message.endswith("send to --console-socket /no/such/socket: no such file or directory")


def test_run_in_the_foreground(box: Box, session: Callable[..., Session]) -> None:
    on_terminal(box, "stty size; read line; echo got $line; exit 42")
    one = session(box.cli.argv("run", "--bundle", box.bundle, box.id))
    one.terminal.expect(b"31 97")
    one.terminal.send(b"words\r")
    one.terminal.expect(b"got words")
    assert one.wait() == 42 and not box.exists()


def test_what_is_typed_ahead_is_the_containers(box: Box, session: Callable[..., Session]) -> None:
    """Before the terminal was made raw, or before pyrunc ran at all."""
    on_terminal(box, "read line; echo got $line; exit 3")
    one = session(box.cli.argv("run", "--bundle", box.bundle, box.id), ahead=b"words of before\r")
    one.terminal.expect(b"got words of before")
    assert one.wait() == 3


def test_a_resize_reaches_the_container(box: Box, session: Callable[..., Session]) -> None:
    on_terminal(box, "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done")
    one = session(box.cli.argv("run", "--bundle", box.bundle, box.id))
    one.terminal.expect(b"ready")
    one.terminal.resize(50, 111)
    one.process.send_signal(signal.SIGWINCH)
    one.terminal.expect(b"50 111")
    box.kill()
    assert one.wait() == 128 + 9


def test_ctrl_c_goes_to_the_container_not_to_the_runtime(box: Box, session: Callable[..., Session]) -> None:
    on_terminal(box, "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.05; done")
    one = session(box.cli.argv("run", "--bundle", box.bundle, box.id))
    one.terminal.expect(b"ready")
    one.terminal.send(b"\x03")
    one.terminal.expect(b"caught")
    assert one.wait() == 5


def test_much_output_comes_whole(box: Box, session: Callable[..., Session]) -> None:
    on_terminal(box, "seq 1 30000; echo; echo end")
    one = session(box.cli.argv("run", "--bundle", box.bundle, box.id))
    seen = one.terminal.expect(b"\nend\r\n", seconds=30)
    assert seen.split()[:-1] == [b"%d" % number for number in range(1, 30001)]
    assert one.wait() == 0


@pytest.mark.parametrize("text", ["from a file\n", "whole\nfrom a file"])
def test_run_with_a_terminal_and_a_stdin_that_is_none(box: Box, text: str) -> None:
    """B.9: what BuildKit and scripts do."""
    on_terminal(box, "stty -echo; tty; cat; echo; echo done")
    done = box.cli("run", "--bundle", box.bundle, box.id, check=True, input=text)
    assert "/dev/pts/0\n" in done.stdout and re.search(r"from a file\n+done\n$", done.stdout)


def test_exec_in_the_foreground_with_a_terminal(box: Box, session: Callable[..., Session]) -> None:
    box.up()
    one = session(box.cli.argv("exec", "--tty", box.id, "sh", "-c", "stty size; tty; read a; echo $a; exit 17"))
    one.terminal.expect(b"31 97")
    one.terminal.expect(b"/dev/pts/0")
    one.terminal.send(b"abc\r")
    one.terminal.expect(b"abc")
    one.terminal.expect(b"abc")
    assert one.wait() == 17
    box.down()


def test_exec_with_a_console_socket(box: Box, receiver: Receiver) -> None:
    box.up()
    box.exec("--tty", "--detach", "--console-socket", receiver.path, box.id, "sh", "-c", "echo on $(tty); sleep 0.2", check=True)
    payload, master = receiver.receive()
    terminal = Terminal(master)
    terminal.expect(b"on /dev/pts/0\n")
    terminal.close()
    box.down()


def test_exec_does_not_touch_dev_console(box: Box, receiver: Receiver) -> None:
    box.writable().up()
    assert box.ex("ls -A /dev/console 2>&1 || true").startswith("ls: /dev/console")
    box.exec("--tty", "--detach", "--console-socket", receiver.path, box.id, "sleep", "0.2", check=True)
    os.close(receiver.receive()[1])
    assert box.ex("ls -A /dev/console 2>&1 || true").startswith("ls: /dev/console")
    box.down()


def test_exec_of_a_detached_terminal_without_a_socket(box: Box) -> None:
    box.up()
    message = one_line(box.exec("--tty", "--detach", box.id, "true", check=255))
    assert message.startswith("exec failed: ") and "console socket" in message
    box.down()


def test_what_the_program_prints_last_is_not_lost(box: Box) -> None:
    on_terminal(box, "printf last")
    for _ in range(3):
        done = box.cli("run", "--bundle", box.bundle, box.id, check=True)
        assert done.stdout == "last"
        until(lambda: not box.exists(), 60, "it was not deleted")
