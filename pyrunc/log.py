"""What a command is told beside its own arguments (`Context`), and where it says what went wrong (`Log`): how, is in
pyrunc/lines.py, which is loaded when there is something to say.

A successful command says nothing: callers copy a runtime's stderr into the container's log and read a JSON log that
holds more than one object as damaged. A failed one says one thing, twice when there is a ``--log``: the record goes to
the file and the plain message to stderr, because some callers read only the one and some only the other.
"""

from __future__ import annotations

import sys
import time

from pyrunc import errors
from pyrunc.kernel import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.errors import PyruncError

ERROR, WARNING, DEBUG = range(3)
LEVELS = ("error", "warning", "debug")


class Context:
    """The global options, as every verb of ``pyrunc.runtime`` gets them.

    ``root`` is absolute and need not exist; ``root_given`` tells an explicit ``--root`` from the default. ``rootless``
    is None for ``auto``. ``cgroup_manager`` is ``cgroupfs``, ``systemd`` or ``disabled``, None where the command line
    says nothing: the container's record then decides. ``systemd_cgroup`` is true for either way of asking for systemd.
    """

    __slots__ = ("cgroup_manager", "debug", "log", "root", "root_given", "rootless", "systemd_cgroup")

    def __init__(
        self,
        root: str,
        log: Log,
        *,
        root_given: bool = False,
        debug: bool = False,
        cgroup_manager: str | None = None,
        rootless: bool | None = None,
    ) -> None:
        self.root = root
        self.log = log
        self.root_given = root_given
        self.debug = debug
        self.systemd_cgroup = cgroup_manager == "systemd"
        self.cgroup_manager = cgroup_manager
        self.rootless = rootless


class Log:
    """Records of one call. Until `configure` they go to stderr as text, and only errors do."""

    __slots__ = ("daemon", "fd", "json", "level", "name", "started")

    def __init__(self) -> None:
        self.fd: int | None = None
        self.daemon = self.name = ""
        self.json = False
        self.level = ERROR
        self.started = time.monotonic()

    def configure(self, path: str | None = None, *, json: bool = False, level: int = ERROR) -> None:
        """Set the form and, with `path`, the file, which is appended to: a container's calls share one. KernelError.

        `path` is a path, also as ``file:PATH``, or ``journald:NAME`` or ``syslog:NAME``, as crun has it.
        """
        self.json = json
        self.level = level
        if path:
            kind, colon, rest = path.partition(":")
            if colon and kind in ("journald", "syslog"):
                from pyrunc.daemons import connect

                self.fd = connect(kind)
                self.daemon, self.name = kind, rest or "pyrunc"
                return
            path = rest if colon and kind == "file" else path
            try:
                self.fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except OSError as error:
                raise errors.KernelError.of(f"open log file {path}", error) from error

    @property
    def debugs(self) -> bool:
        """Whether everything is written, and where in the code it was said."""
        return self.level >= DEBUG

    def error(self, error: PyruncError) -> None:
        """The last word of a failed command."""
        try:
            from pyrunc.lines import tell_error
        except OSError:  # it may be that no file can be opened any more which the command has failed by
            os.write(2, error.message.encode("utf-8", "surrogateescape") + b"\n")
            return
        tell_error(self, error)

    def warning(self, message: str) -> None:
        """Something went wrong that the command survives. Written at ``--log-level warning`` and with ``--debug``."""
        self._note(WARNING, message)

    def debug(self, message: str) -> None:
        """Written with ``--debug`` only."""
        self._note(DEBUG, message)

    def notice(self, message: str) -> None:
        """A line for people on stderr, whatever the level: for commands that no machine calls (``list``)."""
        from pyrunc.lines import tell_people

        tell_people(message)

    def _note(self, level: int, message: str) -> None:
        if level > self.level:
            return
        from pyrunc.lines import tell

        tell(self, LEVELS[level], message, sys._getframe(2))  # the caller of `warning` or `debug`
