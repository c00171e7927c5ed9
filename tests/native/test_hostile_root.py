"""Safety rules 1 to 4 of the design: a root file system made by an attacker, at rest and while it changes.

Outside the root lies a directory that nothing may ever be made in or mounted on. Every way of naming it from inside is tried
with every op that makes or mounts something; then a second process swaps a directory with a link to it, as fast as it can.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.native.plan_harness import (
    NEWNS,
    NEWPID,
    PROC,
    RDONLY,
    SECONDS,
    SHARED,
    Init,
    Op,
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

REAL = NEWNS | NEWPID
UP = "../" * 30


@pytest.fixture
def outside(session_dir: Path, rootfs: Path) -> Iterator[Path]:
    """A directory beside the root; it must stay as it is."""
    path = session_dir / f"{rootfs.name}-outside"
    (path / "dir").mkdir(parents=True)
    (path / "file").write_text("outside\n")
    before = listing(path)
    yield path
    assert listing(path) == before
    for child in (path / "dir", path / "file", path):
        child.rmdir() if child.is_dir() else child.unlink()


def listing(path: Path) -> list[tuple[object, ...]]:
    """All that is there, with mode, owner, links and content."""
    found = []
    for entry in sorted([path, *path.rglob("*")]):
        st = entry.lstat()
        found.append((entry, st.st_mode, st.st_uid, st.st_nlink, entry.read_bytes() if entry.is_file() else b""))
    return found


@contextmanager
def looking(seen: list[str]) -> Iterator[dict[int, Callable[[Init], object]]]:
    """Collects where the container's mounts lie, as the host sees them, before it changes its root."""

    def look(init: Init) -> None:
        with open(f"/proc/{init.pid}/mountinfo") as lines:
            seen.extend(line.split()[4] for line in lines)

    yield {c.SYNC_HOOKS: look}


LOOK = op("SYNC", v=[c.SYNC_HOOKS])


def links(outside: Path) -> dict[str, str]:
    """Names inside the root and what they say."""
    return {
        "absolute": str(outside),
        "up": UP + str(outside)[1:],
        "slash": "/",
        "up-and-up": UP,
        "chain": "absolute",
        "dangling": f"{outside}/missing",
        "self": "/proc/self/root",
        "fd": "/proc/1/cwd",
        "dots": f"./.././..//{UP}.{outside}/.",
    }


OPS: dict[str, Callable[[str], Op]] = {
    "MOUNT": lambda path: tmpfs(path),
    "MOUNT_DATA": lambda path: op("MOUNT_DATA", "tmpfs", path, None, "tmpfs", v=[0, SHARED, 0]),
    "BIND": lambda path: bind("/etc", path, top=(RDONLY, 0)),
    "BIND of a file": lambda path: bind("/etc/passwd", path + "/new-file", top=(RDONLY, 0)),
    "DEVICE": lambda path: op("DEVICE", path + "/node", v=[stat.S_IFCHR | 0o666, 1, 3, 12, 34]),
    "BIND_DEVICE": lambda path: op("BIND_DEVICE", path + "/node", "/dev/null", v=[stat.S_IFCHR, 1, 3]),
    "SYMLINK": lambda path: op("SYMLINK", path + "/link", "text", v=[1]),
    "MAKE_CWD": lambda path: op("MAKE_CWD", path + "/cwd"),
    "MASK_PATH": lambda path: op("MASK_PATH", path, ok="ENOENT"),
    "READONLY_PATH": lambda path: op("READONLY_PATH", path, ok="ENOENT"),
    "READONLY_MOUNT": lambda path: op("READONLY_MOUNT", path, ok="ENOENT EINVAL"),
}


@pytest.mark.parametrize("name", OPS)
def test_no_link_leads_out_of_the_root(go: Go, rootfs: Path, outside: Path, name: str) -> None:
    for link, text in links(outside).items():
        (rootfs / link).symlink_to(text)
    for link in links(outside):
        for tail in ("", "/dir", "/new/er", "/../..", f"/../../../{outside}"):
            seen: list[str] = []
            with looking(seen) as at:
                go([*prelude(rootfs, REAL), OPS[name](f"/{link}{tail}"), LOOK], at=at)
            assert not [path for path in seen if path.startswith(str(outside))]


def test_what_a_dangling_link_means_is_made_inside(go: Go, rootfs: Path, outside: Path) -> None:
    (rootfs / "volume").symlink_to(f"../../..{outside}/new")
    (rootfs / "file").symlink_to("volume/file")
    go([*prelude(rootfs), tmpfs("/volume/deep"), bind("/etc/passwd", "/file"), *sh("cat /file")]).good()
    inside = rootfs / str(outside)[1:] / "new"
    assert (inside / "deep").is_dir() and (inside / "file").is_file()


