"""sd_notify(3): what a service manager hears of a container, and when."""

from __future__ import annotations

import array
import os
import re
import select
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import until
from tests.lifecycle.box import Box, mountinfo, one_line

SLEEP = "trap 'exit 0' TERM; while :; do sleep 60 & wait; done"


class Manager:
    """The service manager's end: $NOTIFY_SOCKET."""

    def __init__(self, address: str, variable: str) -> None:
        self.environment = {**os.environ, "NOTIFY_SOCKET": variable}
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(30)

    def hear(self) -> tuple[bytes, list[int]]:
        """The next message and its descriptors."""
        data, controls, _, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(4 * 8))
        fds = array.array("i")
        for _, _, content in controls:
            fds.frombytes(content)
        return data, list(fds)

    def silent(self) -> bool:
        return not select.select([self.socket], [], [], 0)[0]


@pytest.fixture(params=["path", "long path", "abstract"])
def manager(box: Box, session_dir: Path, request: pytest.FixtureRequest) -> Iterator[Manager]:
    if request.param == "abstract":
        found = Manager(f"\0{box.id}", f"@{box.id}")
    elif request.param == "path":
        found = Manager(path := str(session_dir / f"{box.id}.notify"), path)
    else:
        directory = session_dir / ("n" * 100)
        directory.mkdir(exist_ok=True)
        fd = os.open(directory, os.O_PATH)
        found = Manager(f"/proc/self/fd/{fd}/{box.id}", str(directory / box.id))
        os.close(fd)
    yield found
    found.socket.close()


def say(box: Box, *messages: bytes) -> None:
    """As a program of the container would, on what it sees below /run."""
    path = f"/proc/{box.pid}/root/run/notify/notify.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as program:
        until(lambda: program.connect_ex(path) == 0, 30, "nobody listens to the container")  # one that was left does not
        for message in messages:
            program.send(message)


class Command:
    """A command on its way. Its stderr is a file, as the container's process has it too."""

    def __init__(self, box: Box, environment: dict[str, str], *words: object) -> None:
        self.errors = tempfile.TemporaryFile("w+")
        devnull = subprocess.DEVNULL
        self.process = box.cli.popen(*words, env=environment, stdin=devnull, stdout=devnull, stderr=self.errors)

    def waits(self) -> bool:
        return self.process.poll() is None

    def succeeds(self) -> None:
        """It ends, with 0 and without a word."""
        assert self.process.wait(timeout=30) == 0
        self.errors.seek(0)
        assert self.errors.read() == ""
        self.errors.close()


def begin(box: Box, manager: Manager, command: str) -> Command:
    """The command that must wait for the container's READY, on its way."""
    box.args("sh", "-c", SLEEP)
    if command == "start":
        box.create(env=manager.environment)
        words: tuple[object, ...] = ("start", box.id)
    else:
        words = ("run", *(["--detach"] if command == "run --detach" else []), "--bundle", box.bundle, box.id)
    process = Command(box, manager.environment, *words)
    box.runs()
    return process


@pytest.mark.parametrize("command", ["start", "run --detach"])
def test_a_command_waits_until_the_container_is_ready(box: Box, manager: Manager, command: str) -> None:
    process = begin(box, manager, command)
    say(box, b"STATUS=nearly", b"MAINPID=1", b"NOTREADY=1\nALREADY=1")
    assert process.waits() and manager.silent()
    say(box, b"STATUS=now\nREADY=1\nMAINPID=1")
    assert manager.hear() == (b"READY=1", [])
    assert manager.hear() == (b"MAINPID=%d" % box.pid, [])
    message, (barrier,) = manager.hear()
    assert message == b"BARRIER=1" and process.waits()
    os.close(barrier)
    process.succeeds()
    assert manager.silent()
    box.down()


def test_run_in_the_foreground_is_itself_the_service(box: Box, manager: Manager) -> None:
    process = begin(box, manager, "run")
    say(box, b"READY=1")
    assert manager.hear() == (b"READY=1", [])
    assert manager.hear() == (b"MAINPID=%d" % process.process.pid, [])
    box.kill("TERM")
    process.succeeds()
    assert manager.silent() and not box.exists()


@pytest.fixture
def simple(box: Box, session_dir: Path) -> Iterator[Manager]:
    path = str(session_dir / f"{box.id}.notify")
    found = Manager(path, path)
    yield found
    found.socket.close()


