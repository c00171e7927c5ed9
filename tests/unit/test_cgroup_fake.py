"""What this machine cannot show: v2 with controllers, missing rights, noprefix, in a tree of plain files."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyrunc import cgroups
from pyrunc.cgroups import bpf, files, v1
from pyrunc.cgroups.hierarchies import Hierarchy, Layout
from pyrunc.cgroups.manager import NO_PERMISSION
from pyrunc.errors import CgroupError, UnsupportedError
from pyrunc.kernel import os as hot_os

CONTROLLERS = "cpu io memory pids"
LIMITS = {
    "cpu": ["cpu.max", "cpu.max.burst", "cpu.weight", "cpu.idle"],
    "io": ["io.max", "io.weight"],
    "memory": ["memory.max", "memory.low", "memory.swap.max", "memory.high", "memory.events"],
    "pids": ["pids.max"],
}


class Kernel:
    """cgroup2's reactions to mkdir and to writes, on plain files below `top`."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.log: list[tuple[str, str]] = []
        self.refused: dict[str, int] = {}
        self.mkdir, self.plain_write = os.mkdir, files.write
        self._populate(top, CONTROLLERS.split())

    def make(self, path: Any, mode: int = 0o777, **kw: Any) -> None:
        self.mkdir(path, mode, **kw)
        parent = Path(path).parent
        if parent.is_relative_to(self.top):
            self._populate(Path(path), (parent / "cgroup.subtree_control").read_text().split())

    def _populate(self, path: Path, controllers: list[str]) -> None:
        (path / "cgroup.controllers").write_text(" ".join(controllers))
        for name in ("cgroup.subtree_control", "cgroup.procs"):
            (path / name).write_text("")
        (path / "cgroup.freeze").write_text("0\n")
        (path / "cgroup.type").write_text("domain\n")
        self._offer(path, controllers)

    def _offer(self, path: Path, controllers: list[str]) -> None:
        for name in controllers:
            for file in LIMITS[name]:
                (path / file).touch()

    def write(self, path: str, value: str, at: int | None = None) -> None:
        file = Path(path)
        if path.endswith("subtree_control"):
            self.log.append((str(file.parent.relative_to(self.top)), value))
            for name in value.replace("+", "").split():
                if name in self.refused:
                    raise OSError(self.refused[name], os.strerror(self.refused[name]))
                if name not in (file.parent / "cgroup.controllers").read_text().split():
                    raise OSError(errno.ENOENT, "")
            names = {*file.read_text().split(), *value.replace("+", "").split()}
            file.write_text(" ".join(sorted(names)))
            for child in filter(Path.is_dir, file.parent.iterdir()):
                (child / "cgroup.controllers").write_text(" ".join(sorted(names)))
                self._offer(child, sorted(names))
            return
        self.plain_write(path, value, at)


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel(tmp_path)
    monkeypatch.setattr(hot_os, "mkdir", kernel.make)
    monkeypatch.setattr(files, "write", kernel.write)
    monkeypatch.setattr(bpf, "attach", lambda directory, rules, tolerate_eperm: None)
    return kernel


def manager(top: Path, path: str = "/a/b", *, own: str = "/", rootless: bool = False, resources: Any = None) -> Any:
    config = {"linux": {"cgroupsPath": path, "resources": resources}}
    return cgroups.select(config, "id", rootless=rootless, host=Layout([Hierarchy(str(top), ("",), own)]))


def test_controllers_are_enabled_down_the_tree(kernel: Kernel) -> None:
    manager(kernel.top, "/a/b/c").create()
    assert kernel.log == [(place, "+cpu +io +memory +pids") for place in (".", "a", "a/b")]
    kernel.log.clear()
    manager(kernel.top, "/a/b/d").create()
    assert kernel.log == [], "what is enabled is not written again"


