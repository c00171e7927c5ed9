"""To hear of the OOM killer: a descriptor for poll(2), and whether it has struck since it was last asked."""

from __future__ import annotations

from select import POLLIN, POLLPRI

from ..kernel import os
from . import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Watch(Protocol):
        """``fd`` is to be polled for ``events``; then `struck` tells, and takes the news away."""

        fd: int
        events: int

        def struck(self) -> bool: ...

        def close(self) -> None: ...


class Eventfd:
    """v1: an eventfd(2) registered for memory.oom_control. It tells that the limit was met and nothing could be reclaimed, also
    where disableOOMKiller lets nobody be killed. It is signalled when the cgroup is removed, too.
    """

    events = POLLIN

    def __init__(self, directory: str) -> None:
        """Raises OSError."""
        self._directory = directory
        control = os.open(directory + "/memory.oom_control", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            try:
                files.write(directory + "/cgroup.event_control", f"{self.fd} {control}")
            except BaseException:
                os.close(self.fd)
                raise
        finally:
            os.close(control)

    def struck(self) -> bool:
        try:
            return os.eventfd_read(self.fd) > 0 and os.path.isdir(self._directory)
        except BlockingIOError:
            return False

    def close(self) -> None:
        os.close(self.fd)


class Counter:
    """v2: memory.events, whose every change wakes poll(2), and of it the number of processes killed, also in cgroups below."""

    events = POLLPRI

    def __init__(self, directory: str) -> None:
        """Raises OSError."""
        self.fd = os.open(directory + "/memory.events", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._killed = self._count()

    def struck(self) -> bool:
        before, self._killed = self._killed, self._count()
        return self._killed > before

    def close(self) -> None:
        os.close(self.fd)

    def _count(self) -> int:
        try:
            return files.flat_value(os.fsdecode(os.pread(self.fd, 4096, 0)), "oom_kill")
        except OSError:
            return 0  # the cgroup is gone
