"""events: statistics beside runc's, and the OOM killer, told by events, create, exec and run."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyrunc import cgroups
from tests.conftest import Bundle, until
from tests.lifecycle.box import Box, one_line
from tests.lifecycle.limits import HOST, file_of

MIB = 1 << 20
RUNC = shutil.which("runc")
HOG = "echo 1000 >/proc/self/oom_score_adj; head -c 50331648 /dev/zero | tail -n 1"
"""tail keeps the only line, of 48 MiB. While it is dying the kernel may look for another: not for init."""

VOLATILE = ("usage", "swap", "kernel", "raw", "cache")
"""Of memory: what the kernel settles a little later, also for processes that stand still."""


@pytest.fixture
def limited(box: Box) -> Box:
    """With a limit of memory, and no swap where that can be said."""
    box.linux["resources"]["memory"] = {"limit": 16 * MIB, "swap": 16 * MIB}
    return box


class Events:
    """`events` of a container, running beside the test."""

    def __init__(self, box: Box, *words: str) -> None:
        self.path = box.bundle.path / "events"
        with open(self.path, "wb") as out:
            self.process = box.cli.popen("events", *words, box.id, stdout=out, stderr=out)

    def lines(self) -> list[dict[str, Any]]:
        """Those that are complete."""
        return [json.loads(line) for line in self.path.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def count(self, kind: str) -> int:
        return sum(event["type"] == kind for event in self.lines())

    def end(self) -> None:
        """It ends by itself."""
        assert self.process.wait(timeout=60) == 0


@pytest.fixture
def watched(box: Box) -> Iterator[Callable[..., Events]]:
    made: list[Events] = []

    def start(*words: str) -> Events:
        made.append(Events(box, *words))
        return made[-1]

    yield start
    for events in made:
        events.process.kill()
        events.process.wait(timeout=60)


def test_statistics(box: Box) -> None:
    box.linux["resources"].update(memory={"limit": 64 * MIB}, pids={"limit": 20})
    box.create()
    event = json.loads(box.cli("events", "--stats", box.id, check=True).stdout)
    assert list(event) == ["type", "id", "data"] and (event["type"], event["id"]) == ("stats", box.id)
    data = event["data"]
    assert data["memory"]["usage"]["limit"] == 64 * MIB and data["pids"] == {"current": 1, "limit": 20}
    assert data["cpu"]["usage"]["total"] > 0 and 0 < data["memory"]["usage"]["usage"] <= 64 * MIB
    box.down()


def test_intervals_until_the_end(box: Box, watched: Callable[..., Events]) -> None:
    box.up()
    events = watched("--interval", "20ms")
    until(lambda: events.count("stats") >= 3, 60, "no statistics come")
    box.cli("pause", box.id, check=True)
    before = len(events.lines())
    until(lambda: len(events.lines()) > before, 60, "no statistics of a paused container come")
    box.cli("resume", box.id, check=True)
    box.kill("KILL")
    events.end()
    assert {event["type"] for event in events.lines()} == {"stats"}
    box.stopped()
    box.delete()


def test_the_end_is_that_of_the_last_process(box: Box, watched: Callable[..., Events]) -> None:
    box.share("pid")
    box.args("sh", "-c", "setsid sh -c 'while [ ! -e /go ]; do sleep 0.05; done' & exec sleep 1000")
    box.writable().create()
    box.start()
    events = watched("--interval", "20ms")
    until(lambda: events.count("stats") >= 1, 60, "no statistics come")
    os.kill(box.pid, signal.SIGKILL)
    box.stopped()
    seen = events.count("stats")
    until(lambda: events.count("stats") > seen, 60, "it ended before the last process")
    (box.rootfs / "go").touch()
    events.end()
    box.delete()


def test_what_cannot_be_told(box: Box) -> None:
    assert one_line(box.cli("events", "--stats", box.id, check=1)) == "container does not exist"
    box.args("true").create()
    for words, told in (
        (["--interval", "5"], 'invalid value "5" for --interval'),
        (["--interval", "0s"], "duration interval must be greater than 0"),
        (["--interval=-1s"], "duration interval must be greater than 0"),
    ):
        message = one_line(box.cli("events", *words, box.id, check=1))
        assert message.startswith(told)
    box.start()
    box.stopped()
    for words in (["--stats"], []):
        assert one_line(box.cli("events", *words, box.id, check=1)) == f"container with id {box.id} is not running"
    box.delete()


def test_a_reader_that_goes_ends_it(box: Box) -> None:
    box.up()
    process = box.cli.popen("events", "--interval", "20ms", box.id, stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline().startswith('{"type":"stats"')
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    box.down()


@pytest.mark.skipif(RUNC is None, reason="runc is not installed")
def test_the_same_statistics_as_runc(bundle: Callable[..., Bundle], container_id: str, session_dir: Path) -> None:
    """Of one and the same container, runc's, which is paused: nothing in it moves, and what runc tells we tell."""
    made = bundle("sh", "-c", "head -c 3000000 /dev/zero >/dev/null; exec sleep 1000")
    made.config["linux"]["resources"].update(memory={"limit": 64 * MIB}, pids={"limit": 20}, cpu={"quota": 50_000})
    made.write()
    root = session_dir / f"runc-{container_id}"
    call = [str(RUNC), "--root", str(root)]
    quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "timeout": 60}
    try:
        subprocess.run([*call, "run", "-d", "-b", str(made), container_id], check=True, stdout=subprocess.DEVNULL, **quiet)
        subprocess.run([*call, "pause", container_id], check=True, stdout=subprocess.DEVNULL, **quiet)
        recorded = json.loads((root / container_id / "state.json").read_text())["cgroup_paths"]
        manager = cgroups.reopen({"manager": "cgroupfs", "paths": recorded})
        # One more period of the quota is counted when the processes stand still already, at most 100 ms later.
        time.sleep(0.3)
        told = subprocess.run([*call, "events", "--stats", container_id], check=True, stdout=subprocess.PIPE, **quiet).stdout
        ours = manager.stats()
    finally:
        subprocess.run([*call, "delete", "-f", container_id], stdout=subprocess.DEVNULL, **quiet)
    theirs = json.loads(told)["data"]
    # Pressure and, on v2, the peak of memory came with runc 1.2; Debian 12 has 1.1.5.
    for section in ("cpu", "memory", "blkio"):
        if "psi" not in theirs[section]:
            ours[section].pop("psi", None)
    if HOST.version == 2 and "max" not in theirs["memory"]["usage"]:
        ours["memory"]["usage"].pop("max", None)
    assert list(ours) == list(theirs)
    for name, section in theirs.items():
        if name != "memory":
            assert ours[name] == section and keys(ours[name]) == keys(section), name
    assert keys(ours["memory"]) == keys(theirs["memory"])
    for name, value in theirs["memory"].items():
        assert name in VOLATILE or ours["memory"][name] == value
    assert ours["memory"]["usage"]["limit"] == theirs["memory"]["usage"]["limit"] == 64 * MIB


