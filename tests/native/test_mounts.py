"""Mounts: what the executors make is read back from inside the container."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.native.plan_harness import (
    ATIME,
    BELOW,
    NEWNS,
    NEWPID,
    NOATIME,
    NODEV,
    NOEXEC,
    NOSUID,
    PRIVATE,
    PROC,
    RDONLY,
    SHARED,
    SLAVE,
    UNBINDABLE,
    Init,
    Outcome,
    bind,
    c,
    command,
    encode,
    op,
    prelude,
    sh,
    tmpfs,
)

pytestmark = pytest.mark.needs_root
Go = Callable[..., Outcome]


def mountinfo(text: str, path: str) -> dict[str, str]:
    """The topmost mount on path: its options, its optional fields, its type and source."""
    line = [line for line in text.splitlines() if line.split()[4] == path][-1]
    fields, _, tail = line.partition(" - ")
    return {
        "root": fields.split()[3], "options": fields.split()[5], "shared": " ".join(fields.split()[6:]),
        "type": tail.split()[0], "source": tail.split()[1], "super": tail.split()[2],
    }  # fmt: skip


def test_a_tmpfs_with_options_and_attributes(go: Go, rootfs: Path) -> None:
    new = tmpfs("/new/deep", "size=64k", "mode=1750", attributes=NOSUID | NODEV | NOEXEC | NOATIME)
    out = go([*prelude(rootfs), PROC, new, *sh("cat /proc/self/mountinfo; stat -c %a /new/deep; stat -c %a /new")]).good()
    mount = mountinfo("\n".join(out.splitlines()[:-2]), "/new/deep")
    assert set(mount["options"].split(",")) == {"rw", "nosuid", "nodev", "noexec", "noatime"}
    assert (mount["type"], mount["source"]) == ("tmpfs", "tmpfs")
    assert "size=64k" in mount["super"]
    assert out.splitlines()[-2:] == ["1750", "755"]


def test_what_the_file_system_says_is_handed_on(go: Go, rootfs: Path) -> None:
    ops = [*prelude(rootfs), tmpfs("/mnt", "size=a lot"), *sh("")]
    assert go(ops).bad(ops, "MOUNT", "FSCONFIG", errno.EINVAL).detail.startswith("size=a lot: tmpfs: Bad value")
    ops = [*prelude(rootfs), op("MOUNT", "nosuchfs", "/mnt", [], v=[0, 0, 0]), *sh("")]
    assert go(ops).bad(ops, "MOUNT", "FSOPEN", errno.ENODEV).detail == "nosuchfs"
    ops = [*prelude(rootfs), tmpfs("/mnt", "k" * 300), *sh("")]
    assert go(ops).bad(ops, "MOUNT", "FSCONFIG", errno.ENAMETOOLONG)
    ops = [*prelude(rootfs), op("MOUNT", "overlay", "/mnt", [], v=[0, 0, 0]), *sh("")]
    go(ops).bad(ops, "MOUNT", "FSCREATE", errno.EINVAL)


@pytest.mark.parametrize("mode", [0o700, 0o1777])
def test_the_mode_of_the_directory_below_is_taken_over(go: Go, rootfs: Path, mode: int) -> None:
    (rootfs / "dir").mkdir()
    (rootfs / "dir").chmod(mode)
    (rootfs / "dir/hidden").touch()
    out = go([*prelude(rootfs), tmpfs("/dir", mode=c.MODE_DIRMODE), *sh("stat -c %a /dir; ls /dir")]).good()
    assert out == f"{mode:o}\n"


def test_tmpcopyup_copies_all_that_a_directory_can_hold(go: Go, rootfs: Path) -> None:
    source = rootfs / "up"
    (source / "sub/empty").mkdir(parents=True)
    (source / "sub").chmod(0o2755)
    (source / "file").write_bytes(b"x" * 300_000)
    os.chown(source / "file", 12, 34)
    (source / "file").chmod(0o4640)  # after chown(2), which takes the set-user-ID bit away
    (source / "sub/link").symlink_to("../../../etc/passwd")
    (source / "sub/zero").touch()
    os.mkfifo(source / "fifo", 0o600)
    os.mknod(source / "device", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    for number in range(200):
        (source / f"many-{number}-{'n' * 100}").touch()
    os.chown(source, 5, 6)
    source.chmod(0o711)
    script = (
        "cd /up; stat -c '%n %a %u %g %F' . file fifo sub sub/empty sub/zero; readlink sub/link; md5sum <file;"
        "ls | grep -c many; ls device; rm file; echo new >sub/zero"
    )
    got = go([*prelude(rootfs), tmpfs("/up", mode=c.MODE_COPYUP), *sh(script)])
    assert got.out.splitlines() == [
        ". 711 5 6 directory", "file 4640 12 34 regular file", "fifo 600 0 0 fifo", "sub 2755 0 0 directory",
        "sub/empty 755 0 0 directory", "sub/zero 644 0 0 regular empty file", "../../../etc/passwd",
        subprocess.run(["md5sum"], input=b"x" * 300_000, capture_output=True).stdout.decode().strip(), "200",
    ]  # fmt: skip
    assert "device: No such file" in got.err
    assert (source / "file").stat().st_size == 300_000 and (source / "sub/zero").read_bytes() == b""


def test_tmpcopyup_stops_at_a_tree_too_deep_and_at_a_full_file_system(go: Go, rootfs: Path) -> None:
    (rootfs / "deep" / "/".join(["d"] * 80)).mkdir(parents=True)
    (rootfs / "big").mkdir()
    (rootfs / "big/file").write_bytes(b"x" * 100_000)
    ops = [*prelude(rootfs), tmpfs("/deep", mode=c.MODE_COPYUP), *sh("")]
    go(ops).bad(ops, "MOUNT", "COPYUP", errno.ELOOP)
    ops = [*prelude(rootfs), tmpfs("/big", "size=16k", mode=c.MODE_COPYUP), *sh("")]
    go(ops).bad(ops, "MOUNT", "COPYUP", errno.ENOSPC)


def test_a_destination_that_is_a_file_or_the_root_is_refused(go: Go, rootfs: Path) -> None:
    ops = [*prelude(rootfs), tmpfs("/etc/passwd"), *sh("")]
    go(ops).bad(ops, "MOUNT", "RESOLVE", errno.ENOTDIR)
    for root in ("/", "/tmp/..", "/tmp/../../.."):
        ops = [*prelude(rootfs), tmpfs(root), *sh("")]
        go(ops).bad(ops, "MOUNT", "ATTACH", errno.EBUSY)
        ops = [*prelude(rootfs), op("MOUNT_DATA", "tmpfs", root, None, "tmpfs", v=[0, 0, 0]), *sh("")]
        go(ops).bad(ops, "MOUNT_DATA", "ATTACH", errno.EBUSY)


def test_mount_data_takes_options_longer_than_fsconfig_can(go: Go, rootfs: Path) -> None:
    lowers = []
    for number in range(12):
        lower = rootfs / "lower" / f"{number}-{'long' * 10}"
        lower.mkdir(parents=True)
        (lower / f"file-{number}").touch()
        lowers.append(str(lower))
    data = f"lowerdir={':'.join(lowers)}"
    assert len(data) > 255
    ops = [*prelude(rootfs, NEWNS | NEWPID), PROC, op("MOUNT_DATA", "overlay", "/merged", data, "over", v=[NOSUID_MS, SHARED, 0])]
    out = go([*ops, *sh("cat /proc/self/mountinfo; ls /merged")]).good()
    mount = mountinfo("\n".join(line for line in out.splitlines() if " - " in line), "/merged")
    assert mount["type"] == "overlay" and mount["shared"].startswith("shared:") and "nosuid" in mount["options"]
    assert {f"file-{number}" for number in range(12)} <= set(out.splitlines())


NOSUID_MS = 2


def test_mount_data_onto_a_link_sets_the_new_mounts_propagation(go: Go, rootfs: Path) -> None:
    (rootfs / "real").mkdir()
    (rootfs / "link").symlink_to("/real")
    data = op("MOUNT_DATA", "tmpfs", "/link", "size=4k", "tmpfs", v=[0, SHARED, 0])
    out = go([*prelude(rootfs), PROC, data, *sh("cat /proc/self/mountinfo")]).good()
    assert mountinfo(out, "/real")["shared"].startswith("shared:")


def test_mount_data_says_why_not(go: Go, rootfs: Path) -> None:
    ops = [*prelude(rootfs), op("MOUNT_DATA", "tmpfs", "/mnt", "size=a lot", "tmpfs", v=[0, 0, 0]), *sh("")]
    go(ops).bad(ops, "MOUNT_DATA", "FSMOUNT", errno.EINVAL)


def test_a_bind_of_a_file_and_of_a_directory(go: Go, rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir/inside").write_text("inside\n")
    (tmp_path / "file").write_text("file\n")
    binds = [bind(tmp_path / "dir", "/a/dir"), bind(tmp_path / "file", "/b/file"), bind(tmp_path / "file", "/etc/passwd")]
    out = go([*prelude(rootfs), *binds, *sh("cat /a/dir/inside /b/file /etc/passwd; echo more >>/b/file")]).good()
    assert out == "inside\nfile\nfile\n"
    assert (tmp_path / "file").read_text() == "file\nmore\n"
    assert (rootfs / "b/file").read_bytes() == b"" and (rootfs / "etc/passwd").read_text().startswith("root:")


def test_a_bind_is_read_only_before_anybody_sees_it_and_only_where_it_is_told(go: Go, rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    source = str(tmp_path)
    binds = [
        bind(source, "/shallow", top=(RDONLY | NOSUID, 0)),
        bind(source, "/deep", top=(RDONLY, 0), mode=c.MODE_RECURSIVE),
        bind(source, "/below", below=(RDONLY | NOEXEC, 0), mode=c.MODE_RECURSIVE),
    ]
    script = "cat /proc/self/mountinfo; touch /shallow/x /below/sub/x; touch /deep/sub/x"
    ops = [op("OPEN_PROC"), op("UNSHARE", v=[NEWNS | NEWPID]), op("FORK"), op("PROPAGATE", "/", v=[PRIVATE | BELOW])]
    # The mount below the source is made through a root of "/", the rest through the container's.
    ops += [op("OPEN_ROOT", "/"), tmpfs(f"{source}/sub")]
    ops += [op("ROOT", str(rootfs), v=[1]), PROC, *binds, *sh(script)]
    got = go(ops)
    info = "\n".join(line for line in got.out.splitlines() if " - " in line)
    assert {"ro", "nosuid"} <= set(mountinfo(info, "/shallow")["options"].split(","))
    assert "ro" in mountinfo(info, "/deep")["options"].split(",") and "rw" in mountinfo(info, "/deep/sub")["options"].split(",")
    assert {"ro", "noexec"} <= set(mountinfo(info, "/below")["options"].split(","))
    assert {"ro", "noexec"} <= set(mountinfo(info, "/below/sub")["options"].split(","))
    assert "/shallow/sub" not in info
    assert "/shallow/x: Read-only" in got.err and "/below/sub/x: Read-only" in got.err and "/deep/sub/x" not in got.err


def test_attributes_can_be_cleared_and_atime_replaced(go: Go, rootfs: Path, tmp_path: Path) -> None:
    ops = [
        *[*prelude(rootfs), PROC, tmpfs("/one", attributes=RDONLY | NOSUID | NOEXEC)],
        *[op("PIVOT"), op("OPEN_ROOT", "/"), bind("/one", "/two", top=(NOATIME, RDONLY | NOSUID | ATIME))],
        *command("cat", "/proc/self/mountinfo"),
    ]
    out = go(ops).good()
    assert set(mountinfo(out, "/one")["options"].split(",")) == {"ro", "nosuid", "noexec", "relatime"}
    assert set(mountinfo(out, "/two")["options"].split(",")) == {"rw", "noexec", "noatime"}


def test_a_bind_of_nothing_and_of_a_file_onto_a_directory(go: Go, rootfs: Path, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    ops = [*prelude(rootfs), bind(missing, "/mnt"), *sh("")]
    assert go(ops).bad(ops, "BIND", "SOURCE", errno.ENOENT).detail == missing
    (tmp_path / "file").touch()
    ops = [*prelude(rootfs), bind(tmp_path / "file", "/etc"), *sh("")]
    go(ops).bad(ops, "BIND", "RESOLVE", errno.ENOTDIR)
    ops = [*prelude(rootfs), bind(tmp_path, "/etc/passwd"), *sh("")]
    go(ops).bad(ops, "BIND", "RESOLVE", errno.ENOTDIR)


@pytest.mark.parametrize(
    ("propagation", "expected"),
    [(SHARED, "shared:"), (PRIVATE, ""), (UNBINDABLE, "unbindable"), (SHARED | SLAVE << 8, ""), (SLAVE << 8 | SHARED, "")],
)
def test_propagation_of_a_mount(go: Go, rootfs: Path, propagation: int, expected: str) -> None:
    ops = [*prelude(rootfs), PROC, tmpfs("/mnt", propagation=propagation), *sh("cat /proc/self/mountinfo")]
    assert mountinfo(go(ops).good(), "/mnt")["shared"].rstrip("0123456789") == expected


def test_root_propagation_and_propagate_reach_what_lies_below(go: Go, rootfs: Path) -> None:
    ops = [*prelude(rootfs), PROC, tmpfs("/mnt"), op("PIVOT")]
    deep = [*ops, op("ROOT_PROPAGATION", v=[SHARED | BELOW]), *command("cat", "/proc/self/mountinfo")]
    flat = [*ops, op("ROOT_PROPAGATION", v=[SHARED]), *command("cat", "/proc/self/mountinfo")]
    out = go(deep).good()
    assert mountinfo(out, "/")["shared"].startswith("shared:") and mountinfo(out, "/mnt")["shared"].startswith("shared:")
    out = go(flat).good()
    assert mountinfo(out, "/")["shared"].startswith("shared:") and mountinfo(out, "/mnt")["shared"] == ""
    ops = [*ops, op("PROPAGATE", "/mnt", v=[UNBINDABLE]), *command("cat", "/proc/self/mountinfo")]
    assert mountinfo(go(ops).good(), "/mnt")["shared"] == "unbindable"
    ops = [*prelude(rootfs), op("PROPAGATE", "/no/such", v=[PRIVATE])]
    go(ops).bad(ops, "PROPAGATE", "OPEN", errno.ENOENT)


def test_read_only_mounts_keep_their_flags(go: Go, rootfs: Path) -> None:
    ops = [
        *[*prelude(rootfs), PROC, tmpfs("/mnt", attributes=NOSUID | NOATIME), op("PIVOT")],
        *[op("READONLY_MOUNT", "/mnt"), op("READONLY_MOUNT", "/")],
        *command("sh", "-c", "cat /proc/self/mountinfo; touch /x /mnt/x"),
    ]
    got = go(ops)
    assert set(mountinfo(got.out, "/mnt")["options"].split(",")) == {"ro", "nosuid", "noatime"}
    assert "/x: Read-only" in got.err and "/mnt/x: Read-only" in got.err
    ops = [*prelude(rootfs), op("READONLY_MOUNT", "/no/such")]
    go(ops).bad(ops, "READONLY_MOUNT", "RESOLVE", errno.ENOENT)


def test_a_read_only_path(go: Go, rootfs: Path) -> None:
    missing = op("READONLY_PATH", "/no/such", ok="ENOENT ENOTDIR")
    ops = [*prelude(rootfs), PROC, tmpfs("/etc/sub"), op("READONLY_PATH", "/etc"), op("READONLY_PATH", "/proc/sys"), missing]
    script = "touch /etc/x; touch /etc/sub/x; echo 1 >/proc/sys/kernel/shmall; cat /proc/self/mountinfo /etc/passwd"
    got = go([*ops, *sh(script)])
    assert "/etc/x: Read-only" in got.err and "/etc/sub/x" not in got.err and "/proc/sys/kernel/shmall: Read-only" in got.err
    info = "\n".join(line for line in got.out.splitlines() if " - " in line)
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(mountinfo(info, "/proc/sys")["options"].split(","))
    assert "root:" in got.out
    ops = [*prelude(rootfs), op("READONLY_PATH", "/no/such")]
    go(ops).bad(ops, "READONLY_PATH", "RESOLVE", errno.ENOENT)


def test_masked_paths_are_empty_and_cannot_be_written(go: Go, rootfs: Path) -> None:
    null = op("BIND", "/dev/null", "/dev/null", v=[0] * 6)
    paths = ("/etc", "/proc/meminfo", "/root", "/no/such", "/bin/sh/x")
    masks = [op("MASK_PATH", path, ok="ENOENT ENOTDIR") for path in paths]
    script = "ls -A /etc /root; wc -c </proc/meminfo; touch /etc/x; touch /root/x; cat /proc/self/mountinfo"
    got = go([*prelude(rootfs), PROC, null, *masks, *sh(script)])
    assert got.out.splitlines()[:4] == ["/etc:", "", "/root:", "0"]
    assert "/etc/x: Read-only" in got.err and "/root/x: Read-only" in got.err
    for path in ("/etc", "/root"):
        mount = mountinfo("\n".join(got.out.splitlines()[4:]), path)
        assert mount["type"] == "tmpfs" and {"ro", "nosuid", "nodev", "noexec"} <= set(mount["options"].split(","))
    ops = [*prelude(rootfs), op("MASK_PATH", "/no/such")]
    go(ops).bad(ops, "MASK_PATH", "RESOLVE", errno.ENOENT)


def test_pivot_leaves_nothing_of_the_old_root(go: Go, rootfs: Path) -> None:
    out = go([*prelude(rootfs), PROC, *sh("cat /proc/self/mountinfo; ls -d /../../work; pwd")]).out
    assert [line.split()[4] for line in out.splitlines() if " - " in line] == ["/", "/proc"]
    assert out.splitlines()[-1] == "/"


def test_the_pivot_unmounts_nothing_elsewhere(init: int, rootfs: Path) -> None:
    """In a shared tree the unmounting of the old root would reach its peers: the host's mounts, on a systemd machine."""
    apart = (PRIVATE | BELOW) | (SHARED | BELOW) << 8
    ops = [op("UNSHARE", v=[NEWNS]), op("PROPAGATE", "/", v=[apart]), op("SYNC", v=[c.SYNC_READY])]
    with Init(init, encode(ops)) as peer:
        peer.until(c.MSG_SYNC)
        before = Path(f"/proc/{peer.pid}/mountinfo").read_text()
        assert "shared:" in mountinfo(before, "/")["shared"]
        ops = [op("OPEN_NS", f"/proc/{peer.pid}/ns/mnt", v=[0]), op("SETNS", "", v=[0, NEWNS]), op("UNSHARE", v=[NEWNS])]
        ops += [op("ROOT", str(rootfs)), op("ROOT_PROPAGATION", v=[PRIVATE]), op("PROPAGATE", "/", v=[PRIVATE]), op("PIVOT")]
        with Init(init, encode([*ops, op("SYNC", v=[c.SYNC_READY])])) as process:
            process.until(c.MSG_SYNC)
            assert len(Path(f"/proc/{process.pid}/mountinfo").read_text().splitlines()) == 1
        assert mounted(before) <= mounted(Path(f"/proc/{peer.pid}/mountinfo").read_text())


