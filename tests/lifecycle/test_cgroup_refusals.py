"""What create says of limits and cgroups that cannot be: one clear line, and nothing is left."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import cgroups
from tests.lifecycle.box import Box, one_line
from tests.lifecycle.limits import HOST, paths

V2_HOST = HOST.version == 2
WITHOUT_JSONSCHEMA = "does not match the schema"

BOTH: list[tuple[dict[str, Any], str]] = [
    ({"pids": {"limit": -5}}, "linux.resources.pids.limit: write '-5' to "),
    ({"pids": {"limit": 1 << 63}}, "linux.resources.pids.limit"),
    ({"memory": {"limit": -7}}, "linux.resources.memory.limit: write '-7' to "),
    ({"memory": {"limit": 1 << 70}}, "linux.resources.memory.limit"),
    ({"memory": {"limit": 2 << 20, "swap": 1 << 20}}, "linux.resources.memory.swap: "),
    ({"cpu": {"shares": -1}}, "linux.resources.cpu.shares"),
    ({"cpu": {"quota": 5}}, "linux.resources.cpu.quota: write "),
    ({"cpu": {"cpus": "5-3"}}, "linux.resources.cpu.cpus"),
    ({"cpu": {"mems": "4000"}}, "linux.resources.cpu.mems: write '4000' to "),
    ({"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}, "linux.resources.hugepageLimits[0]: "),
    ({"hugepageLimits": [{"pageSize": "../x", "limit": 1}]}, "linux.resources.hugepageLimits[0].pageSize"),
    ({"rdma": {"none_0": {"hcaHandles": 1}}}, "linux.resources.rdma.none_0: "),
    ({"blockIO": {"leafWeight": 10}}, "linux.resources.blockIO.leafWeight: "),
    ({"blockIO": {"weightDevice": [{"major": -1, "minor": 0, "weight": 9}]}}, "linux.resources.blockIO.weightDevice[0]"),
    ({"devices": [{"allow": False, "type": "c", "major": -9, "access": "r"}]}, "linux.resources.devices[0].major"),
]
ONE = [
    ({"unified": {"nosuch.max": "1"}}, "linux.resources.unified"),
    ({"unified": {"../../cgroup.procs": "1"}}, "linux.resources.unified"),
    *([({"network": {"classID": 1}}, "linux.resources.network.classID: ")] if V2_HOST else []),
]


def test_limits_that_cannot_be(box: Box) -> None:
    for resources, told in (*BOTH, *ONE):
        box.linux["resources"] = resources
        message = box.refused()
        assert told in message or WITHOUT_JSONSCHEMA in message
        assert not box.exists() and not [path for path in cgroups() if box.id in path], resources


@pytest.mark.parametrize("path", ["/", "..", "/../..", "a/.."])
def test_a_path_that_is_the_start(box: Box, path: str) -> None:
    box.linux["cgroupsPath"] = path
    assert box.refused().endswith(f"linux.cgroupsPath: '{path}' names no cgroup below the start of the hierarchy")


def test_a_path_cannot_lead_out(box: Box) -> None:
    box.linux["cgroupsPath"] = f"/../../{box.id}/x/../../../{box.id}/leaf"
    box.create()
    for directory in paths(box).values():
        assert directory.endswith(f"/{box.id}/leaf") and ".." not in directory
        assert any(directory == f"{hierarchy.mount}/{box.id}/leaf" for hierarchy in HOST.hierarchies)
    parents = {Path(directory).parent for directory in paths(box).values()}
    box.down()
    for parent in parents:
        parent.rmdir()  # the creator's, who is another process by now


@pytest.fixture
def taken(box: Box, boxes: Callable[[], Box]) -> Iterator[tuple[Box, Box]]:
    """A container that runs, and the config of another one for the same cgroup."""
    other = boxes()
    for each in (box, other):
        each.linux["cgroupsPath"] = f"/{box.id}"
    box.up()
    yield box, other
    box.down()


def test_a_populated_cgroup(taken: tuple[Box, Box]) -> None:
    box, other = taken
    for force in (False, True):
        assert "container's cgroup is not empty: " in other.refused()
        if force:
            other.cli("delete", "--force", other.id, check=True)
        assert box.status == "running" and not other.exists()


def test_a_frozen_cgroup(box: Box) -> None:
    """Left behind by somebody else, without a process in it."""
    box.linux["cgroupsPath"] = f"/{box.id}"
    name = "freezer" if not V2_HOST else ""
    mount = next(hierarchy.mount for hierarchy in HOST.hierarchies if name in hierarchy.controllers)
    directory = Path(mount, box.id)
    directory.mkdir()
    state, value = ("cgroup.freeze", "1") if V2_HOST else ("freezer.state", "FROZEN")
    (directory / state).write_text(value)
    try:
        assert box.refused().endswith("container's cgroup unexpectedly frozen")
        assert directory.is_dir()
    finally:
        directory.rmdir()


def test_a_read_only_mount(box: Box) -> None:
    """In a mount namespace in which no cgroup can be made; a container that has cgroups already can still be deleted."""
    box.up()
    remount = "; ".join(f"mount -o remount,bind,ro {hierarchy.mount}" for hierarchy in HOST.hierarchies)

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        script = f"{remount}; exec \"$@\""
        argv = ["unshare", "-m", "sh", "-ec", script, "sh", *box.cli.argv(*words)]
        return subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)

    done = run("create", "--bundle", box.bundle, f"{box.id}.ro")
    assert done.returncode == 1 and "create cgroup " in one_line(done) and "read-only file system" in done.stderr
    assert not (box.cli.root / f"{box.id}.ro").exists()
    assert "read-only file system" in run("update", "--pids-limit", "5", box.id).stderr
    kept = paths(box)
    box.kill("KILL")
    box.stopped()
    done = run("delete", box.id)
    assert (done.returncode, done.stderr) == (0, "") and not box.exists()
    for directory in set(kept.values()):
        os.rmdir(directory)


def test_obsolete_limits_are_told_in_the_log(box: Box) -> None:
    box.linux["resources"]["memory"] = {"kernel": 1 << 20, "kernelTCP": 1 << 20}
    box.bundle.write()
    done = box.cli("--log-level", "warning", "create", "--bundle", box.bundle, box.id, check=True)
    told = [line for line in done.stderr.splitlines() if "is ignored" in line]
    assert len(told) == 2 and "linux.resources.memory.kernelTCP is ignored" in told[1]
    box.down()


@pytest.mark.skipif(not V2_HOST, reason="cgroup v2 alone delegates by ownership")
def test_the_cgroup_is_given_to_the_containers_user(box: Box) -> None:
    box.map_ids()
    box.namespace("cgroup")
    box.unmount("/sys/fs/cgroup")
    box.mount("/sys/fs/cgroup", "cgroup", "nosuid", "nodev", "noexec")
    script = """
        cd /sys/fs/cgroup
        stat -c %u . cgroup.procs cgroup.subtree_control memory.max
        mkdir leaf && echo $$ >leaf/cgroup.procs && echo +pids >cgroup.subtree_control
        echo 5 >leaf/pids.max && cat leaf/pids.max /proc/self/cgroup
        (echo 1 >memory.max) 2>/dev/null || echo kept
    """
    lines = box.lines(script)
    assert lines == ["0", "0", "0", "65534", "5", "0::/leaf", "kept"]


@pytest.mark.skipif(not V2_HOST, reason="cgroup v2 alone delegates by ownership")
@pytest.mark.parametrize("options", [["ro"], None])
def test_a_cgroup_that_is_not_writable_inside_is_not_given(box: Box, options: list[str] | None) -> None:
    box.map_ids()
    box.namespace("cgroup")
    box.unmount("/sys/fs/cgroup")
    if options:
        box.mount("/sys/fs/cgroup", "cgroup", *options)
    box.create()
    assert os.stat(paths(box)[""]).st_uid == 0
    box.down()


def test_names_in_any_case(box: Box) -> None:
    box.linux["resources"] = {"PIDS": {"Limit": 31}}
    box.create()
    directory = paths(box)["" if V2_HOST else "pids"]
    assert Path(directory, "pids.max").read_text() == "31\n"
    assert json.loads((box.cli.root / box.id / "config.json").read_text())["linux"]["resources"]
    box.down()
