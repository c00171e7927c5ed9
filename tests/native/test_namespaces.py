"""Namespaces, the processes in them, and what is written below /proc on the way."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.native.plan_harness import (
    BELOW,
    NEWCGROUP,
    NEWIPC,
    NEWNET,
    NEWNS,
    NEWPID,
    NEWTIME,
    NEWUSER,
    NEWUTS,
    PRIVATE,
    PROC,
    Init,
    Outcome,
    c,
    encode,
    eventually,
    host,
    op,
    prelude,
    sh,
    write_maps,
)

pytestmark = pytest.mark.needs_root
Go = Callable[..., Outcome]


def own(name: str, pid: int | str = "self") -> str:
    return os.readlink(f"/proc/{pid}/ns/{name}")


def test_the_runtimes_namespaces_stay_its_own(go: Go, rootfs: Path) -> None:
    before = {name: own(name) for name in os.listdir("/proc/self/ns")}
    seen: dict[str, str] = {}
    flags = NEWUSER | NEWNS | NEWPID | NEWIPC | NEWUTS | NEWNET | NEWCGROUP | NEWTIME
    ops = [*prelude(rootfs, flags), op("SYNC", v=[c.SYNC_HOOKS]), *sh("true")]
    go(ops, at={c.SYNC_HOOKS: lambda init: seen.update({name: own(name, init.pid) for name in before})}).good()
    assert {name: own(name) for name in before} == before
    assert all(seen[name] != before[name] for name in before)


def test_unshare_says_why_not(go: Go) -> None:
    ops = [op("UNSHARE", v=[0x10])]
    go(ops).bad(ops, "UNSHARE", "UNSHARE", errno.EINVAL)


def test_become_root_is_root_without_groups(go: Go, rootfs: Path) -> None:
    script = "id; cat /proc/self/uid_map; grep -E ^Uid /proc/self/status"
    out = go([*prelude(rootfs), PROC, *sh(script)], maps="0 100000 1000").good()
    assert out.splitlines()[0] == "uid=0(root) gid=0(root)"
    assert out.splitlines()[1].split() == ["0", "100000", "1000"]
    assert out.splitlines()[2].split() == ["Uid:", "0", "0", "0", "0"]


def test_become_root_with_a_single_mapping_leaves_groups_alone(go: Go) -> None:
    def deny(init: Init) -> None:
        Path(f"/proc/{init.pid}/setgroups").write_text("deny")
        write_maps(init.pid, "0 1234 1")

    ops = [op("UNSHARE", v=[NEWUSER]), op("SYNC", v=[c.SYNC_MAPS]), op("BECOME_ROOT", v=[1]), *host("id", "-u")]
    assert go(ops, at={c.SYNC_MAPS: deny}, maps=None).good() == "0\n"
    ops = [op("UNSHARE", v=[NEWUSER]), op("SYNC", v=[c.SYNC_MAPS]), op("BECOME_ROOT"), *host("id", "-u")]
    go(ops, at={c.SYNC_MAPS: deny}, maps=None).bad(ops, "BECOME_ROOT", "SETGROUPS", errno.EPERM)


def test_become_root_without_a_root_in_the_mapping(go: Go) -> None:
    ops = [op("UNSHARE", v=[NEWUSER]), op("SYNC", v=[c.SYNC_MAPS]), op("BECOME_ROOT")]
    go(ops, maps="5 100000 10").bad(ops, "BECOME_ROOT", "SETGID", errno.EINVAL)


def test_without_an_answer_nothing_goes_on(init: int) -> None:
    with Init(init, encode([op("SYNC", v=[c.SYNC_READY]), *host("true")])) as process:
        process.until(c.MSG_SYNC, c.SYNC_READY)
        process.channel.close()
        assert process.wait() == 1


def test_fork_tells_the_pid_before_the_child_says_anything(init: int) -> None:
    """Or else the runtime would take what the child says for its parent's."""
    plan = encode([op("UNSHARE", v=[NEWPID]), op("FORK"), op("SYNC", v=[c.SYNC_CGROUP])])
    for _ in range(150):
        with Init(init, plan) as process:
            first = process.receive()
            assert first and (first.kind, first.op) == (c.MSG_FORKED, 1)
            assert f"\nNSpid:\t{first.value}\t1\n" in Path(f"/proc/{first.value}/status").read_text()
            second = process.receive()
            assert second and (second.kind, second.value, second.op) == (c.MSG_SYNC, c.SYNC_CGROUP, 2)


