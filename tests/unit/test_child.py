"""A Child with a real pyrunc-init on tiny plans, and with a program of ours in its place that says what it likes."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import ExecutableError, HookError, KernelError, KilledInSetup, PyruncError, SetupError, UnsupportedError
from pyrunc.kernel import os as hot_os, sys as shim
from pyrunc.launch import child as module
from pyrunc.launch.child import Child, perhaps_killed
from pyrunc.plan import opcodes as c, ops
from pyrunc.plan.encode import Plan
from pyrunc.plan.ops import Op

needs_init = pytest.mark.skipif(
    not Path(module.PROGRAM).exists(), reason="pyrunc-init is not built: python3 setup.py build_inplace"
)

PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER = 36, 37

Answers = dict[int, Callable[[int], None]]


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No process, zombies too, and no fd. What other tests of the session have left, and have come to us, is not ours."""
    gc.collect()
    libc, adopts = ctypes.CDLL(None), ctypes.c_int()
    libc.prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(adopts), 0, 0, 0)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    before, known = sorted(os.listdir("/proc/self/fd")), own_children()
    yield
    left = own_children() - known
    libc.prctl(PR_SET_CHILD_SUBREAPER, adopts.value, 0, 0, 0)
    assert not left
    assert sorted(os.listdir("/proc/self/fd")) == before


def own_children() -> set[str]:
    """Of this thread, which starts them all."""
    return set(Path("/proc/thread-self/children").read_text().split())


def execute(*argv: str) -> list[Op]:
    return [ops.lookup("process.args[0]", argv[0], "/bin:/usr/bin"), ops.release(), ops.execute("process.args", argv, [])]


def no_console(fd: int) -> None:
    os.close(fd)
    raise AssertionError("nobody asked for a terminal")


def converse(plan: list[Op], answers: Answers | None = None, **more: Any) -> int:
    """Carry the plan out to the end; the exit status of the program that it becomes."""
    with Child(Plan(plan)) as child:
        child.converse(answers or {}, no_console, **more)
        return os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])


# --- the real program ----------------------------------------------------------------------------------------------------


@needs_init
def test_a_program_runs_and_its_status_is_its_own() -> None:
    assert converse(execute("sh", "-c", "exit 7")) == 7
    assert converse(execute("sh", "-c", "kill -9 $$")) == -9


@needs_init
def test_points_are_answered_in_their_order_with_the_pid() -> None:
    seen: list[tuple[str, int]] = []
    points = (c.SYNC_CGROUP, c.SYNC_HOOKS, c.SYNC_READY)

    def answer(point: int) -> Callable[[int], None]:
        return lambda pid: seen.append((c.SYNC_NAMES[point], pid))

    answers = {point: answer(point) for point in points}
    with Child(Plan([*map(ops.sync, points), ops.sync(c.SYNC_MAPS), *execute("true")])) as child:
        pid = child.pid
        child.converse(answers, no_console, lambda pid: seen.append(("meanwhile", pid)))
        assert child.pid == pid
        os.waitpid(pid, 0)
    assert seen == [("CGROUP", pid), ("meanwhile", pid), ("HOOKS", pid), ("READY", pid)]


@needs_init
@pytest.mark.needs_root
def test_after_a_fork_the_second_process_is_the_one() -> None:
    pids: list[int] = []
    points = [ops.sync(c.SYNC_CGROUP), ops.fork(), ops.sync(c.SYNC_READY)]
    with Child(Plan([ops.unshare("linux.namespaces", 0x20000000), *points, *execute("true")])) as child:
        first = child.pid
        child.converse({c.SYNC_READY: pids.append}, no_console, pids.append, forks=True)
        # What is done meanwhile is told of the second.
        assert pids == [child.pid, child.pid] and child.pid != first
        with pytest.raises(ChildProcessError):
            os.waitpid(first, os.WNOHANG)
        assert os.waitpid(child.pid, 0)[1] == 0


