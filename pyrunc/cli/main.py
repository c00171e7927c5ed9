"""The entry: global options, the command's own module, and the one border where errors become words and exit codes."""

from __future__ import annotations

import sys

from pyrunc import errors
from pyrunc.cli.globals import OPTIONS, context
from pyrunc.cli.options import parse, parse_command
from pyrunc.errors import PyruncError
from pyrunc.kernel import os
from pyrunc.log import DEBUG, Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType, TracebackType

COMMANDS = (
    *("checkpoint", "create", "delete", "events", "exec", "features", "help", "kill", "list", "pause", "plan", "ps", "restore"),
    *("resume", "run", "spec", "start", "state", "update", "version"),
)
"""Each is a module of this package with a ``COMMAND`` (its table) and ``execute(context, given) -> exit status``."""

INTERRUPTED = 130
NO_SUCH_COMMAND = 3  # as runc's library for command lines has it


def main(argv: list[str] | None = None) -> int:
    """Run one command line, without the program's name, and return the exit status. Raises nothing."""
    log = Log()
    failure = 1
    try:
        _hold_standard_descriptors()
        given = parse(OPTIONS, sys.argv[1:] if argv is None else argv, interspersed=False)
        if given.help or given.flag("version"):
            return _show("help" if given.help else "version")
        ctx = context(given, log)
        if not given.args:
            return _show("help")
        module = command_module(given.args[0])
        request = parse_command(module.COMMAND, given.args[1:])
        if request.help:
            if module.COMMAND.needs:
                module.COMMAND.needs()
            return _show("help", module.COMMAND.name)
        failure = module.COMMAND.failure
        return int(module.execute(ctx, request))
    except errors.NoSuchCommand as error:
        failure = NO_SUCH_COMMAND
        log.error(error)
    except errors.UsageError as error:
        if error.heading:
            _show_usage(error.heading, error.command)
        log.error(error)
    except PyruncError as error:
        log.error(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as bug:
        log.error(_internal_error(bug, log))
    return failure


def command_module(name: str) -> ModuleType:
    """Import the module of the command. NoSuchCommand, in runc's words: one line, as callers show all that is printed."""
    name = "help" if name == "h" else name
    if name not in COMMANDS:
        raise errors.NoSuchCommand(f"No help topic for '{name}': there is no such command")
    __import__(f"pyrunc.cli.{name}")
    return sys.modules[f"pyrunc.cli.{name}"]


def _hold_standard_descriptors() -> None:
    """Open /dev/null for a descriptor of 0 to 2 that the caller closed.

    Otherwise the next file opened, such as the log, gets its number and becomes the container's stdin or stdout.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open("/dev/null", os.O_RDWR), True)


def _show(name: str, *topic: str) -> int:
    from pyrunc.cli.emit import out

    module = command_module(name)
    out(module.text(*topic))
    return 0


def _show_usage(heading: str, command: str | None) -> None:
    from pyrunc.cli.emit import out
    from pyrunc.cli.help import text

    try:
        out(f"{heading}\n\n{text(command)}")
    except PyruncError:
        pass  # the error itself, on stderr, is what matters


def _internal_error(bug: Exception, log: Log) -> PyruncError:
    """A bug of ours: its type, text and place on the one line; the way there in the log, with --debug."""
    if log.level >= DEBUG:
        import traceback

        log.debug("".join(traceback.format_exception(bug)))
    message = f"internal error: {type(bug).__name__}: {bug} ({_place(bug.__traceback__)})"
    error = PyruncError(message, hint="this is a bug in pyrunc; --debug logs more")
    error.code = "internal"
    return error


def _place(traceback: TracebackType | None) -> str:
    if traceback is None:
        return "unknown place"
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    path = traceback.tb_frame.f_code.co_filename
    return f"{'/'.join(path.split('/')[-2:])}:{traceback.tb_lineno}"
