"""Hierarchies read from procfs, and where a container belongs in them."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given, strategies as st

from pyrunc import cgroups
from pyrunc.cgroups import hierarchies, subgroup
from pyrunc.cgroups.hierarchies import Hierarchy, Layout, container_paths, parse
from pyrunc.cgroups.view import legs
from pyrunc.errors import ConfigError, StateError, UnsupportedError, UsageError

HYBRID = (
    b"31 23 0:28 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755\n"
    b"32 31 0:29 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
    b"33 31 0:30 / /sys/fs/cgroup/systemd rw shared:10 - cgroup cgroup rw,xattr,name=systemd\n"
    b"34 31 0:31 / /sys/fs/cgroup/cpu,cpuacct rw master:1 - cgroup cgroup rw,cpu,cpuacct\n"
    b"35 31 0:32 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset,noprefix\n"
    b"36 31 0:33 / /mnt/with\\040blank rw - cgroup cgroup rw,memory\n"
    b"37 31 0:33 /elsewhere /mnt/again rw - cgroup cgroup rw,memory\n"
)
HYBRID_OWN = b"5:memory:/user/one\n4:cpuset:/\n3:cpu,cpuacct:/user\n2:name=systemd:/a:b\n0::/session\n"


def hybrid() -> Layout:
    return parse(HYBRID, HYBRID_OWN)


def only_v2(own: str = "/user/session") -> Layout:
    return Layout([Hierarchy("/sys/fs/cgroup", ("",), own)])


def test_a_hybrid_host() -> None:
    host = hybrid()
    assert host.version == "hybrid"
    assert [(h.mount, h.controllers, h.own, h.options) for h in host.hierarchies] == [
        ("/sys/fs/cgroup/unified", ("",), "/session", ""),
        ("/sys/fs/cgroup/systemd", ("name=systemd",), "/a:b", "name=systemd"),
        ("/sys/fs/cgroup/cpu,cpuacct", ("cpu", "cpuacct"), "/user", "cpu,cpuacct"),
        ("/sys/fs/cgroup/cpuset", ("cpuset",), "/", "cpuset"),
        ("/mnt/with blank", ("memory",), "/user/one", "memory"),
    ]


@pytest.mark.parametrize(
    ("mountinfo", "own", "version"),
    [
        (b"1 0 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n", b"0::/\n", 2),
        (b"1 0 0:1 / /c/pids rw - cgroup cgroup rw,pids\n", b"1:pids:/\n", 1),
        (b"1 0 0:1 / / rw - ext4 /dev/sda rw\n", b"0::/\n", 0),
        # A mount whose controller is not in /proc/self/cgroup has gone out of use since.
        (b"1 0 0:1 / /c/pids rw - cgroup cgroup rw,pids\n", b"1:cpu:/\n", 0),
        (b"", b"", 0),
    ],
)
def test_versions(mountinfo: bytes, own: bytes, version: object) -> None:
    assert parse(mountinfo, own).version == version


@pytest.mark.parametrize(
    ("root", "path", "own"),
    [
        ("/", "/a/b", "/a/b"),
        ("/docker/x", "/docker/x", "/"),
        ("/docker/x", "/docker/x/y", "/y"),
        # A name that only begins alike is another cgroup.
        ("/docker/x", "/docker/xy", "/"),
        ("/..", "/", "/"),
        ("/", "/../outside", "/"),
    ],
)
def test_own_cgroup_seen_through_a_mount(root: str, path: str, own: str) -> None:
    host = parse(f"1 0 0:1 {root} /cg rw - cgroup cgroup rw,pids\n".encode(), f"1:pids:{path}\n".encode())
    assert host.hierarchies[0].own == own


def test_this_machine_is_read() -> None:
    host = cgroups.layout()
    assert host.version in (1, 2, "hybrid")
    assert all(os.path.isdir(hierarchy.mount + hierarchy.own) for hierarchy in host.hierarchies)
    # A second time: a function and a module of one name would have changed places.
    assert cgroups.layout().version == host.version


def test_absolute_paths_count_from_the_mount_points() -> None:
    paths = container_paths(hybrid(), "/docker//./abc/", "id")
    assert paths == {
        "": "/sys/fs/cgroup/unified/docker/abc",
        "name=systemd": "/sys/fs/cgroup/systemd/docker/abc",
        "cpu": "/sys/fs/cgroup/cpu,cpuacct/docker/abc",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct/docker/abc",
        "cpuset": "/sys/fs/cgroup/cpuset/docker/abc",
        "memory": "/mnt/with blank/docker/abc",
    }
    assert container_paths(only_v2(), "/docker/abc", "id") == {"": "/sys/fs/cgroup/docker/abc"}


def test_relative_and_absent_paths_count_from_the_own_cgroup() -> None:
    paths = container_paths(hybrid(), "", "the-id")
    assert paths["memory"] == "/mnt/with blank/user/one/the-id"
    assert paths["cpuset"] == "/sys/fs/cgroup/cpuset/the-id"
    assert container_paths(hybrid(), "a/b", "id")["cpu"] == "/sys/fs/cgroup/cpu,cpuacct/user/a/b"


def test_on_v2_a_relative_path_counts_from_the_parent_of_the_own_cgroup() -> None:
    assert container_paths(only_v2(), "", "id") == {"": "/sys/fs/cgroup/user/id"}
    assert container_paths(only_v2("/session"), "", "id") == {"": "/sys/fs/cgroup/id"}
    assert container_paths(only_v2("/"), "", "id") == {"": "/sys/fs/cgroup/id"}


def test_a_mount_on_the_root_directory() -> None:
    assert container_paths(Layout([Hierarchy("/", ("",), "/x")]), "/a/b", "id") == {"": "/a/b"}


@given(st.text(alphabet="a./-", max_size=12))
def test_no_path_leads_out(path: str) -> None:
    for host, start in ((hybrid(), "/mnt/with blank/"), (only_v2(), "/sys/fs/cgroup/")):
        try:
            paths = container_paths(host, path, "id")
        except ConfigError:
            assert os.path.normpath("/" + path.lstrip("/")) == "/"
            continue
        chosen = paths.get("memory", paths[""])
        assert chosen.startswith(start) and ".." not in chosen.split("/") and len(chosen) > len(start)


@pytest.mark.parametrize("path", ["/", "//", ".", "..", "/../..", "a/..", "/a\nb", "a\0b", "/\ud800"])
def test_paths_that_are_refused(path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        container_paths(hybrid(), path, "id")
    assert caught.value.config_path == "linux.cgroupsPath"


def test_bytes_that_are_no_utf8_are_kept() -> None:
    assert container_paths(only_v2(), "/a\udcff", "id")[""].encode(errors="surrogateescape").endswith(b"/a\xff")


def select(**kw: Any) -> Any:
    return cgroups.select({"linux": {"cgroupsPath": "/a/b"}}, "id", rootless=False, **kw)


def test_managers() -> None:
    assert select(host=hybrid()).record()["manager"] == "cgroupfs"
    assert select(host=only_v2()).record() == {"manager": "cgroupfs", "paths": {"": "/sys/fs/cgroup/a/b"}}
    assert select(manager="disabled").record() == {"manager": "disabled", "paths": {}}
    with pytest.raises(ConfigError, match="slice:prefix:name"):
        select(manager="systemd", host=hybrid())
    with pytest.raises(UnsupportedError, match="unknown cgroup manager 'sysemd'"):
        select(manager="sysemd")
    with pytest.raises(UnsupportedError, match="no cgroup hierarchy is mounted"):
        select(host=Layout([]))
    assert cgroups.select({}, "id", rootless=False, host=only_v2()).record()["paths"] == {"": "/sys/fs/cgroup/user/id"}


@pytest.mark.parametrize("host", [hybrid(), only_v2()])
@pytest.mark.parametrize("rootless", [False, True])
def test_a_record_reopens_as_what_it_was(host: Layout, rootless: bool) -> None:
    manager = cgroups.select({"linux": {"cgroupsPath": "/a/b"}}, "id", rootless=rootless, host=host)
    again = cgroups.reopen(manager.record())
    assert type(again) is type(manager) and again.record() == manager.record()


@pytest.mark.parametrize(
    "record",
    [
        None,
        [],
        {},
        {"manager": "systemd", "paths": {}},
        {"manager": "cgroupfs"},
        {"manager": "cgroupfs", "paths": ["/a/b"]},
        {"manager": "cgroupfs", "paths": {"cpu": None}},
        {"manager": "cgroupfs", "paths": {"cpu": ""}},
        {"manager": "cgroupfs", "paths": {"cpu": "/"}},
        {"manager": "cgroupfs", "paths": {"cpu": "/etc"}},
        {"manager": "cgroupfs", "paths": {"cpu": "a/b/c"}},
        {"manager": "cgroupfs", "paths": {"cpu": "/sys/fs/cgroup/cpu/../../../../home"}},
        {"manager": "cgroupfs", "paths": {"cpu": "/sys/fs/cgroup//x"}},
    ],
)
def test_damaged_records(record: object) -> None:
    with pytest.raises(StateError, match="damaged"):
        cgroups.reopen(record)


def test_a_container_without_cgroups_answers_everything() -> None:
    for manager in (
        cgroups.reopen({"manager": "disabled"}),
        cgroups.reopen({"manager": "cgroupfs", "paths": {}, "rootless": True}),
    ):
        (
            manager.check(),
            manager.create(),
            manager.apply(None),
            manager.join(1),
            manager.thaw(),
            manager.kill_all(),
            manager.destroy(),
        )
        assert (manager.pids(all=True), manager.frozen(), manager.oom_kills(), manager.entry()) == ([], False, 0, ([], None))
        assert not cgroups.frozen(manager.record())
        with pytest.raises(UnsupportedError, match="cannot be paused"):
            manager.freeze()


PATHS = {"cpu": "/c/cpu/x", "memory": "/c/memory/x", "": "/c/unified/x"}


@pytest.mark.parametrize(
    ("values", "below"),
    [
        ([], {}),
        (["/"], {"*": ""}),
        (["sub/deep/"], {"*": "/sub/deep"}),
        (["../../out"], {"*": "/out"}),
        (["cpu,memory:/a", "b"], {"cpu": "/a", "memory": "/a", "*": "/b"}),
    ],
)
def test_subgroups(values: list[str], below: dict[str, str]) -> None:
    assert subgroup.parse(values, PATHS) == below


@pytest.mark.parametrize("values", [["pids:/a"], ["cpu:/a", "cpu:/b"], ["/a", "/b"], ["cpu,cpu:/a"]])
def test_bad_subgroups(values: list[str]) -> None:
    with pytest.raises(UsageError, match="--cgroup"):
        subgroup.parse(values, PATHS)


def test_the_view_of_a_hybrid_host() -> None:
    paths = container_paths(hybrid(), "/a/b", "id")
    shared = [(leg.kind, leg.source, leg.target, leg.data) for leg in legs(hybrid(), paths, private=False)]
    assert shared[0] == ("tmpfs", "tmpfs", "", "mode=755")
    assert ("bind", "/sys/fs/cgroup/unified/a/b", "unified", "") in shared
    assert ("bind", "/sys/fs/cgroup/cpu,cpuacct/a/b", "cpu,cpuacct", "") in shared
    assert shared[-2:] == [("symlink", "cpu,cpuacct", "cpu", ""), ("symlink", "cpu,cpuacct", "cpuacct", "")]
    private = [(leg.kind, leg.target, leg.data) for leg in legs(hybrid(), paths, private=True)]
    assert ("cgroup2", "unified", "") in private and ("cgroup", "cpu,cpuacct", "cpu,cpuacct") in private
    assert ("cgroup", "systemd", "name=systemd") in private


def test_the_view_leaves_out_what_the_container_is_not_in() -> None:
    shown = legs(hybrid(), {"memory": "/mnt/with blank/a"}, private=False)
    assert [leg.target for leg in shown] == ["", "with blank"]


def test_the_view_of_a_v2_host() -> None:
    (leg,) = cgroups.reopen({"manager": "cgroupfs", "paths": {"": "/sys/fs/cgroup/a"}}).mount_view(only_v2(), private=True)
    assert (leg.kind, leg.target, leg.data) == ("cgroup2", "", "")


def test_procfs_that_cannot_be_read() -> None:
    with pytest.raises(OSError):
        hierarchies.layout("/proc/self/task/none")
