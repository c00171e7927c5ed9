"""``pyrunc kill``."""

from __future__ import annotations

from pyrunc import errors
from pyrunc.cli.options import FLAG, Command, Given, Option
from pyrunc.kernel.signals import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.log import Context

COMMAND = Command(
    "kill",
    "<container-id> [signal]",
    "send a signal to a container's init",
    """The signal (default: TERM) is a number or a name, with or without SIG, in any case: 9, KILL, sigkill, RTMIN+3.""",
    (
        Option("all", "a", FLAG, "", "a container that has stopped is no error; KILL ends what it has left behind"),
        Option("regex", "r", FLAG, "", "<container-id> is a regular expression: signal every container that it matches"),
    ),
    most=2,
    interspersed=False,
)


def execute(ctx: Context, given: Given) -> int:
    from pyrunc.runtime.kill import kill

    try:
        signal = parse(given.args[1] if len(given.args) > 1 and given.args[1] else "TERM")
    except ValueError as error:
        raise errors.UsageError(str(error)) from error
    everyone = given.flag("all")
    if given.flag("regex"):
        from pyrunc.cli.matching import each

        each(ctx, given.args[0], lambda id: kill(ctx, id, signal, all=everyone))
    else:
        kill(ctx, given.args[0], signal, all=everyone)
    return 0