@pytest.mark.parametrize("command", ["start", "run --detach"])
def test_a_container_that_ends_is_not_waited_for(box: Box, simple: Manager, command: str) -> None:
    process = begin(box, simple, command)
    assert process.waits()
    box.kill()
    process.succeeds()
    assert simple.silent()
    box.down()


def test_a_container_that_never_says_it_can_be_deleted(box: Box, simple: Manager) -> None:
    process = begin(box, simple, "start")
    box.down()
    process.succeeds()


def test_what_the_program_sees(box: Box, simple: Manager) -> None:
    """The last of the variables counts, the mount is as closed as it can be, and any user may write to the socket."""
    box.process["env"].append("NOTIFY_SOCKET=/the/config's/own")
    box.process["user"] = {"uid": 1000, "gid": 1000}
    box.args("sh", "-c", "echo $NOTIFY_SOCKET; ls -ld /run/notify/notify.sock | cut -c-10; cat /proc/self/mountinfo")
    name, mode, *mounts = box.cli("run", "--bundle", box.bundle, box.id, check=True, env=simple.environment).stdout.splitlines()
    assert (name, mode) == ("/run/notify/notify.sock", "srwxrwxrwx")
    mount = mountinfo("\n".join(mounts))["/run/notify"]
    assert {"ro", "nosuid", "nodev", "noexec"} <= mount["options"] and mount["root"].endswith(f"/{box.id}/notify")


def test_in_a_user_namespace(box: Box, simple: Manager) -> None:
    """Its root may not pass through --root: the directory is opened for it before."""
    box.map_ids()
    (box.rootfs / "run/notify").mkdir()
    process = begin(box, simple, "start")
    say(box, b"READY=1")
    assert simple.hear()[0] == b"READY=1" and simple.hear()[0] == b"MAINPID=%d" % box.pid
    os.close(simple.hear()[1][0])
    process.succeeds()
    box.down()


def test_only_a_container_that_was_told_is_waited_for(box: Box, simple: Manager) -> None:
    box.args("sh", "-c", SLEEP)
    box.create()
    box.start(env=simple.environment)
    assert not (box.cli.root / box.id / "notify").exists()
    box.down()
    box.create(env=simple.environment)
    box.start()
    assert box.status == "running" and simple.silent()
    box.down()


def test_without_a_mount_namespace_there_is_no_socket(box: Box, simple: Manager) -> None:
    box.share("mount")
    box.config["mounts"] = []
    box.linux.update(maskedPaths=[], readonlyPaths=[])
    box.config["root"]["readonly"] = False
    assert box.sh("echo .$NOTIFY_SOCKET.", env=simple.environment) == "..\n"


@pytest.mark.parametrize("variable", ["/no/such/socket", "/no/such/directory/" + "x" * 200, "@nobody listens"])
def test_a_manager_that_is_not_there_does_not_spoil_the_container(box: Box, variable: str, tmp_path: Path) -> None:
    """The container runs, so the command has succeeded; the log tells."""
    environment = {**os.environ, "NOTIFY_SOCKET": variable}
    box.args("sh", "-c", SLEEP)
    box.create(env=environment)
    log = tmp_path / "log"
    process = Command(box, environment, "--log", log, "--log-level", "warning", "start", box.id)
    say(box, b"READY=1")
    process.succeeds()
    assert "level=warning" in log.read_text() and variable in log.read_text()
    box.down()


def test_a_start_that_was_killed_before_it_started_can_be_repeated(box: Box, simple: Manager) -> None:
    box.args("sh", "-c", SLEEP)
    box.create(env=simple.environment)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as left:
        left.bind(str(box.cli.root / box.id / "notify/notify.sock"))
    process = Command(box, simple.environment, "start", box.id)
    say(box, b"READY=1")
    assert simple.hear()[0] == b"READY=1" and simple.hear()[0].startswith(b"MAINPID=")
    os.close(simple.hear()[1][0])
    process.succeeds()
    box.down()


def test_a_root_in_which_the_containers_root_can_make_nothing(box: Box, simple: Manager) -> None:
    box.map_ids()
    box.bundle.write()
    assert not (box.rootfs / "run/notify").exists()
    done = box.cli("create", "--bundle", box.bundle, box.id, check=1, env=simple.environment)
    assert re.search(r"mounts\[\d+\] \(/run/notify\): create directory \S+: permission denied$", one_line(done))
    assert 'hint="NOTIFY_SOCKET is set' in done.stderr and not box.exists()