def keys(value: Any) -> Any:
    """The names, in their order, at every depth."""
    if isinstance(value, dict):
        return [(name, keys(member)) for name, member in value.items()]
    return [keys(item) for item in value] if isinstance(value, list) else None


# --- the OOM killer


def test_events_tell_of_a_kill(limited: Box, watched: Callable[..., Events]) -> None:
    limited.up()
    file_of(limited, "memory")
    events = watched("--interval", "20ms")
    # With the first statistics it is listening.
    until(lambda: events.count("stats") >= 1, 60, "no statistics come")
    assert events.count("oom") == 0
    done = limited.exec(limited.id, "sh", "-c", HOG)
    assert done.returncode == 137 or "Killed" in done.stderr, done
    until(lambda: events.count("oom") >= 1, 60, "no oom is told")
    oom = next(event for event in events.lines() if event["type"] == "oom")
    assert oom == {"type": "oom", "id": limited.id} and limited.status == "running"
    limited.kill("KILL")
    events.end()
    limited.stopped()
    limited.delete()


def test_the_kill_of_init_is_told_before_the_end(limited: Box, watched: Callable[..., Events]) -> None:
    limited.args("sh", "-c", "exec tail -n 1 </dev/zero")
    limited.create()
    file_of(limited, "memory")
    events = watched("--interval", "20ms")
    until(lambda: events.count("stats") >= 1, 60, "no statistics come")
    limited.start()
    events.end()
    assert events.count("oom") >= 1
    limited.stopped()
    limited.delete()


def lowest(box: Box, command: str, *flags: str) -> str:
    """What a command says that is killed during setup for its memory: limits are tried from too low to sufficient."""
    told = []
    for limit in range(64, 512, 16):
        box.linux["resources"]["memory"] = {"limit": limit << 10, "swap": limit << 10}
        box.bundle.write()
        done = box.cli(command, "--bundle", box.bundle, *flags, box.id)
        if done.returncode == 0 or done.stderr == "":  # by `run` the program was executed, and killed then
            box.cli("delete", "--force", box.id, check=True)
            break
        told.append(one_line(done))
        assert not box.exists()
    return "\n".join(told)


@pytest.mark.parametrize("command", ["create", "run"])
def test_a_limit_that_is_too_low_for_the_setup(box: Box, command: str) -> None:
    if HOST.version == 2 and "memory" not in Path("/sys/fs/cgroup/cgroup.controllers").read_text():
        pytest.skip("memory cannot be limited here")
    told = lowest(box.args("true"), command)
    assert f"pyrunc {command} failed: unable to start container process: container init was OOM-killed" in told, told


def test_an_exec_that_is_killed_on_its_way_in(limited: Box, tmp_path: Path) -> None:
    """Its memory is full of a file in a tmpfs, which nobody can be killed for; the new process is whom the kernel prefers."""
    limited.up()
    usage = file_of(limited, "memory").with_name("memory.current" if HOST.version == 2 else "memory.usage_in_bytes")
    limited.ex("head -c 9000000 /dev/zero >/dev/shm/file")
    process = {"args": ["true"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "oomScoreAdj": 1000}
    (tmp_path / "process.json").write_text(json.dumps(process))
    # What can be reclaimed is, so that hardly more is in use than what stays; v1's name for that is force_empty.
    squeeze, amount = ("memory.reclaim", "16M") if HOST.version == 2 else ("memory.force_empty", "0")
    with contextlib.suppress(OSError):
        usage.with_name(squeeze).write_text(amount)
    held, told = int(usage.read_text()), []
    for room in range(192, -256, -32):
        limit = held + (room << 10)
        done = limited.cli("update", "--memory", limit, "--memory-swap", limit, limited.id)
        if done.returncode == 0:
            done = limited.exec("--process", tmp_path / "process.json", limited.id)
        told.append(f"{room}: {done.returncode} {done.stderr}")
        if "(possibly OOM-killed)" in done.stderr:
            assert done.returncode == 255 and one_line(done).startswith("exec failed: unable to start container process: ")
            break
    assert "(possibly OOM-killed)" in told[-1], told
    assert limited.status == "running"
    limited.down()