@needs_init
@pytest.mark.parametrize(
    ("plan", "kind", "text"),
    [
        (execute("nope"), ExecutableError, 'exec: "nope": executable file not found in $PATH'),
        (execute("/no/such"), ExecutableError, 'exec: "/no/such": stat /no/such: no such file or directory'),
        (execute("/etc"), ExecutableError, 'exec: "/etc": is a directory: permission denied'),
        ([ops.open_root("root.path", "/no/such")], SetupError, "root.path (/no/such): open: no such file or directory"),
        ([ops.open_ns("linux.namespaces[0].path", "/dev/null", 0)], SetupError, "verify the namespace's type: invalid argument"),
        (
            [ops.open_root(), ops.hook("hooks.createContainer[0]", "/no", ["no"], [], ("", ""), 0)],
            HookError,
            "error running createContainer hook #0: /no: no such file or directory",
        ),
        (
            [ops.open_root(), ops.hook("hooks.startContainer[1]", "/bin/sh", ["sh", "-c", "echo a; exit 3"], [], ("", ""), 0)],
            HookError,
            "error running startContainer hook #1: /bin/sh: exit status 3, stdout: a, stderr:",
        ),
    ],
)
def test_a_failed_op_is_told(plan: list[Op], kind: type[PyruncError], text: str) -> None:
    with pytest.raises(kind) as caught:
        converse(plan)
    assert text in caught.value.message
    assert caught.value.op and caught.value.stage == "setup"


@needs_init
@pytest.mark.parametrize("point", [c.SYNC_MAPS, c.SYNC_CGROUP, c.SYNC_HOOKS, c.SYNC_READY])
def test_a_child_killed_while_it_waits_names_its_op(point: int) -> None:
    """The runtime's answer finds nobody; what is told is the child's end, not a broken pipe."""

    def kill(pid: int) -> None:
        os.kill(pid, signal.SIGTERM)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    with pytest.raises(KilledInSetup) as caught:
        converse([ops.sync(point), *execute("true")], {point: kill})
    assert caught.value.signal == signal.SIGTERM and caught.value.op == "sync" and caught.value.stage == "setup"
    assert caught.value.message.startswith("pyrunc-init was killed by signal 15 while it was to wait until the ")


@needs_init
@pytest.mark.needs_root
def test_a_second_process_killed_while_it_waits_names_its_op() -> None:
    plan = [ops.unshare("linux.namespaces", 0x20000000), ops.fork(), ops.sync(c.SYNC_READY), *execute("true")]
    with pytest.raises(KilledInSetup) as caught:
        converse(plan, {c.SYNC_READY: lambda pid: os.kill(pid, signal.SIGKILL)})
    assert (caught.value.signal, caught.value.op, caught.value.config_path) == (signal.SIGKILL, "sync", None)


@needs_init
def test_a_child_killed_at_work_names_its_op() -> None:
    hook = ops.hook("hooks.createContainer[0]", "/bin/sh", ["sh", "-c", "kill -9 $PPID; sleep 1"], [], ("", ""), 0)
    with pytest.raises(KilledInSetup) as caught:
        converse([ops.open_root(), hook, *execute("true")])
    assert (caught.value.signal, caught.value.op, caught.value.config_path) == (9, "hook", "hooks.createContainer[0]")
    assert caught.value.message.isprintable()


@needs_init
@pytest.mark.parametrize("error", [PyruncError("no"), KeyboardInterrupt()])
def test_what_an_answer_raises_ends_the_child(error: BaseException) -> None:
    def refuse(pid: int) -> None:
        raise error

    with pytest.raises(type(error)):
        converse([ops.sync(c.SYNC_READY), *execute("sleep", "100")], {c.SYNC_READY: refuse})


@needs_init
def test_what_is_done_meanwhile_ends_the_child_too() -> None:
    def refuse(pid: int) -> None:
        raise PyruncError("no")

    with pytest.raises(PyruncError, match="no"):
        converse([ops.sync(c.SYNC_CGROUP), ops.sync(c.SYNC_READY), *execute("sleep", "100")], meanwhile=refuse)


@needs_init
def test_a_failed_block_kills_a_child_that_nobody_talks_to() -> None:
    with pytest.raises(ZeroDivisionError), Child(Plan([ops.sync(c.SYNC_READY), *execute("true")])):
        raise ZeroDivisionError


