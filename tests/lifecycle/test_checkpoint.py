"""Checkpoint and restore by a real CRIU, where that works: in the machine of conformance/vm, for one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import until
from tests.lifecycle.box import Box, one_line
from tests.lifecycle.sockets import Receiver, Terminal

SECONDS = 60
"""For what takes CRIU a moment here and half a minute on an emulated processor."""

QUIET: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
"""What a container has for its stdio must be something that there is again when it is restored."""

COUNTER = "trap 'exit 7' TERM; i=0; while :; do i=$((i+1)); echo $i >/count.new; mv /count.new /count; sleep 0.02; done"


@cache
def impossible() -> str:
    """Why CRIU cannot do it on this machine, tried on a process of its own; empty if it can."""
    criu = shutil.which("criu")
    if not criu:
        return "criu is not installed"
    done = subprocess.run([criu, "check"], capture_output=True, text=True, timeout=120)
    if done.returncode:
        return f"criu check: {done.stderr.strip().splitlines()[-1:]}"
    with tempfile.TemporaryDirectory() as images:
        sleeper = subprocess.Popen(["setsid", "sleep", "600"], **QUIET)
        try:
            dump = [criu, "dump", "--tree", str(sleeper.pid), "--images-dir", images, "--leave-running"]
            done = subprocess.run(dump, capture_output=True, text=True, timeout=120)
        finally:
            sleeper.kill()
            sleeper.wait()
    return f"criu cannot dump a process on this kernel: {done.stderr.strip().splitlines()[-1:]}" if done.returncode else ""


@pytest.fixture(autouse=True)
def _criu() -> None:
    if why := impossible():
        pytest.skip(why)


@pytest.fixture
def images(session_dir: Path, container_id: str) -> Iterator[Path]:
    path = session_dir / f"images-{container_id}"
    yield path
    shutil.rmtree(path, ignore_errors=True)


class Counting:
    """A container that counts in a file of its root, saved and made again."""

    def __init__(self, box: Box, images: Path) -> None:
        self.box = box.writable()
        self.images = images
        box.args("sh", "-c", COUNTER)

    @property
    def count(self) -> int:
        try:
            return int((self.box.rootfs / "count").read_text() or 0)
        except FileNotFoundError:
            return 0

    def up(self) -> None:
        self.box.bundle.write()
        self.box.cli("create", "--bundle", self.box.bundle, self.box.id, check=True, **QUIET)
        self.box.start()
        self.counts()

    def counts(self) -> None:
        before = self.count
        until(lambda: self.count > before + 2, SECONDS, "it does not count")

    def checkpoint(self, *flags: object) -> None:
        done = self.box.cli("checkpoint", "--image-path", self.images, *flags, self.box.id, check=True, timeout=180)
        assert (done.stdout, done.stderr) == ("", "")

    def restore(self, *flags: object) -> None:
        self.box.cli(
            "restore", "--image-path", self.images, "--bundle", self.box.bundle, "--detach", *flags, self.box.id,
            check=True, timeout=180, **QUIET,
        )  # fmt: skip


@pytest.fixture
def counting(box: Box, images: Path) -> Counting:
    return Counting(box, images)


def test_a_counter_goes_on_counting(counting: Counting) -> None:
    box = counting.box
    counting.up()
    counting.checkpoint()
    assert not box.exists()
    stood = counting.count
    time.sleep(0.2)
    assert counting.count == stood > 0
    assert json.loads((counting.images / "descriptors.json").read_text()) == ["/dev/null"] * 3
    counting.restore("--pid-file", counting.images / "pid")
    counting.counts()
    assert counting.count > stood
    # From here on it is a container like any other.
    state = box.state
    assert state["status"] == "running" and str(state["pid"]) == (counting.images / "pid").read_text()
    assert box.ex("cat /proc/1/comm; hostname").split() == ["sh", box.config["hostname"]]
    box.kill("TERM")
    box.stopped()
    box.delete()
    assert not box.exists()


def test_twice_with_limits(counting: Counting) -> None:
    box = counting.box
    box.linux["resources"] = {**box.linux.get("resources", {}), "pids": {"limit": 30}, "memory": {"limit": 64 << 20}}
    counting.up()
    for _ in range(2):
        counting.checkpoint()
        counting.restore()
        counting.counts()
    where = f"/proc/{box.pid}/cgroup"
    assert box.id in Path(where).read_text()
    box.down()


def test_leave_running(counting: Counting) -> None:
    counting.up()
    pid = counting.box.pid
    counting.checkpoint("--leave-running")
    counting.counts()
    assert counting.box.pid == pid and counting.box.status == "running"
    counting.box.down()
    counting.restore()
    counting.counts()
    counting.box.down()


def test_a_pre_dump_and_the_rest(counting: Counting, images: Path) -> None:
    first = Counting(counting.box, images / "first")
    counting.images = images / "second"
    counting.up()
    first.checkpoint("--pre-dump")
    counting.counts()
    counting.checkpoint("--parent-path", "../first")
    assert os.readlink(images / "second/parent") == "../first"
    counting.restore()
    counting.counts()
    counting.box.down()


def test_a_paused_one(counting: Counting) -> None:
    counting.up()
    counting.box.cli("pause", counting.box.id, check=True)
    counting.checkpoint()
    counting.restore()
    counting.counts()
    counting.box.down()


@pytest.fixture
def receivers(session_dir: Path, container_id: str) -> Iterator[Callable[[], Receiver]]:
    made: list[Receiver] = []

    def make() -> Receiver:
        made.append(Receiver(session_dir / f"console-{container_id}-{len(made)}"))
        return made[-1]

    yield make
    for receiver in made:
        receiver.close()


def numbers(terminal: Terminal, after: int) -> int:
    """Read a number greater than `after`, the numbers before it being in order; the last one."""
    end = time.monotonic() + SECONDS
    last = after
    while last <= after + 2:
        assert time.monotonic() < end, f"no number after {after}"
        found = int(terminal.expect(b"\n", SECONDS).split()[-1])
        assert found > last
        last = found
    return last


def test_with_a_terminal(box: Box, images: Path, receivers: Callable[[], Receiver]) -> None:
    box.process["terminal"] = True
    script = "stty -echo; i=0; while :; do i=$((i+1)); echo $i; read -t 1 line && echo 1000000$line; sleep 0.02; done"
    box.args("sh", "-c", script)
    receiver = receivers()
    box.cli("create", "--bundle", box.bundle, "--console-socket", receiver.path, box.id, check=True, **QUIET)
    terminal = Terminal(receiver.receive()[1])
    box.start()
    last = numbers(terminal, 0)
    box.cli("checkpoint", "--image-path", images, box.id, check=True, timeout=180)
    os.close(terminal.fd)
    receiver = receivers()
    box.cli(
        "restore", "--image-path", images, "--bundle", box.bundle, "--detach", "--console-socket", receiver.path, box.id,
        check=True, timeout=180, **QUIET,
    )  # fmt: skip
    terminal = Terminal(receiver.receive()[1])
    numbers(terminal, last)
    terminal.send(b"23\n")
    terminal.expect(b"100000023\n", SECONDS)
    assert box.ex("readlink /proc/1/fd/0") == "/dev/pts/0\n"
    box.down()
    os.close(terminal.fd)


def test_in_the_foreground(counting: Counting) -> None:
    box = counting.box
    counting.up()
    counting.checkpoint()
    process = box.cli.popen("restore", "--image-path", counting.images, "--bundle", box.bundle, box.id, **QUIET)
    box.runs(SECONDS)
    counting.counts()
    process.terminate()
    assert process.wait(SECONDS) == 7
    assert not box.exists()


def test_hooks(counting: Counting, tmp_path: Path) -> None:
    box = counting.box
    counting.up()
    counting.checkpoint()
    log = box.bundle.path / "log"
    script = 'read state; echo "$0 $(echo "$state" | grep -o \'"status":"[a-z]*"\')" >>' + str(log)
    names = ("prestart", "createRuntime", "poststart", "poststop")
    box.config["hooks"] = {name: [{"path": "/bin/sh", "args": ["sh", "-c", script, name]}] for name in names}
    box.bundle.write()
    counting.restore()
    counting.counts()
    box.down()
    assert log.read_text().split("\n") == [
        'prestart "status":"creating"',
        'createRuntime "status":"creating"',
        'poststart "status":"running"',
        'poststop "status":"stopped"',
        "",
    ]


def test_a_hook_that_fails(counting: Counting) -> None:
    box = counting.box
    counting.up()
    counting.checkpoint()
    box.config["hooks"] = {"createRuntime": [{"path": "/bin/false"}]}
    box.bundle.write()
    done = box.cli("restore", "--image-path", counting.images, "--bundle", box.bundle, "-d", box.id, timeout=180)
    assert one_line(done).startswith("pyrunc restore failed: error running createRuntime hook #0: /bin/false: exit status 1")
    assert not box.exists()


def test_bind_mounts_and_a_tmpfs(counting: Counting, session_dir: Path) -> None:
    box = counting.box
    outside = box.bundle.path / "outside"
    outside.mkdir()
    (outside / "file").write_text("outside\n")
    box.mount("/mnt/dir", "bind", "rbind", source=outside)
    box.mount("/mnt/link/file", "bind", "bind", "ro", source=outside / "file")
    box.mount("/memory", "tmpfs", source="tmpfs")
    (box.rootfs / "mnt").mkdir()
    (box.rootfs / "mnt/link").symlink_to("/var")
    counting.up()
    box.ex("echo kept >/memory/file")
    counting.checkpoint()
    for name in ("mnt/dir", "memory"):
        (box.rootfs / name).rmdir()
    counting.restore()
    counting.counts()
    assert box.ex("cat /mnt/dir/file /mnt/link/file /memory/file").split() == ["outside", "outside", "kept"]
    box.down()


def test_what_cannot_be_saved_is_told_by_the_end_of_the_log(counting: Counting) -> None:
    """Its output is a file of the host, which the container's mounts do not have."""
    box = counting.box
    box.create()
    box.start()
    counting.counts()
    done = box.cli("checkpoint", "--image-path", counting.images, box.id, timeout=180)
    message = one_line(done)
    assert message.startswith("criu failed") and f"({counting.images}/dump.log)" in message
    assert "Can't lookup mount" in message or "Can't open" in message or "Error" in message, message
    counting.counts()
    assert box.status == "running"
    box.down()


