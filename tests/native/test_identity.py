"""Who the process is in the end: user, groups, capabilities, filters, umask, HOME."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import stat
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.native.plan_harness import (
    NEWNS,
    NEWPID,
    NEWUSER,
    NEWUTS,
    SETHOSTNAME,
    Init,
    Outcome,
    c,
    command,
    encode,
    errno_filter,
    eventually,
    host,
    op,
    prelude,
)

pytestmark = pytest.mark.needs_root
Go = Callable[..., Outcome]

KILL, NET_BIND, CHOWN, SYS_ADMIN, SETPCAP = 1 << 5, 1 << 10, 1 << 0, 1 << 21, 1 << 8
ALL = 2**64 - 1


def status(out: str) -> dict[str, str]:
    """/proc/self/status as a table."""
    return {key: value.strip() for key, _, value in (line.partition(":") for line in out.splitlines())}


def caps(out: str) -> list[int]:
    """Effective, permitted, inheritable, ambient and bounding capabilities in /proc/self/status."""
    return [int(status(out)[f"Cap{name}"], 16) for name in ("Eff", "Prm", "Inh", "Amb", "Bnd")]


STATUS = host("cat", "/proc/self/status")
KNOWN = (1 << int(Path("/proc/sys/kernel/cap_last_cap").read_text()) + 1) - 1


def test_umask(go: Go) -> None:
    assert go([op("UMASK", v=[0o027]), *host("sh", "-c", "umask")]).good() == "0027\n"


def groups(*numbers: int) -> bytes:
    return struct.pack(f"={len(numbers)}I", *numbers)


def test_a_user_with_groups_and_nothing_else(go: Go) -> None:
    got = status(go([op("USER", groups(5, 4000000000), v=[1000, 2000, 1, 0]), *STATUS]).good())
    assert got["Uid"].split() == ["1000"] * 4 and got["Gid"].split() == ["2000"] * 4
    assert got["Groups"].split() == ["5", "4000000000"]
    assert int(got["CapEff"], 16) == int(got["CapPrm"], 16) == int(got["CapAmb"], 16) == 0


def test_groups_are_dropped_or_left_alone_as_the_plan_says(go: Go) -> None:
    first = op("USER", groups(5), v=[0, 0, 1, 0])
    assert status(go([first, op("USER", b"", v=[1, 1, 1, 0]), *STATUS]).good())["Groups"] == ""
    assert status(go([first, op("USER", b"", v=[1, 1, 0, 0]), *STATUS]).good())["Groups"] == "5"


def test_a_user_or_group_that_is_not_mapped(go: Go) -> None:
    enter = [op("UNSHARE", v=[NEWUSER]), op("SYNC", v=[c.SYNC_MAPS]), op("BECOME_ROOT")]
    for user, place in (([0, 11, 1, 0], "SETGID"), ([11, 0, 1, 0], "SETUID")):
        ops = [*enter, op("USER", b"", v=user)]
        go(ops, maps="0 100000 10").bad(ops, "USER", place, errno.EINVAL)
    ops = [*enter, op("USER", groups(11), v=[0, 0, 1, 0])]
    go(ops, maps="0 100000 10").bad(ops, "USER", "SETGROUPS", errno.EINVAL)


def test_bounding_set(go: Go) -> None:
    assert caps(go([op("BOUNDING", v=[KILL | CHOWN]), *STATUS]).good())[4] == KILL | CHOWN
    ops = [op("CAPABILITIES", v=[KILL, KILL, 0, 0]), op("BOUNDING", v=[0])]
    go(ops).bad(ops, "BOUNDING", "DROPBOUNDING", errno.EPERM)


def test_capabilities_of_another_user_by_way_of_ambient(go: Go) -> None:
    keep = KILL | NET_BIND
    ops = [op("BOUNDING", v=[keep]), op("USER", b"", v=[1000, 1000, 1, 1]), op("CAPABILITIES", v=[keep, keep, keep, NET_BIND])]
    assert caps(go([*ops, *STATUS]).good()) == [NET_BIND, NET_BIND, keep, NET_BIND, keep]


def test_capabilities_of_root(go: Go) -> None:
    """execve(2) gives root the bounding set, and the securebit that keeps them at a change of user is off again."""
    ops = [op("BOUNDING", v=[KILL]), op("USER", b"", v=[0, 0, 1, 1]), op("CAPABILITIES", v=[KILL, KILL, 0, 0])]
    assert caps(go([*ops, *STATUS]).good()) == [KILL, KILL, 0, 0, KILL]
    out = go([*ops, *host("sh", "-c", "cat /proc/self/status; busybox true")]).good()
    assert caps(out)[0] == KILL


def test_what_the_kernel_does_not_grant_is_left_out(go: Go) -> None:
    """Not one of: beyond the last capability, not permitted, outside the bounding set."""
    assert (
        caps(go([op("CAPABILITIES", v=[ALL, ALL, 0, 0]), *STATUS]).good())[:2]
        == [KNOWN & caps(Path("/proc/self/status").read_text())[1]] * 2
    )
    ops = [op("CAPABILITIES", v=[KILL] * 4), op("CAPABILITIES", v=[KILL | CHOWN, KILL | CHOWN, KILL | CHOWN, ALL])]
    assert caps(go([*ops, op("USER", b"", v=[0, 0, 0, 0]), *STATUS]).good())[2:4] == [KILL, KILL]
    ops = [op("BOUNDING", v=[KILL | SETPCAP]), op("CAPABILITIES", v=[KILL | CHOWN, KILL | CHOWN, KILL | CHOWN, CHOWN]), *STATUS]
    assert caps(go(ops).good())[2] == KILL


def test_no_new_privileges(go: Go) -> None:
    assert status(go([op("NO_NEW_PRIVS"), *STATUS]).good())["NoNewPrivs"] == "1"
    assert status(go(STATUS).good())["NoNewPrivs"] == "0"


def test_seccomp(go: Go) -> None:
    load = op("SECCOMP", errno_filter(SETHOSTNAME, errno.EMLINK), v=[0])
    got = go([op("UNSHARE", v=[NEWUTS]), load, *host("sh", "-c", "hostname x; cat /proc/self/status")])
    assert "sethostname: Too many links" in got.err and status(got.out)["Seccomp_filters"] == "1"
    ops = [op("UNSHARE", v=[NEWUTS]), load, op("HOSTNAME", "name")]
    go(ops).bad(ops, "HOSTNAME", "SETHOSTNAME", errno.EMLINK)


def test_a_filter_that_the_runtime_gives_meanwhile(init: int) -> None:
    """In the step page, with its flags, before SYNC READY is answered."""
    program = errno_filter(SETHOSTNAME, errno.EMLINK)
    ops = [op("UNSHARE", v=[NEWUTS]), op("SYNC", v=[c.SYNC_READY]), op("SECCOMP", v=[0]), op("HOSTNAME", "name")]
    with Init(init, encode(ops, parent=os.getpid())) as child:
        ready = child.until(c.MSG_SYNC)
        child.page[c.PLAN_STEP_FLAGS : c.PLAN_STEP_FLAGS + 8 + len(program)] = struct.pack("=II", 0, len(program)) + program
        child.answer(ready)
        assert child.until(c.MSG_ERROR).error == errno.EMLINK


@pytest.mark.parametrize("size", [0, 7, c.PLAN_FILTER_MAX + 8, 0xFFFFFFF8])
def test_a_filter_that_was_not_given(init: int, size: int) -> None:
    """None, or of a size that it cannot have: nothing runs without the filter that its plan has."""
    with Init(init, encode([op("SYNC", v=[c.SYNC_READY]), op("SECCOMP", v=[0]), op("WAIT")], parent=os.getpid())) as child:
        ready = child.until(c.MSG_SYNC)
        child.page[c.PLAN_STEP_FLAGS : c.PLAN_STEP_FLAGS + 8] = struct.pack("=II", 0, size)
        child.answer(ready)
        said = child.until(c.MSG_ERROR)
        assert (said.value, said.error) == (c.AT_LOADSECCOMP, errno.EINVAL)


def notify_filter(number: int) -> bytes:
    """The same as errno_filter(), for SECCOMP_RET_USER_NOTIF."""
    refused, notified = (struct.pack("=HBBI", 0x06, 0, 0, action) for action in (0x50000, 0x7FC00000))
    return errno_filter(number, 0).replace(refused, notified)


@pytest.mark.parametrize("dumpable", [0, 1])
def test_a_listener_is_there_until_it_is_taken(init: int, dumpable: int) -> None:
    """Told by the step page alone: not even the announced close(2) is tried before it is ours."""
    ops = [op("UNSHARE", v=[NEWUTS]), op("SECCOMP", notify_filter(SETHOSTNAME), v=[8, dumpable]), op("HOSTNAME", "n"), op("WAIT")]
    with Init(init, encode(ops, parent=os.getpid())) as child:
        child.until(c.MSG_LISTENER)
        assert eventually(lambda: child.word(c.PLAN_STEP_LISTENER), 20)
        number = child.word(c.PLAN_STEP_LISTENER) - 1
        assert os.readlink(f"/proc/{child.pid}/fd/{number}") == "anon_inode:seccomp notify"
        process = os.pidfd_open(child.pid)
        listener = ctypes.CDLL(None, use_errno=True).syscall(438, process, number, 0)  # pidfd_getfd
        os.close(process)
        assert listener >= 0, os.strerror(ctypes.get_errno())
        child.page[c.PLAN_STEP_TAKEN] = 1
        assert select.select([listener], [], [], 20)[0], "sethostname was not notified"
        raw = fcntl.ioctl(listener, 0xC0502100, bytes(80))  # SECCOMP_IOCTL_NOTIF_RECV
        assert struct.unpack_from("=I", raw, 16)[0] == SETHOSTNAME
        assert not os.path.exists(f"/proc/{child.pid}/fd/{number}")
        assert status(Path(f"/proc/{child.pid}/status").read_text())["Seccomp_filters"] == "1"
        fcntl.ioctl(listener, 0xC0182101, raw[:8] + struct.pack("=qiI", 0, -errno.EMLINK, 0))  # SECCOMP_IOCTL_NOTIF_SEND
        error = child.until(c.MSG_ERROR)
        assert (error.op, error.error) == (2, errno.EMLINK)
        os.close(listener)
        assert child.wait() == 1


def test_a_filter_that_cannot_be_loaded_gives_no_listener(go: Go) -> None:
    ops = [op("SECCOMP", b"\xff" * 8, v=[8])]
    go(ops).bad(ops, "SECCOMP", "LOADSECCOMP", errno.EINVAL)


def test_seccomp_refusals(go: Go) -> None:
    good = errno_filter(SETHOSTNAME, 1)
    for filter, flags in ((b"", 0), (b"\0" * 8 * 4097, 0), (b"\xff" * 8, 0), (good + b"\0", 0), (good, 1 << 30)):
        ops = [op("SECCOMP", filter, v=[flags])]
        go(ops).bad(ops, "SECCOMP", "LOADSECCOMP", errno.EINVAL)
    ops = [op("USER", b"", v=[1000, 1000, 1, 0]), op("SECCOMP", good, v=[0])]
    go(ops).bad(ops, "SECCOMP", "LOADSECCOMP", errno.EACCES)
    assert go([ops[0], op("NO_NEW_PRIVS"), ops[1], *host("true")]).good() == ""


def test_a_filter_longer_than_its_16_bit_count_is_refused(go: Go) -> None:
    ops = [op("SECCOMP", errno_filter(SETHOSTNAME, 1) * (65540 // 4), v=[0])]
    go(ops).bad(ops, "SECCOMP", "LOADSECCOMP", errno.EINVAL)


LINE = "user:x:1000:1000:A user:/home/user:/bin/sh\n"


@pytest.mark.parametrize(
    ("passwd", "home"),
    [
        (LINE, "/home/user"),
        (f"root:x:0:0::/root:\n\n#\n{LINE}", "/home/user"),
        ("a:x:1000:1000::/no/shell", "/no/shell"),
        ("a:x:10000:1::/longer:\nb:x:100:1::/shorter:\n" + LINE, "/home/user"),
        ("a:x:1000:1000::/first:\nb:x:1000:1::/second:\n", "/first"),
        ("a:x:1000:1000:::\n" + LINE, "/home/user"),
        ("a:x:1000\na:x:1000:1:\n", "/"),
        ("a:x::::/empty:\na:x:1000x:1::/letters:\na:x:-1000:1::/sign:\n:::::::\n", "/"),
        ("", "/"),
        ("\n" * 70_000 + LINE, "/home/user"),
        ("a:x:1000:1000:" + "g" * 70_000 + ":/too/long:\n" + LINE, "/home/user"),
        ("u:x:7:7::/seven:/bin/sh\n" * 20_000 + LINE, "/home/user"),
        ("a:x:1000:1000::/" + "h" * 5000 + ":\n", "/" + "h" * 4089),
    ],
)  # fmt: skip
def test_home_is_found_in_the_containers_passwd(go: Go, rootfs: Path, passwd: str, home: str) -> None:
    (rootfs / "etc/passwd").unlink()
    (rootfs / "etc/passwd").write_text(passwd)
    out = go([*prelude(rootfs), op("PIVOT"), op("HOME", v=[1000]), *command("sh", "-c", "echo $HOME; echo $PATH")]).good()
    assert out == f"{home}\n/bin\n"


def test_without_home_the_environment_is_what_the_plan_says(go: Go, rootfs: Path) -> None:
    out = go([*prelude(rootfs), op("PIVOT"), *command("env", env=["A=1", "B=two words", "HOME=/given"])]).good()
    assert out.splitlines() == ["A=1", "B=two words", "HOME=/given"]


def test_a_hostile_passwd_is_nobodys(go: Go, rootfs: Path, tmp_path: Path) -> None:
    """A fifo would block for ever, a device might do anything, a link leads no further than the root."""
    passwd = rootfs / "etc/passwd"
    ops = [*prelude(rootfs, NEWNS | NEWPID), op("PIVOT"), op("HOME", v=[0]), *command("sh", "-c", "echo $HOME")]
    (tmp_path / "passwd").write_text("root:x:0:0::/escaped:\n")
    for make in (
        lambda: os.mkfifo(passwd),
        lambda: os.mknod(passwd, stat.S_IFCHR | 0o666, os.makedev(1, 5)),
        lambda: os.mknod(passwd, stat.S_IFCHR | 0o666, os.makedev(5, 0)),
        lambda: passwd.symlink_to(tmp_path / "passwd"),
        lambda: passwd.symlink_to("../../../../../../../.." + str(tmp_path / "passwd")),
        lambda: passwd.symlink_to("passwd"),
        lambda: passwd.symlink_to("/proc/self/fd/0"),
        passwd.mkdir,
        lambda: subprocess.run(["truncate", "-s", "1T", passwd], check=True),
    ):  # fmt: skip
        passwd.rmdir() if passwd.is_dir() else passwd.unlink(missing_ok=True)
        make()
        assert go(ops).good() == "/\n"
    passwd.unlink()
    passwd.symlink_to("../etc/./inside")
    (rootfs / "etc/inside").write_text("root:x:0:0::/inside:\n")
    assert go(ops).good() == "/inside\n"
