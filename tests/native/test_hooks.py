"""HOOK: hooks inside the container's namespaces, good ones and all kinds of bad ones."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.native.plan_harness import Init, Op, Outcome, c, command, encode, errno_filter, host, op, prelude, sh

pytestmark = pytest.mark.needs_root
Go = Callable[..., Outcome]

BEFORE, AFTER = '{"status":"creating","pid":', ',"id":"x"}'


def hook(script: str, *, timeout: int = 0, env: tuple[str, ...] = ("PATH=/bin",), after: str = AFTER) -> Op:
    """A hook of busybox's shell; `timeout` in milliseconds."""
    return program("/bin/busybox", "sh", "-c", script, timeout=timeout, env=env, after=after)


def program(path: object, *argv: str, timeout: int = 0, env: tuple[str, ...] = (), after: str = AFTER) -> Op:
    return op("HOOK", str(path), argv, list(env), BEFORE, after, v=[timeout, len(argv), len(env)])


def judged(go: Go, one: Op, place: str, error: int = 0) -> str:
    """The words that come with the failure of this hook."""
    ops = [one, *host("true")]
    return go(ops).bad(ops, "HOOK", place, error).detail


def test_a_hook_gets_its_state_arguments_and_environment(go: Go, tmp_path: Path) -> None:
    result = tmp_path / "result"
    one = hook(f"cat >{result}; echo $0 $# >>{result}; env >>{result}", env=("A=1", "PATH=/bin:/usr/bin"))
    go([one, *host("sh", "-c", "echo $$")]).good()
    lines = result.read_text()
    state, end = json.JSONDecoder().raw_decode(lines)
    assert state["id"] == "x" and state["pid"] > 1 and state["status"] == "creating"
    assert {"A=1", "PATH=/bin:/usr/bin"} <= set(lines[end:].splitlines())
    assert "HOME" not in lines


def test_the_pid_is_that_of_the_hooks_own_namespace(go: Go, rootfs: Path) -> None:
    out = go([*prelude(rootfs), op("PIVOT"), hook("cat >/state; echo >>/state; pwd >>/state"), *command("cat", "/state")]).good()
    assert json.loads(out.splitlines()[0])["pid"] == 1 and out.splitlines()[1] == "/"


def test_before_the_pivot_a_hook_stands_in_the_rootfs(go: Go, rootfs: Path) -> None:
    out = go([*prelude(rootfs), hook("pwd >here"), *sh("cat /here")])
    assert out.out.strip() == str(rootfs)


def test_after_the_wait_a_hook_stands_in_the_root_of_the_container(init: int, rootfs: Path, tmp_path: Path) -> None:
    """startContainer: the process may stand anywhere by then, and no fd of the root is left."""
    os.mkfifo(tmp_path / "fifo")
    fifo = os.open(tmp_path / "fifo", os.O_RDWR)
    ops = [*prelude(rootfs), op("MAKE_CWD", "/some/where"), op("PIVOT"), op("CHDIR", "/some/where", v=[1])]
    ops += [op("LOOKUP", "sh", "/bin"), op("WAIT"), hook("pwd >/hook-stood-in"), op("EXEC", ["sh", "-c", "pwd"], [], v=[3, 0])]
    with Init(init, encode(ops, passed=[c.SLOT_GO, c.SLOT_REPLY]), passed=[fifo, fifo]) as process:
        process.until(c.MSG_DONE)
        os.write(fifo, b"1")
        assert process.wait() == 0 and process.printed() == "/some/where\n"
    os.close(fifo)
    assert (rootfs / "hook-stood-in").read_text() == "/\n"


def test_hooks_below_a_seccomp_profile_that_knows_no_pidfd(go: Go, tmp_path: Path) -> None:
    """startContainer hooks run below the container's own, which may be older than pidfd_open(2)."""
    old = op("SECCOMP", errno_filter(434, errno.ENOSYS), v=[0])
    go([op("NO_NEW_PRIVS"), old, hook(f"echo 1 >{tmp_path}/ran"), *host("true")]).good()
    assert (tmp_path / "ran").exists()
    ops = [op("NO_NEW_PRIVS"), old, hook("exit 3")]
    assert "exit status 3" in go(ops).bad(ops, "HOOK", "HOOKEXIT", 0).detail
    ops = [op("NO_NEW_PRIVS"), old, hook("sleep 10", timeout=200)]
    go(ops).bad(ops, "HOOK", "HOOKTIME", errno.ETIMEDOUT)


