"""``pyrunc delete``."""

from __future__ import annotations

from pyrunc.cli.options import FLAG, Command, Given, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.log import Context

COMMAND = Command(
    "delete",
    "<container-id>",
    "remove what a stopped container still holds",
    "Removes the container's cgroups and its record, and runs the poststop hooks; the ID is free again.",
    (
        Option("force", "f", FLAG, "", "kill the container first if it runs; an unknown ID is no error"),
        Option("regex", "r", FLAG, "", "<container-id> is a regular expression: delete every container that it matches"),
    ),
)


def execute(ctx: Context, given: Given) -> int:
    from pyrunc.runtime.delete import delete

    force = given.flag("force")
    if given.flag("regex"):
        from pyrunc.cli.matching import each

        each(ctx, given.args[0], lambda id: delete(ctx, id, force=force))
    else:
        delete(ctx, given.args[0], force=force)
    return 0