ENDLESS = ("/loop", "/loop/x", "/ping", "/ping/x", "/long/x", f"/{'n' * 256}", "/" + "p/" * 2100, "/file/x")


@pytest.mark.parametrize("path", ENDLESS, ids=range(len(ENDLESS)))
def test_names_without_an_end(go: Go, rootfs: Path, path: str) -> None:
    (rootfs / "loop").symlink_to("loop")
    (rootfs / "ping").symlink_to("pong")
    (rootfs / "pong").symlink_to("./ping/..")
    (rootfs / "file").touch()
    (rootfs / "long").symlink_to("l/" * 2000)
    (rootfs / "l").symlink_to("l/" * 2000 + "l")
    ops = [*prelude(rootfs), tmpfs(path)]
    got = go(ops)
    assert [(e.value, e.error in (errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR)) for e in got.errors] == [(c.AT_RESOLVE, True)]


@pytest.mark.parametrize("name", ["proc", "sys"])
@pytest.mark.parametrize("text", ["/", "/etc", "../../..", "/nowhere"])
def test_proc_and_sysfs_only_on_a_real_directory(go: Go, rootfs: Path, name: str, text: str) -> None:
    """CVE-2023-27561, CVE-2019-19921: the mount would hide what masks and labels are applied to."""
    fs = {"proc": "proc", "sys": "sysfs"}[name]
    (rootfs / name).rmdir()
    (rootfs / name).symlink_to(text)
    ops = [*prelude(rootfs), op("MOUNT", fs, f"/{name}", [], v=[0, 0, c.MODE_REALDIR])]
    go(ops).bad(ops, "MOUNT", "RESOLVE", errno.ELOOP)
    (rootfs / name).unlink()
    (rootfs / name).symlink_to("real")
    (rootfs / "real").mkdir()
    data = op("MOUNT_DATA", fs, f"/{name}/x", None, fs, v=[0, 0, c.MODE_REALDIR])
    for mount in (data, bind("/proc", f"/{name}", mode=c.MODE_REALDIR)):
        ops = [*prelude(rootfs), mount]
        go(ops).bad(ops, mount.name, "RESOLVE", errno.ELOOP)


def test_proc_and_sysfs_not_on_a_file(go: Go, rootfs: Path) -> None:
    (rootfs / "proc").rmdir()
    (rootfs / "proc").touch()
    ops = [*prelude(rootfs), PROC]
    go(ops).bad(ops, "MOUNT", "RESOLVE", errno.ENOTDIR)


def test_nothing_is_mounted_inside_proc(go: Go, rootfs: Path) -> None:
    """CVE-2019-16884, by its name, by a link and by a bind of procfs; only what the plan allows is allowed."""
    (rootfs / "innocent").symlink_to("proc/sys")
    (rootfs / "file").symlink_to("/proc/self/attr/current")
    for mount in (
        tmpfs("/proc"), tmpfs("/proc/sys"), tmpfs("/innocent"), tmpfs("/innocent/kernel"), bind("/etc", "/proc/sys"),
        bind("/etc/passwd", "/proc/sys/kernel/hostname"), bind("/dev/null", "/proc/uptime"),
        op("MOUNT_DATA", "tmpfs", "/innocent", None, "tmpfs", v=[0, 0, 0]),
        op("BIND_DEVICE", "/proc/uptime", "/dev/null", v=[stat.S_IFCHR, 1, 3]),
    ):  # fmt: skip
        ops = [*prelude(rootfs), PROC, mount]
        go(ops).bad(ops, mount.name, "INPROC", errno.EPERM)
    allowed = bind("/etc/hostname", "/proc/uptime", mode=c.MODE_INPROC)
    assert go([*prelude(rootfs), PROC, allowed, *sh("cat /proc/uptime")]).good() == Path("/etc/hostname").read_text()
    ops = [*prelude(rootfs, REAL), bind("/proc", "/mnt"), tmpfs("/mnt/sys")]
    go(ops).bad(ops, "MOUNT", "INPROC", errno.EPERM)


