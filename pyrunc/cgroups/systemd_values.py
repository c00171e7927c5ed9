"""``org.systemd.property.NAME`` annotations: a unit's properties in GVariant's text form (GLib, "GVariant Text Format").

    'text'   "text"   true   42   1.5   uint64 42   @t 42   ['a', 'b']   @as []   ('a', 1)   {'key': <42>}
"""

from __future__ import annotations

from ..errors import ConfigError
from ..kernel.sdbus import split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

PREFIX = "org.systemd.property."
MICROSECONDS = 1_000_000
KEYWORDS = {
    "boolean": "b", "byte": "y", "int16": "n", "uint16": "q", "int32": "i", "handle": "i", "uint32": "u", "int64": "x",
    "uint64": "t", "double": "d", "string": "s", "objectpath": "o", "signature": "g",
}  # fmt: skip
RANGES = {
    "y": (0, 1 << 8), "n": (-1 << 15, 1 << 15), "q": (0, 1 << 16), "i": (-1 << 31, 1 << 31), "u": (0, 1 << 32),
    "x": (-1 << 63, 1 << 63), "t": (0, 1 << 64),
}  # fmt: skip
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
MAX_DEPTH = 32


def properties_of(annotations: Mapping[str, str]) -> list[tuple[str, tuple[str, Any]]]:
    """The properties that the annotations ask for, as (name, (D-Bus type, value)), in their order.

    systemd's documentation has times as ``FooSec`` where D-Bus has microseconds as ``FooUSec``, so the former is made the
    latter. Raises ConfigError naming the annotation.
    """
    found = []
    for key, text in annotations.items():
        name = key.removeprefix(PREFIX)
        if name == key:
            continue
        at = f"annotations[{key}]"
        if len(name) < 3:
            raise ConfigError([(at, "name incorrect: too short")])
        if not (name.isascii() and name.isalpha()):
            raise ConfigError([(at, "name incorrect: contains non-alphabetic character")])
        try:
            kind, value = parse(text)
            if name.endswith("Sec") and name[-4:-3].islower():
                name, kind, value = name[:-3] + "USec", "t", _microseconds(kind, value)
        except ValueError as error:
            raise ConfigError([(at, f"{text} value parse error: {error}")]) from None
        found.append((name, (kind, value)))
    return found


def _microseconds(kind: str, value: Any) -> int:
    if kind != "d" and kind not in RANGES:
        raise ValueError("not a number")
    if not 0 <= value * MICROSECONDS < 1 << 64:  # nor an infinity or a NaN
        raise ValueError("not a time")
    return int(value * MICROSECONDS)


def parse(text: str) -> tuple[str, Any]:
    """(D-Bus type, value) of a value in GVariant's text form, values as `kernel.sdbus` takes them. Raises ValueError."""
    reader = _Reader(text)
    found = reader.value("")
    if reader.peek():
        raise ValueError(f"{reader.rest()!r} after the value")
    return found


