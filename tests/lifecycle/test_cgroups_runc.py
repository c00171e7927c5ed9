"""The same resources by Debian's runc and by us: every file of every hierarchy must read the same afterwards."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyrunc import cgroups

HOST = cgroups.layout()
RUNC = shutil.which("runc")

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(RUNC is None, reason="runc is not installed"),
    pytest.mark.skipif(HOST.version == 2, reason="compares v1 files"),
]

# What depends on the processes inside, or on the moment.
VOLATILE = (
    "stat",
    "usage",
    "current",
    "peak",
    "procs",
    "tasks",
    "pressure",
    "events",
    "failcnt",
    "slabinfo",
    "io_serv",
    "usage_",
    "threads",
)


def files_of(paths: dict[str, str]) -> dict[str, str]:
    """All limits, by controller and file. The device list is sorted: its order has no meaning."""
    found = {}
    for controller, directory in paths.items():
        for path in Path(directory).iterdir():
            if path.is_file() and path.stat().st_mode & 0o400 and not any(word in path.name for word in VOLATILE):
                try:
                    text = path.read_text()
                except OSError:
                    continue
                found[f"{controller}:{path.name}"] = "\n".join(sorted(text.splitlines())) if "devices" in path.name else text
    return found


@pytest.mark.parametrize(
    "resources",
    [
        {},
        {"devices": [{"allow": False, "access": "rwm"}], "pids": {"limit": 2048}},
        {"memory": {"limit": 64 << 20, "swap": 80 << 20, "reservation": 32 << 20, "swappiness": 30, "disableOOMKiller": True}},
        {"memory": {"limit": 64 << 20}, "cpu": {"shares": 300, "quota": 20_000, "period": 50_000, "cpus": "0", "mems": "0"}},
        {"cpu": {"shares": 0, "quota": -1}, "blockIO": {"weight": 200}, "pids": {"limit": -1}},
        {
            "devices": [
                {"allow": True, "access": "rwm"},
                {"allow": False, "type": "c", "major": 10, "minor": 229, "access": "rwm"},
            ]
        },
        {"devices": [{"allow": False, "access": "rwm"}, {"allow": True, "type": "b", "major": 8, "access": "rw"}]},
    ],
    ids=str,
)
def test_the_same_files(bundle: Callable[..., Any], container_id: str, session_dir: Path, resources: dict[str, Any]) -> None:
    made = bundle("sleep", "60")
    made.config["linux"]["resources"] = resources
    made.config["linux"]["cgroupsPath"] = f"/{container_id}/one"
    made.write()
    root = session_dir / f"runc-{container_id}"
    call = [str(RUNC), "--root", str(root)]
    quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "timeout": 60}
    manager = cgroups.select(made.config, container_id, rootless=False)
    try:
        subprocess.run([*call, "run", "-d", "-b", str(made), container_id], check=True, stderr=subprocess.DEVNULL, **quiet)
        recorded = json.loads((root / container_id / "state.json").read_text())["cgroup_paths"]
        theirs = files_of(recorded)
        subprocess.run([*call, "delete", "-f", container_id], check=True, **quiet)
        # This runc does not know the newest controller, where that is mounted, and leaves it to the caller's cgroup.
        assert {name: path for name, path in manager.paths.items() if name != "misc"} == recorded
        manager.create()
        manager.apply(resources)
        ours = files_of({name: manager.paths[name] for name in recorded})
    finally:
        subprocess.run([*call, "delete", "-f", container_id], stderr=subprocess.DEVNULL, **quiet)
        manager.destroy()
        for hierarchy in HOST.hierarchies:
            parent = Path(hierarchy.mount, container_id)
            if parent.exists():
                parent.rmdir()
    # runc does not fold mknod into narrower lines: their meaning is the same.
    devices = "devices:devices.list"
    different = set(ours.pop(devices).splitlines()) ^ set(theirs.pop(devices).splitlines())
    assert different <= {"b 8:* rwm", "b 8:* rw"}
    assert ours == theirs and len(ours) > 40
