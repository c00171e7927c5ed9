"""Two commands on one ID at once; commands that are killed at any moment; and what then is left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import cgroups, children, mounts, reap, until
from tests.lifecycle.box import Box, one_line


def finished(commands: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """(exit status, stderr) of each. Only their ends are awaited: a container keeps none of these pipes."""
    found = []
    for command in commands:
        err = command.communicate(timeout=60)[1]
        found.append((command.returncode, err))
    return found


def launch(box: Box, *args: object) -> subprocess.Popen[str]:
    return box.cli.popen(*args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def launch_quietly(box: Box, *args: object) -> subprocess.Popen[str]:
    """For commands that leave a container behind, which holds stderr open."""
    log = box.bundle.path / "err"
    with open(log, "a") as err:
        return box.cli.popen(*args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err)


def test_of_two_creates_one_succeeds(box: Box) -> None:
    box.bundle.write()
    for _ in range(5):
        runs = [launch_quietly(box, "create", "--bundle", box.bundle, box.id) for _ in range(2)]
        assert sorted(run.wait(timeout=60) for run in runs) == [0, 1]
        assert box.status == "created"
        box.down()
    lines = (box.bundle.path / "err").read_text().splitlines()
    assert len(lines) == 5 and all("container with given ID already exists" in line for line in lines)


def test_of_two_starts_one_succeeds(box: Box) -> None:
    box.args("sleep", "1000")
    for _ in range(5):
        box.create()
        runs = finished([launch(box, "start", box.id) for _ in range(2)])
        assert sorted(status for status, _ in runs) == [0, 1]
        assert [err for status, err in runs if status][0].count("cannot start an already running container") == 1
        box.down()


def test_delete_waits_for_create_and_takes_it_away(box: Box) -> None:
    """A forced one, that is: whatever it finds, in the end there is nothing."""
    box.config["hooks"] = {"prestart": [{"path": "/bin/sleep", "args": ["sleep", "0.5"]}]}
    box.bundle.write()
    create = launch_quietly(box, "create", "--bundle", box.bundle, box.id)
    until(box.exists, 60, "create has not begun")
    delete = launch(box, "delete", "--force", box.id)
    assert create.wait(timeout=30) == 0
    while delete.poll() is None:
        reap_orphans({delete.pid})
        time.sleep(0.01)
    assert delete.communicate()[1] == "" and delete.returncode == 0
    assert not box.exists()


def test_state_while_it_is_created(box: Box) -> None:
    goes_on = box.bundle.path / "go on"
    wait = f"while [ ! -e '{goes_on}' ]; do sleep 0.02; done"
    box.config["hooks"] = {"prestart": [{"path": "/bin/sh", "args": ["sh", "-c", wait]}]}
    box.bundle.write()
    create = launch_quietly(box, "create", "--bundle", box.bundle, box.id)
    until(lambda: (box.cli.root / box.id / "state.json").exists(), 60, "create has not begun")
    assert box.status == "creating"
    assert "not running" in one_line(box.cli("kill", box.id, "KILL", check=1))
    assert "still being created" in one_line(box.exec(box.id, "true", check=255))
    goes_on.touch()
    assert create.wait(timeout=30) == 0
    assert box.status == "created"
    box.down()


def reap_orphans(spare: set[int]) -> None:
    """Collect what has ended and is not one of ours."""
    for pid in list(every_child()):
        if pid not in spare:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue


def every_child() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()]


def test_twenty_commands_at_once(box: Box) -> None:
    """Whatever their order, each ends, says one line if it fails, and a forced delete clears all."""
    box.args("sleep", "1000")
    order = random.Random(7)
    words: list[tuple[object, ...]] = [
        ("create", "--bundle", box.bundle, box.id), ("start", box.id), ("state", box.id), ("kill", box.id, "KILL"),
        ("delete", box.id), ("delete", "--force", box.id), ("exec", box.id, "true"), ("list",),
    ]  # fmt: skip
    for _ in range(2):
        chosen = [order.choice(words) for _ in range(18)] + [words[0], words[1]]
        logs = [box.bundle.path / f"err{number}" for number in range(20)]
        runs = []
        for command, log in zip(chosen, logs, strict=True):
            with open(log, "w") as err:
                runs.append(box.cli.popen(*command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err))
        ours = {run.pid for run in runs}
        end = time.monotonic() + 60
        while any(run.poll() is None for run in runs):
            assert time.monotonic() < end, "a command does not end"
            reap_orphans(ours)
            time.sleep(0.01)
        for run, command, log in zip(runs, chosen, logs, strict=True):
            text = log.read_text()
            assert "internal error" not in text and "Traceback" not in text, text
            assert text.count("\n") == (0 if run.returncode == 0 else 1), (command, run.returncode, text)
            assert run.returncode in (0, 1, 255, 137), (command, run.returncode)
        box.down()


def leftovers(box: Box) -> list[str]:
    return [path for path in (*mounts(), *cgroups()) if box.id in path]


def processes(before: set[int]) -> set[int]:
    return set(children(os.getpid())) - before


def gone(before: set[int]) -> bool:
    """Whether no new process is left, once the dead are collected."""
    reap()
    return not processes(before)


def test_a_create_that_is_killed_leaves_nothing_that_a_forced_delete_cannot_remove(box: Box) -> None:
    """SIGKILL after ever longer times, over the whole length of a create, and the half-built child dies with it."""
    box.namespace("cgroup")
    box.bundle.write()
    before = set(children(os.getpid()))
    started = time.monotonic()
    box.create()
    length = time.monotonic() - started
    box.down()
    outcomes = set()
    for step in range(40):
        create = launch_quietly(box, "create", "--bundle", box.bundle, box.id)
        time.sleep(length * 1.2 * step / 40)
        create.kill()
        outcomes.add(create.wait())
        if box.exists():
            status = box.cli("state", box.id)
            assert status.returncode == 0 or "does not exist" in status.stderr
            if '"created"' not in status.stdout:
                until(lambda: gone(before), 60, f"step {step}: a process has stayed")
        box.down()
        until(lambda: gone(before), 60, f"step {step}: a process has stayed after delete")
        assert leftovers(box) == [], f"step {step}"
    assert -signal.SIGKILL in outcomes
    assert (box.bundle.path / "err").read_text() == ""


POINTS = ("prestart", "createRuntime", "createContainer")


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("user", [False, True], ids=["", "userns"])
def test_the_child_dies_with_the_runtime(box: Box, point: str, user: bool) -> None:
    """PDEATHSIG, at points where the child waits: also after a change of user has cleared it once."""
    if user:
        box.map_ids()
    (box.rootfs / "hooks").mkdir()
    (box.rootfs / "hooks").chmod(0o777)
    where = "hooks" if point == "createContainer" else box.rootfs / "hooks"
    box.config["hooks"] = {point: [{"path": "/bin/sh", "args": ["sh", "-c", f"cat >{where}/begun; exec sleep 1000"]}]}
    box.bundle.write()
    before = set(children(os.getpid()))
    create = launch_quietly(box, "create", "--bundle", box.bundle, box.id)
    begun = box.rootfs / "hooks/begun"
    until(lambda: begun.exists() and begun.stat().st_size > 0, 60, "the hook has not begun")
    create.kill()
    create.wait()
    if point != "createContainer":
        # A hook of the host's is nobody's to kill but its own: it goes on, as it does under other runtimes.
        for pid in processes(before):
            if Path(f"/proc/{pid}/comm").read_text() == "sleep\n":
                os.kill(pid, signal.SIGKILL)
    until(lambda: gone(before), 60, "the half-made container lives on")
    assert box.status == "stopped"
    box.down()
    assert leftovers(box) == []


FAILURES: dict[str, Callable[[Box], None]] = {
    "cgroup": lambda box: box.linux["resources"].update(cpu={"cpus": "4000"}),
    "namespace": lambda box: box.namespace("network", "/proc/self/ns/uts"),
    "mount": lambda box: box.mount("/x", "tmpfs", "nr_inodes=x"),
    "device": lambda box: box.linux.update(devices=[{"type": "c", "path": "/etc/passwd", "major": 1, "minor": 3}]),
    "hook": lambda box: box.config.update(hooks={"createRuntime": [{"path": "/bin/false"}]}),
    "container-hook": lambda box: box.config.update(hooks={"createContainer": [{"path": "/bin/false"}]}),
    "cwd": lambda box: box.process.update(cwd="/etc/passwd/x"),
    "sysctl": lambda box: box.linux.update(sysctl={"net.ipv4.ip_forward": "x"}),
    "rlimit": lambda box: box.process.update(rlimits=[{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2**40}]),
    "program": lambda box: box.process.update(args=["/nothing"]),
}


@pytest.mark.parametrize("stage", FAILURES)
def test_a_create_that_fails_leaves_nothing(box: Box, stage: str) -> None:
    before = set(children(os.getpid()))
    FAILURES[stage](box.writable())
    for command in ("create", "run"):
        box.refused(command=command)
        assert not box.exists() and processes(before) == set() and leftovers(box) == []
    box.delete("--force")  # as podman does after every failed create


@pytest.mark.parametrize("flag", ["--pid-file", "--pidfd-socket"])
def test_a_failure_at_the_very_end_leaves_nothing(box: Box, flag: str) -> None:
    """When the process is there already and waits for `start`."""
    before = set(children(os.getpid()))
    for command in ("create", "run"):
        box.args("sleep", "1000")
        box.refused(flag, "/no/such/place", command=command)
        assert not box.exists() and processes(before) == set() and leftovers(box) == []


def test_a_run_that_is_killed_leaves_its_container_to_others(box: Box) -> None:
    box.args("sh", "-c", "echo ready; sleep 1000")
    run = box.cli.popen("run", "--bundle", box.bundle, box.id, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert run.stdout is not None and run.stdout.readline() == "ready\n"
    run.kill()
    run.wait()
    run.stdout.close()
    assert box.status == "running"
    box.down()


def test_a_created_container_outlives_its_creator(box: Box) -> None:
    """The runtime is gone when its caller hears of it: the child must have let go of it by then, also on a busy machine."""
    box.bundle.write()
    for _ in range(6):
        pid = box.create()
        assert Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"pyrunc-init\0") and box.status == "created"
        box.down()


def test_a_pid_that_is_somebody_elses_by_now_is_not_touched(box: Box) -> None:
    """Rule 9: the record's pid with another start time is another process."""
    pid = box.create()
    box.kill()
    os.waitpid(pid, 0)
    victim = subprocess.Popen(["sleep", "1000"])
    path = box.cli.root / box.id / "state.json"
    text = path.read_text()
    path.write_text(text.replace(f'"init_process_pid":{pid}', f'"init_process_pid":{victim.pid}').replace(
        f'"init_process_pid": {pid}', f'"init_process_pid": {victim.pid}'))
    assert str(victim.pid) in path.read_text()
    assert box.status == "stopped"
    assert "container not running" in one_line(box.cli("kill", box.id, "KILL", check=1))
    box.down()
    assert victim.poll() is None
    victim.kill()
    victim.wait()


@pytest.mark.parametrize("damage", [b"", b"{", b"null", b'{"id": "other"}', bytes(range(100, 200))])
def test_a_damaged_record_can_be_deleted_by_force(box: Box, damage: bytes) -> None:
    box.create()
    box.kill()
    box.stopped()
    path = box.cli.root / box.id / "state.json"
    good = path.read_bytes()
    path.write_bytes(damage)
    one_line(box.cli("state", box.id, check=1))
    one_line(box.cli("delete", box.id, check=1))
    path.write_bytes(good)
    box.down()
