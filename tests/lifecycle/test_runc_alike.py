"""Side by side with Debian's runc: the same command lines on the same container have the same exit status, stdout and stderr.

Where they have not, docs/commands.md has the line with the reason, and a line there that makes no difference is one too many.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PROJECT, Bundle, Cli, reap, until
from tests.lifecycle.box import Box

STOPPED = "@stopped"
LINES = f"""
list
list -f json
list --quiet
list -f xml
state nobody
start nobody
kill nobody
kill nobody FOO
delete nobody
delete --force nobody
exec nobody true
pause nobody
resume nobody
ps nobody
ps -f json nobody
update --pids-limit 5 nobody
events --stats nobody
create ID
state ID
list
list -f json
list -q
create ID
run ID
delete nobody
ps -f json ID
exec ID echo before the start
start ID
start ID
state ID
exec ID echo hi
exec ID false
exec ID sh -c 'kill -9 $$'
exec ID sh -c 'kill -TERM $$'
exec ID sh -c 'echo out; echo err >&2; exit 3'
exec ID nosuch
exec ID /no/such/file
exec ID /etc/passwd
exec ID /etc
exec --cwd /tmp ID pwd
exec --cwd /nowhere ID true
exec --cwd relative ID true
exec -u 1000:1000 ID id
exec -u 1000 -g 5 -g 6 ID id
exec -u x ID id
exec -e A=1 -e B=2,3 ID env
exec -e A=1 --env B=2 ID env
exec -e A ID env
exec --cap CAP_NET_RAW ID grep Cap /proc/self/status
exec --no-new-privs ID grep NoNewPrivs /proc/self/status
exec -d ID true
exec ID ls -la --help=x /nowhere
exec ID
exec -t -d ID true
exec --nonsense ID true
exec --user
exec --preserve-fds x ID true
exec --preserve-fds 1 ID true
exec --process /nowhere ID
exec -tty=maybe ID true
kill ID 0
kill ID sigcont
kill --all ID CONT
kill ID USR99
kill ID 99
kill ID HUP HUP
delete ID
pause ID
state ID
pause ID
exec ID true
start ID
resume ID
resume ID
update --pids-limit 100 ID
update --memory 1q ID
kill ID KILL
{STOPPED}
state ID
list -q
ps ID
ps -f json ID
kill ID TERM
kill --all ID TERM
start ID
exec ID true
pause ID
update --pids-limit 100 ID
events --stats ID
delete ID
delete ID
state ID
create
create ID more
create --bundle /nowhere ID
create 'bad id'
create .
create --pid-file /nowhere/pid ID
create --console-socket /nowhere ID
run
run -d
start
state
kill
delete
exec
ps
pause
update
nonsense
--nonsense
--log-format xml list
--log /nowhere/log list
--rootless maybe list
run -d ID
state ID
delete ID
delete -f ID
run ID extra
""".strip().splitlines()

PAGE = (PROJECT / "docs/commands.md").read_text().partition("\n## Beside runc 1.1.5")[2]
DIFFERENCES = dict(re.findall(r"^\| `([^`]+)` \| (.+) \|$", PAGE, re.M))

Answer = tuple[int, str, str]


@pytest.fixture(scope="session")
def runc() -> str:
    found = shutil.which("runc")
    if not found:
        pytest.skip("runc is missing: apt-get install runc")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=60).stdout
    if not version.startswith("runc version 1.1."):
        pytest.skip(f"the differences are those from runc 1.1, this is {version.splitlines()[0]}")
    return found


class Side:
    """One of the two, with a --root of its own."""

    def __init__(self, program: str | Path, root: Path, bundle: Bundle, id: str) -> None:
        root.mkdir()
        self.cli = Cli(Path(program), root)
        self.bundle = bundle
        self.id = id

    def answers(self, lines: list[str]) -> Iterator[Answer]:
        self.pid = 0
        for line in lines:
            if line == STOPPED:
                until(self.stopped, 60, "the container does not stop")
                yield 0, "", ""
            else:
                yield self.answer(line)

    def stopped(self) -> bool:
        reap()  # init ends after what exec has started in its namespace, and that is ours to collect
        return bool(self.cli.state(self.id)["status"] == "stopped")

    def answer(self, line: str) -> Answer:
        words = [self.id if word == "ID" else word for word in shlex.split(line)]
        done = self.cli(*words, cwd=self.bundle.path)
        if words[0] == "state" and done.returncode == 0:
            self.pid = json.loads(done.stdout)["pid"] or self.pid
        return done.returncode, self.common(done.stdout), self.common(done.stderr)

    def common(self, text: str) -> str:
        """Without what is of the moment, and of the help only that there is one."""
        text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)
        text = re.sub(r"\n\nNAME:.*", "\n\n(the help)", text, flags=re.S)
        for what, name in ((str(self.cli.root), "ROOT"), (self.id, "ID"), (str(self.cli.program), "runc"), ("pyrunc", "runc")):
            text = text.replace(what, name)
        if self.pid:
            text = re.sub(rf"\b{self.pid}\b", "PID", text)
        return re.sub(r'("ociVersion": ?")[^"]*', r"\1VERSION", re.sub(" {3,}", "   ", text))


def test_the_same_lines_have_the_same_answers(runc: str, box: Box, session_dir: Path) -> None:
    box.args("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done")
    sides = [Side(program, session_dir / f"{box.id}-{name}", box.bundle, box.id) for name, program in
             (("runc", runc), ("pyrunc", box.cli.program))]  # fmt: skip
    given = []
    for side in sides:
        try:
            given.append(list(side.answers(LINES)))
        finally:
            side.cli("delete", "--force", box.id)
    unlike = {line: (theirs, ours) for line, theirs, ours in zip(LINES, *given, strict=True) if theirs != ours}
    told = {line: answers for line, answers in unlike.items() if line not in DIFFERENCES}
    assert told == {}, "\n".join(f"{line}\n  runc:   {theirs}\n  pyrunc: {ours}" for line, (theirs, ours) in told.items())
    assert DIFFERENCES.keys() - unlike.keys() == set()


def without(config: dict[str, Any]) -> dict[str, Any]:
    """The default config, but for the version and the ambient capabilities, which runc has left out since 1.2."""
    config["process"]["capabilities"].pop("ambient", None)
    return {**config, "ociVersion": ""}


@pytest.mark.parametrize("flags", [(), ("--rootless",)])
def test_the_default_config_is_the_same(runc: str, pyrunc: Path, tmp_path: Path, flags: tuple[str, ...]) -> None:
    found = []
    for program in (runc, pyrunc):
        directory = tmp_path / Path(program).name
        directory.mkdir()
        subprocess.run([program, "spec", *flags], cwd=directory, check=True, timeout=60)
        found.append(without(json.loads((directory / "config.json").read_text())))
    assert found[0] == found[1]


def lacking(theirs: Any, ours: Any, at: str = "") -> Iterator[str]:
    """What the first document promises and the second does not: keys, members of lists, what is true."""
    if isinstance(theirs, dict):
        for key, value in theirs.items():
            yield from lacking(value, ours.get(key), f"{at}.{key}")
    elif isinstance(theirs, list):
        yield from (f"{at}: {member}" for member in theirs if member not in (ours or ()))
    elif theirs is True and ours is not True:
        yield at


def test_all_features_of_runc_are_ours(runc: str, pyrunc: Path) -> None:
    said = [subprocess.run([program, "features"], capture_output=True, text=True, check=True) for program in (runc, pyrunc)]
    assert [done.stderr for done in said] == ["", ""]
    theirs, ours = [json.loads(done.stdout) for done in said]
    # Not in the specification's table; here they are data for the file system, as every word that is no option.
    assert set(lacking(theirs, ours)) == {".mountOptions: acl", ".mountOptions: noacl"}


def test_a_regular_expression(boxes: Callable[[], Box]) -> None:
    """crun's, of which Debian's runc has none: every container whose ID matches, and no other."""
    three = [boxes() for _ in range(3)]
    for box in three:
        box.up()
    cli, (first, second, third) = three[0].cli, three
    done = cli("kill", "--regex", f"^{re.escape(first.id)[:-1]}[01]$", "KILL", check=True)
    assert (done.stdout, done.stderr) == ("", "")
    first.stopped(), second.stopped()
    assert third.status == "running"
    assert cli("delete", "--regex", ".", check=1).stderr.count("that is not stopped: running") == 1
    assert not first.exists() and not second.exists() and third.status == "running"
    cli("delete", "--force", "--regex", "nobody", check=True)
    cli("delete", "--force", "--regex", f"{third.id}$", check=True)
    assert not third.exists()
