"""linux.intelRdt on a tree that behaves like the kernel's."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyrunc.cgroups import resctrl
from pyrunc.cgroups.resctrl import Group, schemata, select, values
from pyrunc.errors import CgroupError, ConfigError, StateError, UnsupportedError
from tests import fake_resctrl


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = fake_resctrl.make_top(tmp_path / "resctrl")
    for name in ("mount_point", "make_directory", "remove_directory"):
        monkeypatch.setattr(resctrl, name, getattr(resctrl, name))
    fake_resctrl.install(str(path))
    yield path


def made(rdt: dict[str, Any], id: str = "c1") -> Group:
    group = select(rdt, id)
    group.create(rdt)
    group.join(42)
    return group


def text(path: Path) -> str:
    return path.read_text()


def test_a_class_of_its_own_ends_with_the_container(top: Path) -> None:
    group = made({"l3CacheSchema": "L3:0=7;1=7", "memBwSchema": "MB:0=20"})
    assert text(top / "c1/schemata") == "L3:0=7;1=7\nMB:0=20\n" and text(top / "c1/tasks") == "42"
    group.remove()
    assert not (top / "c1").exists()
    group.remove()


def test_a_class_without_schemata(top: Path) -> None:
    made({})
    assert text(top / "c1/schemata") == fake_resctrl.DEFAULT and text(top / "c1/tasks") == "42"


def test_a_class_that_is_to_be_shared_stays(top: Path) -> None:
    group = made({"closID": "gold", "schemata": ["L3:0=f", "MB:1=50"]})
    assert text(top / "gold/schemata") == "L3:0=f\nMB:1=50\n"
    group.remove()
    assert (top / "gold").is_dir()
    again = made({"closID": "gold", "l3CacheSchema": "L3: 0=0F"})
    assert again.path == group.path and text(top / "gold/schemata") == "L3:0=f\nMB:1=50\n"
    made({"closID": "gold"})


def test_a_class_that_is_there_with_other_schemata(top: Path) -> None:
    made({"closID": "gold", "schemata": ["L3:0=f"]})
    for line, now in (("L3:0=7", "f"), ("L3:1=f", "nothing")):
        with pytest.raises(ConfigError) as caught:
            made({"closID": "gold", "schemata": [line]})
        assert caught.value.config_path == "linux.intelRdt.closID" and f"has {now} for {line[:4]}" in caught.value.message


def test_a_class_that_must_be_there(top: Path) -> None:
    for rdt in ({"closID": "gold"}, {"closID": "gold", "enableMonitoring": True}, {"closID": "gold", "schemata": []}):
        with pytest.raises(ConfigError, match="linux.intelRdt.closID: .*/gold does not exist"):
            select(rdt, "c1")


def test_a_directory_of_the_containers_name_that_is_not_its_own(top: Path) -> None:
    (top / "c1").mkdir()
    with pytest.raises(ConfigError, match="exists already"):
        select({}, "c1")


def test_the_root_class(top: Path) -> None:
    group = made({"closID": "/", "enableMonitoring": True})
    assert text(top / "tasks") == "42" and text(top / "mon_groups/c1/tasks") == "42"
    group.remove()
    assert top.is_dir() and not (top / "mon_groups/c1").exists()


def test_monitoring(top: Path) -> None:
    group = made({"enableMonitoring": True})
    assert group.monitor == f"{top}/c1/mon_groups/c1" and text(Path(group.monitor) / "tasks") == "42"
    group.remove()
    assert not (top / "c1").exists()


def test_a_monitoring_group_that_cannot_be_made(top: Path) -> None:
    """Is an error, and somebody else's is not removed."""
    (top / "mon_groups/c1").mkdir()
    group = select({"closID": "/", "enableMonitoring": True}, "c1")
    with pytest.raises(CgroupError, match="make the monitoring group") as caught:
        group.create({"closID": "/", "enableMonitoring": True})
    assert caught.value.errno == errno.EEXIST
    group.remove()
    assert (top / "mon_groups/c1").is_dir()


def test_what_the_kernel_refuses_is_explained(top: Path) -> None:
    group = made({})
    (top / "c1/tasks").unlink()
    with pytest.raises(CgroupError) as caught:
        group.join(42)
    assert caught.value.config_path == "linux.intelRdt" and caught.value.hint == "resctrl says: Mask out of range"


def test_a_class_whose_schemata_are_refused_does_not_stay(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(path: str) -> None:
        fake_resctrl.mkdir(path)
        (Path(path) / "schemata").unlink()
        (Path(path) / "schemata").mkdir()  # so that it cannot be written

    monkeypatch.setattr(resctrl, "make_directory", make)
    for rdt in ({"closID": "gold", "schemata": ["L3:0=f"]}, {"schemata": ["L3:0=f"]}):
        group = select(rdt, "c1")
        with pytest.raises(CgroupError) as caught:
            group.create(rdt)
        assert caught.value.errno == errno.EISDIR and not (top / "gold").exists() and not (top / "c1").exists()
        group.remove()


def test_an_update(top: Path) -> None:
    group = made({"l3CacheSchema": "L3:0=7"})
    group.change("L3:0=3\nMB:0=10", "MB:0=30")
    assert text(top / "c1/schemata") == "L3:0=3\nMB:0=30\n"
    group.change(None, None)
    assert text(top / "c1/schemata") == "L3:0=3\nMB:0=30\n"


def test_the_order_of_the_lines() -> None:
    rdt = {"schemata": ["L2:0=1"], "memBwSchema": "MB:0=20", "l3CacheSchema": "L3DATA:0=f\n L3CODE:0=1\n\nMB:0=70"}
    assert schemata(rdt) == ["L3DATA:0=f", "L3CODE:0=1", "MB:0=20", "L2:0=1"]
    assert schemata({**rdt, "memBwSchema": None}) == ["L3DATA:0=f", "L3CODE:0=1", "MB:0=70", "L2:0=1"]
    assert schemata({}) == []


def test_values_are_compared_and_not_their_spelling() -> None:
    assert values(" L3:0=00F;1 = ff\nMB:0=  100\nodd") == {("L3", "0"): "f", ("L3", "1"): "ff", ("MB", "0"): "100"}
    assert values("L3:0=000") == {("L3", "0"): "0"}


def test_records(top: Path) -> None:
    group = made({"enableMonitoring": True})
    again = Group.of(group.record())
    assert again and again.record() == group.record() and Group.of({}) is None
    for damaged in ({"path": 5, "monitor": ""}, {"path": "x", "monitor": ""}, {"path": "/x"}):
        with pytest.raises(StateError):
            Group.of(damaged)


@pytest.mark.skipif("resctrl" in Path("/proc/mounts").read_text(), reason="this machine has resctrl mounted")
def test_without_resctrl() -> None:
    with pytest.raises(UnsupportedError, match="linux.intelRdt: no resctrl file system is mounted") as caught:
        select({}, "c1")
    assert caught.value.hint and "mount -t resctrl" in caught.value.hint
