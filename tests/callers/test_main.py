"""The run that prints the table goes on to its end, and what went wrong is in the table and in the exit status."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.callers.__main__ import default_runtimes, main
from conformance.callers.known import ENGINES
from conformance.callers.scenarios import SCENARIOS

LEFT: list[str] = []


class Fake:
    """A caller that starts nothing."""

    def __init__(self, runtime: Path, work: Path, tag: str) -> None:
        pass

    def leftovers(self) -> list[str]:
        return []

    def close(self) -> list[str]:
        return LEFT


def fine(caller: object) -> None:
    """It works."""


def endless(caller: object) -> None:
    """A command without an end."""
    raise subprocess.TimeoutExpired("podman", 60)


def absent(caller: object) -> None:
    """A file that is not there."""
    Path("/no/such").read_text()


def wrong(caller: object) -> None:
    """Other words than those that were expected."""
    raise AssertionError("other words")


@pytest.mark.parametrize("fault", [endless, absent, wrong])
def test_a_scenario_that_fails_is_told_and_the_next_one_is_run(
    fault: Callable[[object], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([fault, fine], monkeypatch) == 1
    out = capsys.readouterr()
    cells = {line[:-12].strip(): line[-12:].strip() for line in out.out.splitlines()}
    assert cells[fault.__doc__ or ""] == "FAILS"
    assert cells[fine.__doc__ or ""].endswith(" ms")
    assert f"podman, true, {fault.__name__}: " in out.err


def test_what_is_left_at_the_end_is_a_fault(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([fine], monkeypatch) == 0
    monkeypatch.setattr(sys.modules[__name__], "LEFT", ["process 7"])
    assert run([fine], monkeypatch) == 1
    assert "podman, true: left behind: process 7" in capsys.readouterr().err


def test_crun_is_run_where_its_words_are_not_what_is_tested() -> None:
    names = {engine: [runtime.name for runtime in default_runtimes(engine)] for engine in ENGINES}
    assert ("crun" in names["podman"]) == bool(shutil.which("crun"))
    assert not any("crun" in found for engine, found in names.items() if engine != "podman")


def run(scenarios: list[Callable[[object], None]], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setitem(ENGINES, "podman", Fake)
    monkeypatch.setitem(SCENARIOS, "podman", scenarios)
    monkeypatch.setattr(sys, "argv", ["callers", "--engine", "podman", "/bin/true"])
    return main()
