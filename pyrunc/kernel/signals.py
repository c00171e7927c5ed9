"""Signal names and numbers, signal(7), from the interpreter's C table: the ``signal`` module would load enum."""

from __future__ import annotations

_TABLE = vars(__import__("_signal"))  # no stubs describe the C module, so mypy knows it only like this

NUMBERS: dict[str, int] = {name[3:]: int(_TABLE[name]) for name in _TABLE if name.startswith("SIG") and name[3:4].isalpha()}
"""Names without ``SIG`` to numbers, aliases (``IOT``, ``CLD``, ``POLL``) included."""

LAST = 64
"""The kernel's _NSIG on every architecture that this runtime knows."""


def parse(text: str) -> int:
    """The number of a signal given as number, ``TERM``, ``SIGTERM`` or ``RTMIN+3``, in any case; 0 only probes.

    ValueError for everything else. Real-time names count from glibc's SIGRTMIN (34), as kill(1) does.
    """
    number = _number(text) if text.isascii() else None  # upper() would make an S of a long s
    if number is None or number > LAST:
        raise ValueError(f'unknown signal "{text}"')
    return number


def _number(text: str) -> int | None:
    if text.isdecimal():
        return int(text) if len(text) <= 2 else None
    name = text.upper().removeprefix("SIG")
    base, offset = name[:6], name[6:]
    if base in ("RTMIN+", "RTMAX-") and offset.isdecimal() and len(offset) <= 2:
        number = NUMBERS[base[:5]] + int(base[5] + offset)
        return number if number >= NUMBERS["RTMIN"] else None
    return NUMBERS.get(name)
