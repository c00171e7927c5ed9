"""linux.intelRdt through a container's life, on a tree in the place of the kernel's."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import fake_resctrl
from tests.conftest import PROJECT, Cli
from tests.lifecycle.box import Box


class OnFake(Cli):
    """The tree's own modules, as on a host where resctrl is mounted."""

    def __init__(self, cli: Cli, top: Path) -> None:
        super().__init__(cli.program, cli.root)
        self.top = top

    def argv(self, *args: object) -> list[str]:
        start = f"import sys; sys.path.insert(0, {str(PROJECT)!r}); from tests.fake_resctrl import run; run()"
        return [sys.executable, "-c", start, str(self.top), "--root", str(self.root), *map(str, args)]


@pytest.fixture
def top(box: Box, tmp_path: Path) -> Iterator[Path]:
    path = fake_resctrl.make_top(tmp_path / "resctrl")
    box.cli = OnFake(box.cli, path)
    yield path
    assert sorted(entry.name for entry in path.iterdir() if entry.is_dir()) == ["info", "mon_groups"]


def test_create_exec_and_delete(box: Box, top: Path) -> None:
    box.linux["intelRdt"] = {"l3CacheSchema": "L3:0=7", "enableMonitoring": True}
    box.up()
    group = top / box.id
    assert (group / "schemata").read_text() == "L3:0=7\n"
    joined = (group / "tasks").read_text()
    assert joined.isdigit() and (group / "mon_groups" / box.id / "tasks").read_text() == joined
    assert json.loads((box.cli.root / box.id / "state.json").read_text())["intel_rdt_path"] == str(group)
    box.exec(box.id, "true", check=True)
    assert (group / "tasks").read_text() not in ("", joined)
    box.down()


def test_a_create_that_fails_leaves_no_class(box: Box, top: Path) -> None:
    box.linux["intelRdt"] = {"enableMonitoring": True}
    box.process["args"] = ["no-such-program"]
    assert "executable file not found" in box.refused()
    box.linux["intelRdt"] = {"closID": "gold"}
    assert "linux.intelRdt.closID" in box.refused()


@pytest.mark.skipif("resctrl" in Path("/proc/mounts").read_text(), reason="this machine has resctrl mounted")
def test_without_resctrl(box: Box) -> None:
    box.linux["intelRdt"] = {"l3CacheSchema": "L3:0=7"}
    assert box.refused().endswith("linux.intelRdt: no resctrl file system is mounted")
    assert not box.exists()