def test_one_refused_controller_does_not_keep_the_others(kernel: Kernel) -> None:
    kernel.refused = {"io": errno.EBUSY}
    one = manager(kernel.top)
    one.create()
    assert kernel.log[:5] == [(".", "+cpu +io +memory +pids"), (".", "+cpu"), (".", "+io"), (".", "+memory"), (".", "+pids")]
    one.apply({"memory": {"limit": 5}})
    with pytest.raises(
        UnsupportedError, match="linux.resources.blockIO.weight: this kernel offers no io.bfq.weight or io.weight"
    ):
        one.apply({"blockIO": {"weight": 10}})


def test_an_existing_cgroup_gets_its_controllers_too(kernel: Kernel) -> None:
    hot_os.mkdir(str(kernel.top / "a"))
    hot_os.mkdir(str(kernel.top / "a/b"))
    manager(kernel.top).create()
    assert "memory" in (kernel.top / "a/b/cgroup.controllers").read_text()


def test_limits_reach_the_files(kernel: Kernel) -> None:
    one = manager(kernel.top)
    one.create()
    one.apply(
        {
            "memory": {"limit": 200, "swap": 300, "reservation": 100},
            "cpu": {"shares": 1024, "quota": 5000},
            "pids": {"limit": 9},
            "blockIO": {"weight": 500},
            "unified": {"memory.high": "150", "cpu.idle": "1"},
        }
    )
    read = {path.name: path.read_text() for path in (kernel.top / "a/b").iterdir() if path.read_text()}
    wanted = {"memory.max": "200", "memory.swap.max": "100", "memory.low": "100", "memory.high": "150", "cpu.weight": "100"}
    wanted |= {"cpu.max": "5000 100000", "pids.max": "9", "io.weight": "4950", "cpu.idle": "1"}
    assert {name: read[name] for name in wanted} == wanted


def test_swap_accounting_may_be_missing_when_nothing_is_limited(kernel: Kernel) -> None:
    one = manager(kernel.top)
    one.create()
    (kernel.top / "a/b/memory.swap.max").unlink()
    one.apply({"memory": {"limit": 200, "swap": 200}})
    with pytest.raises(UnsupportedError, match="linux.resources.memory.swap: this kernel offers no memory.swap.max"):
        one.apply({"memory": {"limit": 200, "swap": 300}})


def test_unified_names_what_is_missing(kernel: Kernel) -> None:
    one = manager(kernel.top)
    one.create()
    with pytest.raises(UnsupportedError, match="linux.resources.unified.hugetlb.2MB.max: this kernel offers no hugetlb.2MB.max"):
        one.apply({"unified": {"hugetlb.2MB.max": "5"}})


def test_oom_kills(kernel: Kernel) -> None:
    one = manager(kernel.top)
    one.create()
    (kernel.top / "a/b/memory.events").write_text("low 0\noom 4\noom_kill 3\noom_group_kill 9\n")
    assert one.oom_kills() == 3
    (kernel.top / "a/b/memory.events").write_text("low 0\n")
    assert one.oom_kills() == 0


def forbidding(error: int) -> Callable[..., None]:
    def mkdir(path: Any, mode: int = 0o777, **kw: Any) -> None:
        raise OSError(error, os.strerror(error), path)

    return mkdir


@pytest.mark.parametrize("error", [errno.EACCES, errno.EPERM, errno.EROFS])
@pytest.mark.parametrize("version", [1, 2])
def test_rootless_goes_without_a_cgroup_it_may_not_make(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, version: int
) -> None:
    host = Layout([Hierarchy(str(tmp_path), ("",) if version == 2 else ("pids",), "/")])
    monkeypatch.setattr(hot_os, "mkdir", forbidding(error))
    one = cgroups.select({}, "id", rootless=True, host=host)
    one.create()
    assert one.record() == {"manager": "cgroupfs", "paths": {}, "rootless": True}
    one.apply({"cpu": {"shares": 0}})
    one.join(os.getpid())
    with pytest.raises(UnsupportedError, match=f"linux.resources.pids.limit: {NO_PERMISSION.replace('+', '.')}"):
        one.apply({"pids": {"limit": 1}})
    named = cgroups.select({"linux": {"cgroupsPath": "/a"}}, "id", rootless=True, host=host)
    with pytest.raises(CgroupError, match="create cgroup") as caught:
        named.create()
    assert caught.value.errno == error
    with pytest.raises(CgroupError, match="create cgroup"):
        cgroups.select({}, "id", rootless=False, host=host).create()


