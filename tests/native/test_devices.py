"""Device nodes, links and the terminal: real effects, and names that lie about what they are."""

from __future__ import annotations

import array
import errno
import fcntl
import os
import stat
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.native.plan_harness import (
    NEWNS,
    NEWPID,
    NEWUSER,
    NOEXEC,
    NOSUID,
    PROC,
    Init,
    Op,
    Outcome,
    c,
    command,
    encode,
    host,
    op,
    prelude,
    sh,
    tmpfs,
)

pytestmark = pytest.mark.needs_root
Go = Callable[..., Outcome]

CHAR, BLOCK, FIFO = stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO
REAL = NEWNS | NEWPID
DEVPTS = op("MOUNT", "devpts", "/dev/pts", ["newinstance", "ptmxmode=0666", "mode=0620"], v=[NOSUID | NOEXEC, 0, 0])


def device(path: str, kind: int = CHAR, major: int = 1, minor: int = 3, mode: int = 0o666, uid: int = 0, gid: int = 0) -> Op:
    return op("DEVICE", path, v=[kind | mode, major, minor, uid, gid])


def test_devices_of_every_type(go: Go, rootfs: Path) -> None:
    nodes = [
        *[device("/dev/null"), device("/dev/block", BLOCK, 7, 200, 0o640, 5, 6), device("/dev/pipe", FIFO, 0, 0, 0o600, 7, 8)],
        *[device("/dev/deep/er/big", CHAR, 511, 0x54321), device("relative", CHAR, 1, 5)],
    ]
    out = go([*prelude(rootfs, REAL), op("UMASK"), *nodes, *sh("true")])
    assert out.good() == ""
    got = {path: os.lstat(rootfs / path) for path in ("dev/null", "dev/block", "dev/pipe", "dev/deep/er/big", "relative")}
    assert {path: (os.major(st.st_rdev), os.minor(st.st_rdev), st.st_uid, st.st_gid) for path, st in got.items()} == {
        "dev/null": (1, 3, 0, 0), "dev/block": (7, 200, 5, 6), "dev/pipe": (0, 0, 7, 8),
        "dev/deep/er/big": (511, 0x54321, 0, 0), "relative": (1, 5, 0, 0),
    }  # fmt: skip
    assert [st.st_mode for st in got.values()] == [CHAR | 0o666, BLOCK | 0o640, FIFO | 0o600, CHAR | 0o666, CHAR | 0o666]


def test_what_is_there_already_must_be_this_device(go: Go, rootfs: Path) -> None:
    os.mknod(rootfs / "dev/null", CHAR | 0o600, os.makedev(1, 3))
    os.mkfifo(rootfs / "dev/fifo")
    assert go([*prelude(rootfs, REAL), device("/dev/null"), device("/dev/fifo", FIFO), *sh("true")]).good() == ""
    (rootfs / "dev/file").touch()
    (rootfs / "dev/link").symlink_to("null")
    (rootfs / "dev/dir").mkdir()
    os.mknod(rootfs / "dev/other", CHAR | 0o600, os.makedev(1, 5))
    os.mknod(rootfs / "dev/block", BLOCK | 0o600, os.makedev(1, 3))
    for name in ("file", "link", "dir", "other", "block", "fifo"):
        ops = [*prelude(rootfs, REAL), device(f"/dev/{name}")]
        go(ops).bad(ops, "DEVICE", "EXISTS", errno.EEXIST)
    for name in ("file", "link", "dir", "other"):
        ops = [*prelude(rootfs, REAL), device(f"/dev/{name}", FIFO)]
        go(ops).bad(ops, "DEVICE", "EXISTS", errno.EEXIST)


def test_a_device_without_a_name_or_the_right_to_make_it(go: Go, rootfs: Path) -> None:
    for path in ("/", "/dev/", ""):
        ops = [*prelude(rootfs, REAL), device(path)]
        go(ops).bad(ops, "DEVICE", "RESOLVE", errno.EINVAL)
    ops = [*prelude(rootfs, REAL), device("/dev/..")]
    go(ops).bad(ops, "DEVICE", "MKNOD", errno.EXDEV)
    ops = [*prelude(rootfs), device("/dev/null")]
    go(ops).bad(ops, "DEVICE", "MKNOD", errno.EPERM)


