"""linux.intelRdt through a container's life, on a tree in the place of the kernel's."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import fake_resctrl
from tests.conftest import PROJECT, Cli
from tests.lifecycle.box import Box, one_line
from tests.lifecycle.limits import read


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


def test_update_and_events(box: Box, top: Path) -> None:
    box.linux["intelRdt"] = {"l3CacheSchema": "L3:0=7"}
    box.linux["resources"]["pids"] = {"limit": 50}
    box.up()
    schemata = top / box.id / "schemata"
    box.cli("update", "--l3-cache-schema", "L3:0=f", "--pids-limit", "40", box.id, check=True)
    assert schemata.read_text() == "L3:0=f\n" and read(box, "pids") == ("40",)
    (top / "info/L3").mkdir()
    (top / "info/L3/cbm_mask").write_text("fff\n")
    told = json.loads(box.cli("events", "--stats", box.id, check=True).stdout)["data"]["intel_rdt"]
    root = "L3:0=fff;1=fff"
    assert told == {"l3_cache_info": {"cbm_mask": "fff"}, "l3_cache_schema_root": root, "l3_cache_schema": "L3:0=f"}
    schemata.unlink()
    schemata.mkdir()  # so that it cannot be written
    message = one_line(box.cli("update", "--mem-bw-schema", "MB:0=20", "--pids-limit", "30", box.id, check=1))
    assert message.startswith("linux.intelRdt: ") and message.endswith(": is a directory") and read(box, "pids") == ("40",)
    box.down()


def test_a_class_of_service_without_cgroups(box: Box, top: Path) -> None:
    """resctrl is none: the class is joined, changed and left; what needs a cgroup is refused, and the class left as it was."""
    box.linux["intelRdt"] = {"l3CacheSchema": "L3:0=7"}
    box.args("sleep", "1000")
    box.cli("--cgroup-manager", "disabled", "create", "--bundle", box.bundle, box.id, check=True)
    group = top / box.id
    assert (group / "tasks").read_text().isdigit()
    box.cli("update", "--l3-cache-schema", "L3:0=f", box.id, check=True)
    assert (group / "schemata").read_text() == "L3:0=f\n"
    refused = box.cli("update", "--l3-cache-schema", "L3:0=3", "--pids-limit", "5", box.id, check=1)
    assert one_line(refused) == "the container has no cgroups that could be limited"
    nothing = {"memory": {"limit": 0}, "cpu": {}, "devices": []}
    box.cli("update", "--resources", "-", "--mem-bw-schema", "MB:0=20", box.id, input=json.dumps(nothing), check=True)
    assert (group / "schemata").read_text() == "MB:0=20\n"
    box.down()


def test_no_class_of_service_to_update(box: Box) -> None:
    box.create()
    message = one_line(box.cli("update", "--mem-bw-schema", "MB:0=20", box.id, check=1))
    assert message.startswith("the container has no class of service that could be changed")
    box.down()


@pytest.mark.skipif("resctrl" in Path("/proc/mounts").read_text(), reason="this machine has resctrl mounted")
def test_without_resctrl(box: Box) -> None:
    box.linux["intelRdt"] = {"l3CacheSchema": "L3:0=7"}
    assert box.refused().endswith("linux.intelRdt: no resctrl file system is mounted")
    assert not box.exists()
