"""Every option of every command with a value that is missing, malformed or at odds with another: told, and nothing is done."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyrunc.cli.globals import OPTIONS
from pyrunc.cli.main import COMMANDS, command_module, main
from pyrunc.cli.options import FLAG, MANY, NUMBER, TEXT, Command, Option

TABLES: dict[str, Command] = {name: command_module(name).COMMAND for name in COMMANDS}
EVERY = [("", option) for option in OPTIONS]
EVERY += [(name, option) for name, table in TABLES.items() for option in (*table.options, *table.hidden)]

COUNTS = ("x", "-1", "1.5", "0x10", "", "1048577")
NUMBERS = ("x", "1.5", "0x10", "1_000", "9" * 30)
SIZES = ("x", "5q", "1.2.3g", "--1")
MALFORMED = {
    ("", "root"): ("/", "//", "/x/.."),
    ("exec", "user"): ("root", "1:", ":1", "-1", "1:2:3", "4294967296", " 1"),
    ("exec", "additional-gids"): ("a", "-1", "", "5,6"),
    ("events", "interval"): ("x", "5", "-5s", "0s", "5 s"),
    **{("update", name): NUMBERS for name in ("blkio-weight", "cpu-period", "cpu-quota", "cpu-burst", "cpu-share", "pids-limit")},
    **{("update", name): NUMBERS for name in ("cpu-rt-period", "cpu-rt-runtime")},
    **{("update", name): SIZES for name in ("memory", "memory-reservation", "memory-swap")},
}
"""Values of a TEXT or MANY that are refused for their form, before anything is looked at."""

PATHS = ("DIR", "FILE", "SOCKET", "PATH")
"""Metavars of what may be any text: whether it is there shows when it is opened."""

ANY = {
    ("spec", "file"): "the name of a file",
    ("exec", "env"): "test_runc_alike, `exec -e A`",
    ("exec", "process-label"): "for the LSM to judge",
    ("exec", "apparmor"): "for the LSM to judge",
    ("exec", "cap"): "an unknown one is left out, as in a config",
    ("exec", "cgroup"): "test_exec_forms::test_a_cgroup_that_is_not_there",
    ("update", "cpuset-cpus"): "for the kernel to judge",
    ("update", "cpuset-mems"): "for the kernel to judge",
    ("update", "kernel-memory"): "ignored",
    ("update", "kernel-memory-tcp"): "ignored",
    ("update", "l3-cache-schema"): "for the kernel to judge",
    ("update", "mem-bw-schema"): "for the kernel to judge",
    **{("checkpoint", name): "test_checkpoint_flags::test_a_bad_flag" for name in ("page-server", "empty-ns")},
    **{("restore", name): "test_checkpoint_flags::test_a_bad_flag" for name in ("empty-ns", "lsm-profile")},
    ("restore", "lsm-mount-context"): "for the LSM to judge",
}
"""What else has no form of its own, or is judged later, and why or where that is tested."""


def line(command: str, *words: str) -> list[str]:
    """A command line that would do something if it were not refused; a container "nobody" is not there."""
    if not command:
        return [*words, "state", "nobody"]
    return [command, *words, *(["nobody"] if TABLES[command].least else []), *(["true"] if command == "exec" else [])]


def refused(argv: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """stdout and the message of the one line on stderr; the failure must leave no trace below --root."""
    root = [] if "--root" in argv or any(word.startswith("--root=") for word in argv) else ["--root", str(tmp_path / "root")]
    status = main([*root, *argv])
    out, err = capfd.readouterr()
    assert status == (255 if argv[0] == "exec" and out == "" else 1), (argv, status, err)
    assert err.count("\n") == 1 and err.endswith('"\n') and " level=error msg=" in err, err
    assert not (tmp_path / "root").exists()
    return out, err


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory: without a bundle, nothing is ever made."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.mark.parametrize(("command", "option"), EVERY, ids=lambda part: part.name if isinstance(part, Option) else part)
def test_a_value_that_is_missing_or_malformed(
    command: str, option: Option, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    heading = f"Incorrect Usage{':' if command else '.'} "
    for name in (option.name, *filter(None, [option.short])):
        dashes = "-" if len(name) == 1 else "--"
        if option.kind != FLAG:
            out, err = refused([*([command] if command else []), f"{dashes}{name}"], tmp_path, capfd)
            assert f"flag needs an argument: -{name}" in err and out.startswith(heading)
        for value in {FLAG: ("maybe", "", "2"), NUMBER: COUNTS}.get(option.kind, ()):
            out, err = refused(line(command, f"{dashes}{name}={value}"), tmp_path, capfd)
            assert f'value \\"{value}\\" for ' in err and f"-{name}: " in err and out.startswith(heading)
        for value in ("nonsense",) if option.choices else MALFORMED.get((command, option.name), ()):
            out, err = refused(line(command, f"{dashes}{name}={value}"), tmp_path, capfd)
            assert (value in err or option.name in err) and "does not exist" not in err and out == ""
    assert os.listdir() == []


def test_every_option_has_a_form_or_a_reason_to_have_none() -> None:
    texts = [(command, option) for command, option in EVERY if option.kind in (TEXT, MANY) and not option.choices]
    open_ended = {(command, option.name) for command, option in texts if option.metavar not in PATHS}
    assert open_ended - MALFORMED.keys() - ANY.keys() == set()


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["exec", "nobody"], "a command or --process is needed"),
        (["kill", "--regex", "[", "TERM"], "invalid regular expression"),
        (["delete", "--regex", "*"], "invalid regular expression"),
        (["kill", "nobody", "SIGSIG"], "unknown signal"),
        (["kill", "nobody", "65"], "unknown signal"),
        (["create", "-b", "/nowhere", "nobody"], "open /nowhere: no such file or directory"),
        (["create", "--config", "/nowhere", "nobody"], "JSON specification file nowhere not found"),
        (["run", "--config", "nowhere", "nobody"], "JSON specification file nowhere not found"),
        (["plan", "-b", "/nowhere"], "open /nowhere: no such file or directory"),
        (["update", "-r", "/nowhere", "nobody"], "read /nowhere: no such file or directory"),
        (["list", "--root", "x"], "flag provided but not defined: -root"),
        (["--log", "/nowhere/log", "list"], "open log file /nowhere/log: no such file or directory"),
        (["--log-level", "debug", "--log-level", "all", "list"], "invalid log-level: all"),
        (["--systemd-cgroup", "--cgroup-manager", "nobody", "list"], "invalid cgroup-manager: nobody"),
    ],
)
def test_words_at_odds(argv: list[str], told: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert told in refused(argv, tmp_path, capfd)[1]
