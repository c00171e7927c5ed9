"""What a command is told beside its own arguments (`Context`), and where it says what went wrong (`Log`).

A successful command says nothing: callers copy a runtime's stderr into the container's log and read a JSON log that
holds more than one object as damaged. A failed one says one thing, twice when there is a ``--log``: the record goes to
the file and the plain message to stderr, because some callers read only the one and some only the other.
"""

from __future__ import annotations

import sys
import time

from pyrunc import errors
from pyrunc.errors import PyruncError
from pyrunc.kernel import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import CodeType, TracebackType

ERROR, WARNING, DEBUG = range(3)
LEVELS = ("error", "warning", "debug")

STDERR = 2
STDERR_BYTES = 8000
"""conmon reads the runtime's stderr with one read(2) of 8191 bytes; what comes later is lost."""
RECORD_BYTES = 200
"""Room for a record's time, level and short extras beside the message."""

EXTRAS = ("code", "stage", "op", "syscall", "errno", "config_path", "hint")
TEXT_EXTRAS = ("hint", "func", "file")

_ESCAPES = {number: f"\\u{number:04x}" for number in (*range(32), *map(ord, "<>&"), 0x2028, 0x2029)}
_ESCAPES |= {ord('"'): '\\"', ord("\\"): "\\\\", 8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r"}


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

    def error(self, error: PyruncError) -> None:
        """The last word of a failed command."""
        extras = [(key, value) for key in EXTRAS if (value := getattr(error, key)) is not None]
        if self.level >= DEBUG and error.__traceback__:
            extras += _raised_at(error.__traceback__)
        if self.fd is not None:
            _write(self.fd, self._record("error", error.message, extras))
            _write(STDERR, _line(_shortened(error.message)))
        elif not self.json and os.isatty(STDERR):
            hint = f" ({error.hint})" if error.hint else ""
            _write(STDERR, self._for_people("error", error.message + hint))
        else:
            message = _shortened(error.message)
            record = self._record("error", message, extras)
            _write(STDERR, record if len(record) <= STDERR_BYTES else self._record("error", message, ()))

    def warning(self, message: str) -> None:
        """Something went wrong that the command survives. Written at ``--log-level warning`` and with ``--debug``."""
        self._note(WARNING, message)

    def debug(self, message: str) -> None:
        """Written with ``--debug`` only."""
        self._note(DEBUG, message)

    def notice(self, message: str) -> None:
        """A line for people on stderr, whatever the level: for commands that no machine calls (``list``)."""
        _write(STDERR, _line(_shortened(message)))

    def _note(self, level: int, message: str) -> None:
        if level > self.level:
            return
        name = LEVELS[level]
        if self.fd is None and not self.json and os.isatty(STDERR):
            _write(STDERR, self._for_people(name, message))
            return
        caller = sys._getframe(2)  # of `warning` or `debug`
        place = _place(caller.f_code, caller.f_lineno) if self.level >= DEBUG else ()
        _write(STDERR if self.fd is None else self.fd, self._record(name, message, place))

    def _for_people(self, level: str, message: str) -> bytes:
        elapsed = int(time.monotonic() - self.started)
        return _line(f"{level[:4].upper()}[{elapsed:04}] {_shortened(message)}")

    def _record(self, level: str, message: str, extras: Iterable[tuple[str, object]]) -> bytes:
        """A line as logrus writes it: JSON, or ``key=value`` pairs, where of the extras only some are shown."""
        if self.daemon:
            from pyrunc.daemons import entry

            return entry(self.daemon, self.name, level, message, extras)
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self.json:
            pairs = [("level", level), ("msg", message), ("time", now), *extras]
            body = ",".join(f'"{key}":{value if isinstance(value, int) else quote(str(value))}' for key, value in pairs)
            return f"{{{body}}}\n".encode()
        shown = "".join(f" {key}={_quote_text(str(value))}" for key, value in extras if key in TEXT_EXTRAS)
        return f'time="{now}" level={level} msg={_quote_text(message)}{shown}\n'.encode("utf-8", "surrogateescape")


def _raised_at(traceback: TracebackType) -> list[tuple[str, object]]:
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return _place(traceback.tb_frame.f_code, traceback.tb_lineno)


def _place(code: CodeType, line: int) -> list[tuple[str, object]]:
    """The keys that logrus calls so; the file below the package's own directory."""
    _, found, below = code.co_filename.rpartition("/pyrunc/")
    file = f"pyrunc/{below}" if found else code.co_filename
    return [("func", f"{code.co_qualname}()"), ("file", f"{file}:{line}")]


def quote(text: str) -> str:
    """`text` as a JSON string, byte for byte as Go's encoding/json does: safe inside HTML, a byte that is not UTF-8 as U+FFFD."""
    quoted = f'"{text.translate(_ESCAPES)}"'
    if quoted.isascii():
        return quoted
    try:
        data = quoted.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a surrogate pair, which a JSON config can hold as an escape
        data = quoted.encode("utf-8", "surrogatepass")
    return data.decode("utf-8", "replace")


def _quote_text(text: str) -> str:
    """`text` in double quotes on one line; what cannot be printed becomes an escape of Go's."""
    return '"' + "".join(c if c.isprintable() and c not in '"\\' else _escape(c) for c in text) + '"'


def _escape(char: str) -> str:
    number = ord(char)
    if char in '"\\':
        return "\\" + char
    if char in "\a\b\f\n\r\t\v":
        return "\\" + "abtnvfr"[number - 7]
    if 0xDC80 <= number <= 0xDCFF:  # a byte that is not UTF-8, as surrogateescape holds it
        return f"\\x{number - 0xDC00:02x}"
    if number < 0x80:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _shortened(message: str) -> str:
    """Short enough for a record of STDERR_BYTES; the middle goes, as the end holds the cause that callers match."""
    room = len(message)
    short = message
    while max(len(quote(short).encode()), len(_quote_text(short).encode())) > STDERR_BYTES - RECORD_BYTES:
        room = min(room, STDERR_BYTES) * 3 // 4
        short = f"{message[: room * 2 // 3]} ... {message[-room // 3 :]}"
    return short


def _line(message: str) -> bytes:
    """One line and no more: a caller that reads line by line must not take the rest for another message."""
    text = "".join(c if c.isprintable() or 0xDC80 <= ord(c) <= 0xDCFF else " " for c in message)
    return (text + "\n").encode("utf-8", "surrogateescape")


def _write(fd: int, data: bytes) -> None:
    """A single write(2); that nobody reads any more (EPIPE) or the disk is full must not hide the command's own outcome."""
    try:
        os.write(fd, data)
    except OSError:
        pass