@needs_init
def test_a_child_that_waits_for_start_outlives_the_conversation(tmp_path: Path) -> None:
    fds = []
    for name in ("go", "reply"):
        os.mkfifo(tmp_path / name)
        fds.append(os.open(tmp_path / name, os.O_RDWR | os.O_CLOEXEC))
    plan = [ops.lookup("process.args[0]", "sh", "/bin"), ops.wait(), ops.execute("process.args", ["sh", "-c", "exit 5"], [])]
    with Child(Plan(plan, passed=(c.SLOT_GO, c.SLOT_REPLY)), fds) as child:
        child.converse({}, no_console)
    assert os.waitpid(child.pid, os.WNOHANG) == (0, 0)
    os.write(fds[0], b"\n")
    assert os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1]) == 5
    for fd in fds:
        os.close(fd)


@needs_init
def test_a_child_that_finds_a_fault_says_that_it_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(hot_os, "getpid", lambda: 1)
        child = Child(Plan(execute("true")))
    with pytest.raises(KilledInSetup, match="pyrunc-init refused its plan while it was to look up true") as caught, child:
        child.converse({}, no_console)
    assert caught.value.signal == 0


def test_a_plan_too_large_starts_nothing() -> None:
    with pytest.raises(UnsupportedError):
        Child(Plan([ops.fork()] * (c.PLAN_MAX_OPS + 1)))


def test_a_missing_program_is_an_error_of_the_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "PROGRAM", str(tmp_path / "none"))
    with pytest.raises(KernelError, match="start pyrunc-init: no such file or directory"):
        Child(Plan([ops.fork()]))
    (tmp_path / "none").write_bytes(b"no program")
    with pytest.raises(KernelError, match="start pyrunc-init: exec format error"):
        converse([ops.fork()])


@needs_init
def test_many_children_at_once_have_their_own_beginnings() -> None:
    """Each has a stack of ours until it executes; that of one that is slow must not be another's."""
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(Child(Plan(execute("sh", "-c", f"exit {i}")))) for i in range(20)]
        for i, child in enumerate(children):
            child.converse({}, no_console)
            assert os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1]) == i


# --- a program of ours ---------------------------------------------------------------------------------------------------

PLAN = Plan([ops.fork(), ops.sync(c.SYNC_READY), ops.hostname("hostname", "h"), ops.execute("process.args", ["a"], ["SECRET=s"])])


class Fake:
    """What the process in pyrunc-init's place has in hand."""

    def __init__(self, channel: int, step: int) -> None:
        self.channel = socket.socket(fileno=channel)
        self.page = step

    def say(self, kind: int, op: int = 0, value: int = 0, error: int = 0, detail: bytes = b"", fds: tuple[int, ...] = ()) -> None:
        socket.send_fds(self.channel, [struct.pack("=IIIi", kind, op, value, error) + detail], fds)

    def step(self, op: int) -> None:
        os.pwrite(self.page, struct.pack("=I", op), 0)


