"""``pyrunc events``."""

from __future__ import annotations

from pyrunc.cli.emit import json_text, out
from pyrunc.cli.options import FLAG, TEXT, Command, Given, Option
from pyrunc.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.log import Context

COMMAND = Command(
    "events",
    "<container-id>",
    "tell what a container uses, and of the OOM killer",
    """Prints a JSON object a line until the container has ended: statistics after each interval, and "oom" whenever it has met
its memory limit and nothing could be reclaimed.""",
    (
        Option("interval", "", TEXT, "DURATION", "time between statistics, such as 500ms or 1m30s (default: 5s)"),
        Option("stats", "", FLAG, "", "print the statistics of now and return"),
    ),
)

UNITS = {"ns": 1e-9, "us": 1e-6, "\u00b5s": 1e-6, "\u03bcs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def execute(ctx: Context, given: Given) -> int:
    from pyrunc.runtime import events

    id = given.args[0]
    text = given.text("interval") or "5s"
    interval = seconds(text)
    if interval is None:
        raise UsageError(f'invalid value "{text}" for --interval: not a duration such as 500ms or 1m30s')
    if interval <= 0:
        raise UsageError("duration interval must be greater than 0")
    if given.flag("stats"):
        out(json_text(events.stats(ctx, id)) + "\n")
        return 0
    for event in events.events(ctx, id, interval):
        if not out(json_text(event) + "\n"):
            break  # nobody reads on
    return 0


def seconds(text: str) -> float | None:
    """A duration as Go writes it: numbers with units, ``-1m2.5s``, or ``0``; None for anything else."""
    import re

    sign, rest = (-1, text[1:]) if text[:1] == "-" else (1, text.removeprefix("+"))
    if rest == "0":
        return 0
    part = r"([0-9]+\.?[0-9]*|\.[0-9]+)(" + "|".join(UNITS) + ")"
    if not re.fullmatch(f"(?:{part})+", rest):
        return None
    return sign * sum(float(value) * UNITS[unit] for value, unit in re.findall(part, rest))
