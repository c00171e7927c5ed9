"""pyrunc-init as the runtime sees it: started from a sealed memfd, answered at each point of synchronisation, and killed
and collected when anything goes wrong.

    runtime                                   pyrunc-init
      spawn        ---- plan, socket ---->      checks the plan
      writes maps  <--- SYNC MAPS --------      new user namespace; waits
                   ---- one byte -------->      becomes its root, makes the other namespaces
      new pid      <--- FORKED pid -------      forks; the first process ends
      joins cgroup <--- SYNC CGROUP ------      waits
                   ---- one byte -------->      root, mounts, devices
      runs hooks   <--- SYNC HOOKS -------      waits                        (only if there are any)
                   ---- one byte -------->      pivot, console
      takes the pty <-- CONSOLE, fd ------
      rlimits, record <- SYNC READY ------      waits
                   ---- one byte -------->      user, capabilities, seccomp, looks the program up
                   <--- DONE -------------      lets go of the runtime       (create)
      returns      <--- end of stream ----      waits for `start`            (create)
      returns      <--- end of stream ----      execve(2) closed the socket  (run, exec)
      fails        <--- ERROR op, place, errno, detail, or the end of the stream: the step page names the op

"""

from __future__ import annotations

import os
from sys import byteorder

from pyrunc.errors import KernelError, PyruncError
from pyrunc.kernel import sys
from pyrunc.plan import opcodes as c
from pyrunc.plan.encode import Message, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyrunc.plan.encode import Plan

PROGRAM = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "pyrunc-init")
MESSAGE_SIZE = c.PLAN_MESSAGE_HEAD + c.PLAN_DETAIL
SIGKILL = 9


class Child:
    """A process that carries out `plan`. ``pid`` is the one that becomes the container's, as the host sees it.

    Use as a context manager: when the block fails the process is killed and collected, when it succeeds it lives on.
    """

    def __init__(self, plan: Plan, passed: Sequence[int] = ()) -> None:
        """Raises KernelError when it cannot be started. `passed` are the fds for the plan's slots, in their order."""
        self.plan = plan
        self.pid = 0
        self._first = 0
        self._channel = self._step = -1
        fds: list[int] = []
        try:
            ours, theirs = sys.channel()
            self._channel = ours
            fds.append(theirs)
            fds.append(sys.sealed_data("plan", encode(plan, os.getpid())))
            self._step = os.memfd_create("step", os.MFD_CLOEXEC)
            os.ftruncate(self._step, 4096)
            fds.append(sys.sealed_program("pyrunc-init", PROGRAM))
            self.pid = self._first = sys.spawn(fds[2], [fds[1], fds[0], self._step, *passed], 3 + plan.preserve)
        except OSError as error:
            self.close()
            raise KernelError.of("start pyrunc-init", error) from error
        finally:
            for fd in fds:
                os.close(fd)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.close()
        if kind is not None:
            self.kill()

    def close(self) -> None:
        """Let go of the conversation; before DONE this ends the child."""
        for fd in (self._channel, self._step):
            if fd >= 0:
                os.close(fd)
        self._channel = self._step = -1

    def kill(self) -> None:
        """SIGKILL and collect. The pid is ours, because nobody has waited for it."""
        for pid in {self.pid, self._first} - {0}:
            try:
                os.kill(pid, SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                continue
        self.pid = self._first = 0

    def converse(
        self, answers: dict[int, Callable[[int], None]], on_console: Callable[[int], None], meanwhile: Callable[[], None] | None = None
    ) -> None:
        """Answer every SYNC by ``answers[point](pid)`` and give the pty's master to `on_console`, until the child is on
        its own. `meanwhile` is called when the child has the longest part of its work before it, mounts and devices.
        Raises what the answers raise, and the error that the child reports or died of."""
        while True:
            data, fd = self._receive()
            if not data:
                return self._ended()
            message = Message(data)
            if message.kind == c.MSG_SYNC:
                if message.value in answers:
                    answers[message.value](self.pid)
                os.write(self._channel, b"\n")
                if meanwhile and message.value == c.SYNC_CGROUP:
                    meanwhile()
            elif message.kind == c.MSG_FORKED:
                self.pid = message.value
                os.waitpid(self._first, 0)
                self._first = 0
            elif message.kind == c.MSG_CONSOLE and fd is not None:
                on_console(fd)
            elif message.kind == c.MSG_DONE:
                # Until it has let go of the socket as well, our exit would be its death (PDEATHSIG).
                data, _ = self._receive()
                if data:
                    raise self._failure(Message(data))
                return None
            else:
                raise self._failure(message)

    def _receive(self) -> tuple[bytes, int | None]:
        try:
            return sys.receive(self._channel, MESSAGE_SIZE)
        except ConnectionResetError:
            return b"", None

    def _failure(self, message: Message) -> PyruncError:
        from pyrunc.plan.show import failure

        return failure(self.plan.ops[message.op], message.value, message.error, message.detail)

    def _ended(self) -> None:
        """The end of the stream is execve(2)'s doing if the child was at the plan's last op; else it was killed."""
        at = int.from_bytes(os.pread(self._step, 4, 0), byteorder)
        if at == len(self.plan.ops) - 1:
            return
        from pyrunc.plan.show import describe

        status = self._collect()
        how = f"was killed by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"ended with status {status >> 8}"
        op = self.plan.ops[min(at, len(self.plan.ops) - 1)]
        error = KilledInSetup(f"pyrunc-init {how} while it was to {describe(op)}")
        error.signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        error.op, error.stage, error.config_path = op.name.lower(), "setup", op.at or None
        raise error

    def _collect(self) -> int:
        status = 0
        for pid in (self._first, self.pid):
            if pid:
                try:
                    status = os.waitpid(pid, 0)[1] or status
                except ChildProcessError:
                    continue
        self.pid = self._first = 0
        return status


class KilledInSetup(PyruncError):
    """The child died without a word; ``signal`` is 0 if it was not by one."""

    code = "killed"
    signal = 0