def test_refusals(box: Box, images: Path) -> None:
    box.args("sleep", "60")
    box.create()
    message = one_line(box.cli("checkpoint", "--image-path", images, box.id, check=1))
    assert message == "container cannot be checkpointed in created state"
    box.down()
    message = one_line(box.cli("checkpoint", "--image-path", images, box.id, check=1))
    assert message == "container does not exist"
    assert not images.exists()
    message = box.refused("--image-path", images, command="restore")
    assert message == f"pyrunc restore failed: open {images}: no such file or directory"
    images.mkdir()
    message = box.refused("--image-path", images, command="restore")
    assert message == f"pyrunc restore failed: read {images}/descriptors.json: no such file or directory"
    (images / "descriptors.json").write_text('["/dev/null", "/dev/null", "/dev/null"]')
    message = box.refused("--image-path", images, "--detach", command="restore", timeout=180)
    assert message.startswith("pyrunc restore failed: criu failed") and "restore.log" in message
    assert not box.exists()


def test_by_podman(box: Box, pyrunc: Path) -> None:
    """Its probe, and a container that it saves and makes again, exported and imported too."""
    if not shutil.which("podman"):
        pytest.skip("podman is not installed")
    place = Path(tempfile.mkdtemp(prefix="pyrunc-"))  # podman takes no long paths
    options = ["--root", place / "root", "--runroot", place / "run", "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]
    argv = ["podman", *options, "--events-backend", "none", "--runtime", pyrunc]

    def podman(*words: object, check: bool = True) -> str:
        done = subprocess.run([*map(str, argv), *map(str, words)], capture_output=True, text=True, timeout=300)
        assert not check or done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def count() -> int:
        return int((podman("exec", box.id, "cat", "/count", check=False) or "0").strip() or 0)

    def counts(after: int) -> int:
        until(lambda: count() > after, SECONDS, f"it does not count beyond {after}")
        return count()

    archive = place / "image.tar"
    try:
        subprocess.run(["tar", "-C", box.rootfs, "-cf", archive, "."], check=True)
        podman("import", archive, "counter")
        podman("run", "-d", "--name", box.id, "--network", "none", "counter", "sh", "-c", COUNTER)
        last = counts(2)
        podman("container", "checkpoint", box.id)
        assert podman("ps", "-q") == ""
        podman("container", "restore", box.id)
        last = counts(last)
        podman("container", "checkpoint", "--leave-running", box.id)
        last = counts(last)
        podman("container", "checkpoint", "--export", place / "saved.tar", box.id)
        podman("rm", "-f", box.id)
        podman("container", "restore", "--import", place / "saved.tar")
        counts(last)
    finally:
        podman("rm", "-f", "-t", "0", box.id, check=False)
        podman("system", "reset", "--force", check=False)
        shutil.rmtree(place, ignore_errors=True)
