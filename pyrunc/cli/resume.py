"""``pyrunc resume``."""

from __future__ import annotations

from pyrunc.cli.options import Command, Given

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.log import Context

COMMAND = Command("resume", "<container-id>", "let a paused container go on", "Undoes what \"pause\" has done.")


def execute(ctx: Context, given: Given) -> int:
    from pyrunc.runtime.pause import resume

    resume(ctx, given.args[0])
    return 0