def test_in_a_user_namespace_the_hosts_node_is_bound(go: Go, rootfs: Path) -> None:
    node = op("BIND_DEVICE", "/dev/zero", "/dev/zero", v=[CHAR, 1, 5])
    assert go([*prelude(rootfs), node, *sh("head -c 3 /dev/zero | od -An -tx1")]).good().split() == ["00"] * 3
    assert (rootfs / "dev/zero").is_file()
    ops = [*prelude(rootfs), op("BIND_DEVICE", "/dev/null", "/dev/zero", v=[CHAR, 1, 3])]
    assert go(ops).bad(ops, "BIND_DEVICE", "VERIFY", errno.ENODEV).detail == "/dev/zero"
    ops = [*prelude(rootfs), op("BIND_DEVICE", "/dev/null", "/dev/missing", v=[CHAR, 1, 3])]
    go(ops).bad(ops, "BIND_DEVICE", "SOURCE", errno.ENOENT)


def test_links(go: Go, rootfs: Path) -> None:
    (rootfs / "dev/kept").touch()
    (rootfs / "dev/replaced").touch()
    links = [
        *[op("SYMLINK", "/dev/fd", "/proc/self/fd"), op("SYMLINK", "/dev/kept", "other")],
        op("SYMLINK", "/dev/replaced", "other", v=[1]),
    ]
    go([*prelude(rootfs), *links, *sh("true")]).good()
    assert os.readlink(rootfs / "dev/fd") == "/proc/self/fd" and os.readlink(rootfs / "dev/replaced") == "other"
    assert not (rootfs / "dev/kept").is_symlink()
    (rootfs / "dev/full/of").mkdir(parents=True)
    ops = [*prelude(rootfs), op("SYMLINK", "/dev/full", "other", v=[1])]
    go(ops).bad(ops, "SYMLINK", "LINK", errno.EISDIR)


def test_stdio_on_the_hosts_null_becomes_the_containers(go: Go, rootfs: Path) -> None:
    ops = [*prelude(rootfs, REAL), PROC, tmpfs("/dev"), device("/dev/null"), op("PIVOT"), op("NULL_STDIO")]
    out = (
        go([*ops, *command("sh", "-c", "stat -L -c %d /proc/self/fd/0 /dev/null; readlink /proc/self/fd/1")]).good().splitlines()
    )
    assert out[0] == out[1] and out[2].startswith("/memfd:out")
    # Without a /dev/null in the container there is nothing better than the host's.
    assert go([*prelude(rootfs), PROC, op("PIVOT"), op("NULL_STDIO"), *command("readlink", "/proc/self/fd/0")]).good()


def test_stdio_is_not_moved_to_a_null_that_is_something_else(go: Go, rootfs: Path) -> None:
    """CVE-2025-31133. A fifo must not block, and a foreign device must not even be opened: that alone may do something."""
    null = rootfs / "dev/null"
    ops = [*prelude(rootfs, REAL), op("NULL_STDIO"), *sh("true")]
    null.symlink_to("/etc/passwd")
    go(ops).bad(ops, "NULL_STDIO", "NOTDEVNULL", errno.EINVAL)
    null.unlink()
    for make in (lambda: os.mkfifo(null), null.touch, null.mkdir, lambda: os.mknod(null, CHAR | 0o666, os.makedev(1, 5))):
        make()
        go(ops).bad(ops, "NULL_STDIO", "NOTDEVNULL", errno.EINVAL)
        null.rmdir() if null.is_dir() else null.unlink()
    os.mknod(null, CHAR | 0o666, os.makedev(240, 77))  # no driver has it: open(2) would say ENXIO
    go(ops).bad(ops, "NULL_STDIO", "NOTDEVNULL", errno.EINVAL)


def test_stdio_is_given_to_the_user_but_never_dev_null(go: Go, tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.touch()
    null = os.stat("/dev/null")
    fd = os.open(path, os.O_WRONLY)
    read, write = os.pipe()
    go([op("OWN_STDIO", v=[1234]), *host("true")], stdio={0: read, 1: fd}).good()
    assert os.fstat(read).st_uid == 1234
    go([op("OWN_STDIO", v=[1234]), *host("true")], stdio={1: fd}).good()
    for each in (fd, read, write):
        os.close(each)
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 0)
    assert (os.stat("/dev/null").st_uid, os.stat("/dev/null").st_gid) == (null.st_uid, null.st_gid)


