"""Foreground processes with awkward company: orphans, writers that never stop, input that nobody reads; and a start that comes
too late."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pyrunc.errors import WrongStatus
from pyrunc.log import Context, Log
from pyrunc.runtime.start import start
from pyrunc.state.store import Container
from tests.conftest import until
from tests.lifecycle.box import Box, status_of

UNTIL_GONE = "touch {0}; while [ -e {0} ]; do sleep 0.05; done"


def zombies(parent: int) -> int:
    """How many children of this process wait to be collected."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return sum(status_of(child, "State")[0].startswith("Z") for child in children)


def test_the_orphans_of_a_container_are_collected(box: Box) -> None:
    """Without a pid namespace they come to `run`, and as zombies they would count in pids.max."""
    box.share("pid")
    box.args("sh", "-c", f"for i in 1 2 3 4 5; do (sleep 0.01 &); done; sleep 0.5; {UNTIL_GONE.format('/dev/shm/done')}; exit 9")
    with box.cli.popen("run", "--bundle", box.bundle, box.id, stdin=subprocess.DEVNULL) as run:
        box.runs()
        done = Path(f"/proc/{box.pid}/root/dev/shm/done")
        until(done.exists, 60, "it does not come to its end")
        until(lambda: zombies(run.pid) == 0, 60, "zombies stay")
        done.unlink()
        assert run.wait(timeout=60) == 9


def test_a_writer_that_stays_behind_does_not_hold_exec_up(box: Box) -> None:
    box.up()
    script = "trap '' HUP; yes & sleep 0.1"
    box.exec("--tty", box.id, "sh", "-c", script, check=True, timeout=60, stdout=subprocess.DEVNULL)
    box.down()


def test_input_that_is_not_read_is_not_kept_in_memory(box: Box, tmp_path: Path) -> None:
    box.process["terminal"] = True
    (tmp_path / "large").write_bytes(b"")
    os.truncate(tmp_path / "large", 64 << 20)
    box.args("sh", "-c", f"stty raw -echo; {UNTIL_GONE.format('/dev/shm/raw')}")
    with open(tmp_path / "large") as large:
        run = box.cli.popen("run", "--bundle", box.bundle, box.id, stdin=large, stdout=subprocess.DEVNULL)
        box.runs()
        raw = Path(f"/proc/{box.pid}/root/dev/shm/raw")
        until(raw.exists, 60, "the terminal does not become raw")
        time.sleep(0.5)
        assert int(status_of(run.pid, "VmHWM")[0].split()[0]) < 30 << 10
        raw.unlink()
        assert run.wait(timeout=60) == 0


def test_a_caller_that_ignores_its_children(box: Box) -> None:
    """Who ignores SIGCHLD hands that on, and the kernel then collects the children of all who come after."""
    script = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    box.args("sh", "-c", "sleep 0.1; exit 7")
    argv = [sys.executable, "-c", script, *box.cli.argv("run", "--bundle", box.bundle, box.id)]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "")


def test_a_container_that_ends_while_it_is_started(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the opening of the fifo and the byte; and until the byte is written, it has ceased to be a created one."""
    pid = box.create()
    remove = Container.remove_fifos

    def end(self: Container) -> None:
        remove(self)
        os.kill(pid, signal.SIGKILL)
        until(lambda: status_of(pid, "State")[0].startswith("Z"), 60, "it does not end")

    monkeypatch.setattr(Container, "remove_fifos", end)
    with pytest.raises(WrongStatus, match="cannot start a container that has stopped"):
        start(Context(str(box.cli.root), Log()), box.id)
    assert box.status == "stopped"
    box.delete()
