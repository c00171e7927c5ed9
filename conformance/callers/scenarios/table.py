"""The list of scenarios, and what several of them have the container do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

Scenario = Callable[[Any], None]
"""A function of an engine that raises AssertionError; its docstring is its title."""

NAMES = (
    *("podman", "podman-systemd", "podman-rootless", "containerd", "containerd-systemd", "cri"),
    *("docker", "docker-network", "swarm"),
)
SCENARIOS: dict[str, list[Scenario]] = {name: [] for name in NAMES}

LOOP = "trap 'echo term; exit 3' TERM; trap 'echo usr1' USR1; echo up; while :; do sleep 0.05; done"
SIZE = 'until [ "$(stty size 2>/dev/null)" = "{} {}" ]; do sleep 0.05; done; '
LINE = "read line; echo got $line; exit 9"
READ = "tty; " + SIZE.format(33, 90) + "echo rea''dy; " + LINE
RESIZED = "tty; " + SIZE.format(33, 90) + "echo rea''dy; " + SIZE.format(40, 100) + "echo resi''zed; " + LINE
LIMITS_V1 = ("memory/memory.limit_in_bytes", "pids/pids.max", "cpu/cpu.cfs_quota_us")


def on(*engines: str) -> Callable[[Scenario], Scenario]:
    """Puts the function on the list of these engines."""

    def add(scenario: Scenario) -> Scenario:
        for engine in engines:
            SCENARIOS[engine].append(scenario)
        return scenario

    return add


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Poll; AssertionError when it does not come true in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.1)
