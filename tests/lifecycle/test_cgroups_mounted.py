"""Controllers that this machine has but does not mount: joint net_cls,net_prio and hugetlb, in a mount namespace of their own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pyrunc import cgroups

PROJECT = Path(__file__).resolve().parents[2]
SCRIPT = """
import json, os, subprocess, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
name, where, options = sys.argv[2:5]
resources = json.loads(sys.argv[5])
from conformance.hierarchies import mounted
from pyrunc import cgroups, errors
with mounted(options, Path(where, options)) as there:
    if not there:
        sys.exit(77)
    manager = cgroups.select({"linux": {"cgroupsPath": "/" + name}}, name, rootless=False)
    child = subprocess.Popen(["sleep", "60"])
    told = {"paths": {key: path for key, path in manager.paths.items() if key in options.split(",")}}
    try:
        manager.create()
        try:
            manager.apply(resources)
            told["error"] = None
        except errors.PyruncError as error:
            told["error"] = error.message
        manager.join(child.pid)
        told["joined"] = f"{options}:/{name}" in open(f"/proc/{child.pid}/cgroup").read()
        directory = manager.paths[options.split(",")[0]]
        present = [file for file in sys.argv[6:] if os.path.exists(f"{directory}/{file}")]
        told["files"] = {file: open(f"{directory}/{file}").read().split() for file in present}
        told["legs"] = [(leg.kind, leg.source, leg.target) for leg in manager.mount_view(cgroups.layout(), private=False)]
    finally:
        manager.kill_all()
        child.wait()
        manager.destroy()
print(json.dumps(told))
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def run(container_id: str, where: Path, options: str, resources: dict[str, Any], *files: str) -> dict[str, Any]:
    available = Path("/proc/cgroups").read_text().split()
    if missing := [name for name in options.split(",") if name not in available and "=" not in name]:
        pytest.skip(f"this kernel has no {missing[0]}")
    # hugetlb belongs to the unified hierarchy while it is not mounted as v1, and comes back to it afterwards.
    command = ["unshare", "-m", "python3", "-c", SCRIPT, PROJECT, container_id, where, options, json.dumps(resources), *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode == 77:
        pytest.skip(f"{options} is bound to v1 otherwise or cannot be")
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_network_priorities_and_a_joint_mount(container_id: str, tmp_path: Path) -> None:
    resources = {"network": {"classID": 0x100001, "priorities": [{"name": "lo", "priority": 5}]}}
    told = run(container_id, tmp_path, "net_cls,net_prio", resources, "net_cls.classid", "net_prio.ifpriomap")
    directory = f"{tmp_path}/net_cls,net_prio/{container_id}"
    assert told["paths"] == {"net_cls": directory, "net_prio": directory}
    assert told["error"] is None and told["joined"]
    assert told["files"]["net_cls.classid"] == [str(0x100001)]
    assert told["files"]["net_prio.ifpriomap"][:2] == ["lo", "5"]
    assert ["bind", directory, "net_cls,net_prio"] in told["legs"]
    assert ["symlink", "net_cls,net_prio", "net_prio"] in told["legs"]


def test_an_interface_that_is_not_there(container_id: str, tmp_path: Path) -> None:
    resources = {"network": {"priorities": [{"name": "nosuch0", "priority": 5}]}}
    told = run(container_id, tmp_path, "net_cls,net_prio", resources)
    assert told["error"].startswith("linux.resources.network.priorities[0]: write 'nosuch0 5' to ")


def test_huge_pages(container_id: str, tmp_path: Path) -> None:
    resources = {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]}
    files = ("hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.rsvd.limit_in_bytes")
    told = run(container_id, tmp_path, "hugetlb", resources, *files)
    if not told["files"]:
        pytest.skip("this kernel has no huge pages of 2 MB")
    assert told["error"] is None and told["joined"]
    assert told["files"] == {file: [str(4 << 20)] for file in told["files"]}


def test_a_page_size_that_the_kernel_lacks(container_id: str, tmp_path: Path) -> None:
    told = run(container_id, tmp_path, "hugetlb", {"hugepageLimits": [{"pageSize": "3MB", "limit": 4 << 20}]})
    assert told["error"].startswith("linux.resources.hugepageLimits[0]: this kernel offers no hugetlb.3MB.limit_in_bytes in ")


def test_a_named_hierarchy(container_id: str, tmp_path: Path) -> None:
    """As systemd has one for itself: no controller, but a container is in it as in every other."""
    if not any(hierarchy.controllers != ("",) for hierarchy in cgroups.layout().hierarchies):
        pytest.skip("a host of cgroup v2 alone has no named hierarchies")
    name = f"name={container_id}"
    told = run(container_id, tmp_path, name, {"pids": {"limit": 7}}, "cgroup.procs")
    assert told["paths"] == {name: f"{tmp_path}/{name}/{container_id}"}
    assert told["error"] is None and told["joined"] and ["bind", told["paths"][name], name] in told["legs"]