Talk = Callable[[Fake], object]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[[Talk], None]:
    """``fake(talk)`` has one conversation with a child that does as `talk` and then exits with status 3."""

    def start(talk: Talk) -> None:
        def spawn(program: int, fds: list[int], base: int) -> int:
            pid = os.fork()
            if pid:
                return pid
            try:
                kept = os.dup(fds[1]), os.dup(fds[2])
                os.closerange(3, kept[0])
                me = Fake(*kept)
                talk(me)
            finally:
                os._exit(3)

        monkeypatch.setattr(shim, "spawn", spawn)
        monkeypatch.setattr(shim, "spawn_error", lambda: 0)
        monkeypatch.setattr(shim, "sealed_program", lambda name, path: os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
        with Child(PLAN) as child:
            child.converse({}, no_console)

    return start


@pytest.mark.parametrize(
    "talk",
    [
        lambda me: me.channel.send(b"\1"),
        lambda me: me.channel.send(b"\1" * (c.PLAN_MESSAGE_HEAD - 1)),
        lambda me: me.say(0),
        lambda me: me.say(99, 1, 2, 3),
        lambda me: me.say(2**32 - 1),
        lambda me: me.say(c.MSG_ERROR, len(PLAN.ops), 1, 2),
        lambda me: me.say(c.MSG_ERROR, 2**32 - 1, 1, 2),
        lambda me: me.say(c.MSG_CONSOLE),
        lambda me: me.say(99, fds=(0,)),
        lambda me: socket.send_fds(me.channel, [b"x"], (0,)),
        lambda me: me.step(2**32 - 1),
        lambda me: me.step(len(PLAN.ops)),
    ],
    ids=[
        *("one byte", "short", "kind 0", "kind 99", "kind -1", "op beyond", "op -1", "console without fd", "fd unasked"),
        *("short with fd", "step -1", "step beyond"),
    ],
)
def test_what_is_not_understood_is_one_error(fake: Callable[[Talk], None], talk: Talk) -> None:
    with pytest.raises(PyruncError, match="^pyrunc-init sent a message that is not understood$") as caught:
        fake(talk)
    assert caught.value.stage == "setup"


@pytest.mark.parametrize("pid", [0, 1, 2**31 - 1, 2**31, 2**32 - 1])
def test_a_pid_that_is_no_child_of_ours_is_not_taken(fake: Callable[[Talk], None], pid: int) -> None:
    """It would be killed when anything failed later."""
    with pytest.raises(PyruncError, match="not understood"):
        fake(lambda me: me.say(c.MSG_FORKED, value=pid))


def test_a_child_that_names_itself_has_not_forked(fake: Callable[[Talk], None]) -> None:
    with pytest.raises(PyruncError, match="not understood"):
        fake(lambda me: me.say(c.MSG_FORKED, value=os.getpid()))


def test_a_hostile_detail_is_one_line(fake: Callable[[Talk], None]) -> None:
    detail = (b"\xff\n\0\x1b[2J\xe2\x80\xae" * 400)[: c.PLAN_DETAIL]
    with pytest.raises(SetupError) as caught:
        fake(lambda me: me.say(c.MSG_ERROR, 2, c.AT_SETHOSTNAME, 1, detail))
    assert caught.value.message.startswith("hostname (h): sethostname ")
    assert caught.value.message.endswith(": operation not permitted")
    assert caught.value.message.isprintable()


def test_an_error_that_comes_before_the_answer_is_the_one_told(fake: Callable[[Talk], None]) -> None:
    """The child asks, fails without waiting and is gone: its word counts more than the broken pipe."""

    def talk(me: Fake) -> None:
        me.say(c.MSG_SYNC, 1, c.SYNC_READY)
        me.say(c.MSG_ERROR, 2, c.AT_SETHOSTNAME, 22)

    with pytest.raises(SetupError, match=r"hostname \(h\): sethostname: invalid argument"):
        fake(talk)


@pytest.mark.parametrize("op", range(3))
def test_an_exit_without_a_word_tells_the_status_and_the_op(fake: Callable[[Talk], None], op: int) -> None:
    with pytest.raises(KilledInSetup) as caught:
        fake(lambda me: me.step(op))
    assert "pyrunc-init ended with status 3 while it was to " in caught.value.message
    assert (caught.value.op, caught.value.signal) == (PLAN.ops[op].name.lower(), 0)
    assert "SECRET" not in caught.value.message


def test_a_child_that_only_closes_its_socket_holds_nobody_up(fake: Callable[[Talk], None]) -> None:
    def talk(me: Fake) -> None:
        me.channel.close()
        signal.pause()

    with pytest.raises(KilledInSetup, match="killed by signal 9"):
        fake(talk)


def test_an_error_after_done_is_an_error(fake: Callable[[Talk], None]) -> None:
    def talk(me: Fake) -> None:
        me.say(c.MSG_DONE)
        me.say(c.MSG_ERROR, 3, c.AT_OPEN, 9)

    with pytest.raises(ExecutableError, match="bad file descriptor"):
        fake(talk)


@pytest.mark.parametrize(
    ("stage", "errno", "signal", "expected"),
    [
        ("setup", None, 9, True),
        ("setup", None, 11, False),
        ("setup", 32, 0, True),
        ("setup", 12, 0, True),
        ("setup", 2, 0, False),
        (None, 12, 0, False),
    ],
)
def test_what_the_oom_killer_may_have_done(stage: str | None, errno: int | None, signal: int, expected: bool) -> None:
    error = KilledInSetup("killed")
    error.stage, error.errno, error.signal = stage, errno, signal
    assert perhaps_killed(error) is expected
