"""The phrases that callers match, as an interface.

containerd, podman, Docker and CRI-O learn what happened from substrings and regular expressions over the message that
they find on stderr or in the log. A phrase changed here is a caller broken there: exit codes 126 and 127, "already
finished", "no such container" all come from these words.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from errno import EACCES, EISDIR, ENOENT, ENOTDIR, EPERM, ESRCH
from pathlib import Path

import pytest

from pyrunc.errors import ContainerMissing, ExecutableError, KernelError, PyruncError, WrongStatus, strerror
from pyrunc.log import Log

PACKAGE = Path(__file__).resolve().parents[2] / "pyrunc"

PHRASES = (
    "container with given ID already exists",
    "invalid container ID format",
    "container does not exist",
    "container not running",
    "cannot start a container that has stopped",
    "cannot start an already running container",
    "cannot delete container {} that is not stopped: {}",
    "cannot exec in a stopped container",
    "cannot exec in a paused container (use --ignore-paused to override)",
    "executable file not found in $PATH",
    "JSON specification file {} not found",
    "create failed: ",
    "run failed: ",
    "exec failed",
    "unable to start container process",
    "File {} exists. Remove it first",
    "flag provided but not defined: -",
    "No help topic for '",
)
"""``{}`` stands for a value."""

PODMAN_DENIED = re.compile(".*permission denied.*|.*operation not permitted.*", re.I)
PODMAN_MISSING = re.compile(".*executable file not found in.*|.*no such file or directory.*|.*open executable.*", re.I)


def texts(path: Path) -> Iterator[str]:
    """Every string of a module that is not a docstring, a value inside an f-string as ``{}``."""
    tree = ast.parse(path.read_text())
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    parts |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.value


@pytest.mark.skipif(
    not (PACKAGE / "runtime/create.py").exists(), reason="the verbs are not in this checkout, most phrases are theirs"
)
@pytest.mark.parametrize("phrase", PHRASES)
def test_the_phrase_is_said(phrase: str) -> None:
    assert any(phrase in text for path in PACKAGE.rglob("*.py") for text in texts(path))


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (EACCES, "permission denied"),
        (EPERM, "operation not permitted"),
        (ENOENT, "no such file or directory"),
        (ENOTDIR, "not a directory"),
        (EISDIR, "is a directory"),
        (ESRCH, "no such process"),
    ],
)
def test_errno_texts_are_in_lower_case(number: int, text: str) -> None:
    assert strerror(number) == text
    assert KernelError("kill", number).message == f"kill: {text}"


@pytest.fixture(params=["text", "json", "log"])
def reported(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """How the error reaches the caller, and the log's path."""
    return request.param, str(tmp_path / "log")


def seen(reported: tuple[str, str], error: PyruncError, capfd: pytest.CaptureFixture[str]) -> str:
    """The text in which a caller looks: go-runc joins stdout and stderr, containerd then prefers the log's last error."""
    form, path = reported
    log = Log()
    log.configure(path if form == "log" else None, json=form != "text")
    log.error(error)
    err = capfd.readouterr().err
    if form == "log":
        with open(path) as file:
            return str(json.loads(file.read().splitlines()[-1])["msg"])
    return err


@pytest.mark.parametrize(
    ("error", "phrase"),
    [
        (ContainerMissing("container does not exist"), "does not exist"),
        (WrongStatus("container not running", "stopped"), "container not running"),
        (KernelError("signal init", ESRCH), "no such process"),
    ],
)
def test_containerd_s_shim_knows_a_container_that_is_gone(
    reported: tuple[str, str], error: PyruncError, phrase: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert phrase in seen(reported, error, capfd).lower()


@pytest.mark.parametrize(
    ("error", "expression"),
    [
        (ExecutableError('exec: "nope": executable file not found in $PATH'), PODMAN_MISSING),
        (ExecutableError('exec: "/no/such/command": stat /no/such/command: no such file or directory'), PODMAN_MISSING),
        (ExecutableError('exec: "/etc": permission denied'), PODMAN_DENIED),
        (KernelError("mounts[0]: mount", EPERM), PODMAN_DENIED),
    ],
)
def test_podman_tells_126_from_127(
    reported: tuple[str, str], error: PyruncError, expression: re.Pattern[str], capfd: pytest.CaptureFixture[str]
) -> None:
    text = seen(reported, error.within("exec failed"), capfd)
    assert [other.search(text) is not None for other in (PODMAN_DENIED, PODMAN_MISSING)] == [
        expression is PODMAN_DENIED,
        expression is PODMAN_MISSING,
    ]


def test_docker_finds_the_command_beside_the_reason(reported: tuple[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    text = seen(reported, ExecutableError('exec: "/no/such": stat /no/such: no such file or directory'), capfd)
    assert "/no/such" in text and "no such file or directory" in text


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("cli/*.py")), ids=lambda path: path.name)
def test_the_command_line_says_no_phrase_by_accident(path: Path) -> None:
    """podman makes 127 of any "not found" or "no such file": an unrelated error must not hold such words."""
    words = re.compile(
        "not found|no such file|permission denied|not permitted|does not exist|not running|no such process|not a directory", re.I
    )
    assert not [text for text in texts(path) if words.search(text)]
