"""Every command of docs/callers is run as it stands there, and every file is what the tests themselves use."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from conformance.callers import pages
from tests.conftest import TAG

PROJECT = Path(__file__).resolve().parents[2]
PAGES = sorted((PROJECT / "docs/callers").glob("*.md"))
NEEDS = {
    "containerd.md": ("containerd", "ctr", "busybox"),
    "docker.md": ("/usr/bin/docker", "dockerd", "containerd", "iptables", "busybox"),
    "kubernetes.md": ("containerd", "ctr", "busybox"),
    "podman.md": ("podman", "conmon", "busybox"),
}


@pytest.mark.needs_root
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page(page: Path, pyrunc: Path) -> None:
    if missing := [name for name in NEEDS[page.name] if not shutil.which(name)]:
        pytest.skip(f"{missing[0]} is missing: tests/run --callers installs it")
    tag = f"{TAG}-page"
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(pages.command(page, pyrunc, tag), cwd=PROJECT, env=env, capture_output=True, text=True, timeout=300)
    if done.returncode == pages.UNABLE:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    assert not list(Path("/sys/fs/cgroup").glob(f"*/{tag}"))


def test_steps(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("x\n```sh\ntrue\n```\n```text\na\n...\nb\n```\n\n```toml /etc/x\nk = 1\n```\n```json\n{}\n```\n")
    command, file, other = pages.steps(page)
    assert (command.text, command.printed, file.path, file.text) == ("true\n", "a\n...\nb\n", "/etc/x", "k = 1\n")
    assert (other.language, other.path, pages.file_of(page, "/etc/x")) == ("json", "", "k = 1\n")
    page.write_text("```text\nof nothing\n```\n")
    with pytest.raises(ValueError, match="output of no command"):
        pages.steps(page)


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("a\nb\n", "a \nb", True),
        ("a\n...\nb\n", "a\nx\ny\nb\n", True),
        ("...\nb\n", "b\n", True),
        ("a\n", "a\nb\n", False),
        ("a.\n", "ab\n", False),
    ],
)
def test_what_is_printed(expected: str, printed: str, same: bool) -> None:
    assert pages.matches(expected, printed) == same


def test_blocks_that_are_not_run_are_well_formed() -> None:
    seen = set()
    for page in PAGES:
        for step in pages.steps(page):
            seen.add(step.language)
            if step.language == "toml":
                tomllib.loads(step.text)
            elif step.language == "json":
                json.loads(step.text)
            else:
                assert step.language in ("sh", "yaml"), step
    assert {"sh", "toml"} <= seen


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_command_in_the_prose_is_one_of_those_that_are_run(page: Path) -> None:
    lines = [line.split() for step in pages.steps(page) if step.language == "sh" for line in step.text.splitlines()]
    for command in re.findall(r"`((?:podman|docker|ctr|containerd|pyrunc) [^`]+)`", pages.FENCE.sub("", page.read_text())):
        assert any(is_within(command.split(), line) for line in lines), command


def is_within(words: list[str], line: list[str]) -> bool:
    """In their order; there may be more between them."""
    rest = iter(line)
    return all(word in rest for word in words)


def test_the_two_forms_of_containerds_file_say_the_same() -> None:
    page = PROJECT / "docs/callers/containerd.md"
    old, new = (tomllib.loads(step.text) for step in pages.steps(page) if step.language == "toml")
    assert (old["version"], new["version"]) == (2, 3)
    assert old["plugins"]["io.containerd.grpc.v1.cri"] == new["plugins"]["io.containerd.cri.v1.runtime"]


def test_the_runtime_class_names_the_handler_of_the_node() -> None:
    page = PROJECT / "docs/callers/kubernetes.md"
    runtime_class, pod = (step.text.splitlines() for step in pages.steps(page) if step.language == "yaml")
    node = tomllib.loads(pages.file_of(page, "/etc/containerd/config.toml"))
    assert "handler: pyrunc" in runtime_class and "  name: pyrunc" in runtime_class and "  runtimeClassName: pyrunc" in pod
    assert "pyrunc" in node["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]["runtimes"]
