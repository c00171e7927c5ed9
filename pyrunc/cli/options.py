"""The parser of command lines, with the rules of Go's flag package that callers of runc have come to rely on.

``-name`` and ``--name`` are the same; a value follows after ``=`` or as the next word; a flag without ``=`` is true;
``--`` ends the options; of a repeated option the last one counts, unless it collects; short flags do not cluster.
Options may stand before and after the arguments, except where a command's arguments are a command line themselves.
"""

from __future__ import annotations

from pyrunc import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Value = bool | int | str | list[str]

FLAG, TEXT, NUMBER, MANY = "flag", "text", "number", "many"

LARGEST_COUNT = 1 << 20
"""Of a NUMBER, which counts descriptors: a process cannot have more, as fs.nr_open is by default (proc_sys_fs(5))."""

TRUE = ("1", "t", "T", "TRUE", "true", "True")
FALSE = ("0", "f", "F", "FALSE", "false", "False")


class Option:
    """A row of a command's table. ``metavar`` names the value in the help; ``kind`` is FLAG, TEXT, NUMBER or MANY.

    ``choices`` are all values that a TEXT may have, where they can be told: for the completions.
    """

    __slots__ = ("choices", "help", "kind", "metavar", "name", "short")

    def __init__(self, name: str, short: str, kind: str, metavar: str, help: str, choices: tuple[str, ...] = ()) -> None:
        self.name = name
        self.short = short
        self.kind = kind
        self.metavar = metavar
        self.help = help
        self.choices = choices


class Command:
    """What the parser, the help and the dispatcher know of a command.

    ``arguments`` is the usage after the options; ``most`` is None for any number of arguments. ``interspersed`` is
    false where the options end at the first argument. ``failure`` is the exit status of a command that was understood
    and failed. ``hidden`` options are accepted and shown nowhere. ``needs``, of a command that not every host can carry out,
    raises UnsupportedError on one that cannot: then --help fails too, by which podman asks.
    """

    __slots__ = (
        "about", "arguments", "failure", "hidden", "interspersed", "least", "most", "name", "needs", "options", "summary",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        arguments: str,
        summary: str,
        about: str,
        options: Sequence[Option] = (),
        *,
        least: int = 1,
        most: int | None = 1,
        interspersed: bool = True,
        failure: int = 1,
        hidden: Sequence[Option] = (),
        needs: Callable[[], object] | None = None,
    ) -> None:
        self.name = name
        self.arguments = arguments
        self.summary = summary
        self.about = about
        self.options = options
        self.least = least
        self.most = most
        self.interspersed = interspersed
        self.failure = failure
        self.hidden = hidden
        self.needs = needs


class Given:
    """A parsed command line: the options' values by their long names, and the arguments."""

    __slots__ = ("args", "help", "values")

    def __init__(self) -> None:
        self.values: dict[str, Value] = {}
        self.args: list[str] = []
        self.help = False

    def has(self, name: str) -> bool:
        return name in self.values

    def flag(self, name: str) -> bool:
        return self.values.get(name) is True

    def text(self, name: str) -> str | None:
        """An empty value counts as none, as it does for Go's programs."""
        value = self.values.get(name)
        return value if value and isinstance(value, str) else None

    def number(self, name: str) -> int:
        value = self.values.get(name, 0)
        return value if isinstance(value, int) else 0

    def many(self, name: str) -> list[str]:
        value = self.values.get(name)
        return value if isinstance(value, list) else []


def parse(options: Sequence[Option], words: Sequence[str], *, interspersed: bool = True, command: str | None = None) -> Given:
    """Parse `words`. UsageError for `command` names the option that is unknown or has a bad value."""
    table = {name: option for option in options for name in (option.name, option.short) if name}
    given = Given()
    rest = iter(words)
    try:
        for word in rest:
            if word == "--":
                given.args += rest
            elif word[:1] != "-" or word == "-":
                given.args.append(word)
                if not interspersed:
                    given.args += rest
            else:
                name, equals, value = word[2 if word[1] == "-" else 1 :].partition("=")
                if name in ("help", "h"):
                    given.help = True
                    return given
                if not name or name[0] == "-":
                    raise errors.UsageError(f"bad flag syntax: {word}")
                option = table.get(name)
                if option is None:
                    raise errors.UsageError(f"flag provided but not defined: -{name}")
                if not equals and option.kind != FLAG:
                    following = next(rest, None)
                    if following is None:
                        raise errors.UsageError(f"flag needs an argument: -{name}")
                    value = following
                _store(given.values, option, name, value if equals or option.kind != FLAG else "true")
    except errors.UsageError as error:
        error.command = command
        error.heading = f"Incorrect Usage{':' if command else '.'} {error.message}"
        raise
    return given


def parse_command(command: Command, words: Sequence[str]) -> Given:
    """`parse` by the command's table and check the number of arguments. UsageError."""
    given = parse((*command.options, *command.hidden), words, interspersed=command.interspersed, command=command.name)
    count = len(given.args)
    if given.help or (count >= command.least and (command.most is None or count <= command.most)):
        return given
    if command.least == command.most:
        bound, limit = "exactly", command.least
    else:
        bound, limit = ("a minimum of", command.least) if count < command.least else ("a maximum of", command.most or 0)
    error = errors.UsageError(f'pyrunc: "{command.name}" requires {bound} {limit} argument(s)')
    error.command, error.heading = command.name, "Incorrect Usage."
    raise error


def boolean(text: str) -> bool | None:
    """The value of a spelling that Go's strconv.ParseBool accepts, None for every other."""
    return True if text in TRUE else False if text in FALSE else None


def natural(text: str) -> int | None:
    """A non-negative decimal number that fits the kernel's 32-bit ids and counts, None for everything else."""
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= 10 else -1
    return number if 0 <= number < 1 << 32 else None


def _store(values: dict[str, Value], option: Option, name: str, text: str) -> None:
    if option.kind == MANY:
        collected = values.setdefault(option.name, [])
        if isinstance(collected, list):
            collected.append(text)
    elif option.kind == TEXT:
        values[option.name] = text
    elif option.kind == NUMBER:
        number = natural(text)
        if number is None or number > LARGEST_COUNT:
            raise errors.UsageError(f'invalid value "{text}" for flag -{name}: not a number from 0 to {LARGEST_COUNT}')
        values[option.name] = number
    else:
        truth = boolean(text)
        if truth is None:
            raise errors.UsageError(f'invalid boolean value "{text}" for -{name}: neither true nor false')
        values[option.name] = truth
