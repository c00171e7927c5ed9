"""Mounts of a container without a mount namespace: they are made on the host, and not one of them stays there."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import mounts
from tests.lifecycle.box import Box
from tests.lifecycle.sockets import Receiver, Terminal


@pytest.fixture
def shared(box: Box) -> Box:
    """With the mounts of the default config, without what needs a mount namespace."""
    box.writable().share("mount")
    for name in ("maskedPaths", "readonlyPaths"):
        box.linux.pop(name, None)
    return box


@pytest.fixture
def tmpfs() -> Iterator[Callable[[Path], Path]]:
    """Mounts one on a new directory of the host's."""
    made: list[Path] = []

    def mount(path: Path) -> Path:
        path.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", path], check=True)
        made.append(path)
        return path

    yield mount
    for path in reversed(made):
        subprocess.run(["umount", path], check=True)


def below(directory: Path) -> list[str]:
    """What is mounted there now, by its path in it."""
    return sorted(point[len(str(directory)) :] for point in mounts() if point.startswith(f"{directory}/"))


def destinations(box: Box) -> set[str]:
    return {mount["destination"] for mount in box.config["mounts"]}


def test_a_run(shared: Box) -> None:
    inside = shared.lines(
        "stat -f -c %T /proc /dev /sys; stat -c '%F %t:%T' /dev/null; readlink /dev/fd; readlink /dev/ptmx; echo $$"
    )
    assert inside == ["proc", "tmpfs", "sysfs", "character special file 1:3", "/proc/self/fd", "pts/ptmx", "1"]
    assert below(shared.bundle.path) == []


def test_the_life_of_one(shared: Box) -> None:
    shared.up()
    assert {f"/rootfs{path}" for path in destinations(shared)} <= set(below(shared.bundle.path))
    assert shared.ex("cd /proc/1 && cat comm; ls -A /dev/shm; test -c /dev/null && echo null") == "sh\nnull\n"
    shared.kill()
    shared.stopped()
    shared.delete()
    assert below(shared.bundle.path) == []


def test_a_container_that_was_only_created(shared: Box) -> None:
    shared.args("true")
    shared.create()
    assert below(shared.bundle.path)
    shared.down()
    assert below(shared.bundle.path) == []


def test_a_name_that_mountinfo_escapes(shared: Box) -> None:
    shared.mount("/a b\\c\nd/é", "tmpfs")
    shared.up()
    assert os.path.ismount(shared.rootfs / "a b\\c\nd/é")
    shared.down()
    assert not os.path.ismount(shared.rootfs / "a b\\c\nd/é") and below(shared.bundle.path) == []


def test_a_create_that_fails_between_its_mounts(shared: Box) -> None:
    shared.mount("/late", "bind", "bind", source="/nowhere")
    assert "mounts[" in shared.refused()
    assert below(shared.bundle.path) == []


def test_a_hook_that_fails_after_them(shared: Box, session_dir: Path) -> None:
    seen = session_dir / f"{shared.id}.seen"
    script = f"cat /proc/self/mountinfo > {seen}; exit 1"
    shared.config["hooks"] = {"createContainer": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}
    assert "createContainer hook #0" in shared.refused()
    assert f"{shared.rootfs}/dev/pts " in seen.read_text()
    assert below(shared.bundle.path) == []


def test_a_runtime_that_is_killed_while_it_creates(shared: Box) -> None:
    shared.config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "kill -KILL $PPID"]}]}
    shared.bundle.write()
    done = shared.cli("create", "--bundle", shared.bundle, shared.id, check=-signal.SIGKILL)
    assert done.stderr == "" and below(shared.bundle.path)
    shared.down()
    assert below(shared.bundle.path) == []


def test_what_was_mounted_before_stays(shared: Box, tmpfs: Callable[[Path], Path]) -> None:
    """containerd's shim mounts the root file system itself; and the container mounts on top of what is there."""
    busybox = (shared.rootfs / "bin/busybox").read_bytes()
    root = tmpfs(shared.rootfs)
    (root / "bin").mkdir()
    (root / "bin/busybox").write_bytes(busybox)
    (root / "bin/busybox").chmod(0o755)
    (root / "bin/sh").symlink_to("busybox")
    (tmpfs(root / "own") / "file").touch()
    tmpfs(root / "dev")
    before = mounts()
    shared.mount("/own", "tmpfs")
    assert shared.sh("echo /own/*") == "/own/*\n"
    assert mounts() == before and (root / "own/file").exists()


