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
    if text.isascii() and text.isdecimal():
        number = int(text) if len(text) <= 3 else -1
    else:
        name, sign, offset = _split(text.upper().removeprefix("SIG"))
        number = NUMBERS.get(name, -1)
        if sign:
            known = name == ("RTMIN" if sign == "+" else "RTMAX") and offset.isascii() and offset.isdecimal() and len(offset) <= 2
            number = number + int(sign + offset) if known else -1
            if number < NUMBERS["RTMIN"]:
                number = -1
    if not 0 <= number <= LAST:
        raise ValueError(f'unknown signal "{text}"')
    return number


def _split(name: str) -> tuple[str, str, str]:
    return name.partition("-") if "-" in name else name.partition("+")