def test_rootless_keeps_the_hierarchies_it_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mkdir = os.mkdir

    def some(path: Any, mode: int = 0o777, **kw: Any) -> None:
        if "/devices/" in str(path):
            raise PermissionError(errno.EACCES, "", path)
        mkdir(path, mode, **kw)

    for name in ("pids", "devices"):
        mkdir(tmp_path / name)
    monkeypatch.setattr(hot_os, "mkdir", some)
    host = Layout([Hierarchy(f"{tmp_path}/{name}", (name,), "/") for name in ("pids", "devices")])
    one = cgroups.select({}, "id", rootless=True, host=host)
    one.create()
    assert one.paths == {"pids": f"{tmp_path}/pids/id"}
    one.apply({})


def test_rootless_leaves_no_directory_that_it_cannot_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(leaf: str, prefix: str) -> None:
        raise PermissionError(errno.EACCES, "")

    monkeypatch.setattr(v1, "_fill_cpuset", fill)
    for name in ("pids", "cpuset"):
        (tmp_path / name).mkdir()
    host = Layout([Hierarchy(f"{tmp_path}/{name}", (name,), "/") for name in ("pids", "cpuset")])
    one = cgroups.select({}, "id", rootless=True, host=host)
    one.create()
    assert list(one.paths) == ["pids"] and (tmp_path / "pids/id").is_dir() and not (tmp_path / "cpuset/id").exists()


def test_a_cgroup_that_cannot_be_looked_into(tmp_path: Path) -> None:
    (tmp_path / "id/cgroup.procs").mkdir(parents=True)
    one = cgroups.select({}, "id", rootless=False, host=Layout([Hierarchy(str(tmp_path), ("pids",), "/")]))
    for attempt in (one.check, one.create):
        with pytest.raises(CgroupError, match="cgroup .*/id: is a directory"):
            attempt()


def test_device_rules_need_somewhere_to_go(tmp_path: Path) -> None:
    (tmp_path / "id").mkdir()
    one = cgroups.select({}, "id", rootless=False, host=Layout([Hierarchy(str(tmp_path), ("pids",), "/")]))
    with pytest.raises(UnsupportedError, match="linux.resources.devices: no hierarchy with the controller devices is mounted"):
        one.apply({})


def test_cpusets_mounted_with_noprefix(tmp_path: Path) -> None:
    for directory, value in (("", "0-3\n"), ("a", "\n"), ("a/b", "\n")):
        (tmp_path / directory).mkdir(exist_ok=True)
        for file in ("cpus", "mems"):
            (tmp_path / directory / file).write_text(value)
    (tmp_path / "a/b/cgroup.procs").write_text("")
    host = Layout([Hierarchy(str(tmp_path), ("cpuset",), "/")])
    one = cgroups.select({"linux": {"cgroupsPath": "/a/b"}}, "id", rootless=True, host=host)
    one.create()
    assert (tmp_path / "a/cpus").read_text() == "0-3" == (tmp_path / "a/b/mems").read_text()
    one.apply({"cpu": {"cpus": "2", "mems": "1"}}, devices=False)
    assert (tmp_path / "a/b/cpus").read_text().startswith("2") and (tmp_path / "a/b/mems").read_text().startswith("1")


def test_a_directory_without_cpusets_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        v1._fill_cpuset(str(tmp_path), "cpuset.")
    with pytest.raises(CgroupError, match="create cgroup .*: no such file or directory"):
        cgroups.select({}, "id", rootless=False, host=Layout([Hierarchy(str(tmp_path), ("cpuset",), "/")])).create()
    assert not (tmp_path / "id").exists()


