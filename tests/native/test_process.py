"""pyrunc-init as a process: what it inherits, who can touch it, with whom it dies, and what is known of its end."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.native.plan_harness import (
    MINE,
    NEWUSER,
    Init,
    Op,
    Outcome,
    c,
    command,
    encode,
    eventually,
    host,
    kill_everything_filter,
    op,
    prelude,
    run,
)

pytestmark = pytest.mark.needs_root
Go = Callable[..., Outcome]

POINTS = {"MAPS": c.SYNC_MAPS, "CGROUP": c.SYNC_CGROUP, "HOOKS": c.SYNC_HOOKS, "READY": c.SYNC_READY}


AS_USER = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"]


def whole(rootfs: Path) -> list[Op]:
    """A plan with every point of synchronisation and every change of credentials."""
    head, tail = prelude(rootfs), command("sleep", "60")
    fork = [o.name for o in head].index("FORK") + 1
    return [
        *[*head[:fork], op("SYNC", v=[c.SYNC_CGROUP]), *head[fork:], op("SYNC", v=[c.SYNC_HOOKS]), op("PIVOT")],
        *[op("USER", b"", v=[1000, 1000, 1, 1]), op("CAPABILITIES", v=[0, 0, 0, 0]), op("SYNC", v=[c.SYNC_READY]), *tail],
    ]


@pytest.mark.parametrize("point", POINTS)
def test_it_cannot_be_traced_nor_its_program_written(init: int, rootfs: Path, point: str) -> None:
    """CVE-2016-9962, CVE-2019-5736."""
    with Init(init, encode(whole(rootfs))) as process:
        process.until(c.MSG_SYNC, POINTS[point])
        path = f"/proc/{process.pid}"
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
            with pytest.raises(OSError) as failed:
                os.close(os.open(f"{path}/exe", flags))
            assert failed.value.errno in (errno.ETXTBSY, errno.EPERM)
        # Not dumpable: what is told of it is root's, even to the user that it has become.
        assert os.stat(f"{path}/environ").st_uid == 0
        for told in ("environ", "fd", "exe", "maps"):
            tried = subprocess.run([*AS_USER, "ls" if told == "fd" else "head", f"{path}/{told}"], capture_output=True)
            assert tried.returncode and b"Permission denied" in tried.stderr, tried
        assert Path(f"{path}/environ").read_bytes() == b""


def test_it_is_not_dumpable_from_the_start_for_whoever_runs_it(init: int) -> None:
    """The owner of /proc/PID tells; of root's processes it would be root either way."""
    report, said = os.pipe()
    runtime = os.fork()
    if runtime == 0:
        with contextlib.suppress(BaseException):
            os.setgid(1000), os.setuid(1000)
            process = Init(init, encode([op("SYNC", v=[c.SYNC_READY])]))
            process.until(c.MSG_SYNC)
            os.write(said, b"%d" % process.pid)
            time.sleep(60)
        os._exit(1)
    path = Path(f"/proc/{int(os.read(report, 20))}")
    assert "\nUid:\t1000\t" in (path / "status").read_text() and (path / "environ").stat().st_uid == 0
    os.kill(runtime, signal.SIGKILL)
    os.waitpid(runtime, 0)
    os.close(report), os.close(said)


def test_the_sealed_program_cannot_be_changed_by_the_one_that_holds_it(init: int) -> None:
    with pytest.raises(OSError) as failed:
        os.pwrite(init, b"x", 0)
    assert failed.value.errno == errno.EPERM


# Where the process has another user than it began with, the kernel has forgotten PDEATHSIG, unless it was set again.
CHANGED = [op("UNSHARE", v=[NEWUSER]), op("SYNC", v=[c.SYNC_MAPS]), op("BECOME_ROOT"), op("SYNC", v=[c.SYNC_HOOKS])]
CHANGED += [op("USER", b"", v=[5, 5, 1, 0]), op("SYNC", v=[c.SYNC_READY])]


