"""root, mounts with every option, masked and read-only paths, propagation: read back from /proc/self/mountinfo inside."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyrunc.config.names import INERT_OPTIONS, MOUNT_OPTIONS, PROPAGATION
from tests.lifecycle.box import Box, mountinfo

# Option -> (what the mount must show, what it must not show), for a bind mount of a directory that is nosuid, nodev and
# noexec, so that a clearing option has something to clear.
ATTRIBUTES = {
    "ro": ({"ro"}, {"rw"}), "rw": ({"rw"}, {"ro"}),
    "nosuid": ({"nosuid"}, set()), "suid": (set(), {"nosuid"}),
    "nodev": ({"nodev"}, set()), "dev": (set(), {"nodev"}),
    "noexec": ({"noexec"}, set()), "exec": (set(), {"noexec"}),
    "nodiratime": ({"nodiratime"}, set()), "diratime": (set(), {"nodiratime"}),
    "nosymfollow": ({"nosymfollow"}, set()), "symfollow": (set(), {"nosymfollow"}),
    "relatime": ({"relatime"}, {"noatime"}), "noatime": ({"noatime"}, {"relatime"}),
    "strictatime": (set(), {"noatime", "relatime"}),
    "atime": (set(), {"noatime"}), "nostrictatime": (set(), {"noatime"}), "norelatime": (set(), {"noatime"}),
}  # fmt: skip
SUPERBLOCK = {
    **{name: name for name in ("sync", "lazytime", "dirsync", "mand")}, **dict.fromkeys(("async", "nolazytime", "nomand")),
}  # fmt: skip
TAGS = {"private": set(), "shared": {"shared"}, "slave": {"master"}, "unbindable": {"unbindable"}}
FURTHER = {"bind", "rbind", "remount", "tmpcopyup", "idmap", "ridmap"}
"""Options with a test of their own here, or refused (test_refusals.py)."""


def test_every_option_of_the_specification_is_tested_here() -> None:
    recursive = {"r" + name for name in ATTRIBUTES}
    assert set(ATTRIBUTES) | recursive | set(SUPERBLOCK) | set(PROPAGATION) | set(INERT_OPTIONS) | FURTHER == MOUNT_OPTIONS


@pytest.fixture
def tree(session_dir: Path, container_id: str) -> Iterator[Path]:
    """A tmpfs that is nosuid, nodev and noexec, with another one mounted on its directory `below`."""
    path = session_dir / f"tree-{container_id}"
    path.mkdir()
    for place in (path, path / "below"):
        place.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "nosuid,nodev,noexec", "tree", place], check=True)
    subprocess.run(["mount", "--make-rprivate", path], check=True)
    (path / "file").write_text("above")
    (path / "below/file").write_text("beneath")
    yield path
    subprocess.run(["umount", "--recursive", path], check=True)
    path.rmdir()


def seen(box: Box) -> dict[str, dict[str, Any]]:
    """What is mounted in the container, which is writable so that mount points can be made."""
    return mountinfo(box.writable().sh("cat /proc/self/mountinfo"))


def check(options: set[str], option: str) -> None:
    shown, hidden = ATTRIBUTES[option]
    assert shown <= options and not hidden & options, f"{option}: {options}"


def test_attributes_of_a_bind_mount(box: Box, tree: Path) -> None:
    for option in ATTRIBUTES:
        box.mount(f"/mnt/{option}", "none", "rbind", option, source=tree)
    mounts = seen(box)
    for option in ATTRIBUTES:
        check(mounts[f"/mnt/{option}"]["options"], option)
        assert {"rw", "nosuid", "nodev", "noexec", "relatime"} <= mounts[f"/mnt/{option}/below"]["options"], option


def test_recursive_attributes(box: Box, tree: Path) -> None:
    for option in ATTRIBUTES:
        box.mount(f"/mnt/{option}", "none", "rbind", "r" + option, source=tree)
    mounts = seen(box)
    for option in ATTRIBUTES:
        for place in (f"/mnt/{option}", f"/mnt/{option}/below"):
            check(mounts[place]["options"], option)


def test_attributes_of_a_new_file_system(box: Box) -> None:
    for option in ATTRIBUTES:
        box.mount(f"/mnt/{option}", "tmpfs", "size=64k", "nosuid", "noexec", "nodev", option)
    mounts = seen(box)
    for option in ATTRIBUTES:
        check(mounts[f"/mnt/{option}"]["options"], option)


def test_the_attributes_work(box: Box, tree: Path) -> None:
    """What mountinfo shows is what the kernel does."""
    (tree / "program").write_text("#!/bin/sh\necho executed\n")
    (tree / "program").chmod(0o755)
    (tree / "link").symlink_to("file")
    box.mount("/noexec", "none", "bind", source=tree)
    box.mount("/exec", "none", "bind", "exec", source=tree)
    box.mount("/ro", "none", "bind", "ro", source=tree)
    box.mount("/nolink", "none", "bind", "nosymfollow", source=tree)
    assert box.writable().lines(
        "/noexec/program 2>&1 | cut -d: -f3; /exec/program; (>/ro/new) 2>&1 | cut -d: -f3; cat /nolink/link 2>&1 | cut -d: -f3"
    ) == [" Permission denied", "executed", " Read-only file system", " Too many levels of symbolic links"]


def test_bind_is_not_rbind(box: Box, tree: Path) -> None:
    box.mount("/one", "none", "bind", source=tree)
    box.mount("/all", "none", "rbind", source=tree)
    box.mount("/both", "none", "rbind", "bind", source=tree)
    assert box.writable().lines("cat /one/file /all/below/file /both/below/file; ls /one/below") == ["abovebeneathbeneath"]


def test_a_bind_mount_is_told_by_its_option_not_by_its_type(box: Box, tree: Path) -> None:
    box.mount("/typed", "tmpfs", "bind", source=tree)
    assert box.writable().sh("cat /typed/file") == "above"


def test_a_source_relative_to_the_bundle(box: Box) -> None:
    (box.bundle.path / "data").mkdir()
    (box.bundle.path / "data/x").write_text("relative")
    box.mount("/data", "none", "bind", source="data")
    box.mount("/file", "none", "bind", source="data/x")
    assert box.writable().sh("cat /data/x /file") == "relative" * 2


def test_a_destination_that_is_relative_or_missing(box: Box) -> None:
    box.mount("a/b", "tmpfs", "mode=0711")
    box.mount("/a/b/../c/d", "tmpfs")
    assert set(seen(box)) >= {"/a/b", "/a/c/d"}


def test_mounts_are_made_in_their_order(box: Box, tree: Path) -> None:
    box.mount("/o", "none", "bind", source=tree)
    box.mount("/o", "tmpfs")
    box.mount("/o/deeper", "none", "bind", source=tree)
    assert box.writable().lines("ls /o; cat /o/deeper/file") == ["deeper", "above"]


def test_superblock_options(box: Box) -> None:
    for option in SUPERBLOCK:
        box.mount(f"/mnt/{option}", "tmpfs", "size=64k", option)
    mounts = seen(box)
    for option, shown in SUPERBLOCK.items():
        superblock = mounts[f"/mnt/{option}"]["superblock"]
        assert {"sync", "lazytime", "dirsync", "mand"} & superblock == ({shown} if shown else set()), option


def test_inert_options_and_data(box: Box) -> None:
    box.mount("/t", "tmpfs", *INERT_OPTIONS, "size=128k,nr_inodes=77", "mode=1711", "uid=12")
    assert {"size=128k", "nr_inodes=77", "mode=1711", "uid=12"} <= seen(box)["/t"]["superblock"]


def test_settings_of_a_file_system_that_a_bind_mount_has_not(box: Box, tree: Path, tmp_path: Path) -> None:
    box.mount("/t", "tmpfs", "bind", "nosuid", "mode=755,size=1k", source=tree)
    assert "nosuid" in seen(box)["/t"]["options"]
    box.cli("--log", tmp_path / "log", "--log-level", "warning", "create", "--bundle", box.bundle, box.id, check=True)
    box.cli("delete", "--force", box.id, check=True)
    assert "left out: mode=755,size=1k" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("kind", PROPAGATION)
def test_propagation_of_a_mount(box: Box, tree: Path, kind: str) -> None:
    subprocess.run(["mount", "--make-shared", tree], check=True)
    box.mount("/p", "none", "rbind", kind, source=tree)
    mounts = seen(box)
    tags = TAGS[kind.removeprefix("r") if kind not in TAGS else kind]
    # The whole container is a slave of the host, so what is shared inside is both.
    assert mounts["/p"]["tags"] - {"propagate_from"} == tags | ({"master"} if "shared" in tags else set())
    recursive = kind not in TAGS
    # What lies below was private on the host: a slave of nobody stays private.
    assert mounts["/p/below"]["tags"] == (tags - {"master"} if recursive else set())


def test_several_propagations_apply_in_their_order(box: Box, tree: Path) -> None:
    subprocess.run(["mount", "--make-shared", tree], check=True)
    box.mount("/p", "none", "bind", "slave", "shared", source=tree)
    assert seen(box)["/p"]["tags"] == {"master", "shared"}


def test_tmpcopyup(box: Box) -> None:
    source = box.rootfs / "full"
    (source / "sub").mkdir(parents=True)
    (source / "sub/file").write_text("copied")
    os.chown(source / "sub/file", 0, 8)
    (source / "sub/file").chmod(0o4710)
    (source / "link").symlink_to("/etc/passwd")
    os.mkfifo(source / "fifo", 0o600)
    source.chmod(0o751)
    box.mount("/full", "tmpfs", "tmpcopyup")
    assert box.lines(
        "ls -ldn /full | cut -c-10; cat /full/sub/file; echo; stat -c '%a %u %g' /full/sub/file; readlink /full/link;"
        "stat -c %F /full/fifo; echo new >/full/sub/file; grep ' /full ' /proc/self/mountinfo | grep -c tmpfs"
    ) == ["drwxr-x--x", "copied", "4710 0 8", "/etc/passwd", "fifo", "1"]
    assert (source / "sub/file").read_text() == "copied"


def test_a_tmpfs_has_the_mode_of_its_directory_unless_told(box: Box) -> None:
    (box.rootfs / "tmp").chmod(0o1751)
    box.mount("/tmp", "tmpfs")
    box.mount("/var", "tmpfs", "mode=700")
    box.mount("/new", "tmpfs")
    assert box.writable().lines("stat -c %a /tmp /var /new") == ["1751", "700", "1777"]


def test_a_read_only_tmpfs_takes_mount_points_first(box: Box, tree: Path) -> None:
    box.mount("/t", "tmpfs", "ro")
    box.mount("/t/x", "none", "bind", source=tree)
    assert box.writable().lines("cat /t/x/file; echo; (>/t/y) 2>&1 | cut -d: -f3") == ["above", " Read-only file system"]


def test_a_remount_changes_the_file_system(box: Box) -> None:
    box.mount("/t", "tmpfs", "ro", "size=1m")
    box.mount("/t", "tmpfs", "remount", "rw", "size=2m", "nodev")
    box.mount("/u", "tmpfs", "size=1m")
    box.mount("/u", "tmpfs", "remount", "ro")
    box.config["mounts"][-1]["source"] = ""
    mounts = seen(box)
    assert "nodev" in mounts["/t"]["options"] and {"rw", "size=2048k"} <= mounts["/t"]["superblock"]
    assert "ro" in mounts["/u"]["options"] and "ro" in mounts["/u"]["superblock"]


def test_a_remount_of_a_bind_changes_the_mount_alone(box: Box, tree: Path) -> None:
    box.mount("/m", "none", "rbind", source=tree)
    box.mount("/m", "none", "remount", "bind", "ro", "exec", "rnoatime", "unbindable")
    mount = seen(box)
    assert {"ro", "nosuid", "nodev", "noatime"} <= mount["/m"]["options"] and "noexec" not in mount["/m"]["options"]
    assert {"rw", "noexec", "noatime"} <= mount["/m/below"]["options"]
    assert mount["/m"]["tags"] == {"unbindable"} and "rw" in mount["/m"]["superblock"]


def test_the_sys_of_a_user_namespace_in_the_hosts_network(box: Box) -> None:
    """Its own it may not have: the host's is bound, with all that is mounted there, and read-only."""
    box.map_ids()
    box.share("network")
    mounts = seen(box)
    below = [mount for place, mount in mounts.items() if place == "/sys" or place.startswith("/sys/")]
    assert mounts["/sys"]["type"] == "sysfs" and mounts["/sys"]["root"] == "/"
    assert len(below) > 1 and all({"ro", "nosuid", "nodev", "noexec"} <= mount["options"] for mount in below)