def test_a_link_in_place_of_the_cgroup_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "keep").mkdir()
    (tmp_path / "cg").mkdir()
    (tmp_path / "cg/id").symlink_to(elsewhere)
    record = {"manager": "cgroupfs", "paths": {"pids": f"{tmp_path}/cg/id"}}
    with pytest.raises(CgroupError, match="remove cgroup .*: not a directory"):
        cgroups.reopen(record).destroy()
    assert (elsewhere / "keep").is_dir()
    (tmp_path / "cg/id").unlink()
    (tmp_path / "cg/id").mkdir()
    (tmp_path / "cg/id/cgroup.procs").symlink_to(elsewhere / "procs")
    with pytest.raises(CgroupError, match="too many levels of symbolic links"):
        cgroups.reopen(record).join(os.getpid())


def test_a_link_is_no_directory_of_ours(tmp_path: Path) -> None:
    (tmp_path / "real/below").mkdir(parents=True)
    (tmp_path / "real/below/cgroup.procs").write_text("1\n")
    (tmp_path / "link").symlink_to("real")
    assert files.processes_below(str(tmp_path / "real")) == [1]
    one = cgroups.reopen({"manager": "cgroupfs", "paths": {"": str(tmp_path / "link")}})
    (tmp_path / "real/cgroup.procs").write_text("")
    with pytest.raises(CgroupError, match="list the processes of .*: not a directory"):
        one.pids(all=True)


def test_processes_of_other_namespaces_are_not_ours_to_signal(tmp_path: Path) -> None:
    # The kernel shows them as 0, and kill(0) would be our own process group.
    (tmp_path / "cgroup.procs").write_text("0\n0\n")
    one = cgroups.reopen({"manager": "cgroupfs", "paths": {"pids": str(tmp_path)}})
    assert one.pids() == []


def test_a_read_only_hierarchy_does_not_break_delete(monkeypatch: pytest.MonkeyPatch) -> None:
    def rmdir(path: Any, **kw: Any) -> None:
        raise OSError(errno.EROFS, "")

    monkeypatch.setattr(hot_os, "rmdir", rmdir)
    cgroups.reopen({"manager": "cgroupfs", "paths": {"pids": "/sys/fs/cgroup/pids/none"}}).destroy()


def test_removal_that_is_not_allowed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def rmdir(path: Any, **kw: Any) -> None:
        raise OSError(errno.EACCES, "")

    monkeypatch.setattr(hot_os, "rmdir", rmdir)
    with pytest.raises(CgroupError, match="remove cgroup /a/b: permission denied"):
        cgroups.reopen({"manager": "cgroupfs", "paths": {"pids": "/a/b"}}).destroy()


def test_a_freeze_that_never_comes_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyrunc.cgroups.freezer.FREEZE_SECONDS", 0.02)
    (tmp_path / "cgroup.freeze").write_text("0")
    (tmp_path / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    one = cgroups.reopen({"manager": "cgroupfs", "paths": {"": str(tmp_path)}})
    with pytest.raises(CgroupError, match=f"freeze cgroup {tmp_path}: connection timed out"):
        one.freeze()
    assert (tmp_path / "cgroup.freeze").read_text() == "0"


def test_a_busy_moment_of_the_process_is_waited_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [OSError(errno.EINVAL, ""), OSError(errno.EINVAL, ""), None]
    written = []

    def write(path: str, value: str, at: int | None = None) -> None:
        if (answer := answers.pop(0)) is not None:
            raise answer
        written.append((path, value))

    monkeypatch.setattr(files, "write", write)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    cgroups.reopen({"manager": "cgroupfs", "paths": {"pids": "/c/p"}}).join(42)
    assert written == [("/c/p/cgroup.procs", "42")]