def test_what_the_container_mounts_goes_too(shared: Box) -> None:
    """Also what hides it from one another."""
    for kind in ("bounding", "effective", "permitted"):
        shared.process["capabilities"][kind].append("CAP_SYS_ADMIN")
    mount = "mount -t tmpfs none"
    under = f"{mount} /tmp; mkdir /tmp/a /tmp/b; {mount} /tmp/a; {mount} /tmp/b"
    shared.sh(f"{under}; {mount} /tmp; {mount} /tmp; mkdir /tmp/a; {mount} /tmp/a")
    assert below(shared.bundle.path) == []


@pytest.mark.parametrize("propagation", [[], ["rshared"], ["shared"]])
def test_the_source_of_a_bind_keeps_its_mounts(
    shared: Box, session_dir: Path, tmpfs: Callable[[Path], Path], propagation: list[str]
) -> None:
    """To unmount in a copy that is a peer of a shared mount would be to unmount on the original."""
    source = tmpfs(session_dir / f"{shared.id}.source")
    subprocess.run(["mount", "--make-shared", source], check=True)
    tmpfs(tmpfs(source / "one") / "two")
    subprocess.run(["mount", "--make-rshared", source], check=True)
    shared.mount("/bound", "bind", "rbind", *propagation, source=source)
    shared.up()
    assert "/rootfs/bound/one/two" in below(shared.bundle.path)
    shared.down()
    assert below(shared.bundle.path) == [] and below(source) == ["/one", "/one/two"]


def test_links_in_the_root_lead_nowhere_else(shared: Box, session_dir: Path, tmpfs: Callable[[Path], Path]) -> None:
    outside = session_dir / f"{shared.id}.outside"
    tmpfs(tmpfs(outside) / "m")
    (shared.rootfs / "link").symlink_to(outside)
    (shared.rootfs / "dev").rmdir()
    (shared.rootfs / "dev").symlink_to("../../../../etc")
    shared.mount("/link/m", "tmpfs")
    shared.mount("/moved/m", "tmpfs")
    shared.up()
    assert (shared.rootfs / "etc/null").is_char_device() and not os.path.ismount("/etc")
    assert f"/rootfs{outside}/m" in below(shared.bundle.path)
    (shared.rootfs / "moved").rename(shared.rootfs / "elsewhere")
    (shared.rootfs / "moved").symlink_to(outside)
    shared.down()
    assert below(shared.bundle.path) == [] and below(outside) == ["/m"]


def test_only_the_mount_that_is_meant_is_unmounted(session_dir: Path, tmpfs: Callable[[Path], Path]) -> None:
    """Whatever has been put in its place since mountinfo was read."""
    from pyrunc.kernel.host import mounts as parsed
    from pyrunc.kernel.sys import unmount_below

    place = session_dir / "race"
    other = tmpfs(tmpfs(place) / "other")
    (place / "link").symlink_to(other)
    (place / "plain").mkdir()
    number = next(mount.id for mount in parsed() if mount.point == str(other))
    fd = os.open(place, os.O_PATH)
    try:
        for path, id, error in (
            ("other", number + 1, errno.ESTALE), ("plain", number, errno.ESTALE), ("link", number, errno.ESTALE),
            ("link/.", number, errno.ELOOP), ("../race/other", number, errno.EXDEV), ("none", number, errno.ENOENT),
        ):  # fmt: skip
            with pytest.raises(OSError) as caught:
                unmount_below(fd, path, id, detach=True)
            assert caught.value.errno == error, path
    finally:
        os.close(fd)
    assert os.path.ismount(other)


def test_a_runtime_in_another_mount_namespace_leaves_them(shared: Box) -> None:
    """The numbers of the mounts mean others there, and what it unmounts there stays here in any case."""
    shared.args("true")
    shared.create()
    before = mounts()
    away = ["unshare", "--mount", "--propagation", "private", *shared.cli.argv("--debug", "delete", "--force", shared.id)]
    done = subprocess.run(away, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "in another mount namespace" in done.stderr and not shared.exists()
    assert mounts() == before
    for point in reversed(before):
        subprocess.run(["umount", "-l", point], check=True)


def test_a_terminal_of_its_devpts(shared: Box, session_dir: Path) -> None:
    receiver = Receiver(session_dir / f"{shared.id}.sock")
    shared.process["terminal"] = True
    shared.args("sh", "-c", "tty")
    try:
        shared.create("--console-socket", receiver.path)
        terminal = Terminal(receiver.receive()[1])
    finally:
        receiver.close()
    shared.start()
    terminal.expect(b"/dev/pts/0")
    terminal.close()
    shared.stopped()
    shared.down()


def test_of_a_container_with_a_mount_namespace_nothing_is_remembered(box: Box) -> None:
    """So that its `delete` does not even look for mounts."""
    box.args("true")
    box.create()
    assert json.loads((box.cli.root / box.id / "state.json").read_text())["mounts"] == {}
    box.down()