@pytest.mark.parametrize("layers", [1, 12], ids=["short", "longer than 255 bytes"])
def test_overlay(box: Box, layers: int) -> None:
    lower = []
    for i in range(layers):
        layer = box.bundle.path / f"a-layer-with-a-long-name-{i}"
        layer.mkdir()
        (layer / f"file{i}").write_text(str(i))
        lower.append(str(layer))
    for name in ("upper", "work"):
        (box.bundle.path / name).mkdir()
    options = f"lowerdir={':'.join(lower)}"
    assert (len(options) > 255) == (layers > 1)
    upper = [f"upperdir={box.bundle.path}/upper", f"workdir={box.bundle.path}/work"]
    box.mount("/merged", "overlay", "nodev", "shared", options, *upper, source="overlay")
    script = "cd /merged; ls | sort | tr '\\n' ' '; echo; echo x >new; grep ' /merged ' /proc/self/mountinfo"
    listed, line = box.writable().lines(script)
    assert listed.split() == sorted(f"file{i}" for i in range(layers))
    assert "nodev" in line and "shared:" in line
    assert (box.bundle.path / "upper/new").read_text() == "x\n"


def test_file_systems_of_the_kernel(box: Box) -> None:
    mounts = seen(box)
    types = {"/proc": "proc", "/sys": "sysfs"}
    types |= {"/dev": "tmpfs", "/dev/pts": "devpts", "/dev/shm": "tmpfs", "/dev/mqueue": "mqueue"}
    assert {place: mounts[place]["type"] for place in types} == types
    assert {"gid=5", "mode=620", "ptmxmode=666"} <= mounts["/dev/pts"]["superblock"]
    assert {"nosuid", "noexec", "nodev", "ro"} <= mounts["/sys"]["options"]


