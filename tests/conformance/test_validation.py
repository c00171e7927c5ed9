"""The runner of the validation suite: what it understands, and that a foreign test cannot outlive it or leave anything."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.validation import trial
from conformance.validation.expected import EXPECTED, LAW, TRIES, lawful
from conformance.validation.results import parse
from conformance.validation.suite import Suite
from conformance.validation.trial import COMPLAINS, DIED, FAILED, PASSED, SILENT, Trial, judge
from tests.conftest import TAG

PROJECT = Path(__file__).resolve().parents[2]
GOOD = "TAP version 13\nok 1 - one\nok 2 - # SKIP not here\nnot ok 3 - later # TODO some day\n1..3\n"


@pytest.mark.parametrize(
    ("status", "out", "err", "verdict", "reasons"),
    [
        (0, GOOD, "", PASSED, []),
        (0, "1..2\nok 1\nok 2\n", "", PASSED, []),
        (0, "TAP version 13\nok 1 - a\n1..1\nTAP version 13\nok 1 - b\n1..1\n", "", PASSED, []),
        (0, "TAP version 13\n1..0\n", "warning\n", SILENT, []),
        (0, "", "", SILENT, []),
        (0, 'TAP version 13\n  ---\n  {"error": "bad\\nRefer to: x"}\n  ...\n1..0\n', "", COMPLAINS, ["bad"]),
        (0, 'not ok 1 - a \\# b\n  ---\n  {"error": "e", "reference": "r"}\n  ...\n1..1\n', "", FAILED, ["a # b e"]),
        (0, "TAP version 13\nnot ok 1 - n\n# expect: 1\n1..1\n", "", FAILED, ["n expect: 1"]),
        (0, 'not ok 1 - n\n---\n{"expected": 3, "actual": 4}\n...\n1..1\n', "", FAILED, ["n expected 3, actual 4"]),
        (0, "TAP version 13\nok 1 - a\n1..2\n", "", FAILED, ["the plan is not what came"]),
        (1, GOOD, "why\nexit status 1\n", DIED, ["why", "exit status 1"]),
        (137, "TAP version 13\nnot ok 1 - a\n", "", DIED, ["a", "exit status 137"]),
        (None, GOOD, "", DIED, ["no end in time"]),
        (0, "okay then\nnot okay\n", "", SILENT, []),
    ],
)
def test_verdicts(status: int | None, out: str, err: str, verdict: str, reasons: list[str]) -> None:
    judged = judge(status, out, err)
    assert (judged.verdict, judged.reasons) == (verdict, reasons)
    assert judged.clean == (verdict in (PASSED, SILENT))


def test_damaged_output_is_no_crash() -> None:
    assert parse("ok\n---\n{broken\n...\n---\nwithout an end").assertions[0].passed


def test_a_reason_explains_nothing_else() -> None:
    told = "the state of the container MUST be passed to \"prestart\" hook over stdin wrong status"
    assert lawful("hooks_stdin", Trial(FAILED, [told]))
    assert not lawful("hooks_stdin", Trial(FAILED, [told, "another failure"]))
    assert not lawful("delete", Trial(FAILED, ["a container that is not `stopped` MUST generate an error"]))
    assert EXPECTED["hooks_stdin"].kind == LAW


def test_the_page_has_every_reason() -> None:
    page = (PROJECT / "docs/validation.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (contradicts|host|test|ours) \|", page, re.MULTILINE))
    assert rows == {name: reason.kind for name, reason in EXPECTED.items()}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A suite of shell scripts."""
    scripts = {
        "good": 'echo "ok 1 - $(basename $RUNTIME)"; mktemp -d; mount -t tmpfs x /mnt; sleep 1000 & echo 1..1',
        "stuck": "sleep 1000 & trap '' TERM; setsid sleep 1000",
        "left": f'mkdir /sys/fs/cgroup/pids/left-{TAG} 2>/dev/null || mkdir /sys/fs/cgroup/left-{TAG}; echo "ok 1"; echo 1..1',
    }
    for name, text in scripts.items():
        program = tmp_path / "suite/validation" / name / f"{name}.t"
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    (tmp_path / "suite/runtimetest").touch()
    return tmp_path / "suite"


