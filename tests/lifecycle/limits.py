"""The limits of a container as the kernel has them, under the same names for cgroup v1 and v2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyrunc import cgroups
from tests.lifecycle.box import Box

HOST = cgroups.layout()

V1 = {
    "memory": ("memory", "memory.limit_in_bytes"),
    "swap": ("memory", "memory.memsw.limit_in_bytes"),
    "reservation": ("memory", "memory.soft_limit_in_bytes"),
    "shares": ("cpu", "cpu.shares"),
    "quota": ("cpu", "cpu.cfs_quota_us"),
    "period": ("cpu", "cpu.cfs_period_us"),
    "burst": ("cpu", "cpu.cfs_burst_us"),
    "idle": ("cpu", "cpu.idle"),
    "cpus": ("cpuset", "cpuset.cpus"),
    "mems": ("cpuset", "cpuset.mems"),
    "pids": ("pids", "pids.max"),
    "weight": ("blkio", "blkio.bfq.weight"),
}
V2 = {
    "memory": "memory.max",
    "swap": "memory.swap.max",
    "reservation": "memory.low",
    "shares": "cpu.weight",
    "quota": "cpu.max",
    "burst": "cpu.max.burst",
    "idle": "cpu.idle",
    "cpus": "cpuset.cpus",
    "mems": "cpuset.mems",
    "pids": "pids.max",
}


def paths(box: Box) -> dict[str, str]:
    """The container's cgroups by controller, ``""`` is cgroup2's."""
    found: dict[str, str] = json.loads((box.cli.root / box.id / "state.json").read_text())["cgroup_paths"]
    return found


def file_of(box: Box, limit: str) -> Path:
    """The file that holds a limit; the test is skipped where this host has none."""
    controller, name = ("", V2[limit]) if HOST.version == 2 else V1[limit]
    path = Path(paths(box).get(controller, "/nonexistent"), name)
    if not path.exists():
        pytest.skip(f"this host has no {name}")
    return path


def read(box: Box, *limits: str) -> tuple[str, ...]:
    return tuple(file_of(box, limit).read_text().strip() for limit in limits)
