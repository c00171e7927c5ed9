"""``pyrunc help``: made from the tables that the parser reads, so that it cannot tell another story."""

from __future__ import annotations

import pyrunc
from pyrunc.cli.emit import out
from pyrunc.cli.globals import OPTIONS
from pyrunc.cli.main import COMMANDS, command_module
from pyrunc.cli.options import FLAG, Command, Given, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyrunc.log import Context

COMMAND = Command("help", "[command]", "print the help of a command", "Prints what --help prints.", least=0)

ABOUT = """Runs containers as the OCI runtime specification describes them, and takes the command lines that callers of runc
give. A container is described by a bundle: a directory with a config.json and, beside it, a root file system.

    pyrunc spec && pyrunc run my-container"""


def execute(ctx: Context, given: Given) -> int:
    out(text(given.args[0] if given.args else None))
    return 0


def text(name: str | None = None) -> str:
    """The help of the command, of pyrunc for None. NoSuchCommand."""
    if name is None:
        return _global()
    command: Command = command_module(name).COMMAND
    usage = f"pyrunc {command.name} {'[options] ' if command.options else ''}{command.arguments}"
    sections = [
        ("NAME", f"pyrunc {command.name} - {command.summary}"),
        ("USAGE", usage),
        ("DESCRIPTION", command.about),
        ("OPTIONS", _columns(map(_option, (*command.options, HELP)))),
    ]
    return _render(sections)


def _global() -> str:
    tables: list[Command] = [command_module(name).COMMAND for name in COMMANDS]
    sections = [
        ("NAME", "pyrunc - OCI container runtime"),
        ("USAGE", "pyrunc [global options] command [options] [arguments...]"),
        ("VERSION", pyrunc.__version__),
        ("DESCRIPTION", ABOUT),
        ("COMMANDS", _columns((command.name, command.summary) for command in tables)),
        ("GLOBAL OPTIONS", _columns(map(_option, (*OPTIONS, HELP)))),
    ]
    return _render(sections)


HELP = Option("help", "h", FLAG, "", "print this help")


def _option(option: Option) -> tuple[str, str]:
    names = [f"--{option.name}"] + ([f"-{option.short}"] if option.short else [])
    return ", ".join(f"{name} {option.metavar}".rstrip() for name in names), option.help


def _columns(pairs: Iterable[tuple[str, str]]) -> str:
    rows = list(pairs)
    width = max(len(left) for left, _ in rows)
    return "\n".join(f"{left:{width}}  {right}" for left, right in rows)


def _render(sections: Iterable[tuple[str, str]]) -> str:
    indented = ((title, "\n".join(f"   {line}".rstrip() for line in body.split("\n"))) for title, body in sections)
    return "\n\n".join(f"{title}:\n{body}" for title, body in indented) + "\n"
