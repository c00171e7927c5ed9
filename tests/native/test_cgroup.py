"""OPEN_CGROUP and ENTER_CGROUPS: the process goes into its cgroups by itself."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.native.plan_harness import Init, Outcome, c, encode, eventually, host, op

pytestmark = pytest.mark.needs_root
Go = Callable[..., Outcome]


def hierarchies(kind: str) -> list[Path]:
    """Where the hierarchies of this type are mounted."""
    with open("/proc/self/mountinfo") as lines:
        return [Path(line.split()[4]) for line in lines if line.partition(" - ")[2].split()[0] == kind]


@pytest.fixture
def cgroups(request: pytest.FixtureRequest) -> Iterator[list[Path]]:
    """Two new cgroups of this type, each in a hierarchy of its own if there are so many."""
    kind: str = request.param
    found = [top for top in hierarchies(kind) if "cpuset" not in top.name][:2]
    if not found:
        pytest.skip(f"no {kind} hierarchy is mounted")
    made = [top / f"pyrunc-native-{os.getpid()}" for top in found]
    for path in made:
        path.mkdir()
    yield made
    for path in made:
        assert eventually(lambda path=path: not (path / "cgroup.procs").read_text())
        path.rmdir()


def listed(out: str) -> set[str]:
    """The paths in /proc/self/cgroup."""
    return {line.split(":", 2)[2] for line in out.splitlines()}


SHOW = host("cat", "/proc/self/cgroup")


@pytest.mark.parametrize("cgroups", ["cgroup"], indirect=True)
def test_v1_cgroups_are_entered_by_writing_to_tasks(go: Go, cgroups: list[Path]) -> None:
    ops = [op("OPEN_CGROUP", str(path / "tasks"), v=[number]) for number, path in enumerate(cgroups)]
    out = go([*ops, op("ENTER_CGROUPS", v=[len(cgroups)]), *SHOW]).good()
    assert [line.endswith(cgroups[0].name) for line in out.splitlines()].count(True) == len(cgroups)
    assert not any(path.endswith(cgroups[0].name) for path in listed(go([*ops, *SHOW]).good()))


@pytest.mark.parametrize("cgroups", ["cgroup2"], indirect=True)
def test_a_child_is_born_in_its_cgroup2(go: Go, cgroups: list[Path]) -> None:
    enter = op("OPEN_CGROUP", str(cgroups[0]), v=[0, 1])
    assert any(path.endswith(cgroups[0].name) for path in listed(go([enter, op("FORK"), *SHOW]).good()))
    assert not any(path.endswith(cgroups[0].name) for path in listed(go([enter, *SHOW]).good()))


@pytest.mark.parametrize("cgroups", ["cgroup2"], indirect=True)
def test_the_directory_of_the_cgroup2_does_not_stay_open_in_the_child(init: int, cgroups: list[Path]) -> None:
    """It is the host's: who may trace the process could walk from it to all other cgroups (CVE-2024-21626)."""
    plan = [op("OPEN_CGROUP", str(cgroups[0]), v=[0, 1]), op("FORK"), op("SYNC", v=[c.SYNC_READY])]
    with Init(init, encode(plan)) as process:
        process.until(c.MSG_SYNC, c.SYNC_READY)
        open_files = [os.readlink(file) for file in Path(f"/proc/{process.pid}/fd").iterdir()]
        assert open_files and not [name for name in open_files if cgroups[0].name in name]


def test_a_cgroup_that_is_missing_or_was_not_opened(go: Go, tmp_path: Path) -> None:
    for values in ([0, 0], [0, 1]):
        ops = [op("OPEN_CGROUP", str(tmp_path / "missing"), v=values)]
        go(ops).bad(ops, "OPEN_CGROUP", "OPEN", errno.ENOENT)
    (tmp_path / "tasks").touch()
    ops = [op("OPEN_CGROUP", str(tmp_path / "tasks"), v=[99, 0])]
    go(ops).bad(ops, "OPEN_CGROUP", "OPEN", errno.EMFILE)
    ops = [op("OPEN_CGROUP", str(tmp_path / "tasks"), v=[0, 0]), op("ENTER_CGROUPS", v=[2])]
    go(ops).bad(ops, "ENTER_CGROUPS", "WRITE", errno.EBADF)
    ops = [op("OPEN_CGROUP", str(tmp_path), v=[0, 1]), op("FORK")]
    go(ops).bad(ops, "FORK", "FORK", errno.EBADF)
