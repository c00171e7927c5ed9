"""``pyrunc pause``."""

from __future__ import annotations

from pyrunc.cli.options import Command, Given

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.log import Context

COMMAND = Command(
    "pause",
    "<container-id>",
    "stop all processes of a container",
    "Returns when they stand still. Signals wait for \"resume\"; SIGKILL by \"kill\" does not.",
)


def execute(ctx: Context, given: Given) -> int:
    from pyrunc.runtime.pause import pause

    pause(ctx, given.args[0])
    return 0
