"""pause, resume and ps, on whatever cgroups the machine has."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import until
from tests.lifecycle.box import Box, one_line

CHURN = "for i in 1 2 3 4; do (while :; do (true); done) & done; wait"
"""Four loops that fork without end; one that is refused a fork ends, until the rest fits into the limit."""


def pids(box: Box) -> list[int]:
    found: list[int] = json.loads(box.cli("ps", "--format", "json", box.id, check=True).stdout) or []
    return found


def ticks(pid: int) -> list[str]:
    """User and system time of a process: proc_pid_stat(5), fields 14 and 15."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]


def test_pause_and_resume(box: Box) -> None:
    box.up()
    for command, status, again in (
        ("pause", "paused", "cannot pause a container that is paused: container not running"),
        ("resume", "running", "container not paused"),
    ):
        done = box.cli(command, box.id, check=True)
        assert (done.stdout, done.stderr) == ("", "") and box.status == status
        assert one_line(box.cli(command, box.id, check=1)) == again
    box.down()


def test_a_created_container_can_be_paused(box: Box) -> None:
    box.create()
    box.cli("pause", box.id, check=True)
    assert box.status == "paused"
    assert one_line(box.cli("start", box.id, check=1)) == "cannot start a container that is paused"
    box.cli("resume", box.id, check=True)
    assert box.status == "created"
    box.down()


def test_what_has_stopped_or_never_was(box: Box) -> None:
    box.args("true").create()
    box.start()
    box.stopped()
    assert one_line(box.cli("pause", box.id, check=1)) == "container not running"
    assert one_line(box.cli("resume", box.id, check=1)) == "container not paused"
    assert pids(box) == []
    box.delete()
    for command in ("pause", "resume", "ps"):
        assert one_line(box.cli(command, box.id, check=1)) == "container does not exist"


def test_a_paused_container_and_the_other_commands(box: Box) -> None:
    box.up()
    box.cli("pause", box.id, check=True)
    refused = one_line(box.exec(box.id, "true", check=255))
    assert refused == "exec failed: cannot exec in a paused container (use --ignore-paused to override)"
    assert one_line(box.cli("delete", box.id, check=1)) == f"cannot delete container {box.id} that is not stopped: paused"
    waiting = box.cli.popen("exec", "--ignore-paused", box.id, "true")
    box.kill("TERM")  # which waits for the resume, as the process does
    assert box.status == "paused"
    box.cli("resume", box.id, check=True)
    box.stopped()
    # It came in before the end, or was taken by it.
    assert waiting.wait(timeout=60) in (0, 137, 255)
    box.delete()


@pytest.mark.parametrize("command", [("kill",), ("delete", "--force")])
def test_sigkill_reaches_a_paused_container(box: Box, command: tuple[str, ...]) -> None:
    box.up()
    box.cli("pause", box.id, check=True)
    if command == ("kill",):
        box.kill("KILL")
        box.stopped()
    box.down()


def test_a_fork_bomb_stands_still(box: Box) -> None:
    box.linux["resources"]["pids"] = {"limit": 9}
    box.up()
    box.cli("exec", "--detach", box.id, "sh", "-c", f"exec 2>/dev/null; {CHURN}", check=True)
    until(lambda: len(pids(box)) > 4, 60, "the bomb does not go off")
    for _ in range(2):
        box.cli("pause", box.id, check=True)
        found = pids(box)
        times = {pid: ticks(pid) for pid in found}
        assert found and pids(box) == found and {pid: ticks(pid) for pid in found} == times
        box.cli("resume", box.id, check=True)
        assert box.status == "running"
    box.down()


def test_ps_knows_every_process(box: Box, boxes: Callable[[], Box]) -> None:
    pid = box.up()
    other = boxes()
    stranger = other.up()
    box.cli("exec", "--detach", box.id, "sleep", "1000", check=True)
    until(lambda: len(pids(box)) == 3, 30, "init, its sleep and the one of exec are not there")
    assert pid in pids(box) and stranger not in pids(box)
    if shutil.which("ps"):
        rows = box.cli("ps", box.id, check=True).stdout.splitlines()
        assert rows[0].split()[:3] == ["UID", "PID", "PPID"] and {int(row.split()[1]) for row in rows[1:]} == set(pids(box))
        rows = box.cli("ps", box.id, "-A", "-o", "pid,args", check=True).stdout.splitlines()
        assert rows[0].split() == ["PID", "COMMAND"] and sum("sleep 1000" in row for row in rows) == 1 and len(rows) == 4
        assert one_line(box.cli("ps", box.id, "-A", "-o", "args", check=1)) == "ps shows no column PID"
        assert one_line(box.cli("ps", box.id, "--nonsense", check=1)).startswith("ps ended with status 1: ")
    other.down()
    box.down()


def test_kill_all_is_for_what_has_stopped(box: Box) -> None:
    box.args("true").create()
    box.start()
    box.stopped()
    assert one_line(box.cli("kill", box.id, "TERM", check=1)) == "container not running"
    box.cli("kill", "--all", box.id, "TERM", check=True)
    box.delete()


def test_what_outlives_its_init_without_a_pid_namespace(box: Box) -> None:
    box.share("pid")
    box.args("sh", "-c", "setsid sleep 1000 & exec sleep 1000")
    pid = box.create()
    box.start()
    until(lambda: len(pids(box)) == 2, 30, "the second process is not there")
    box.kill("KILL")
    box.stopped()
    until(lambda: not pids(box), 30, "the second process has outlived SIGKILL for the first")
    assert not Path(f"/proc/{pid}/root/bin").exists()
    box.delete()
