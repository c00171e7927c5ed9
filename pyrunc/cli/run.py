"""``pyrunc run``: create, start, and unless detached wait and delete."""

from __future__ import annotations

from pyrunc.cli.create import OPTIONS, settings
from pyrunc.cli.options import FLAG, Command, Given, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.log import Context

COMMAND = Command(
    "run",
    "<container-id>",
    "create and start a container, and wait for its end",
    """Exits with the status of the container's program, 128 plus the signal's number if a signal ended it. Signals are
passed on to the program. With --detach it returns as soon as the program runs.""",
    (
        *OPTIONS,
        Option("detach", "d", FLAG, "", "return when the program runs"),
        Option("keep", "", FLAG, "", "leave the stopped container to be deleted later"),
        Option("no-subreaper", "", FLAG, "", "do not adopt the container's orphans"),
    ),
)


def execute(ctx: Context, given: Given) -> int:
    from pyrunc.runtime.run import run

    return run(
        ctx,
        given.args[0],
        **settings(given),
        detach=given.flag("detach"),
        keep=given.flag("keep"),
        no_subreaper=given.flag("no-subreaper"),
    )