def test_the_forked_process_is_the_runtimes_child(init: int) -> None:
    with Init(init, encode([op("FORK"), op("SYNC", v=[c.SYNC_READY])])) as process:
        process.until(c.MSG_SYNC, c.SYNC_READY)
        parent, child = process.pids
        assert os.waitstatus_to_exitcode(os.waitpid(parent, 0)[1]) == 0
        process.pids.remove(parent)
        assert f"\nPPid:\t{os.getpid()}\n" in Path(f"/proc/{child}/status").read_text()


@pytest.fixture
def other() -> Iterator[int]:
    """A process in namespaces of its own, with the hostname "other"."""
    unshare = ["unshare", "-Uimnruf", "--mount-proc", "-p", "--kill-child"]
    with subprocess.Popen([*unshare, "sh", "-c", "hostname other; echo; exec sleep 60"], stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline()
        with open(f"/proc/{process.pid}/task/{process.pid}/children") as children:
            yield int(children.read())
        process.kill()


NAMESPACES = {"user": NEWUSER, "ipc": NEWIPC, "net": NEWNET, "uts": NEWUTS, "mnt": NEWNS, "pid": NEWPID}


def test_namespaces_joined_by_path(go: Go, other: int) -> None:
    ops = [op("OPEN_NS", f"/proc/{other}/ns/{name}", v=[slot]) for slot, name in enumerate(NAMESPACES)]
    ops += [op("SETNS", f"/proc/{other}/ns/{name}", v=[slot, flag]) for slot, (name, flag) in enumerate(NAMESPACES.items())]
    script = "hostname; cd /proc/self/ns; for n in user ipc net uts mnt pid; do readlink $n; done"
    out = go([*ops, op("FORK"), *host("sh", "-c", script)]).good()
    assert out.splitlines() == ["other", *(own(name, other) for name in NAMESPACES)]


def test_a_container_is_joined_by_its_pidfd(go: Go, other: int) -> None:
    pidfd = os.pidfd_open(other)
    try:
        flags = sum(NAMESPACES.values())
        show = host("sh", "-c", "hostname; readlink /proc/self/ns/pid; id -u")
        ops = [op("JOIN", v=[flags]), op("BECOME_ROOT", v=[1]), op("FORK"), *show]
        assert go(ops, slots={c.SLOT_PIDFD: pidfd}).good().splitlines() == ["other", own("pid", other), "0"]
    finally:
        os.close(pidfd)
    ops = [op("JOIN", v=[NEWUTS])]
    go(ops).bad(ops, "JOIN", "SETNS", errno.EBADF)


def test_the_join_of_a_process_that_has_ended(go: Go, other: int) -> None:
    pidfd = os.pidfd_open(other)
    os.kill(other, signal.SIGKILL)
    assert eventually(lambda: not Path(f"/proc/{other}").exists())
    ops = [op("JOIN", v=[NEWUTS])]
    go(ops, slots={c.SLOT_PIDFD: pidfd}).bad(ops, "JOIN", "SETNS", errno.ESRCH)
    os.close(pidfd)


def test_a_namespace_file_must_be_one_and_of_the_type(go: Go, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ops = [op("OPEN_NS", str(tmp_path / "file"), v=[0])]
    go(ops).bad(ops, "OPEN_NS", "NSTYPE", errno.EINVAL)
    ops = [op("OPEN_NS", str(tmp_path / "missing"), v=[0])]
    go(ops).bad(ops, "OPEN_NS", "OPEN", errno.ENOENT)
    ops = [op("OPEN_NS", "/proc/self/ns/uts", v=[1]), op("SETNS", "/proc/self/ns/uts", v=[1, NEWNET])]
    go(ops).bad(ops, "SETNS", "NSTYPE", errno.EINVAL)
    ops = [op("OPEN_NS", "/proc/self/ns/uts", v=[100])]
    go(ops).bad(ops, "OPEN_NS", "OPEN", errno.EMFILE)
    os.mkfifo(tmp_path / "fifo")
    ops = [op("OPEN_NS", str(tmp_path / "fifo"), v=[0])]
    go(ops).bad(ops, "OPEN_NS", "NSTYPE", errno.EINVAL)


@pytest.mark.parametrize("flags", [NEWTIME, NEWTIME | NEWUSER])
def test_time_offsets(go: Go, flags: int) -> None:
    ops = [op("OPEN_PROC"), op("UNSHARE", v=[flags])]
    if flags & NEWUSER:
        ops += [op("SYNC", v=[c.SYNC_MAPS])]
    ops += [op("TIME_OFFSETS", "monotonic 1000 0\nboottime 1000000 5\n"), op("FORK")]
    out = go([*ops, *host("cat", "/proc/uptime", "/proc/self/timens_offsets")]).good()
    assert 1_000_000 <= float(out.split()[0]) - time.clock_gettime(time.CLOCK_BOOTTIME) + 1 < 1_000_100
    assert out.split()[2:] == ["monotonic", "1000", "0", "boottime", "1000000", "5"]


def test_time_offsets_the_kernel_refuses(go: Go) -> None:
    ops = [op("OPEN_PROC"), op("UNSHARE", v=[NEWTIME]), op("TIME_OFFSETS", "monotonic -999999999 0\n")]
    go(ops).bad(ops, "TIME_OFFSETS", "WRITE", errno.ERANGE)


def test_oom_score(go: Go) -> None:
    ops = [op("OPEN_PROC"), op("OOM_SCORE", "321"), *host("cat", "/proc/self/oom_score_adj")]
    assert go(ops).good() == "321\n"
    ops = [op("OPEN_PROC"), op("OOM_SCORE", "1001")]
    go(ops).bad(ops, "OOM_SCORE", "WRITE", errno.EINVAL)


def test_session(go: Go) -> None:
    out = go([op("SESSION"), *host("cat", "/proc/self/stat")]).good().split()
    assert out[0] == out[4] == out[5]
    ops = [op("SESSION"), op("SESSION")]
    go(ops).bad(ops, "SESSION", "SETSID", errno.EPERM)


def test_a_session_keyring_is_made_with_permissions_and_then_found(init: int, go: Go) -> None:
    name = f"_ses.pyrunc-test-{os.getpid()}"
    with Init(init, encode([op("KEYRING", name, v=[1]), op("SYNC", v=[c.SYNC_READY])])) as process:
        process.until(c.MSG_SYNC)
        out = go([op("KEYRING", name), *host("cat", "/proc/keys")]).good()
        (line,) = [line for line in out.splitlines() if f"{name}:" in line]
        assert line.split()[4] == "3f1b0000"  # keyctl_setperm(3): possessor all; user view, read, search, link
    ops = [op("KEYRING", ".reserved")]
    go(ops).bad(ops, "KEYRING", "JOINKEYRING", errno.EPERM)


def test_loopback(go: Go) -> None:
    up = "ip -o link show lo; ping -c 1 -W 1 127.0.0.1 >/dev/null && echo pong"
    out = go([op("UNSHARE", v=[NEWNET]), op("LOOPBACK"), *host("sh", "-c", up)]).good()
    assert "LOOPBACK,UP,LOWER_UP" in out and out.endswith("pong\n")
    assert "<LOOPBACK>" in go([op("UNSHARE", v=[NEWNET]), *host("ip", "-o", "link", "show", "lo")]).good()
    ops = [op("UNSHARE", v=[NEWNET | NEWUSER]), op("LOOPBACK")]
    assert go(ops).status == 125  # no EXEC, but up it is: its owner may, mapped or not


def test_names(go: Go) -> None:
    before = os.uname()
    show = host("sh", "-c", "hostname; cat /proc/sys/kernel/domainname")
    out = go([op("UNSHARE", v=[NEWUTS]), op("HOSTNAME", "a-name"), op("DOMAINNAME", "a.domain"), *show]).good()
    assert out == "a-name\na.domain\n"
    assert os.uname() == before
    for name in ("HOSTNAME", "DOMAINNAME"):
        ops = [op("UNSHARE", v=[NEWUTS]), op(name, "n" * 65)]
        go(ops).bad(ops, name, f"SET{name}", errno.EINVAL)


def test_sysctl(go: Go) -> None:
    ops = [op("OPEN_PROC"), op("UNSHARE", v=[NEWIPC | NEWNET])]
    before = Path("/proc/sys/kernel/msgmax").read_text(), Path("/proc/sys/net/ipv4/ip_forward").read_text()
    new = [op("SYSCTL", "kernel/msgmax", "4321"), op("SYSCTL", "net/ipv4/ping_group_range", "5 6")]
    out = go([*ops, *new, *host("cat", "/proc/sys/kernel/msgmax", "/proc/sys/net/ipv4/ping_group_range")]).good()
    assert out.split() == ["4321", "5", "6"]
    assert before == (Path("/proc/sys/kernel/msgmax").read_text(), Path("/proc/sys/net/ipv4/ip_forward").read_text())
    bad = [*ops, op("SYSCTL", "kernel/nosuch", "1")]
    go(bad).bad(bad, "SYSCTL", "OPEN", errno.ENOENT)
    bad = [*ops, op("SYSCTL", "kernel/msgmax", "many")]
    go(bad).bad(bad, "SYSCTL", "WRITE", errno.EINVAL)
    bad = [*ops, op("SYSCTL", "kernel", "1")]
    go(bad).bad(bad, "SYSCTL", "OPEN", errno.EISDIR)


def test_sysctl_stays_below_proc_sys(go: Go) -> None:
    for name in (f"../{os.getpid()}/comm", "net/../../uptime", "/proc/uptime", "../self/comm"):
        ops = [op("OPEN_PROC"), op("SYSCTL", name, "taken over")]
        message = go(ops).errors[0]
        assert message.value == c.AT_OPEN and message.error in (errno.EXDEV, errno.ELOOP), message
    assert Path("/proc/self/comm").read_text() != "taken over\n"


def test_procfs_must_be_procfs_whatever_is_mounted_there(go: Go, tmp_path: Path) -> None:
    """CVE-2019-16884, CVE-2025-52881: a file system that only looks like /proc takes no writes of ours."""
    fake = tmp_path / "sys/kernel/shm_rmid_forced"
    fake.parent.mkdir(parents=True)
    fake.touch()
    private = [op("UNSHARE", v=[NEWNS | NEWIPC]), op("PROPAGATE", "/", v=[PRIVATE | BELOW]), op("OPEN_ROOT", "/")]
    whole = op("BIND", str(tmp_path), "/proc", v=[0, 0, 0, 0, 0, c.MODE_INPROC])
    part = op("BIND", str(tmp_path / "sys"), "/proc/sys", v=[0, 0, 0, 0, 0, c.MODE_INPROC])
    file = op("BIND", str(fake), "/proc/sys/kernel/shm_rmid_forced", v=[0, 0, 0, 0, 0, c.MODE_INPROC])
    write = op("SYSCTL", "kernel/shm_rmid_forced", "1")
    ops = [*private, whole, op("OPEN_PROC")]
    go(ops).bad(ops, "OPEN_PROC", "VERIFY", errno.EINVAL)
    for mounted in (part, file):
        ops = [*private, mounted, op("OPEN_PROC"), write]
        go(ops).bad(ops, "SYSCTL", "OPEN", errno.EXDEV)
    # Opened before, as every plan does, procfs is out of reach of what is mounted later: the write goes where it should.
    show = host("sh", "-c", "umount /proc/sys; cat /proc/sys/kernel/shm_rmid_forced")
    assert go([op("OPEN_PROC"), *private, part, write, *show]).good() == "1\n"
    assert fake.read_bytes() == b""
