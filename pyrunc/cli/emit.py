"""What commands print: JSON as Go's encoding/json writes it, tables as its text/tabwriter, and the write itself."""

from __future__ import annotations

from pyrunc import errors
from pyrunc.kernel import os
from pyrunc.lines import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

STDOUT = 1


def json_text(value: object, indent: str = "", margin: str = "\n") -> str:
    """`value`, of dict, list, str, int, float, bool and None, on one line or indented; keys keep their order.

    TypeError for any other type. `margin` is the line break before the next member, used by the recursion.
    """
    if isinstance(value, str):
        return quote(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    inner = margin + indent
    if isinstance(value, dict):
        colon = ": " if indent else ":"
        members = [quote(key) + colon + json_text(member, indent, inner) for key, member in value.items()]
        return _joined("{}", members, indent, margin)
    if isinstance(value, list):
        return _joined("[]", [json_text(member, indent, inner) for member in value], indent, margin)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def table(rows: Sequence[Sequence[str]], *, minimum: int = 12, padding: int = 3) -> str:
    """Left-aligned columns, each at least `minimum` wide and `padding` wider than its longest cell; the last is left as it is."""
    widths = [max(minimum, *(len(cell) + padding for cell in column)) for column in zip(*rows, strict=True)][:-1]
    return "".join("".join(map(str.ljust, row, widths)) + row[-1] + "\n" for row in rows)


def out(text: str) -> bool:
    """Write all of `text` to stdout. A reader that has gone (EPIPE) is no failure of ours, but False; anything else is:
    KernelError."""
    data = text.encode("utf-8", "surrogateescape")
    try:
        while data:
            data = data[os.write(STDOUT, data) :]
    except BrokenPipeError:
        return False
    except OSError as error:
        raise errors.KernelError.of("write to standard output", error) from error
    return True


def _joined(brackets: str, members: list[str], indent: str, margin: str) -> str:
    if not members:
        return brackets
    if not indent:
        return brackets[0] + ",".join(members) + brackets[1]
    inner = margin + indent
    return brackets[0] + inner + ("," + inner).join(members) + margin + brackets[1]
