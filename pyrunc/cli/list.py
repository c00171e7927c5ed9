"""``pyrunc list``."""

from __future__ import annotations

from pyrunc.cli.emit import json_text, out, table
from pyrunc.cli.options import FLAG, TEXT, Command, Given, Option
from pyrunc.errors import KernelError, UsageError
from pyrunc.kernel import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.log import Context

FORMATS = ("table", "json")
COLUMNS = ("id", "pid", "status", "bundle", "created", "owner")

COMMAND = Command(
    "list",
    "",
    "list the containers under --root",
    "Prints a table, or a JSON array of the states on one line (null for none).",
    (
        Option("format", "f", TEXT, "FORMAT", "table or json (default: table)", FORMATS),
        Option("quiet", "q", FLAG, "", "print the IDs only"),
    ),
    least=0,
    most=0,
)


def execute(ctx: Context, given: Given) -> int:
    from pyrunc.runtime.listing import containers

    form = given.text("format") or "table"
    if form not in FORMATS:
        raise UsageError(f"invalid format option: {form} (known: {', '.join(FORMATS)})")
    if ctx.root_given:
        try:
            os.stat(ctx.root)
        except OSError as error:
            raise KernelError.of(f"--root {ctx.root}", error) from error
    found = containers(ctx)
    if given.flag("quiet"):
        out("".join(f"{container['id']}\n" for container in found))
    elif form == "json":
        out(json_text(found or None) + "\n")
    else:
        out(table([[name.upper() for name in COLUMNS], *([str(row[name]) for name in COLUMNS] for row in found)]))
    return 0