class _Reader:
    """`want` is in every method the type that the surroundings ask for, ``""`` for any."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0

    def rest(self) -> str:
        return self.text[self.at :]

    def peek(self) -> str:
        """The next character that is no space, "" at the end."""
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1
        return self.text[self.at : self.at + 1]

    def expect(self, letter: str) -> None:
        if self.peek() != letter:
            raise ValueError(f"{letter!r} expected before {self.rest()!r}")
        self.at += 1

    def word(self) -> str:
        """What goes on to a space or a delimiter."""
        start = self.at
        while self.at < len(self.text) and self.text[self.at] not in " \t\r\n,:[](){}<>'\"":
            self.at += 1
        return self.text[start : self.at]

    def value(self, want: str) -> tuple[str, Any]:
        if self.depth == MAX_DEPTH:
            raise ValueError("too deep")
        self.depth += 1
        first = self.peek()
        if first == "@":
            self.at += 1
            found = self.value(self._agree(self._signature(), want))
        elif first and first in "'\"":
            found = self._text(want)
        elif first == "[":
            found = self._array(want)
        elif first == "(":
            found = self._tuple(want)
        elif first == "{":
            found = self._dictionary(want)
        elif first == "<":
            self.at += 1
            found = self._agree("v", want), self.value("")
            self.expect(">")
        else:
            found = self._word(want)
        self.depth -= 1
        return found

    def _agree(self, kind: str, want: str) -> str:
        if want not in ("", kind):
            raise ValueError(f"type {kind} where {want} is expected")
        return kind

    def _signature(self) -> str:
        start = self.at
        while self.at < len(self.text) and not self.text[self.at].isspace():
            self.at += 1
        kind = self.text[start : self.at]
        if len(split(kind)) != 1:
            raise ValueError(f"{kind!r} is not one type")
        return kind

    def _word(self, want: str) -> tuple[str, Any]:
        word = self.word()
        if word in KEYWORDS:
            return self.value(self._agree(KEYWORDS[word], want))
        if word in ("true", "false"):
            return self._agree("b", want), word == "true"
        if not word:
            raise ValueError(f"a value expected before {self.rest()!r}" if self.rest() else "no value")
        return self._number(word, want)

    def _number(self, word: str, want: str) -> tuple[str, Any]:
        if not word.isascii() or "_" in word:
            raise ValueError(f"{word!r} is no value")
        try:
            number: int | float = int(word, 10 if word.lstrip("+-").isdigit() else 0)
        except ValueError:
            try:
                number = float(word)
            except ValueError:
                raise ValueError(f"{word!r} is no value") from None
        kind = want or ("i" if isinstance(number, int) else "d")
        if kind == "d":
            return kind, float(number)
        if kind not in RANGES or not isinstance(number, int):
            raise ValueError(f"{word} is no {kind}")
        low, high = RANGES[kind]
        if not low <= number < high:
            raise ValueError(f"{word} is out of the range of {kind}")
        return kind, number

    def _text(self, want: str) -> tuple[str, str]:
        if want not in ("", "s", "o", "g"):
            raise ValueError(f"text where {want} is expected")
        quote, start, found = self.text[self.at], self.at, ""
        self.at += 1
        while (letter := self.text[self.at : self.at + 1]) != quote:
            if not letter:
                raise ValueError(f"unended text {self.text[start:]}")
            self.at += 1
            if letter == "\\":
                letter = self._escape()
            if letter == "\0":
                raise ValueError("a NUL in a text")
            found += letter
        self.at += 1
        if any("\ud800" <= letter <= "\udfff" for letter in found):
            raise ValueError(f"{ascii(found)} is no text")  # bytes of config.json that are not UTF-8
        return want or "s", found

    def _escape(self) -> str:
        letter = self.text[self.at : self.at + 1]
        self.at += 1
        if size := {"u": 4, "U": 8}.get(letter):
            digits = self.text[self.at : self.at + size]
            self.at += size
            try:
                return bytes.fromhex(digits.rjust(8, "0" if len(digits) == size else "?")).decode("utf-32-be")
            except ValueError:
                raise ValueError(f"\\{letter}{digits} is no character") from None
        return ESCAPES.get(letter, letter)

    def _array(self, want: str) -> tuple[str, list[Any]]:
        if want and (want[0] != "a" or want[1] == "{"):
            raise ValueError(f"an array where {want} is expected")
        self.expect("[")
        element, values = want[1:], list[object]()
        while self.peek() != "]":
            if values:
                self.expect(",")
            element, value = self.value(element)
            values.append(value)
        self.at += 1
        if not element:
            raise ValueError("an empty array needs its type, as in @as []")
        return "a" + element, values

    def _tuple(self, want: str) -> tuple[str, tuple[Any, ...]]:
        if want and want[0] != "(":
            raise ValueError(f"a tuple where {want} is expected")
        kinds, found, values = split(want[1:-1]) if want else [], list[str](), list[object]()
        self.expect("(")
        while self.peek() != ")":
            if values:
                self.expect(",")
                if len(values) == 1 and self.peek() == ")":
                    break
            if want and len(values) == len(kinds):
                raise ValueError(f"more values than {want} has")
            kind, value = self.value(kinds[len(values)] if want else "")
            found.append(kind)
            values.append(value)
        self.at += 1
        if not values or len(values) < len(kinds):
            raise ValueError(f"fewer values than {want or 'a tuple'} has")
        return f"({''.join(found)})", tuple(values)

    def _dictionary(self, want: str) -> tuple[str, list[Any]]:
        if want and want[:2] != "a{":
            raise ValueError(f"a dictionary where {want} is expected")
        key_kind, value_kind = split(want[2:-1]) if want else ("", "")
        self.expect("{")
        pairs = list[tuple[object, object]]()
        while self.peek() != "}":
            if pairs:
                self.expect(",")
            key_kind, key = self.value(key_kind)
            self.expect(":")
            value_kind, value = self.value(value_kind)
            pairs.append((key, value))
        self.at += 1
        if not key_kind:
            raise ValueError("an empty dictionary needs its type, as in @a{sv} {}")
        return f"a{{{key_kind}{value_kind}}}", pairs
