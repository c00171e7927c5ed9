"""criu(8), which saves and restores processes: found in PATH, started once for a request, and heard until it has answered.

    runtime                                        criu swrk 3
      starts it, moves it into the cgroups           waits
      opts        ---- RESTORE ------------------>   reads the images, makes the namespaces
      runs hooks  <--- NOTIFY setup-namespaces ---   waits
                  ---- NOTIFY success ----------->   makes the processes
      the pty     <--- NOTIFY orphan-pts-master, fd
      record      <--- NOTIFY post-restore, pid --   waits
                  ---- NOTIFY success ----------->   lets them go on
      returns     <--- RESTORE pid ---------------   ends

DUMP and PRE_DUMP have the same form. Descriptors in `opts` are the runtime's own, CRIU opens them by /proc/PID/fd; those of
``inherit_fd`` are CRIU's: its stdio is ours, and from 4 on come what `passed` holds.
"""

from __future__ import annotations

from pyrunc.errors import KernelError, PyruncError, UnsupportedError, strerror
from pyrunc.kernel import os, sys
from pyrunc.kernel.host import original_environment
from pyrunc.launch import criu_messages as m

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Answers = dict[str, Callable[[int, int | None], None]]

OLDEST = (3, 15)
"""The first that tells by a notification that lazy pages can be served, and takes PID namespaces from outside."""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where to look when the caller gave no PATH."""

FIRST_PASSED = 4
MESSAGE_SIZE = 1 << 16
LOG_BYTES = 1 << 16
LOG_LINES = 3


def find() -> str:
    """The path of criu. Raises UnsupportedError."""
    for directory in (os.getenv("PATH") or PATH).split(":"):
        path = os.path.join(directory or ".", "criu")
        if os.path.exists(path) and not os.path.isdir(path) and os.access(path, os.X_OK):
            return path
    raise UnsupportedError("criu is not in PATH: checkpoint and restore need it", hint="Debian: apt-get install criu")


class Criu:
    """Requests to the criu at `program`. Every method raises UnsupportedError for what it cannot do, CriuError when it fails."""

    def __init__(self, program: str) -> None:
        self.program = program

    def require(self, oldest: tuple[int, int] = OLDEST, what: str = "pyrunc") -> None:
        """`what` needs this version at least."""
        version = self.ask(m.VERSION).get("version") or {}
        found = (version.get("major_number") or 0, version.get("minor_number") or 0)
        if found < oldest:
            found_text, oldest_text = (".".join(map(str, numbers)) for numbers in (found, oldest))
            raise UnsupportedError(f"{what} needs criu {oldest_text} or newer, {self.program} is {found_text}")

    def require_feature(self, name: str, option: str) -> None:
        """`option` needs this of the kernel."""
        found = self.ask(m.FEATURE_CHECK, features={name: True}).get("features") or {}
        if not found.get(name):
            raise UnsupportedError(f"{option}: criu says that this kernel cannot do it (feature {name})")

    def ask(
        self, kind: int, *, answers: Answers | None = None, passed: Sequence[int] = (), apart: tuple[str, str] | None = None,
        started: Callable[[int, dict[str, Any]], None] | None = None, **members: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """Send one request and return the response. ``answers[script](pid, fd)`` is called for a notification, the fd being
        theirs to close; what it raises ends the request. `started` is given criu's pid and the request before it is sent."""
        ours, theirs = sys.channel()
        try:
            pid = self._start([theirs, *passed], apart)
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        try:
            request = {"type": kind, **members}
            if started:
                started(pid, request)
            self._send(ours, request)
            response = self._converse(ours, kind, answers or {})
        except BaseException:
            os.kill(pid, 9)
            raise
        finally:
            os.close(ours)
            status = os.waitpid(pid, 0)[1]
        # After a pre-dump it waits for the next one, and fails because none comes.
        if status and kind != m.PRE_DUMP:
            raise CriuError(f"criu ended with status {status >> 8 or status}")
        return response

    def _start(self, fds: Sequence[int], apart: tuple[str, str] | None) -> int:
        env = original_environment()
        env.setdefault("PATH", PATH)  # it runs iptables and others
        try:
            words = [f"{name}={value}" for name, value in env.items()]
            return sys.spawn_apart(self.program, [self.program, "swrk", "3"], words, fds, apart)
        except OSError as error:
            raise KernelError.of(f"start {self.program}: {error.filename}", error) from error

    def _send(self, channel: int, request: dict[str, Any]) -> None:
        try:
            os.write(channel, m.encode(m.REQUEST, request))
        except (BrokenPipeError, ConnectionResetError):
            pass  # what it said last, or that it is gone, comes next
        except OSError as error:
            raise CriuError(f"send to criu: {strerror(error.errno or 0)}") from error

    def _converse(self, channel: int, kind: int, answers: Answers) -> dict[str, Any]:
        while True:
            response, fd = self._receive(channel)
            try:
                if not response.get("success"):
                    raise CriuError(_reason(response))
                if response.get("type") == kind:
                    return response
                if response.get("type") != m.NOTIFY:
                    raise CriuError(f"criu answered with a message of type {response.get('type')}")
                notify = response.get("notify") or {}
                answer = answers.get(notify.get("script", ""))
                if answer:
                    passed, fd = fd, None
                    try:
                        answer(notify.get("pid") or 0, passed)
                    except BaseException:
                        self._send(channel, {"type": m.NOTIFY, "notify_success": False})
                        raise
            finally:
                if fd is not None:
                    os.close(fd)
            self._send(channel, {"type": m.NOTIFY, "notify_success": True})

    def _receive(self, channel: int) -> tuple[dict[str, Any], int | None]:
        try:
            try:
                data, fd = sys.receive(channel, MESSAGE_SIZE)
            except ConnectionResetError:
                # It went without reading what we said, which is told first and once; what it said before is still there.
                data, fd = sys.receive(channel, MESSAGE_SIZE)
        except OSError as error:
            raise CriuError(f"receive from criu: {strerror(error.errno or 0)}") from error
        if not data:
            raise CriuError("criu ended without an answer")
        try:
            return m.decode(m.RESPONSE, data), fd
        except ValueError as error:
            if fd is not None:
                os.close(fd)
            raise CriuError(f"criu's answer is not understood: {error}") from None


def _reason(response: dict[str, Any]) -> str:
    number = abs(response.get("cr_errno") or 0)
    said = response.get("cr_errmsg") or (strerror(number) if number else "")
    return f"criu failed: {said.strip()}" if said else "criu failed"


def tail(path: str) -> str:
    """The last errors in one of criu's logs, on one line; empty if there are none or no log."""
    try:
        with open(path, "rb", buffering=0) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_BYTES))
            lines = file.read(LOG_BYTES).decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    errors = [line.partition("Error ")[2].strip() for line in lines if "Error (" in line]
    return "; ".join(errors[-LOG_LINES:])


class CriuError(PyruncError):
    code = "criu"