def test_masks_take_nothing_but_dev_null(go: Go, rootfs: Path) -> None:
    """CVE-2025-31133."""
    null = rootfs / "dev/null"
    ops = [*prelude(rootfs, REAL), op("MASK_PATH", "/etc/passwd", ok="ENOENT ENOTDIR")]
    go(ops).bad(ops, "MASK_PATH", "NOTDEVNULL", errno.ENODEV)
    for make in (
        *(lambda: null.symlink_to("/etc/shadow"), null.touch, null.mkdir, lambda: os.mkfifo(null)),
        lambda: os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 5)),
        lambda: os.mknod(null, stat.S_IFBLK | 0o666, os.makedev(1, 3)),
    ):
        make()
        go(ops).bad(ops, "MASK_PATH", "NOTDEVNULL", errno.EINVAL)
        null.rmdir() if null.is_dir() else null.unlink()
    null.symlink_to("/dev/real")
    os.mknod(rootfs / "dev/real", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    go(ops).bad(ops, "MASK_PATH", "NOTDEVNULL", errno.EINVAL)


def test_dev_is_a_link_to_a_directory_of_the_hosts(go: Go, rootfs: Path, outside: Path) -> None:
    """CVE-2026-41579: devices, default links and ptmx were made, and ptmx removed, through it."""
    (rootfs / "dev").rmdir()
    (rootfs / "dev").symlink_to(outside)
    things = [
        *[OPS["DEVICE"]("/dev"), op("SYMLINK", "/dev/ptmx", "pts/ptmx", v=[1]), op("SYMLINK", "/dev/file", "x", v=[1])],
        *[tmpfs("/dev/shm"), op("MOUNT", "devpts", "/dev/pts", ["newinstance", "ptmxmode=0666"], v=[0, 0, 0])],
        *[op("PIVOT"), op("SESSION"), op("CONSOLE", v=[0, 0, 1]), op("NULL_STDIO")],
    ]
    assert go([*prelude(rootfs, REAL), *things, *command("true")]).good() == ""
    inside = rootfs / str(outside)[1:]
    assert {"ptmx", "file", "node", "shm", "pts", "console"} == set(os.listdir(inside))


AT_FDCWD, RENAME_EXCHANGE = -100, 2
RACED = {errno.ELOOP, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EAGAIN, errno.EBUSY}
ANY = sum(c.TOLERATED)  # what a race may bring about, but ELOOP


@contextmanager
def swapping(one: Path, other: Path) -> Iterator[None]:
    """Another process exchanges two names as fast as it can; at the end it must have done so often."""
    counter = os.memfd_create("swaps")
    child = os.fork()
    if child == 0:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
        names, count = (AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE), 0
        try:
            while rename(*names) == 0:
                count += 1
                if count % 64 == 0:
                    os.pwrite(counter, b"%20d" % count, 0)
        finally:
            os._exit(1)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    swaps = int(os.pread(counter, 20, 0) or b"0")
    os.close(counter)
    assert swaps > 2000


@pytest.mark.parametrize("target", ["outside", "root", "proc"])
def test_a_directory_that_turns_into_a_link_and_back(init: int, rootfs: Path, outside: Path, target: str) -> None:
    """CVE-2021-30465, CVE-2024-45310: two containers share a volume, one changes it while the other is set up."""
    volume = rootfs / "volume"
    (volume / "dir/deep").mkdir(parents=True)
    text = {"outside": UP + str(outside)[1:], "root": UP, "proc": "/proc/self/root" + str(outside)}[target]
    (volume / "link").symlink_to(text)
    places: list[str] = []
    ends = {"clean": 0, "raced": 0}
    batches = [[make(f"/volume/dir/{tail}") for make in OPS.values()] for tail in ("deep/x", "deep/new/x", "y")]
    end = time.monotonic() + SECONDS
    with looking(places) as at, swapping(volume / "dir", volume / "link"):
        while (min(ends.values()) < 10 or sum(ends.values()) < 150) and time.monotonic() < end:
            for ops in batches:
                tolerant = [Op(o.name, o.strings, o.values, ANY) for o in ops]
                with Init(init, encode([*prelude(rootfs, REAL), PROC, *tolerant, LOOK])) as process:
                    got = process.finish(at)
                ends["raced" if got.errors else "clean"] += 1
                assert {error.error for error in got.errors} <= RACED, got
    assert not [path for path in places if path.startswith(str(outside))]
    assert str(rootfs) in places and all(ends.values()), ends


def test_the_root_itself_may_not_be_a_link_that_comes_and_goes(init: int, rootfs: Path, outside: Path) -> None:
    """The bundle's rootfs is opened once and never by its name again."""
    link = rootfs.parent / f"{rootfs.name}-link"
    link.symlink_to(outside)
    places: list[str] = []
    with looking(places) as at, swapping(rootfs, link):
        for _ in range(60):
            ops = [*prelude(rootfs, REAL), tmpfs("/new/mnt"), op("SYMLINK", "/etc/link", "x"), LOOK]
            with Init(init, encode(ops)) as process:
                got = process.finish(at)
            assert [(e.value, e.error) for e in got.errors] in ([], [(c.AT_OPEN, errno.ENOTDIR)]), got
    if rootfs.is_symlink():
        rootfs.rename(rootfs.with_name("swap")), link.rename(rootfs), rootfs.with_name("swap").rename(link)
    link.unlink()
    assert not [path for path in places if path.startswith(str(outside))]