def test_stdio_that_cannot_be_given_away_stays(go: Go) -> None:
    with open("/proc/self/comm") as file:
        ops = [
            op("UNSHARE", v=[NEWUSER]),
            op("SYNC", v=[c.SYNC_MAPS]),
            op("BECOME_ROOT"),
            op("OWN_STDIO", v=[77777777]),
            *host("true"),
        ]
        go(ops, stdio={0: file.fileno(), 2: file.fileno()}, maps="0 100000 10").good()


CONSOLE = op("CONSOLE", v=[33, 99, 1])


def test_a_console(init: int, rootfs: Path) -> None:
    masters: list[int] = []
    script = """
        test -t 0 && test -t 1 && test -t 2 && stty size && tty
        stty -a | grep -o .onlcr
        stat -c '%A %t:%T' /dev/console
        cut -d' ' -f7 /proc/self/stat
        read x; echo got $x
    """
    ops = [*prelude(rootfs), PROC, DEVPTS, op("PIVOT"), op("SESSION"), CONSOLE, *command("sh", "-c", script)]
    with Init(init, encode(ops)) as process:
        masters += process.until(c.MSG_CONSOLE).fds
        (master,) = masters
        os.write(master, b"input\n")
        text = b""
        with pytest.raises(OSError):  # EIO: the last of them has closed the pty
            while chunk := os.read(master, 4096):
                text += chunk
        assert process.wait() == 0 and process.printed() == ""
        os.close(master)
    lines = text.decode().splitlines()
    assert b"\r" not in text
    lines.remove("input")  # the terminal's echo, which comes when it comes
    assert lines == ["33 99", "/dev/pts/0", "-onlcr", "crw--w---- 88:0", str(os.makedev(136, 0)), "got input"]


def test_a_console_keeps_its_size_unless_it_is_told_one(init: int, rootfs: Path) -> None:
    ops = [*prelude(rootfs), DEVPTS, op("PIVOT"), op("SESSION"), op("CONSOLE", v=[0, 0, 0]), op("SYNC", v=[c.SYNC_READY])]
    with Init(init, encode(ops)) as process:
        (master,) = process.until(c.MSG_CONSOLE).fds
        size = array.array("H", [1] * 4)
        fcntl.ioctl(master, termios.TIOCGWINSZ, size)
        assert list(size) == [0, 0, 0, 0]
        os.close(master)
    assert not (rootfs / "dev/console").exists()


def test_a_console_needs_a_session(go: Go, rootfs: Path) -> None:
    ops = [*prelude(rootfs), DEVPTS, op("PIVOT"), CONSOLE]
    go(ops).bad(ops, "CONSOLE", "CTTY", errno.EPERM)


def test_ptmx_is_the_multiplexer_of_a_devpts(go: Go, rootfs: Path) -> None:
    """CVE-2025-52565, and names that only look like it."""
    pts = rootfs / "dev/pts"
    ops = [*prelude(rootfs, REAL), op("SESSION"), CONSOLE]
    go(ops).bad(ops, "CONSOLE", "PTMX", errno.ENOENT)
    pts.mkdir()
    for make in (
        lambda: (pts / "ptmx").symlink_to("/dev/tty"),
        lambda: os.mknod(pts / "ptmx", CHAR | 0o666, os.makedev(1, 5)),
        lambda: os.mknod(pts / "ptmx", CHAR | 0o666, os.makedev(5, 2)),  # the right number, but of no devpts
        lambda: os.mkfifo(pts / "ptmx"),
        (pts / "ptmx").touch,
    ):
        make()
        go(ops).bad(ops, "CONSOLE", "PTMX", errno.EINVAL)
        (pts / "ptmx").unlink()
    pts.rmdir()
    pts.symlink_to("/elsewhere")
    go(ops).bad(ops, "CONSOLE", "PTMX", errno.ENOENT)


def test_dev_console_is_made_not_followed(go: Go, rootfs: Path) -> None:
    (rootfs / "dev/console").symlink_to("/etc/passwd")
    ops = [*prelude(rootfs), DEVPTS, op("SESSION"), CONSOLE]
    go(ops).bad(ops, "CONSOLE", "CREATE", errno.ELOOP)
    (rootfs / "dev/console").unlink()
    (rootfs / "dev/console").mkdir()
    go(ops).bad(ops, "CONSOLE", "ATTACH", errno.EINVAL)
