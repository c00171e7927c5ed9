"""What is opened before a user namespace is entered, mapped ids, and mounts that change: one op at a time."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mappable import needs_linux, needs_mappable
from tests.native.plan_harness import BELOW, NEWNS, NEWPID, NEWUSER, NODEV, RDONLY, SLAVE, Outcome, c, op, prelude, sh, tmpfs

pytestmark = pytest.mark.needs_root
Go = Callable[..., Outcome]

USERNS, HELD = c.SLOT_HELD, c.SLOT_HELD + 1


def before(rootfs: Path, *ops: object) -> list[object]:
    """The ops between OPEN_PROC and the user namespace, as a plan has them."""
    opened, *rest = prelude(rootfs)
    return [opened, *ops, *rest]


def held(source: object, path: str, slot: int = HELD) -> object:
    return op("BIND", str(source), path, v=[0, 0, 0, 0, 0, slot << c.PLAN_MODE_SLOT])


def hidden(directory: Path) -> Path:
    """A directory for everybody in one for root alone."""
    (directory / "hidden/open").mkdir(parents=True)
    (directory / "hidden/open").chmod(0o755)
    (directory / "hidden/open/file").write_text("seen")
    (directory / "hidden").chmod(0o700)
    return directory / "hidden/open"


MAPS = "0 70000 1000"
"""Of a container whose root is nobody on the host."""


def test_a_tree_that_the_namespace_could_not_open(go: Go, rootfs: Path, session_dir: Path) -> None:
    source = hidden(rootfs)
    os.chown(rootfs, 70000, 70000)
    bind = op("BIND", str(source), "/x", v=[0, 0, 0, 0, 0, 0])
    ops = [*before(rootfs), bind, *sh("true")]
    go(ops, maps=MAPS).bad(ops, "BIND", "SOURCE", errno.EACCES)
    opened = op("OPEN_TREE", str(source), v=[HELD, SLAVE | BELOW, c.MODE_RECURSIVE, 0])
    assert go([*before(rootfs, opened), held(source, "/x"), *sh("cat /x/file")], maps=MAPS).good() == "seen"
    (rootfs / "hidden").chmod(0o755)


def test_the_root_that_the_namespace_could_not_open(go: Go, rootfs: Path) -> None:
    """By the working directory, which unshare(2) takes along."""
    inner = hidden(rootfs)
    (inner / "bin").mkdir()
    os.link(rootfs / "bin/busybox", inner / "bin/busybox")
    for applet in ("sh", "cat"):
        (inner / "bin" / applet).symlink_to("busybox")
    outer = prelude(inner)[:-1]
    ops = [*outer, op("ROOT", str(inner), v=[0]), *sh("cat /file")]
    go(ops, maps=MAPS).bad(ops, "ROOT", "OPEN", errno.EACCES)
    ops = [outer[0], op("GO_TO_ROOT", str(inner)), *outer[1:], op("ROOT", str(inner), v=[0, 1]), *sh("cat /file")]
    assert go(ops, maps=MAPS).good() == "seen"
    (rootfs / "hidden").chmod(0o755)


def test_the_root_must_be_a_directory_and_no_link(go: Go, rootfs: Path) -> None:
    (rootfs / "link").symlink_to("bin")
    for name, error in (("link", errno.ENOTDIR), ("etc/passwd", errno.ENOTDIR), ("nothing", errno.ENOENT)):
        ops = [op("GO_TO_ROOT", str(rootfs / name))]
        go(ops).bad(ops, "GO_TO_ROOT", "OPEN", error)


def test_mapped_ids(go: Go, rootfs: Path) -> None:
    needs_mappable(rootfs)
    (rootfs / "data").mkdir()
    (rootfs / "data/five").touch()
    os.chown(rootfs / "data/five", 5, 6)
    maps = op("MAKE_USERNS", "0 1000 10\n", "6 60 1\n0 2000 1\n", v=[USERNS])
    opened = op("OPEN_TREE", str(rootfs / "data"), v=[HELD, 0, 0, USERNS])
    bind = op("BIND", str(rootfs / "data"), "/x", v=[0, 0, 0, 0, 0, c.MODE_MAPPED | HELD << c.PLAN_MODE_SLOT])
    assert go([*before(rootfs, maps, opened), bind, *sh("stat -c %u:%g /x/five")]).good() == "1005:60\n"


def test_a_new_file_system_with_mapped_ids(go: Go, rootfs: Path) -> None:
    needs_linux((6, 3), "an ID-mapped tmpfs")
    maps = op("MAKE_USERNS", "0 1000 10\n", "0 2000 10\n", v=[USERNS])
    made = op("NEW_TREE", "tmpfs", ["source=t", "uid=3", "mode=711"], v=[HELD, NODEV, USERNS, 1000, 2000])
    mount = op("MOUNT", "tmpfs", "/x", ["source=t"], v=[0, 0, HELD << c.PLAN_MODE_SLOT])
    ops = [*before(rootfs, maps, made), mount, *sh("stat -c '%u:%g %a' /x; stat -f -c %T /x")]
    assert go(ops).good().splitlines() == ["1003:2000 711", "tmpfs"]


def test_a_file_system_without_owners_is_told_by_its_number(go: Go, rootfs: Path) -> None:
    maps = op("MAKE_USERNS", "0 1000 10\n", "0 2000 10\n", v=[USERNS])
    ops = [*before(rootfs, maps, op("OPEN_TREE", "/proc", v=[HELD, 0, 0, USERNS])), *sh("true")]
    assert go(ops).bad(ops, "OPEN_TREE", "MAPIDS", errno.EINVAL).detail == str(0x9FA0)


def test_maps_that_the_kernel_does_not_take(go: Go) -> None:
    ops = [op("OPEN_PROC"), op("MAKE_USERNS", "0 0 1\n0 5 1\n", "0 0 1\n", v=[USERNS])]
    go(ops).bad(ops, "MAKE_USERNS", "WRITE", errno.EINVAL)


def test_slots_that_are_not(go: Go, rootfs: Path) -> None:
    """What is kept must have a place, and what is used must have been kept."""
    for slot in (0, c.SLOT_HELD - 1, c.PLAN_NSLOTS, 2**64 - 1):
        ops = [op("OPEN_TREE", "/", v=[slot, 0, 0, 0])]
        go(ops).bad(ops, "OPEN_TREE", "OPEN", errno.EMFILE)
    ops = [op("NEW_TREE", "tmpfs", [], v=[HELD, 0, USERNS])]
    go(ops).bad(ops, "NEW_TREE", "MAPIDS", errno.EINVAL)
    ops = [*before(rootfs), op("MOUNT", "tmpfs", "/x", [], v=[0, 0, HELD << c.PLAN_MODE_SLOT])]
    go(ops).bad(ops, "MOUNT", "OPEN", errno.EINVAL)


def test_a_source_that_was_not_opened_is_opened_then(go: Go, rootfs: Path) -> None:
    """OPEN_TREE tolerates that it has no right; the name may still do."""
    assert go([*before(rootfs), held(rootfs / "etc", "/x"), *sh("head -c 5 /x/passwd")]).good() == "root:"


def test_maps_of_a_namespace(go: Go) -> None:
    """Line by line, in whatever order, all and no more."""
    def plan(uids: str, gids: str) -> list[object]:
        joined = [op("OPEN_PROC"), op("UNSHARE", v=[NEWUSER, 0]), op("SYNC", v=[c.SYNC_MAPS])]
        return [*joined, op("VERIFY_MAPS", uids, gids), op("SYNC", v=[c.SYNC_READY]), op("EXEC", [], [])]

    maps = "0 1000 10,10 5 2"
    for good in ("0 1000 10\n10 5 2\n", "10 5 2\n0 1000 10\n", ""):
        assert [m.kind for m in go(plan(good, good), maps=maps).errors if m.op != 5] == []
    for bad in ("0 1000 10\n", "0 1000 10\n10 5 3\n", "0 1000 10\n10 5 2\n12 9 1\n"):
        for uids, gids in ((bad, ""), ("", bad)):
            ops = plan(uids, gids)
            detail = go(ops, maps=maps).bad(ops, "VERIFY_MAPS", "SAMEMAPS", errno.EINVAL).detail
            assert detail.split() == ["0", "1000", "10", "10", "5", "2"]


def test_a_remount(go: Go, rootfs: Path) -> None:
    look = "grep ' /t ' /proc/self/mountinfo | cut -d' ' -f6,9-"
    (rootfs / "t").mkdir()
    proc = op("MOUNT", "proc", "/proc", ["source=proc"], v=[0, 0, c.MODE_REALDIR])
    mount = [*prelude(rootfs), proc, tmpfs("/t", "size=1m")]
    whole = op("REMOUNT", "/t", ["ro", "size=2m"], v=[NODEV, 0, 0, 0, SLAVE])
    assert "ro,size=2048k" in go([*mount, whole, *sh(look)]).good()
    alone = op("REMOUNT", "/t", None, v=[RDONLY, 0, 0, 0, 0])
    seen = go([*mount, alone, *sh(look)]).good()
    assert seen.startswith("ro,") and "rw,size=1024k" in seen
    for path, error in (("/etc", errno.EINVAL), ("/nothing", errno.ENOENT)):
        ops = [*mount, op("REMOUNT", path, None), *sh("true")]
        go(ops).bad(ops, "REMOUNT", "RESOLVE", error)
    ops = [*mount, op("REMOUNT", "/t", ["size=much"]), *sh("true")]
    go(ops).bad(ops, "REMOUNT", "FSCONFIG", errno.EINVAL)


def test_the_holder_of_a_namespace_does_not_stay(go: Go) -> None:
    """It is a child of the process, which has none when it goes on."""
    ops = [op("OPEN_PROC"), op("MAKE_USERNS", "0 0 1\n", "0 0 1\n", v=[USERNS]), op("UNSHARE", v=[NEWPID]), op("SYNC", v=[4])]
    seen: list[str] = []
    go([*ops, op("EXEC", [], [])], at={4: lambda init: seen.append(
        Path(f"/proc/{init.pid}/task/{init.pid}/children").read_text()
    )})  # fmt: skip
    assert seen == [""]


def test_what_is_bound_where_the_kernel_refuses(go: Go, rootfs: Path) -> None:
    """A sysfs of the host's network, a cgroup2 of the host's cgroup namespace."""
    flags = NEWUSER | NEWNS | NEWPID
    proc = op("MOUNT", "proc", "/proc", ["source=proc"], v=[0, 0, c.MODE_REALDIR])
    (rootfs / "data/below").mkdir(parents=True)
    refused = [*prelude(rootfs, flags), proc, op("MOUNT", "sysfs", "/sys", ["source=sysfs"], v=[NODEV, 0, c.MODE_REALDIR])]
    go([*refused, *sh("true")]).bad(refused, "MOUNT", "FSOPEN", errno.EPERM)

    def seen(fs: str, instead: str, attributes: int) -> list[str]:
        mount = op("MOUNT", fs, "/sys", ["source=x"], instead, v=[NODEV, 0, 0, attributes])
        script = "ls /sys; grep ' /sys ' /proc/self/mountinfo | cut -d' ' -f6 | cut -d, -f1-2; (>/sys/x) 2>&1 | cut -d: -f3"
        return go([*prelude(rootfs, flags), proc, mount, *sh(script)]).good().splitlines()

    assert seen("sysfs", str(rootfs / "data"), RDONLY | NODEV) == ["below", "ro,nodev", " Read-only file system"]
    assert seen("cgroup2", str(rootfs / "data"), NODEV) == ["below", "rw,nodev"]
    assert seen("cgroup2", "", 0) == ["ro,nosuid", " Read-only file system"]
    ops = [*prelude(rootfs, flags), op("MOUNT", "nonsense", "/sys", [], "/", v=[0, 0, 0, 0]), *sh("true")]
    go(ops).bad(ops, "MOUNT", "FSOPEN", errno.ENODEV)
