"""``pyrunc state``."""

from __future__ import annotations

from pyrunc.cli.emit import json_text, out
from pyrunc.cli.options import Command, Given

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.log import Context

COMMAND = Command(
    "state",
    "<container-id>",
    "print the state of a container",
    "Prints the state as one JSON object, as the OCI runtime specification describes it.",
)


def execute(ctx: Context, given: Given) -> int:
    from pyrunc.runtime.state import state

    out(json_text(state(ctx, given.args[0]), "  "))
    return 0
