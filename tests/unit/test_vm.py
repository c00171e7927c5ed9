"""conformance/vm, as far as it can be seen without a machine."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from conformance.vm import __main__ as vm
from conformance.vm.machine import Failed, TimeIsOver, await_file, copy, started, within

PROJECT = Path(__file__).resolve().parents[2]


def test_which_tests_are_run() -> None:
    whole, smoke = " ".join(vm.WHOLE), " ".join(vm.SMOKE)
    assert vm.pytest([], smoke=False, junit=False) == f"python3 -m pytest {whole}"
    assert vm.pytest(["-x", "-k", "a b"], smoke=True, junit=False) == f"python3 -m pytest -x -k 'a b' {smoke}"
    chosen = ["-q", "tests/unit/test_vm.py::test_which_tests_are_run"]
    assert vm.pytest(chosen, smoke=False, junit=True) == f"python3 -m pytest --junitxml=/work/junit.xml {' '.join(chosen)}"
    for name in (*vm.WHOLE, *vm.SMOKE):
        assert (PROJECT / name.partition("::")[0]).exists()


def test_help_needs_nothing() -> None:
    argv = [sys.executable, "-m", "conformance.vm", "--help"]
    done = subprocess.run(argv, cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "--cgroup {v2,v1,hybrid}" in done.stdout


@pytest.mark.parametrize(
    ("failure", "status"),
    [(Failed("no"), 125), (OSError("no"), 125), (TimeIsOver("no"), 124), (1, 1), (0, 0)],
)
def test_exit_statuses(monkeypatch: pytest.MonkeyPatch, failure: Exception | int, status: int) -> None:
    def run(options: argparse.Namespace, words: list[str]) -> int:
        if isinstance(failure, Exception):
            raise failure
        return failure

    monkeypatch.setattr(vm, "run", run)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(sys, "argv", ["run", "--smoke"])
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert vm.main() == status


def test_a_step_has_its_time() -> None:
    with started(["sleep", "600"]) as process:
        with pytest.raises(TimeIsOver, match="^sleeping takes longer than 0.2 s$"), within(0.2, "sleeping"):
            process.wait()
        assert process.poll() is None
    with within(0.2, "sleeping"):
        pass
    time.sleep(0.4)  # nothing comes any more


def test_a_program_ends_with_its_block() -> None:
    with started(["sleep", "600"]) as process:
        assert process.poll() is None
    assert process.returncode == -9


def test_a_file_that_nobody_makes(tmp_path: Path) -> None:
    with started(["true"]) as process, pytest.raises(Failed, match="^socket has not begun$"):
        await_file(tmp_path / "socket", process)


def test_output_is_relayed(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    reader, writer = os.pipe()
    relay = threading.Thread(target=copy, args=[reader])
    relay.start()
    os.write(writer, b"first\n")
    os.close(writer)
    relay.join(60)
    os.close(reader)
    assert capfdbinary.readouterr().out == b"first\n"
