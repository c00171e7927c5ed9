"""Load JSON: config.json, process files, resources. What pyrunc itself has written is for kernel/json.py.

The hot path of every command: the C half of the json module does the work without its Python half, and the generated
accept path judges the document. Only a refusal loads more, to say what is wrong and where.
"""

from __future__ import annotations

from pyrunc.config._accept import accept_config, accept_process, accept_resources
from pyrunc.errors import ConfigError, strerror
from pyrunc.kernel import json, os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

LIMIT = 16 << 20  # bytes; containerd's and podman's largest are some tens of KiB
BLANK = " \t\n\r"
SHOWN_FAULTS = 50  # callers such as conmon read at most 8 KiB of the message

# What the json module says, by its beginning, and what we say.
SYNTAX = (
    ("Expecting value", "expected a value"),
    ("Expecting property", "expected a name in double quotes"),
    ("Expecting ':'", "expected ':'"),
    ("Expecting ','", "expected ',' or the closing bracket"),
    ("Unterminated string", "expected a closing quote for the string that starts here"),
    ("Invalid control character", "expected no control character in a string"),
    ("Invalid \\", "expected a valid escape in a string"),
    ("Illegal trailing comma", "expected no comma before the closing bracket"),
)


def load_config(path: str) -> tuple[dict[str, Any], bytes]:
    """Load a bundle's configuration and put it into normal form (docs/schema.md); also the file's bytes.

    Raises ConfigError with every fault that the schema finds; the rules beyond it are pyrunc.config.rules'.
    """
    name = os.path.basename(path)
    try:
        text = read(path)
    except FileNotFoundError as error:
        directory = os.path.dirname(path)
        if directory and not os.path.exists(directory):
            raise ConfigError(f"open {directory}: {strerror(error.errno or 0)}") from None
        raise ConfigError(f"JSON specification file {name} not found") from None
    except OSError as error:
        raise ConfigError(f"read {path}: {strerror(error.errno or 0)}") from None
    return _document(text, name, "config", accept_config), text


def load_process(path: str) -> dict[str, Any]:
    """Load a process file, as exec --process takes it: the config's `process` alone. Raises ConfigError."""
    try:
        text = read(path)
    except OSError as error:
        raise ConfigError(f"open {path}: {strerror(error.errno or 0)}") from None
    return _document(text, path, "process", accept_process)


def load_resources(text: bytes, name: str) -> dict[str, Any]:
    """Parse the `linux.resources` that update takes; `name` is what messages call it. Raises ConfigError."""
    return _document(text, name, "resources", accept_resources)


def check_resources(document: dict[str, Any], name: str) -> dict[str, Any]:
    """Judge `linux.resources` that were not read from JSON. Raises ConfigError."""
    return _judged(document, name, "resources", accept_resources)


def loads(text: bytes, name: str) -> Any:
    """Parse any JSON. Unlike Go's, nothing may follow the value, and unlike Python's, NaN and Infinity are no values.

    An escaped lone surrogate stays one: so `kernel.json.dumps` carries a path of arbitrary bytes through a file of our own.
    Raises ConfigError with `name`, line and column (both from 1, in characters).
    """
    return _parse(text, name)[0]


def read(path: str) -> bytes:
    """The bytes of a file, pipe or device. Raises OSError, and ConfigError beyond LIMIT."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        chunks = []
        left = LIMIT
        while chunk := os.read(fd, 1 << 15):  # pieces that the allocator keeps
            chunks.append(chunk)
            left -= len(chunk)
            if left < 0:
                raise ConfigError(f"{path}: larger than {LIMIT >> 20} MiB")
    finally:
        os.close(fd)
    return b"".join(chunks)


def _document(text: bytes, name: str, kind: str, accept: Callable[[object], bool]) -> dict[str, Any]:
    document, string = _parse(text, name)
    # To look for one character is ten times as quick as for two.
    if "\\" in string and "\\u" in string and (at := _lone_surrogate(string)) >= 0:
        # Python would make it a string that is no text, and one of \udc80 to \udcff a byte of the author's choice.
        raise _fault(name, string, at, "expected text, found half of a surrogate pair")
    return _judged(document, name, kind, accept)


def _judged(document: Any, name: str, kind: str, accept: Callable[[object], bool]) -> dict[str, Any]:
    if not accept(document):
        from pyrunc.config.validate import explain

        faults = explain(document, kind)
        if len(faults) > SHOWN_FAULTS:
            faults[SHOWN_FAULTS:] = [("", f"and {len(faults) - SHOWN_FAULTS} more")]
        raise ConfigError(faults, prefix=f"{name}: ")
    accepted: dict[str, Any] = document
    return accepted


def _parse(text: bytes, name: str) -> tuple[Any, str]:
    try:
        string = text.decode()
    except UnicodeDecodeError as error:
        before, byte = text[: error.start].decode(), text[error.start]
        raise _fault(name, before, len(before), f"expected UTF-8, found byte 0x{byte:02x}") from None
    start = len(string) - len(string.lstrip(BLANK))
    try:
        value, end = json.scan(string, start)
    except RecursionError:
        raise ConfigError(f"{name}: nested too deeply") from None
    except StopIteration as error:
        raise _fault(name, string, error.value, "expected a value" + _found(string, error.value)) from None
    except ValueError as error:
        raise _syntax(name, string, error) from None
    if rest := string[end:].lstrip(BLANK):
        at = len(string) - len(rest)
        raise _fault(name, string, at, "expected the end of the file" + _found(string, at))
    return value, string


def _fault(name: str, string: str, at: int, what: str) -> ConfigError:
    """`what` at the character `at` of `string`, which may end there."""
    before = string[:at]
    return ConfigError(f"{name}: line {before.count(chr(10)) + 1}, column {len(before) - before.rfind(chr(10))}: {what}")


def _found(string: str, at: int) -> str:
    return f", found {ascii(string[at])}" if at < len(string) else ", found the end of the file"


def _syntax(name: str, string: str, error: ValueError) -> ConfigError:
    """Our words for what the scanner raised: JSONDecodeError, or else a number that it could not make."""
    message, at = getattr(error, "msg", None), getattr(error, "pos", 0)
    if message is None:
        import re

        # Strings come first, so that what looks like a number inside one is passed over.
        for match in re.finditer(r'"(?:[^"\\]|\\.)*"|(NaN|-?Infinity)|(-?[0-9]{4301,})(?![0-9.eE])', string):
            if match[1]:
                return _fault(name, string, match.start(), f"expected a number, found {match[1]}")
            if match[2]:
                return _fault(name, string, match.start(), "expected a number of at most 4300 digits")
        return ConfigError(f"{name}: {error}")
    what = next((ours for theirs, ours in SYNTAX if message.startswith(theirs)), message)
    return _fault(name, string, at, what + ("" if message.startswith("Unterminated") else _found(string, at)))


def _lone_surrogate(string: str) -> int:
    """Where valid JSON escapes half of a surrogate pair alone, or -1."""
    pending = -1
    at = string.find("\\")
    while at >= 0:
        code = int(string[at + 2 : at + 6], 16) if string[at + 1] == "u" else 0
        if 0xDC00 <= code < 0xE000:
            if pending < 0 or pending + 6 != at:
                return pending if pending >= 0 else at
            pending = -1
        elif pending >= 0:
            return pending
        elif 0xD800 <= code < 0xDC00:
            pending = at
        at = string.find("\\", at + (6 if string[at + 1] == "u" else 2))
    return pending
