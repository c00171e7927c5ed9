"""``pyrunc start``."""

from __future__ import annotations

from pyrunc.cli.options import Command, Given

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.log import Context

COMMAND = Command(
    "start",
    "<container-id>",
    "execute the program of a created container",
    "Runs the program that config.json named when the container was created.",
)


def execute(ctx: Context, given: Given) -> int:
    from pyrunc.runtime.start import start

    start(ctx, given.args[0])
    return 0
