"""docs/commands.md says how each command and option is tested: runc 1.5's, all of ours, and by tests that are there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from pyrunc.cli.globals import OPTIONS
from pyrunc.cli.help import HELP
from pyrunc.cli.main import COMMANDS, command_module
from tests.conftest import PROJECT, TESTS

CREATE = "bundle console-socket pidfd-socket pid-file no-pivot no-new-keyring preserve-fds"
CRIU = "image-path work-path tcp-established ext-unix-sk shell-job file-locks manage-cgroups-mode empty-ns auto-dedup lazy-pages"
RUNC = {
    "": "root log log-format debug systemd-cgroup rootless version help",
    "create": CREATE,
    "run": f"{CREATE} detach keep no-subreaper",
    "start": "",
    "state": "",
    "kill": "all",
    "delete": "force",
    "list": "format quiet",
    "ps": "format",
    "exec": "console-socket pidfd-socket cwd env tty user additional-gids process detach pid-file process-label apparmor "
    "no-new-privs cap preserve-fds cgroup ignore-paused",
    "pause": "",
    "resume": "",
    "update": "resources blkio-weight cpu-period cpu-quota cpu-burst cpu-rt-period cpu-rt-runtime cpu-share cpu-idle cpuset-cpus "
    "cpuset-mems memory memory-reservation memory-swap pids-limit l3-cache-schema mem-bw-schema kernel-memory kernel-memory-tcp",
    "events": "interval stats",
    "checkpoint": f"{CRIU} parent-path leave-running tcp-skip-in-flight link-remap status-fd page-server pre-dump",
    "restore": f"{CRIU} bundle detach pid-file no-subreaper no-pivot lsm-profile lsm-mount-context console-socket",
    "spec": "bundle rootless",
    "features": "",
    "help": "",
}
"""Command -> its options in runc 1.5, hidden ones included; "" for what stands before the command."""

PAGE = (PROJECT / "docs/commands.md").read_text()
NAMED = sorted(set(re.findall(r"`((?:\w+/)?test_\w+)::(test_\w+)`", PAGE)))


def rows() -> Iterator[tuple[str, str, str, str]]:
    """(command, option or "" for the command itself, whose it is, the tests) of every row, with all its spellings."""
    command = ""
    for line in PAGE.partition("\n## ")[0].splitlines():
        if line.startswith("### "):
            command = line.removeprefix("### ").strip("`") if "`" in line else ""
        elif line.startswith("| `"):
            name, of, tests = [cell.strip() for cell in line.strip("|").split("|")]
            for spelling in re.findall(r"`([^`]+)`", name):
                yield command, spelling if spelling.startswith("-") else "", of, tests


ROWS = list(rows())
LISTED = {(command, option) for command, option, _, _ in ROWS}
MISSING = {(command, option) for command, option, _, tests in ROWS if "not there" in tests}


def ours() -> set[tuple[str, str]]:
    """Every command and every spelling of its options, hidden ones included; --help is every command's."""
    found = {(name, "") for name in COMMANDS}
    tables = {name: command_module(name).COMMAND for name in COMMANDS}
    options = {"": (*OPTIONS, HELP), **{name: (*table.options, *table.hidden) for name, table in tables.items()}}
    for name, table in options.items():
        for option in table:
            found |= {(name, f"--{option.name}")} | ({(name, f"-{option.short}")} if option.short else set())
    return found


def test_every_command_and_option_of_runc_is_in_the_table() -> None:
    wanted = {(command, f"--{option}") for command, options in RUNC.items() for option in options.split()}
    wanted |= {(command, "") for command in RUNC if command}
    assert wanted - LISTED == set()
    assert {(command, option) for command, option, of, _ in ROWS if of == "runc" and option.startswith("--")} - wanted == set()


def test_every_command_and_option_of_ours_is_in_the_table() -> None:
    assert ours() - LISTED == set()


def test_what_is_in_the_table_is_there() -> None:
    assert LISTED - ours() == MISSING
    assert not MISSING & ours()


def test_no_row_is_there_twice_and_each_says_whose_it_is_and_how_it_is_tested() -> None:
    assert len(ROWS) == len(LISTED)
    for _, option, of, tests in ROWS:
        assert of in ("runc", "runc before 1.4", "crun", "pyrunc"), option
        assert "::" in tests or "not there" in tests, option


@pytest.mark.parametrize(("file", "name"), NAMED, ids=map("::".join, NAMED))
def test_a_test_that_is_named_is_there(file: str, name: str) -> None:
    tree = ast.parse((TESTS / f"{file if '/' in file else 'lifecycle/' + file}.py").read_text())
    assert name in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