@pytest.mark.parametrize("plan", ["whole", "changed"])
@pytest.mark.parametrize("point", POINTS)
def test_it_dies_with_the_runtime(init: int, rootfs: Path, point: str, plan: str) -> None:
    """Killed as hard as can be, at every point; the socket stays open elsewhere, so that its end cannot be what ended it."""
    ops = whole(rootfs) if plan == "whole" else CHANGED
    if op("SYNC", v=[POINTS[point]]) not in ops:
        point = "READY"
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    report, said = os.pipe()
    runtime = os.fork()
    if runtime == 0:
        with contextlib.suppress(BaseException):
            process = Init(init, encode(ops, parent=os.getpid()), sockets=(ours, theirs.dup()))
            process.until(c.MSG_SYNC, POINTS[point], maps="0 100000 10" if plan == "changed" else MINE)
            os.write(said, b"%d" % process.pid)
            time.sleep(60)
        os._exit(1)
    pid = int(os.read(report, 20))
    os.kill(runtime, signal.SIGKILL)
    os.waitpid(runtime, 0)
    assert eventually(lambda: not alive(pid)), f"pyrunc-init {pid} outlives the runtime"
    os.close(report), os.close(said)
    ours.close(), theirs.close()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_after_release_the_container_lives_on(init: int, rootfs: Path) -> None:
    report, said = os.pipe()
    runtime = os.fork()
    if runtime == 0:
        with contextlib.suppress(BaseException):
            process = Init(init, encode(whole(rootfs), parent=os.getpid()))
            while message := process.receive():
                process.answer(message)
            os.write(said, b"%d" % process.pid)
            time.sleep(60)
        os._exit(1)
    pid = int(os.read(report, 20))
    os.kill(runtime, signal.SIGKILL)
    os.waitpid(runtime, 0)
    time.sleep(0.05)
    assert alive(pid) and Path(f"/proc/{pid}/comm").read_text() == "sleep\n"
    os.kill(pid, signal.SIGKILL)
    os.close(report), os.close(said)


def test_a_plan_of_another_runtime_is_refused(init: int) -> None:
    with Init(init, encode(host("true"), parent=1)) as process:
        assert process.finish().status == 125 and not process.messages


def test_it_starts_with_default_signals_whatever_it_inherits(init: int) -> None:
    old = [signal.signal(number, signal.SIG_IGN) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)]
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR2])
    try:
        out = run(init, host("cat", "/proc/self/status")).good()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM, signal.SIGUSR2])
        for number, handler in zip((signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1), old, strict=True):
            signal.signal(number, handler)
    assert {"SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000"} <= set(out.splitlines())


ARGUMENTS: dict[str, tuple[tuple[str | bytes | list[str] | None, ...], list[int]]] = {
    "HOOK": (("/bin/true", ["true"], [], "{", "}"), [0, 1, 0]),
    "EXEC": ((["true"], []), [1, 0]),
    "LOOKUP": (("true", "/bin"), []),
    "MOUNT": (("tmpfs", "/mnt", []), []),
    "MOUNT_DATA": (("tmpfs", "/mnt", None, "tmpfs"), []),
    "CAPABILITIES": ((), [0] * 4),
    "SECCOMP": ((kill_everything_filter(),), [0]),
}


@pytest.mark.parametrize("name", c.OP_NAMES.values())
def test_a_child_killed_without_a_word_has_told_how_far_it_came(init: int, name: str) -> None:
    """A seccomp filter kills the process at the first system call of the op after it."""
    strings, values = ARGUMENTS.get(name, (("/etc/passwd", "/etc/passwd"), []))
    kill = [op("NO_NEW_PRIVS"), op("SECCOMP", kill_everything_filter(), v=[0])]
    got = run(init, [*kill, op(name, *strings, v=values)])
    assert (got.status, got.step, got.errors) == (-signal.SIGSYS, 2, [])


@pytest.mark.parametrize("point", POINTS)
def test_a_child_killed_at_a_point_of_synchronisation(init: int, rootfs: Path, point: str) -> None:
    ops = whole(rootfs)
    with Init(init, encode(ops)) as process:
        message = process.until(c.MSG_SYNC, POINTS[point])
        os.kill(process.pid, signal.SIGKILL)
        assert process.receive() is None and process.wait() == -signal.SIGKILL
        assert process.step == message.op and ops[message.op] == op("SYNC", v=[POINTS[point]])


def test_every_op_of_the_plan_has_a_test_of_its_effect() -> None:
    """An opcode that no file here names, but the list of plan.h, is one that nobody has tried."""
    here = Path(__file__)
    text = "".join(path.read_text() for path in here.parent.glob("*.py") if path != here)
    assert [name for name in c.OP_NAMES.values() if f'op("{name}"' not in text] == []
