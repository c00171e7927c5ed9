"""Whose a container's cgroup is."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from pyrunc import cgroups
from pyrunc.cgroups import delegation
from pyrunc.cgroups.delegation import give, owner
from pyrunc.cgroups.hierarchies import Hierarchy, Layout
from pyrunc.errors import CgroupError
from pyrunc.kernel import os as hot_os

MOUNT = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}
MAPS = [{"containerID": 0, "hostID": 5000, "size": 10}, {"containerID": 100, "hostID": 9000, "size": 1}]


def config(
    *, uid: int = 7, mount: dict[str, Any] | None = MOUNT, kinds: tuple[str, ...] = ("cgroup",), maps: Any = None, **paths: str
) -> dict[str, Any]:
    namespaces = [{"type": kind, **({"path": paths[kind]} if kind in paths else {})} for kind in kinds]
    return {
        "process": {"user": {"uid": uid, "gid": 0}},
        "mounts": [{"destination": "/proc", "type": "proc"}, *([mount] if mount else [])],
        "linux": {"namespaces": namespaces, "uidMappings": maps},
    }


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (config(), 7),
        (config(uid=0), 0),
        (config(mount={**MOUNT, "destination": "/sys/fs//cgroup/", "options": ["nosuid", "rw"]}), 7),
        (config(mount={**MOUNT, "options": ["ro", "rw"]}), 7),
        (config(mount={**MOUNT, "options": ["nosuid", "ro"]}), None),
        (config(mount={**MOUNT, "destination": "/cgroup"}), None),
        (config(mount={**MOUNT, "type": "bind"}), None),
        (config(mount=None), None),
        (config(kinds=("pid",)), None),
        (config(kinds=("cgroup",), cgroup="/proc/1/ns/cgroup"), None),
        (config(kinds=("cgroup", "user"), maps=MAPS), 5007),
        (config(uid=100, kinds=("cgroup", "user"), maps=MAPS), 9000),
        (config(uid=10, kinds=("cgroup", "user"), maps=MAPS), None),
        (config(kinds=("cgroup", "user"), user="/proc/1/ns/user"), None),
        ({}, None),
    ],
)
def test_owner(made: dict[str, Any], expected: int | None) -> None:
    assert owner(made) == expected


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []

    def chown(path: str, uid: int, gid: int, *, follow_symlinks: bool) -> None:
        assert gid == -1 and not follow_symlinks
        if not Path(path).exists():
            raise FileNotFoundError(errno.ENOENT, "")
        if uid == 666:
            raise PermissionError(errno.EPERM, "")
        found.append((path, uid))

    monkeypatch.setattr(hot_os, "chown", chown)
    return found


@pytest.mark.parametrize("listed", [None, "cgroup.procs\nmemory.reclaim\nmissing\n"])
def test_what_is_given(tmp_path: Path, given: Any, monkeypatch: pytest.MonkeyPatch, listed: str | None) -> None:
    for name in ("cgroup.procs", "cgroup.threads", "memory.reclaim", "memory.max"):
        (tmp_path / name).touch()
    if listed:
        (tmp_path / "list").write_text(listed)
    monkeypatch.setattr(delegation, "LIST", str(tmp_path / "list"))
    give(str(tmp_path), 9)
    names = ("cgroup.procs", "memory.reclaim") if listed else ("cgroup.procs", "cgroup.threads")
    assert given == [(str(tmp_path), 9), *((f"{tmp_path}/{name}", 9) for name in names)]


def test_what_may_not_be_given(tmp_path: Path, given: Any) -> None:
    with pytest.raises(CgroupError, match="give .* to user 666: operation not permitted"):
        give(str(tmp_path), 666)
    for rootless in (True, False):
        (tmp_path / "cgroup.controllers").touch()
        (tmp_path / "id").mkdir(exist_ok=True)
        (tmp_path / "id/cgroup.type").write_text("domain\n")
        (tmp_path / "id/cgroup.procs").write_text("")
        (tmp_path / "id/cgroup.freeze").write_text("0\n")
        host = Layout([Hierarchy(str(tmp_path), ("",), "/")])
        manager = cgroups.select(config(uid=666), "id", rootless=rootless, host=host)
        if rootless:
            manager.create()
        else:
            with pytest.raises(CgroupError, match="to user 666"):
                manager.create()
    assert given == []
