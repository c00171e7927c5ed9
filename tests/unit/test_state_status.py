"""The status out of real processes, and what each status allows."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyrunc.errors import WrongStatus
from pyrunc.kernel.proc import start_time
from pyrunc.state import record as record_module, status as statuses
from pyrunc.state.record import Record
from pyrunc.state.status import EXEC_FIFO, status

STATUSES = ["creating", "created", "running", "paused", "stopped"]


@pytest.fixture
def init() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "100"]) as process:
        yield process
        process.kill()


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def ready(init: subprocess.Popen[bytes], start: int = 0) -> Record:
    """A container that is complete; its creator, as usual, is gone."""
    return Record("box", "/b", stage="created", pid=init.pid, start=start or start_time(init.pid), creator_pid=1, creator_start=1)


def thawed() -> bool:
    return False


def never_asked() -> bool:
    raise AssertionError("the cgroup was asked about a container without a process")


def test_created_until_the_fifo_is_gone(init: subprocess.Popen[bytes], directory: int) -> None:
    os.mkfifo(EXEC_FIFO, dir_fd=directory)
    assert status(ready(init), directory, thawed) == "created"
    os.unlink(EXEC_FIFO, dir_fd=directory)
    assert status(ready(init), directory, thawed) == "running"


def test_paused(init: subprocess.Popen[bytes], directory: int) -> None:
    assert status(ready(init), directory, lambda: True) == "paused"


def test_stopped_when_init_has_ended_also_before_start(init: subprocess.Popen[bytes], directory: int) -> None:
    record = ready(init)
    os.mkfifo(EXEC_FIFO, dir_fd=directory)
    init.kill()
    os.waitid(os.P_PID, init.pid, os.WEXITED | os.WNOWAIT)
    assert status(record, directory, never_asked) == "stopped"
    init.wait()
    assert status(record, directory, never_asked) == "stopped"


def test_another_process_under_inits_id_is_not_the_container(init: subprocess.Popen[bytes], directory: int) -> None:
    assert status(ready(init, start_time(init.pid) + 1), directory, never_asked) == "stopped"


def test_stopped_by_a_reboot(init: subprocess.Popen[bytes], directory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same id and the same ticks since boot can come again: boots look alike."""
    record = ready(init)
    monkeypatch.setattr(record_module, "boot_id", lambda: "the next one")
    assert status(record, directory, never_asked) == "stopped"


def test_creating_while_its_creator_lives(init: subprocess.Popen[bytes], directory: int) -> None:
    record = Record("box", "/b", creator_pid=init.pid, creator_start=start_time(init.pid))
    assert status(record, directory, never_asked) == "creating"
    # What was made of it does not matter: nobody will finish it.
    record.pid, record.start = os.getpid(), start_time(os.getpid())
    init.kill()
    init.wait()
    assert status(record, directory, never_asked) == "stopped"
    record.creator_pid, record.creator_start = os.getpid(), start_time(os.getpid()) + 1
    assert status(record, directory, never_asked) == "stopped"


ALLOWED: list[tuple[str, Callable[[str], None], set[str]]] = [
    ("start", statuses.require_startable, {"created"}),
    ("kill", statuses.require_signalable, {"created", "running", "paused"}),
    ("exec", statuses.require_executable, {"created", "running"}),
    ("exec --ignore-paused", lambda s: statuses.require_executable(s, ignore_paused=True), {"created", "running", "paused"}),
    ("delete", lambda s: statuses.require_deletable(s, "box"), {"created", "stopped"}),
]


@pytest.mark.parametrize("command, require, allowed", ALLOWED, ids=[row[0] for row in ALLOWED])
@pytest.mark.parametrize("now", STATUSES)
def test_what_a_status_allows(command: str, require: Callable[[str], None], allowed: set[str], now: str) -> None:
    if now in allowed:
        require(now)
        return
    with pytest.raises(WrongStatus) as caught:
        require(now)
    assert caught.value.status == now


@pytest.mark.parametrize(
    "require, now, phrase",
    [
        (statuses.require_startable, "running", "cannot start an already running container"),
        (statuses.require_startable, "stopped", "cannot start a container that has stopped"),
        (statuses.require_signalable, "stopped", "container not running"),
        (statuses.require_executable, "stopped", "container not running"),
        (statuses.require_executable, "stopped", "cannot exec in a stopped container"),
        (statuses.require_executable, "paused", "cannot exec in a paused container (use --ignore-paused to override)"),
        (lambda s: statuses.require_deletable(s, "box"), "running", "cannot delete container box that is not stopped: running"),
        (lambda s: statuses.require_deletable(s, "box"), "paused", "cannot delete container box that is not stopped: paused"),
    ],
)
def test_phrases_that_callers_match(require: Callable[[str], None], now: str, phrase: str) -> None:
    with pytest.raises(WrongStatus) as caught:
        require(now)
    assert phrase in caught.value.message