def mounted(text: str) -> set[str]:
    return {line.split()[4] for line in text.splitlines()}


def test_move_root_hides_what_it_is_told_to_hide(go: Go, rootfs: Path) -> None:
    """--no-pivot: /proc of the host would be in reach below the new root, so it goes first."""
    ops = [*prelude(rootfs, NEWNS | NEWPID), op("HIDE", "/sys"), PROC, op("MOVE_ROOT"), *command("cat", "/proc/self/mountinfo")]
    out = go(ops).good()
    assert out.splitlines()[-1].split()[4] == "/proc"
    assert str(rootfs) not in "\n".join(mount.split()[4] for mount in out.splitlines())
    assert "sysfs" not in [mount.split(" - ")[1].split()[0] for mount in out.splitlines()]


def test_hide_covers_what_cannot_be_unmounted(go: Go, rootfs: Path) -> None:
    """In a user namespace the host's mounts are locked: /sys gets an empty file system on top."""
    seen: list[str] = []

    def look(init: Init) -> None:
        seen.extend(os.listdir(f"/proc/{init.pid}/root/sys"))

    ops = [*prelude(rootfs), op("HIDE", "/sys"), op("SYNC", v=[c.SYNC_HOOKS]), *sh("true")]
    go(ops, at={c.SYNC_HOOKS: look}).good()
    assert seen == []


