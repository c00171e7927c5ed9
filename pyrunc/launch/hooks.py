"""Hooks that run in the runtime's namespaces: prestart, createRuntime, poststart, poststop (runtime-spec, config.md)."""

from __future__ import annotations

import time

from pyrunc import errors
from pyrunc.errors import strerror
from pyrunc.kernel import os
from pyrunc.kernel.host import original_environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

CAPTURE = 1024
"""Bytes kept of each output of a hook, the last ones, for the message of its failure."""

PIPE = 65536
"""What a pipe holds (pipe(7))."""

POLL_MAX = (1 << 31) - 1
"""Milliseconds, a C int; a timeout of more than 24 days is slept in parts."""

SIGPIPE, SIGXFSZ, SIGKILL = 13, 25, 9


def run_hooks(name: str, hooks: Sequence[dict[str, Any]] | None, state: bytes) -> None:
    """Run the hooks one after the other with `state` on their stdin. Raises HookError at the first that fails."""
    for i, hook in enumerate(hooks or ()):
        try:
            _run(hook, state)
        except errors.HookError as error:
            error.config_path = f"hooks.{name}[{i}]"
            raise error.within(f"error running {name} hook #{i}: {hook['path']}") from None


def _run(hook: dict[str, Any], state: bytes) -> None:
    import select

    env = hook.get("env")
    environment = original_environment() if env is None else _pairs(env)
    stdin, feed = os.pipe()
    out, out_end = os.pipe()
    err, err_end = os.pipe()
    ends = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate((stdin, out_end, err_end))]
    argv = hook.get("args") or [hook["path"]]
    try:
        pid = os.posix_spawn(hook["path"], argv, environment, file_actions=ends, setsigdef=[SIGPIPE, SIGXFSZ], setsigmask=[])
    except OSError as error:
        for fd in (feed, out, err):
            os.close(fd)
        raise errors.HookError(strerror(error.errno or 0)) from None
    finally:
        for fd in (stdin, out_end, err_end):
            os.close(fd)
    conversation = _Conversation(pid, feed, out, err, state)
    try:
        status = conversation.attend(select.poll(), hook.get("timeout"))
    finally:
        conversation.close()
    outputs = f", stdout: {conversation.text(out)}, stderr: {conversation.text(err)}"
    if status is None:
        raise errors.HookError(f"hook ran past specified timeout of {hook['timeout']:.1f}s{outputs}")
    if os.WIFSIGNALED(status):
        raise errors.HookError(f"signal {os.WTERMSIG(status)}{outputs}")
    if status:
        raise errors.HookError(f"exit status {os.WEXITSTATUS(status)}{outputs}")


def _pairs(env: Sequence[str]) -> dict[str, str]:
    return {name: value for name, _, value in (entry.partition("=") for entry in env)}


class _Conversation:
    """What goes in and out of one running hook. A hook that does not read its state is no error; grandchildren that keep
    its outputs open are not waited for."""

    def __init__(self, pid: int, feed: int, out: int, err: int, state: bytes) -> None:
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.feed = feed
        self.state = memoryview(state)
        self.outputs = {out: b"", err: b""}
        self.open = {feed, out, err}
        for fd in self.open:
            os.set_blocking(fd, False)

    def attend(self, poll: Any, timeout: int | None) -> int | None:
        """The wait status; None if the hook had to be killed because its `timeout`, in seconds, was over."""
        deadline = time.monotonic() + timeout if timeout else None
        poll.register(self.pidfd, 1)  # POLLIN
        poll.register(self.feed, 4)  # POLLOUT
        for fd in self.outputs:
            poll.register(fd, 1)
        while True:
            left = None if deadline is None else max(0, min(int((deadline - time.monotonic()) * 1000) + 1, POLL_MAX))
            ready = [fd for fd, _ in poll.poll(left)]
            for fd in ready:
                if fd in self.open and not (self._write() if fd == self.feed else self._read(fd)):
                    poll.unregister(fd)
                    self.open.discard(fd)
                    os.close(fd)
            if self.pidfd in ready:
                for fd in self.open & self.outputs.keys():
                    self._read(fd)
                return os.waitpid(self.pid, 0)[1]
            if deadline is not None and time.monotonic() >= deadline:
                return None

    def _write(self) -> bool:
        try:
            self.state = self.state[os.write(self.feed, self.state) :]
        except BlockingIOError:
            return True
        except BrokenPipeError:
            return False
        return len(self.state) > 0

    def _read(self, fd: int) -> bool:
        """What the pipe holds by now, and whether more can come. One look: a hook that never stops writing has a timeout too."""
        try:
            data = os.read(fd, PIPE)
        except BlockingIOError:
            return True
        self.outputs[fd] = (self.outputs[fd] + data)[-CAPTURE:]
        return len(data) > 0

    def text(self, fd: int) -> str:
        return self.outputs[fd].decode("utf-8", "replace").strip()

    def close(self) -> None:
        """Kill the hook if it still runs, and let go of everything."""
        try:
            if os.waitpid(self.pid, os.WNOHANG)[0] == 0:
                os.kill(self.pid, SIGKILL)
                os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass
        for fd in (*self.open, self.pidfd):
            os.close(fd)
        self.open = set()
