"""A person at a terminal: an interactive shell in a container, driven through tmux(1)."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import until
from tests.lifecycle.box import Box, status_of

SECONDS = 60


class Tmux:
    """A server of its own, without a status line and without anybody's configuration."""

    def __init__(self, directory: Path) -> None:
        program = shutil.which("tmux")
        if not program:
            pytest.skip("tmux is missing: apt-get install tmux")
        self.argv = [program, "-u", "-S", str(directory / "tmux"), "-f", "/dev/null"]

    def __call__(self, *words: object) -> str:
        env = {**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8"}
        argv = [*self.argv, *map(str, words)]
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=SECONDS)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def window(self, name: str, script: str, columns: int = 100, rows: int = 30) -> Window:
        shell = f"exec sh -c {shlex.quote(script)}"
        if self.running():
            self("new-window", "-d", "-n", name, shell)
        else:
            self("new-session", "-d", "-s", "it", "-n", name, "-x", columns, "-y", rows, "sleep 1000")
            self("set-option", "-g", "status", "off")
            self("set-option", "-g", "remain-on-exit", "on")
            self("set-option", "-g", "automatic-rename", "off")
            self("respawn-pane", "-k", "-t", f"it:{name}", shell)
        return Window(self, name)

    def running(self) -> bool:
        return subprocess.run([*self.argv, "list-sessions"], capture_output=True, timeout=SECONDS).returncode == 0

    def stop(self) -> None:
        if self.running():
            pid = int(self("display-message", "-p", "#{pid}"))
            self("kill-server")
            until(lambda: not alive(pid), SECONDS, "the server of tmux does not end")


class Window:
    def __init__(self, tmux: Tmux, name: str) -> None:
        self.tmux = tmux
        self.name = f"it:{name}"

    def line(self, text: str) -> None:
        self.tmux("send-keys", "-t", self.name, "-l", text)
        self.key("Enter")

    def key(self, key: str) -> None:
        self.tmux("send-keys", "-t", self.name, key)

    def lines(self) -> list[str]:
        return self.tmux("capture-pane", "-p", "-J", "-S", "-500", "-t", self.name).splitlines()

    def see(self, line: str) -> None:
        """Wait until this is a line of what the window shows."""
        until(lambda: line in self.lines(), SECONDS, f"no line {line!r}: {self.lines()}")

    def resize(self, columns: int, rows: int) -> None:
        self.tmux("resize-window", "-t", self.name, "-x", columns, "-y", rows)


def alive(pid: int) -> bool:
    """Not gone, and no zombie, which the test's own process may have to collect."""
    try:
        return status_of(pid, "State")[0][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def in_front(pid: int) -> str:
    """The name of the process group that a terminal's session leader has put into the foreground, proc_pid_stat(5)."""
    group = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[5]
    try:
        return Path(f"/proc/{group}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


@pytest.fixture
def tmux(session_dir: Path, box: Box) -> Iterator[Tmux]:
    directory = session_dir / f"{box.id}.tmux"
    directory.mkdir()
    found = Tmux(directory)
    yield found
    found.stop()
    shutil.rmtree(directory)


def test_a_session(box: Box, tmux: Tmux) -> None:
    box.process["terminal"] = True
    box.process["env"].append("PS1=$ ")
    box.args("sh")
    run = shlex.join(box.cli.argv("run", "--bundle", box.bundle, box.id))
    window = tmux.window("run", f"echo $$; {run}; echo the status is $?; exec sleep 1000")
    box.runs(SECONDS)
    init = box.pid

    window.line("stty size; tty")
    window.see("30 100")
    window.see("/dev/pts/0")

    window.line("until [ \"$(stty size)\" = '41 123' ]; do sleep 0.1; done; echo res'ized'")
    window.resize(123, 41)
    window.see("resized")

    window.line("sleep 1000")
    until(lambda: in_front(init) == "sleep", SECONDS, "sleep is not in the foreground")
    window.key("C-c")
    window.line("echo interrupted: $?")
    window.see("interrupted: 130")

    window.line("sleep 2000")
    until(lambda: in_front(init) == "sleep", SECONDS, "sleep is not in the foreground")
    window.key("C-z")
    until(lambda: in_front(init) == "sh", SECONDS, "sleep is still in the foreground")
    window.line("jobs | grep -c 'Stopped.*sleep 2000'")
    window.see("1")
    window.line("fg")
    until(lambda: in_front(init) == "sleep", SECONDS, "sleep is not in the foreground again")
    window.key("C-c")
    window.line("echo interrupted again: $?")
    window.see("interrupted again: 130")

    command = shlex.join(box.cli.argv("exec", "--tty", box.id, "sh"))
    further = tmux.window("exec", f"{command}; echo the status is $?; exec sleep 1000")
    further.line("tty; (echo; echo from the other) >/dev/pts/0")
    further.see("/dev/pts/1")
    window.see("from the other")
    further.line("exit 7")
    further.see("the status is 7")

    window.line("exit 42")
    window.see("the status is 42")
    assert not box.exists()


def test_the_terminal_is_as_it_was(box: Box, tmux: Tmux) -> None:
    """After the shell has made its terminal raw, and after it was killed: echo and line editing are those of before."""
    box.process["terminal"] = True
    box.args("sh", "-c", "stty raw -echo; echo ra''w; sleep 1000")
    run = shlex.join(box.cli.argv("run", "--bundle", box.bundle, box.id))
    window = tmux.window("run", f"stty -a >{tmux.argv[3]}.1; {run}; echo the status is $?; stty -a >{tmux.argv[3]}.2; exec cat")
    window.see("raw")
    box.kill("KILL")
    window.see("the status is 137")
    window.line("echoed")
    until(lambda: window.lines().count("echoed") == 2, SECONDS, "no echo")
    assert Path(f"{tmux.argv[3]}.1").read_text() == Path(f"{tmux.argv[3]}.2").read_text()
    until(lambda: not box.exists(), SECONDS, "it was not deleted")
