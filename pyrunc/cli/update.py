"""``pyrunc update``."""

from __future__ import annotations

from pyrunc.cli.options import TEXT, Command, Given, Option
from pyrunc.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrunc.log import Context

COMMAND = Command(
    "update",
    "<container-id>",
    "change the limits of a container",
    """Changes what is named, all of it or, on an error, nothing; the rest stays as it is. A file of resources has the form of
config.json's linux.resources, and then all other options are ignored. Sizes are bytes or have a unit, such as 512m or 1.5g;
-1 takes a limit away.""",
    (
        Option("resources", "r", TEXT, "FILE", "read the resources from FILE, - is standard input"),
        Option("blkio-weight", "", TEXT, "N", "weight for block I/O, 10 to 1000"),
        Option("cpu-period", "", TEXT, "MICROSECONDS", "period in which the quota may be used"),
        Option("cpu-quota", "", TEXT, "MICROSECONDS", "CPU time in each period, of all processors together"),
        Option("cpu-burst", "", TEXT, "MICROSECONDS", "unused quota that may be saved for later periods"),
        Option("cpu-rt-period", "", TEXT, "MICROSECONDS", "period of the real-time quota"),
        Option("cpu-rt-runtime", "", TEXT, "MICROSECONDS", "CPU time of real-time processes in each such period"),
        Option("cpu-share", "", TEXT, "N", "weight for CPU time, 2 to 262144"),
        Option("cpu-idle", "", TEXT, "NUMBER", "1: run only when nobody else wants to (SCHED_IDLE); 0: normally", ("0", "1")),
        Option("cpuset-cpus", "", TEXT, "LIST", "processors to use, such as 0-2,7"),
        Option("cpuset-mems", "", TEXT, "LIST", "memory nodes to use"),
        Option("memory", "", TEXT, "SIZE", "limit of memory"),
        Option("memory-reservation", "", TEXT, "SIZE", "what is left to it when memory is short"),
        Option("memory-swap", "", TEXT, "SIZE", "limit of memory and swap together"),
        Option("pids-limit", "", TEXT, "N", "limit of processes and threads"),
        Option("l3-cache-schema", "", TEXT, "SCHEMA", "Intel RDT: share of the L3 cache"),
        Option("mem-bw-schema", "", TEXT, "SCHEMA", "Intel RDT: share of the memory bandwidth"),
    ),
    hidden=[Option(name, "", TEXT, "SIZE", "ignored") for name in ("kernel-memory", "kernel-memory-tcp")],
)

RDT = ("l3-cache-schema", "mem-bw-schema")

LARGEST = (1 << 63) - 1
UNITS = "bkmgtp"


def execute(ctx: Context, given: Given) -> int:
    from pyrunc.runtime.update import update

    source = given.text("resources")
    l3, bandwidth = (given.text(name) for name in RDT)
    update(ctx, given.args[0], {} if source else resources(given), source, l3=l3, bandwidth=bandwidth)
    return 0


def resources(given: Given) -> dict[str, Any]:
    """``linux.resources`` as the options name them. UsageError."""
    found: dict[str, Any] = {}
    for name, section, member, kind in MEANING:
        text = given.text(name)
        if text is not None:
            value = kind(text)
            if value is None:
                raise UsageError(f'invalid value "{text}" for --{name}')
            found.setdefault(section, {})[member] = value
    return found


def whole(text: str) -> int | None:
    """A decimal number, None for anything else and for what no kernel takes."""
    digits = text[1:] if text[:1] in ("-", "+") else text
    if not digits.isascii() or not digits.isdecimal() or len(digits) > 19:
        return None
    return int(text)


def size(text: str) -> int | None:
    """Bytes from a text such as ``1073741824``, ``512m``, ``1.5 GiB`` or ``-1``, which docker/go-units reads so; else None."""
    if text == "-1":
        return -1
    number = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    unit, number = text[len(number) :].lower(), number.removesuffix(" ")
    before, _, after = number.partition(".")
    if unit not in ("", *UNITS, *(f"{letter}{end}" for letter in UNITS[1:] for end in ("b", "ib"))):
        return None
    if not (before + after).isascii() or not (before + after).isdecimal() or len(number) > 19:
        return None
    factor = 1024 ** max(UNITS.find(unit[:1]), 0)
    value = int((before or "0") + after) * factor // 10 ** len(after)
    return value if value <= LARGEST else None


MEANING: tuple[tuple[str, str, str, Callable[[str], int | str | None]], ...] = (
    ("blkio-weight", "blockIO", "weight", whole),
    ("cpu-period", "cpu", "period", whole),
    ("cpu-quota", "cpu", "quota", whole),
    ("cpu-burst", "cpu", "burst", whole),
    ("cpu-rt-period", "cpu", "realtimePeriod", whole),
    ("cpu-rt-runtime", "cpu", "realtimeRuntime", whole),
    ("cpu-share", "cpu", "shares", whole),
    ("cpu-idle", "cpu", "idle", whole),
    ("cpuset-cpus", "cpu", "cpus", str),
    ("cpuset-mems", "cpu", "mems", str),
    ("memory", "memory", "limit", size),
    ("memory-reservation", "memory", "reservation", size),
    ("memory-swap", "memory", "swap", size),
    ("kernel-memory", "memory", "kernel", size),
    ("kernel-memory-tcp", "memory", "kernelTCP", size),
    ("pids-limit", "pids", "limit", whole),
)
"""An option, the member of ``linux.resources`` that it sets, and how its value is read."""
