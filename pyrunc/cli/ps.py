"""``pyrunc ps``: the host's ps(1), of which the lines of the container's processes are printed."""

from __future__ import annotations

from pyrunc.cli.emit import json_text, out
from pyrunc.cli.options import TEXT, Command, Given, Option
from pyrunc.errors import KernelError, PyruncError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.log import Context

FORMATS = ("table", "json")

COMMAND = Command(
    "ps",
    "<container-id> [ps options]",
    "list the processes of a container",
    """Prints those lines of the host's "ps -ef" that are the container's; what follows the ID takes the place of "-ef" and
must show a column PID.""",
    (Option("format", "f", TEXT, "FORMAT", "table, or json: an array of process ids (default: table)", FORMATS),),
    most=None,
    interspersed=False,
)


def execute(ctx: Context, given: Given) -> int:
    from pyrunc.runtime.ps import processes

    form = given.text("format") or "table"
    if form not in FORMATS:
        raise UsageError(f"invalid format option: {form} (known: {', '.join(FORMATS)})")
    pids = processes(ctx, given.args[0])
    out(json_text(pids or None) + "\n" if form == "json" else lines_of(_ps(given.args[1:] or ["-ef"]), pids))
    return 0


def lines_of(table: str, pids: list[int]) -> str:
    """The heading of ps(1) and the lines of these processes. PyruncError where there is no column PID."""
    heading, *rows = table.splitlines()
    if "PID" not in heading.split():
        raise PyruncError("ps shows no column PID", hint="the options must ask for the column pid")
    column, wanted = heading.split().index("PID"), set(map(str, pids))
    found = [row for row in rows if len(fields := row.split()) > column and fields[column] in wanted]
    return "".join(f"{line}\n" for line in [heading, *found])


def _ps(options: list[str]) -> str:
    import subprocess

    try:
        done = subprocess.run(["ps", *options], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError as error:
        raise KernelError.of("execute ps", error) from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise PyruncError(f"ps ended with status {done.returncode}: {said}")
    return done.stdout.decode("utf-8", "surrogateescape")
