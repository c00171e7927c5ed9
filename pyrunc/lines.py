"""What the log says, and how: a record as logrus writes it, and the line for people."""

from __future__ import annotations

import time

from pyrunc.kernel import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import CodeType, FrameType, TracebackType

    from pyrunc.errors import PyruncError
    from pyrunc.log import Log

STDERR = 2
STDERR_BYTES = 8000
"""conmon reads the runtime's stderr with one read(2) of 8191 bytes; what comes later is lost."""
RECORD_BYTES = 200
"""Room for a record's time, level and short extras beside the message."""

EXTRAS = ("code", "stage", "op", "syscall", "errno", "config_path", "hint")
TEXT_EXTRAS = ("hint", "func", "file")

_ESCAPES = {number: f"\\u{number:04x}" for number in (*range(32), *map(ord, "<>&"), 0x2028, 0x2029)}
_ESCAPES |= {ord('"'): '\\"', ord("\\"): "\\\\", 8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r"}


def tell_error(log: Log, error: PyruncError) -> None:
    """The last word of a failed command."""
    extras = [(key, value) for key in EXTRAS if (value := getattr(error, key)) is not None]
    if log.debugs and error.__traceback__:
        extras += _raised_at(error.__traceback__)
    if log.fd is not None:
        _write(log.fd, _record(log, "error", error.message, extras))
        _write(STDERR, _line(_shortened(error.message)))
    elif not log.json and os.isatty(STDERR):
        hint = f" ({error.hint})" if error.hint else ""
        _write(STDERR, _for_people(log, "error", error.message + hint))
    else:
        message = _shortened(error.message)
        record = _record(log, "error", message, extras)
        _write(STDERR, record if len(record) <= STDERR_BYTES else _record(log, "error", message, ()))


def tell_people(message: str) -> None:
    """A line on stderr."""
    _write(STDERR, _line(_shortened(message)))


def tell(log: Log, level: str, message: str, caller: FrameType) -> None:
    """A note that is to be written, and who made it."""
    if log.fd is None and not log.json and os.isatty(STDERR):
        _write(STDERR, _for_people(log, level, message))
        return
    place = _place(caller.f_code, caller.f_lineno) if log.debugs else ()
    _write(STDERR if log.fd is None else log.fd, _record(log, level, message, place))


def _for_people(log: Log, level: str, message: str) -> bytes:
    elapsed = int(time.monotonic() - log.started)
    return _line(f"{level[:4].upper()}[{elapsed:04}] {_shortened(message)}")


def _record(log: Log, level: str, message: str, extras: Iterable[tuple[str, object]]) -> bytes:
    """A line as logrus writes it: JSON, or ``key=value`` pairs, where of the extras only some are shown."""
    if log.daemon:
        from pyrunc.daemons import entry

        return entry(log.daemon, log.name, level, message, extras)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if log.json:
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