def test_a_hook_has_three_fds_and_default_signals(go: Go) -> None:
    """Said by programs that fail on purpose: only then is what a hook prints kept."""
    ops = [program("/bin/busybox", "ls", "/proc/self/fd", "/no/such")]
    with open("/etc/passwd") as preserved:
        detail = go(ops, preserve=[preserved.fileno()] * 3).bad(ops, "HOOK", "HOOKEXIT", 0).detail
    assert "stdout: /proc/self/fd:\n0\n1\n2\n3\n, stderr: " in detail  # 3 is what ls reads the directory by
    detail = judged(go, program("/bin/busybox", "cat", "/proc/self/status", "/no/such"), "HOOKEXIT")
    assert "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n" in detail


@pytest.mark.parametrize(
    ("script", "detail"),
    [
        ("exit 7", "exit status 7, stdout: , stderr: "),
        ("echo out; echo err >&2; exit 1", "exit status 1, stdout: out\n, stderr: err\n"),
        ("kill -9 $$", "signal 9, stdout: , stderr: "),
        ("kill -TERM $$", "signal 15, stdout: , stderr: "),
        ("exit 255", "exit status 255, stdout: , stderr: "),
    ],
)
def test_a_hook_that_fails(go: Go, script: str, detail: str) -> None:
    assert judged(go, hook(script), "HOOKEXIT") == detail


def test_of_much_output_the_end_is_kept(go: Go) -> None:
    detail = judged(
        go, hook("yes out | head -c 300000; echo LAST; yes err | head -c 300000 >&2; echo FINAL >&2; exit 1"), "HOOKEXIT"
    )
    assert "out\nLAST\n, stderr: " in detail and detail.endswith("err\nFINAL\n")
    assert 2000 < len(detail) < 2200


def test_a_hook_that_cannot_be_started(go: Go, tmp_path: Path) -> None:
    judged(go, program(tmp_path / "missing"), "HOOKSTART", errno.ENOENT)
    (tmp_path / "plain").touch()
    judged(go, program(tmp_path / "plain"), "HOOKSTART", errno.EACCES)
    (tmp_path / "odd").write_text("nothing that can be executed")
    (tmp_path / "odd").chmod(0o755)
    assert judged(go, program(tmp_path / "odd"), "HOOKEXIT").startswith("exit status 127")


def test_a_hook_that_takes_too_long_is_killed(go: Go) -> None:
    begin = time.monotonic()
    assert (
        judged(go, hook("echo begun; exec sleep 50", timeout=300), "HOOKTIME", errno.ETIMEDOUT) == ", stdout: begun\n, stderr: "
    )
    assert 0.3 <= time.monotonic() - begin < 5
    assert go([hook("sleep 0.1", timeout=5000), *host("true")]).good() == ""


def test_a_hook_that_never_stops_talking_is_killed_in_time_too(go: Go) -> None:
    begin = time.monotonic()
    judged(go, hook("exec yes", timeout=300), "HOOKTIME", errno.ETIMEDOUT)
    assert time.monotonic() - begin < 5


BIG = ',"annotations":"' + "a" * 1_000_000 + '"}'


@pytest.mark.parametrize("script", ["true", "exec <&-; sleep 0.1", "head -c 10", "sleep 0.2"])
def test_a_hook_need_not_read_its_state(go: Go, script: str) -> None:
    assert go([hook(script, after=BIG), *host("true")]).good() == ""


def test_a_big_state_arrives_whole_while_the_hook_talks(go: Go, tmp_path: Path) -> None:
    path = tmp_path / "state"
    go([hook(f"yes | head -c 200000; cat >{path}", after=BIG), *host("true")]).good()
    state = path.read_text()
    assert state.startswith(BEFORE) and state.endswith(BIG) and len(json.loads(state)["annotations"]) == 1_000_000


def test_a_hook_that_goes_on_in_the_background_is_not_waited_for(go: Go, tmp_path: Path) -> None:
    """It still holds the pipes; they must not hold us."""
    path = tmp_path / "pid"
    begin = time.monotonic()
    go([hook(f"sleep 60 & echo $! >{path}"), *host("true")]).good()
    assert time.monotonic() - begin < 5
    os.kill(int(path.read_text()), signal.SIGKILL)


def test_hooks_run_one_after_the_other_until_one_fails(go: Go, tmp_path: Path) -> None:
    path = tmp_path / "order"
    ops = [*(hook(f"echo {word} >>{path}; {end}") for word, end in (("a", "true"), ("b", "true"), ("c", "false"), ("d", "true")))]
    assert go(ops).bad(ops, "HOOK", "HOOKEXIT", 0).op == 2
    assert path.read_text() == "a\nb\nc\n"


def test_the_program_after_a_hook_has_default_signals(go: Go) -> None:
    assert "SigIgn:\t0000000000000000" in go([hook("true"), *host("cat", "/proc/self/status")]).good()
