"""JSON of our own files, by the C half of the json module: its Python half costs more than the rest of a command.

What users write goes through pyrunc.config.load, which explains its faults; this is for what pyrunc itself has written.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

_BLANK = " \t\n\r"


def parse(text: str) -> object:
    """The one value that `text` holds. ValueError for anything else: NaN and Infinity, a second value, too deep a nesting."""
    try:
        value, end = scan(text, len(text) - len(text.lstrip(_BLANK)))
    except StopIteration as error:
        raise ValueError(f"expected a value at character {error.value}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if text[end:].strip(_BLANK):
        raise ValueError(f"expected the end at character {end}")
    return value


def dumps(value: object) -> str:
    """One line of compact ASCII JSON, members in their order. TypeError or ValueError for what JSON cannot say.

    Text of arbitrary bytes (surrogateescape) survives: a lone surrogate is written as an escape, and `parse` keeps it.
    """
    return _encode(value)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _refuse(value: object) -> NoReturn:
    raise TypeError(f"{type(value).__name__} is no JSON")


def _slow_scan(text: str, start: int) -> tuple[Any, int]:
    import json

    return json.JSONDecoder(parse_constant=_no_constant).raw_decode(text, start)


def _make_scan() -> Callable[[str, int], tuple[Any, int]]:
    """_json is private to Python: a change of it may cost time, no more."""
    try:
        import _json

        make: Any = _json.make_scanner
        # What json's scanner reads off its decoder. A class for it would take as long to make as a record to read.
        settings: dict[str, Any] = {"object_hook": None, "object_pairs_hook": None, "parse_constant": _no_constant}
        settings |= {"strict": True, "parse_float": float, "parse_int": int}
        plain: Any = type(sys.implementation)
        fast: Callable[[str, int], tuple[Any, int]] = make(plain(**settings))
    except (ImportError, AttributeError, TypeError):
        return _slow_scan

    def scan(text: str, start: int) -> tuple[Any, int]:
        try:
            return fast(text, start)
        except SystemError:
            # Before Python 3.12 it cannot raise JSONDecodeError unless json is imported, which no command does.
            return _slow_scan(text, start)

    return scan


def _make_encode() -> Callable[[Any], str]:
    try:
        import _json

        c: Any = _json
        encode = c.make_encoder(None, _refuse, c.encode_basestring_ascii, None, ":", ",", False, False, False)
        return lambda value: "".join(encode(value, 0))
    except (ImportError, AttributeError, TypeError):
        import json

        return json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode


scan = _make_scan()
"""(text, start) -> (value, end); StopIteration with the place where a value is missing, ValueError of the json module."""
_encode = _make_encode()
