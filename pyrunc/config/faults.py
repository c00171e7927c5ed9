"""What is wrong with a text that is no JSON, in words and with its line and column. Loaded when something is."""

from __future__ import annotations

from pyrunc.errors import ConfigError

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


def explained(name: str, text: bytes, error: ValueError | StopIteration) -> ConfigError:
    """Our words for what stopped the reading of `text`."""
    if isinstance(error, UnicodeDecodeError):
        before, byte = text[: error.start].decode(), text[error.start]
        return fault(name, before, len(before), f"expected UTF-8, found byte 0x{byte:02x}")
    string = text.decode()
    if isinstance(error, StopIteration):
        return fault(name, string, error.value, "expected a value" + _found(string, error.value))
    return _syntax(name, string, error)


def beyond(name: str, string: str, rest: str) -> ConfigError:
    """`rest` is what stands behind the value."""
    at = len(string) - len(rest)
    return fault(name, string, at, "expected the end of the file" + _found(string, at))


def fault(name: str, string: str, at: int, what: str) -> ConfigError:
    """`what` at the character `at` of `string`, which may end there."""
    before = string[:at]
    return ConfigError(f"{name}: line {before.count(chr(10)) + 1}, column {len(before) - before.rfind(chr(10))}: {what}")


def _found(string: str, at: int) -> str:
    return f", found {ascii(string[at])}" if at < len(string) else ", found the end of the file"


def _syntax(name: str, string: str, error: ValueError) -> ConfigError:
    """The scanner raised JSONDecodeError, or there is a number that it could not make."""
    message, at = getattr(error, "msg", None), getattr(error, "pos", 0)
    if message is None:
        import re

        # Strings come first, so that what looks like a number inside one is passed over.
        for match in re.finditer(r'"(?:[^"\\]|\\.)*"|(NaN|-?Infinity)|(-?[0-9]{4301,})(?![0-9.eE])', string):
            if match[1]:
                return fault(name, string, match.start(), f"expected a number, found {match[1]}")
            if match[2]:
                return fault(name, string, match.start(), "expected a number of at most 4300 digits")
        return ConfigError(f"{name}: {error}")
    what = next((ours for theirs, ours in SYNTAX if message.startswith(theirs)), message)
    return fault(name, string, at, what + ("" if message.startswith("Unterminated") else _found(string, at)))


def lone_surrogate(string: str) -> int:
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