def test_what_is_not_built_is_no_suite(checkout: Path) -> None:
    assert sorted(Suite(checkout).programs) == ["good", "left", "stuck"]
    (checkout / "runtimetest").unlink()
    with pytest.raises(FileNotFoundError, match="make runtimetest"):
        Suite(checkout)


@pytest.mark.needs_root
def test_a_test_is_alone_and_ends(checkout: Path) -> None:
    suite = Suite(checkout)
    assert trial.run(suite.programs["good"], Path("/bin/true"), checkout, 60).verdict == PASSED
    assert not os.path.ismount("/mnt")
    stuck = trial.run(suite.programs["stuck"], Path("/bin/true"), checkout, 1)
    assert (stuck.verdict, stuck.reasons) == (DIED, ["no end in time"])


@pytest.mark.needs_root
def test_the_table_and_nothing_left(checkout: Path) -> None:
    # Both are found in the same place whatever runs this, and neither is a runtime.
    words = [sys.executable, "-m", "conformance.validation", "--checkout", str(checkout), "--only", "good", "--only", "left"]
    done = subprocess.run([*words, "/bin/true", "/bin/false"], cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "true: 2 of 2 clean" in done.stdout and "false: 2 of 2 clean" in done.stdout, done.stdout
    assert not list(Path("/sys/fs/cgroup").glob(f"**/left-{TAG}"))


@pytest.mark.needs_root
@pytest.mark.parametrize(("name", "at", "tries"), [("poststart", 3, 3), ("poststart", 9, TRIES), ("other", 2, 1)])
def test_a_race_is_run_again_and_nothing_else_is(tmp_path: Path, name: str, at: int, tries: int) -> None:
    program = tmp_path / f"suite/validation/{name}/{name}.t"
    program.parent.mkdir(parents=True)
    (tmp_path / "suite/runtimetest").touch()
    count = tmp_path / "count"
    program.write_text(f'#!/bin/sh\necho >>{count}; [ "$(wc -l <{count})" = {at} ] || printf "not "; echo "ok 1\n1..1"\n')
    program.chmod(0o755)
    words = [sys.executable, "-m", "conformance.validation", "--checkout", str(tmp_path / "suite"), "/bin/true"]
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert (done.returncode == 0, len(count.read_text())) == (at == tries, tries), done.stderr


@pytest.mark.skipif(not shutil.which("go"), reason="no go: apt-get install golang-go")
def test_our_tap_is_what_we_read(tmp_path: Path) -> None:
    package = tmp_path / "src/github.com/mndrix/tap-go"
    shutil.copytree(PROJECT / "conformance/validation/tap", package)
    (tmp_path / "main.go").write_text(
        'package main\n\nimport "github.com/mndrix/tap-go"\n\nfunc main() {\n\tt := tap.New()\n\tt.Header(0)\n'
        '\tt.Ok(false, "a # b\\nc")\n\tt.YAML(map[string]string{"error": "e"})\n\tt.Todo().Fail("later")\n'
        '\tt.Skip(2, "not here")\n\tt.Pass("-")\n\tt.Diagnosticf("n %d\\nm", 1)\n\tt.AutoPlan()\n}\n'
    )
    own = {"GOPATH": str(tmp_path), "GOCACHE": str(tmp_path / "cache")}
    env = {"PATH": os.environ["PATH"], "GO111MODULE": "off", "CGO_ENABLED": "0", **own}
    done = subprocess.run(["go", "run", "main.go"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    report = parse(done.stdout)
    assert not report.miscounted, done.stdout + done.stderr
    assert [(one.passed, one.about, one.directive) for one in report.assertions] == [
        (False, "a # b c", ""), (False, "later", "TODO"), (True, "", "SKIP"), (True, "", "SKIP"), (True, "-", ""),
    ]  # fmt: skip
    assert [failure.remarks for failure in report.failures] == [["e"]]
