"""pyrunc-init as the runtime sees it: started from a sealed memfd, answered at each point of synchronisation, and killed
and collected when anything goes wrong.

    runtime                                   pyrunc-init
      spawn        ---- plan, socket ---->      checks the plan
      writes maps  <--- SYNC MAPS --------      new user namespace; waits
                   ---- one byte -------->      becomes its root, makes the other namespaces
      new pid      <--- FORKED pid -------      forks; the first process ends
      joins cgroup <--- SYNC CGROUP ------      waits
                   ---- one byte -------->      joins its session keyring, brings up the loopback device
      net devices  <--- SYNC NETWORK, fd -      waits                        (only if there are any)
                   ---- one byte -------->      root, mounts, devices
      runs hooks   <--- SYNC HOOKS -------      waits                        (only if there are any)
                   ---- one byte -------->      pivot, console
      takes the pty <-- CONSOLE, fd ------
      rlimits, record <- SYNC READY ------      waits
                   ---- one byte -------->      user, capabilities, seccomp, looks the program up
      looks for it <--- LISTENER ---------      loads a filter that notifies, says by the step page where its listener is
      takes a copy ---- step page ------->      goes on                      (only if there is one)
                   <--- DONE -------------      lets go of the runtime       (create)
      returns      <--- end of stream ----      waits for `start`            (create)
      returns      <--- end of stream ----      execve(2) closed the socket  (run, exec)
      fails        <--- ERROR op, place, errno, detail, or the end of the stream: the step page names the op

"""

from __future__ import annotations

from errno import ENOMEM, EPIPE
from sys import byteorder

from pyrunc import errors
from pyrunc.errors import PyruncError
from pyrunc.kernel import os, sys
from pyrunc.plan import opcodes as c
from pyrunc.plan.encode import Message, encode, encode_filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyrunc.plan.encode import Plan
    from pyrunc.plan.seccomp import Filter

PROGRAM = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "pyrunc-init")
MESSAGE_SIZE = c.PLAN_MESSAGE_HEAD + c.PLAN_DETAIL
SIGKILL = 9
LOOK_MS = 1
"""Between two looks at the step page, while a filter is being loaded."""
REFUSED = 125
"""The exit status of pyrunc-init when it finds a fault in what it was started with: see native/init/main.c, refuse()."""


