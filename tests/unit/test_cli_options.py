"""The parser: Go's flag rules, and bad input for every option of every command."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from pyrunc.cli import globals as global_options
from pyrunc.cli.main import COMMANDS, command_module
from pyrunc.cli.options import FLAG, MANY, NUMBER, TEXT, Command, Option, boolean, natural, parse, parse_command
from pyrunc.errors import UsageError

TABLE = (
    Option("bundle", "b", TEXT, "DIR", ""),
    Option("no-pivot", "", FLAG, "", ""),
    Option("detach", "d", FLAG, "", ""),
    Option("preserve-fds", "", NUMBER, "N", ""),
    Option("env", "e", MANY, "E", ""),
)

EVERY_OPTION = [(None, option) for option in global_options.OPTIONS] + [
    (command, option) for command in (command_module(name).COMMAND for name in COMMANDS) for option in command.options
]
OPTION_IDS = [f"{command.name if command else 'global'}--{option.name}" for command, option in EVERY_OPTION]


def refuse(command: Command | None, words: list[str]) -> UsageError:
    with pytest.raises(UsageError) as caught:
        if command is None:
            parse(global_options.OPTIONS, words, interspersed=False)
        else:
            parse_command(command, words)
    assert caught.value.command == (command.name if command else None)
    return caught.value


@pytest.mark.parametrize(
    "words",
    [
        ["--bundle", "/b", "x"],
        ["--bundle=/b", "x"],
        ["-b", "/b", "x"],
        ["-b=/b", "x"],
        ["-bundle", "/b", "x"],
        ["-bundle=/b", "x"],
        ["x", "--bundle", "/b"],
        ["--bundle", "/first", "--bundle", "/b", "x"],
        ["--bundle", "/b", "--", "x"],
    ],
)
def test_every_spelling_of_a_value(words: list[str]) -> None:
    parsed = parse(TABLE, words)
    assert (parsed.text("bundle"), parsed.args) == ("/b", ["x"])


@pytest.mark.parametrize(
    ("word", "value"),
    [("--detach", True), ("-d", True), ("-detach", True), ("--detach=true", True), ("-d=1", True), ("--detach=T", True)]
    + [("--detach=false", False), ("-d=0", False), ("--detach=F", False), ("--detach=FALSE", False)],
)
def test_every_spelling_of_a_flag(word: str, value: bool) -> None:
    parsed = parse(TABLE, [word, "x"])
    assert (parsed.flag("detach"), parsed.has("detach"), parsed.args) == (value, True, ["x"])


def test_what_is_not_given_is_falsy_and_known_as_absent() -> None:
    parsed = parse(TABLE, [])
    assert (parsed.flag("detach"), parsed.text("bundle"), parsed.number("preserve-fds"), parsed.many("env")) == (
        False,
        None,
        0,
        [],
    )
    assert not parsed.has("detach")


def test_a_value_may_look_like_an_option_or_be_empty() -> None:
    assert parse(TABLE, ["--bundle", "--no-pivot"]).text("bundle") == "--no-pivot"
    empty = parse(TABLE, ["--bundle="])
    assert empty.text("bundle") is None and empty.has("bundle")


def test_repeated_values_collect_and_are_not_split_at_commas() -> None:
    assert parse(TABLE, ["-e", "A=1,2", "--env=B==", "-e", ""]).many("env") == ["A=1,2", "B==", ""]


def test_options_end_at_the_double_dash_and_where_a_command_line_begins() -> None:
    assert parse(TABLE, ["-d", "--", "--bundle", "-x"]).args == ["--bundle", "-x"]
    inner = parse(TABLE, ["-d", "id", "ls", "-la", "--", "--bundle=x"], interspersed=False)
    assert (inner.args, inner.has("bundle")) == (["id", "ls", "-la", "--", "--bundle=x"], False)


def test_a_single_dash_is_an_argument() -> None:
    assert parse(TABLE, ["-", "-d"]).args == ["-"]


@pytest.mark.parametrize("word", ["-h", "--help", "-help", "--h"])
def test_help_is_an_option_of_everything(word: str) -> None:
    assert parse(TABLE, [word, "--unknown"]).help
    assert not parse(TABLE, ["id", word], interspersed=False).help


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nope"], "flag provided but not defined: -nope"),
        (["-x=1"], "flag provided but not defined: -x"),
        (["-dn"], "flag provided but not defined: -dn"),
        (["--=x"], "bad flag syntax: --=x"),
        (["-=x"], "bad flag syntax: -=x"),
        (["---d"], "bad flag syntax: ---d"),
        (["--bundle"], "flag needs an argument: -bundle"),
        (["-b"], "flag needs an argument: -b"),
        (["--detach=maybe"], 'invalid boolean value "maybe" for -detach: neither true nor false'),
        (["--detach="], 'invalid boolean value "" for -detach: neither true nor false'),
        (["--preserve-fds", "x"], 'invalid value "x" for flag -preserve-fds: not a number from 0 to 1048576'),
    ],
)
def test_refusals_name_the_option(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(TABLE, words)
    assert caught.value.message == message


@pytest.mark.parametrize("text", ["", "-1", "+1", "1.0", " 1", "1_0", "0x10", "١", "²", "1048577", "9" * 5000])
def test_counts_are_plain_decimal_numbers(text: str) -> None:
    with pytest.raises(UsageError, match="preserve-fds"):
        parse(TABLE, [f"--preserve-fds={text}"])


def test_numbers_have_bounds() -> None:
    assert parse(TABLE, ["--preserve-fds=1048576"]).number("preserve-fds") == 1048576
    assert natural("4294967295") == 4294967295
    assert natural("4294967296") is None


def test_booleans_are_those_of_go() -> None:
    assert [boolean(text) for text in ("1", "TRUE", "0", "False", "yes", "tRUE", "")] == [
        True,
        True,
        False,
        False,
        None,
        None,
        None,
    ]


@pytest.mark.parametrize(("command", "option"), EVERY_OPTION, ids=OPTION_IDS)
def test_every_option_refuses_bad_input(command: Command | None, option: Option) -> None:
    for name in filter(None, (option.name, option.short)):
        if option.kind == FLAG:
            assert refuse(command, [f"--{name}=maybe"]).message.startswith(f'invalid boolean value "maybe" for -{name}')
        else:
            assert refuse(command, [f"--{name}"]).message == f"flag needs an argument: -{name}"
        if option.kind == NUMBER:
            assert refuse(command, [f"--{name}", "three"]).message.startswith(f'invalid value "three" for flag -{name}')
        assert refuse(command, [f"--{name}x"]).message == f"flag provided but not defined: -{name}x"


@pytest.mark.parametrize("name", COMMANDS)
def test_tables_are_sound(name: str) -> None:
    command: Command = command_module(name).COMMAND
    names = [option_name for option in command.options for option_name in (option.name, option.short) if option_name]
    assert command.name == name
    assert len(set(names)) == len(names) and not {"help", "h"} & set(names)
    assert all(bool(option.metavar) == (option.kind != FLAG) and option.help for option in command.options)


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("create", [], 'pyrunc: "create" requires exactly 1 argument(s)'),
        ("create", ["a", "b"], 'pyrunc: "create" requires exactly 1 argument(s)'),
        ("run", [], 'pyrunc: "run" requires exactly 1 argument(s)'),
        ("run", ["a", "sh"], 'pyrunc: "run" requires exactly 1 argument(s)'),
        ("start", [], 'pyrunc: "start" requires exactly 1 argument(s)'),
        ("state", ["a", "b"], 'pyrunc: "state" requires exactly 1 argument(s)'),
        ("delete", [], 'pyrunc: "delete" requires exactly 1 argument(s)'),
        ("kill", [], 'pyrunc: "kill" requires a minimum of 1 argument(s)'),
        ("kill", ["a", "9", "9"], 'pyrunc: "kill" requires a maximum of 2 argument(s)'),
        ("exec", [], 'pyrunc: "exec" requires a minimum of 1 argument(s)'),
        ("list", ["a"], 'pyrunc: "list" requires exactly 0 argument(s)'),
        ("plan", ["a"], 'pyrunc: "plan" requires exactly 0 argument(s)'),
        ("spec", ["a"], 'pyrunc: "spec" requires exactly 0 argument(s)'),
        ("version", ["a"], 'pyrunc: "version" requires exactly 0 argument(s)'),
        ("help", ["a", "b"], 'pyrunc: "help" requires a maximum of 1 argument(s)'),
    ],
)
def test_every_command_counts_its_arguments(name: str, words: list[str], message: str) -> None:
    assert refuse(command_module(name).COMMAND, words).message == message


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(alphabet="-=bdehx/ 1é\udcff", max_size=8), max_size=6), st.booleans())
def test_no_command_line_crashes_the_parser_or_loses_an_argument(words: list[str], interspersed: bool) -> None:
    try:
        parsed = parse(TABLE, words, interspersed=interspersed)
    except UsageError as error:
        assert error.message
        return
    remaining = iter(words)
    assert parsed.help or all(argument in remaining for argument in parsed.args)


@settings(max_examples=100, deadline=None)
@given(st.text(min_size=0), st.lists(st.text()))
def test_values_and_arguments_pass_unchanged(bundle: str, environment: list[str]) -> None:
    words = ["--bundle", bundle, *(word for entry in environment for word in ("-e", entry)), "--", *environment]
    parsed = parse(TABLE, words)
    assert (parsed.text("bundle") or "", parsed.many("env"), parsed.args) == (bundle, environment, environment)
