"""Stop, go and kill for a whole cgroup: v1's freezer controller and the core files of cgroup2."""

from __future__ import annotations

import time
from errno import EOPNOTSUPP, ETIMEDOUT

from .. import errors
from ..kernel import os
from . import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from signal import pidfd_send_signal
else:
    # The C module behind signal, which wraps it in enums.
    from _signal import pidfd_send_signal

FREEZE_SECONDS = 10.0


class Freezer:
    """The freezer of one directory, v1's or (`unified`) cgroup2's. A directory that is gone is not frozen and thaws freely."""

    __slots__ = ("directory", "unified")

    def __init__(self, directory: str, unified: bool) -> None:
        self.directory = directory
        self.unified = unified

    def frozen(self) -> bool:
        """Whether it was told to freeze itself; being frozen through a parent does not count. Raises CgroupError."""
        try:
            if self.unified:
                return self._read("cgroup.freeze") == "1"
            return self._read("freezer.state") != "THAWED" and self._read("freezer.self_freezing") == "1"
        except OSError as error:
            if error.errno in files.GONE:
                return False
            raise errors.CgroupError.of(f"read the freezer of {self.directory}", error) from None

    def freeze(self) -> None:
        """Return when all processes stand still. Raises CgroupError, thawed again, when they do not within 10 seconds."""
        try:
            if self.unified:
                self._write("cgroup.freeze", "1")
                still = _wait(lambda attempt: "frozen 1" in self._read("cgroup.events"))
            else:
                still = _wait(self._try_v1)
            failure = 0 if still else ETIMEDOUT
        except OSError as error:
            failure = error.errno or ETIMEDOUT
        if failure:
            self.thaw()
            raise errors.CgroupError(f"freeze cgroup {self.directory}", failure)

    def thaw(self) -> None:
        """Raises CgroupError."""
        try:
            if self.unified:
                self._write("cgroup.freeze", "0")
            else:
                self._write("freezer.state", "THAWED")
        except OSError as error:
            if error.errno not in files.GONE:
                raise errors.CgroupError.of(f"thaw cgroup {self.directory}", error) from None

    def _try_v1(self, attempt: int) -> bool:
        # A process that forks at the wrong moment can hold a v1 freezer in FREEZING for good; a short thaw lets go.
        if attempt % 50 == 49:
            self._write("freezer.state", "THAWED")
        self._write("freezer.state", "FROZEN")
        return self._read("freezer.state") == "FROZEN"

    def _read(self, file: str) -> str:
        return files.read(f"{self.directory}/{file}").strip()

    def _write(self, file: str, value: str) -> None:
        files.write(f"{self.directory}/{file}", value)


def kill(directory: str) -> bool:
    """cgroup.kill (Linux 5.14): SIGKILL to a cgroup2 and all below, which no fork escapes. False where there is no such file.

    Raises CgroupError.
    """
    try:
        files.write(directory + "/cgroup.kill", "1")
    except OSError as error:
        if error.errno in files.GONE or error.errno == EOPNOTSUPP:
            return False
        raise errors.CgroupError.of(f"kill cgroup {directory}", error) from None
    return True


def kill_each(members: Callable[[], list[int]]) -> None:
    """SIGKILL by pidfd, each confirmed to be still a member after it was opened: a pid alone may have been reused.

    Raises CgroupError.
    """
    opened = []
    try:
        for pid in members():
            try:
                opened.append((pid, os.pidfd_open(pid)))
            except ProcessLookupError:
                continue
        confirmed = set(members()) if opened else set()
        for pid, fd in opened:
            if pid in confirmed:
                try:
                    pidfd_send_signal(fd, 9)
                except ProcessLookupError:
                    continue
    except OSError as error:
        raise errors.CgroupError.of("kill the processes of the container's cgroup", error) from None
    finally:
        for _, fd in opened:
            os.close(fd)


def _wait(done: Callable[[int], bool]) -> bool:
    """Ask `done`, with the number of the attempt, in growing intervals of up to 10 ms; False when the time is up."""
    attempt, delay, deadline = 0, 0.0001, time.monotonic() + FREEZE_SECONDS
    while not done(attempt):
        if time.monotonic() >= deadline:
            return False
        time.sleep(delay)
        attempt, delay = attempt + 1, min(delay * 2, 0.01)
    return True