class Child:
    """A process that carries out `plan`. ``pid`` is the one that becomes the container's, as the host sees it.

    Use as a context manager: when the block fails the process is killed and collected, when it succeeds it lives on.
    """

    def __init__(self, plan: Plan, passed: Sequence[int] = ()) -> None:
        """Raises KernelError for what it cannot be given. `passed` are the fds for the plan's slots, in their order."""
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
            os.ftruncate(self._step, c.PLAN_STEP_SIZE)
            fds.append(sys.sealed_program("pyrunc-init", PROGRAM))
            self.pid = self._first = sys.spawn(fds[2], [fds[1], fds[0], self._step, *passed], 3 + plan.preserve)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise errors.KernelError.of("start pyrunc-init", error) from error
            raise
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
        self, answers: dict[int, Callable[[int], None]], on_console: Callable[[int], None],
        meanwhile: Callable[[int], None] | None = None, on_listener: Callable[[int, int], None] | None = None,
        on_network: Callable[[int], None] | None = None, *, forks: bool = False,
    ) -> None:  # fmt: skip
        """Answer every SYNC by ``answers[point](pid)``, give the pty's master to `on_console`, with the pid the listener of a
        seccomp filter to `on_listener`, and a netlink socket of the container's to `on_network`, until the child is on its
        own. `meanwhile` is called, with the pid that stays, when the child has the longest part of its work before it, mounts
        and devices; `forks` says that this pid is still to come at SYNC CGROUP.
        Raises what the answers raise, and the error that the child reports or died of."""
        done = False  # said so; but until it has let go of the socket as well, our exit would be its death (PDEATHSIG)
        while True:
            message, fd = self._receive()
            if message is None:
                return None if done else self._ended()
            if message.kind == c.MSG_CONSOLE and fd is not None:
                on_console(fd)
                continue
            if message.kind == c.MSG_SYNC and message.value == c.SYNC_NETWORK and fd is not None and on_network:
                on_network(fd)
                fd = None
            if fd is not None:
                os.close(fd)
            if message.kind == c.MSG_SYNC:
                if message.value in answers:
                    answers[message.value](self.pid)
                self._answer()
                if meanwhile and message.value == c.SYNC_CGROUP and not forks:
                    meanwhile(self.pid)
            elif message.kind == c.MSG_FORKED:
                self._forked(message.value)
                if meanwhile and forks:
                    meanwhile(self.pid)
            elif message.kind == c.MSG_DONE:
                done = True
            elif message.kind == c.MSG_LISTENER and on_listener:
                self._listener(on_listener)
            else:
                raise self._failure(message)

    def give_filter(self, filter: Filter) -> None:
        """The filter that the plan leaves open, before SYNC READY is answered."""
        os.pwrite(self._step, encode_filter(filter), c.PLAN_STEP_FLAGS)

    def _receive(self) -> tuple[Message | None, int | None]:
        """The next message and the fd that came with it; None at the end."""
        try:
            data, fd = sys.receive(self._channel, MESSAGE_SIZE)
        except ConnectionResetError:
            # It went without reading our answer, which is told first and once; what it said before is still there.
            data, fd = sys.receive(self._channel, MESSAGE_SIZE)
        if not data:
            return None, fd
        try:
            return Message(data), fd
        except ValueError:
            if fd is not None:
                os.close(fd)
            raise _not_understood() from None

    def _answer(self) -> None:
        try:
            os.write(self._channel, b"\n")
        except (BrokenPipeError, ConnectionResetError):
            pass  # what it said last, or that it is gone, comes next

    def _forked(self, pid: int) -> None:
        """The process that goes on is the second. We are about to kill or move it, so it must be our child."""
        try:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except (OSError, OverflowError):
            raise _not_understood() from None
        if not self._first or pid == self._first:
            raise _not_understood()
        self.pid = pid
        os.waitpid(self._first, 0)
        self._first = 0

    def _listener(self, use: Callable[[int, int], None]) -> None:
        """Take the listener as soon as there is one. No system call of the child's can tell of it, for that may be the first
        to wait for who listens. What it says before, or that it ends, is why there will be none."""
        import select

        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        while not (number := self._step_word(c.PLAN_STEP_LISTENER)):
            if poll.poll(LOOK_MS):
                return
        try:
            listener = sys.take_fd(self.pid, number - 1)
        except OSError as error:
            at = "linux.seccomp.listenerPath"
            raise errors.KernelError.of(f"{at}: take the filter's listener from pyrunc-init", error, config_path=at) from error
        os.pwrite(self._step, b"\1", c.PLAN_STEP_TAKEN)
        use(self.pid, listener)

    def _step_word(self, offset: int) -> int:
        return int.from_bytes(os.pread(self._step, 4, offset), byteorder)

    def _failure(self, message: Message) -> PyruncError:
        from pyrunc.plan.failure import failure

        if message.kind != c.MSG_ERROR or message.op >= len(self.plan.ops):
            return _not_understood()
        return failure(self.plan.ops[message.op], message.value, message.error, message.detail)

    def _ended(self) -> None:
        """The end of the stream is execve(2)'s doing if the child was at the plan's last op; else it was killed."""
        if failed := sys.spawn_error():
            raise errors.KernelError("start pyrunc-init", failed)
        at = self._step_word(0)
        if at == len(self.plan.ops) - 1:
            return
        from pyrunc.plan.show import describe, one_line

        status = self._collect()
        if at >= len(self.plan.ops):
            raise _not_understood()
        op = self.plan.ops[at]
        how = f"was killed by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"ended with status {status >> 8}"
        if status >> 8 == REFUSED:
            how = "refused its plan"
        error = errors.KilledInSetup(f"pyrunc-init {how} while it was to {one_line(describe(op))}")
        error.signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        error.op, error.stage, error.config_path = op.name.lower(), "setup", op.at or None
        raise error

    def _collect(self) -> int:
        """The status of the process that closed the stream. It is ending already: being killed changes nothing, but one
        that only closed its socket must not hold us up."""
        pid, status = self.pid, 0
        if pid:
            try:
                os.kill(pid, SIGKILL)
                status = os.waitpid(pid, 0)[1]
            except (ProcessLookupError, ChildProcessError):
                pass
        self.pid = self._first if self._first != pid else 0
        self.kill()
        return status


def _not_understood() -> PyruncError:
    """A bug of ours, or somebody else has got hold of the socket."""
    error = PyruncError("pyrunc-init sent a message that is not understood")
    error.stage = "setup"
    return error


def perhaps_killed(error: PyruncError) -> bool:
    """Whether the OOM killer can be the reason: SIGKILL without a word, or what a process says whose child was killed, or
    that was denied the memory itself."""
    return getattr(error, "signal", 0) == SIGKILL or (error.stage == "setup" and error.errno in (EPIPE, ENOMEM))