def test_proc_shows_the_containers_processes_and_mqueue_its_queues(box: Box) -> None:
    assert box.lines("ls /proc | grep -x '[0-9]*' | tr '\\n' ' '; ls /dev/mqueue | wc -l")[0].split()[0] == "1"


def test_the_view_of_cgroup_v1(box: Box) -> None:
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        pytest.skip("this host has cgroup v2 alone")
    box.unmount("/sys/fs/cgroup")
    box.mount("/sys/fs/cgroup", "cgroup", "nosuid", "noexec", "nodev", "ro")
    mounts = seen(box)
    views = {place: mount for place, mount in mounts.items() if place.startswith("/sys/fs/cgroup/")}
    assert {mount["type"] for mount in views.values()} == {"cgroup", "cgroup2"}
    for place, mount in views.items():
        assert mount["root"].endswith(f"/{box.id}"), place
        assert {"ro", "nosuid", "noexec", "nodev"} <= mount["options"]
    box.up()
    assert box.ex("cat /sys/fs/cgroup/pids/cgroup.procs").split()[0] == "1"
    box.down()


def test_the_view_of_cgroup_v1_in_a_cgroup_namespace(box: Box) -> None:
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        pytest.skip("this host has cgroup v2 alone")
    box.namespace("cgroup")
    if not any(mount["destination"] == "/sys/fs/cgroup" for mount in box.config["mounts"]):
        box.mount("/sys/fs/cgroup", "cgroup", "ro")
    assert box.lines("cut -d: -f3 /proc/self/cgroup | sort -u; cat /sys/fs/cgroup/pids/cgroup.procs | head -1") == ["/", "1"]