def test_enter_root_is_a_change_of_root_without_mounts(go: Go, rootfs: Path) -> None:
    ops = [op("OPEN_ROOT", str(rootfs)), op("ENTER_ROOT"), *command("sh", "-c", "pwd; ls /; ls -d /../work")]
    got = go(ops)
    assert got.out.split()[0] == "/" and set(os.listdir(rootfs)) == set(got.out.split()[1:])
    ops = [op("OPEN_ROOT", str(rootfs / "missing"))]
    go(ops).bad(ops, "OPEN_ROOT", "OPEN", errno.ENOENT)


def test_a_root_that_is_a_link_or_missing_is_refused(go: Go, rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(rootfs)
    wrong = {tmp_path / "link": errno.ENOTDIR, tmp_path / "missing": errno.ENOENT, rootfs / "etc/passwd": errno.ENOTDIR}
    for path, error in wrong.items():
        ops = prelude(path)
        go(ops).bad(ops, "ROOT", "OPEN", error)


def test_nothing_of_a_plan_is_seen_outside(init: int, rootfs: Path) -> None:
    ops = [*prelude(rootfs), tmpfs("/mnt", propagation=SHARED), op("SYNC", v=[c.SYNC_HOOKS])]
    with Init(init, encode(ops)) as process:
        process.until(c.MSG_SYNC, c.SYNC_HOOKS)
        with open("/proc/self/mountinfo") as ours, open(f"/proc/{process.pid}/mountinfo") as theirs:
            assert str(rootfs) not in ours.read() and f"{rootfs}/mnt" in theirs.read()
