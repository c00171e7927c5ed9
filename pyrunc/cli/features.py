"""``pyrunc features``."""

from __future__ import annotations

from pyrunc.cli.emit import json_text, out
from pyrunc.cli.options import Command, Given

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.log import Context

COMMAND = Command(
    "features",
    "",
    "print what this version can do",
    "Prints the features structure of the OCI runtime specification as JSON: what is built in, whatever this host can do.",
    least=0,
    most=0,
)


def execute(ctx: Context, given: Given) -> int:
    from pyrunc.runtime.features import features

    out(json_text(features(), "    ") + "\n")
    return 0
