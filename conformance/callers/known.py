"""Every caller by its name."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol

from conformance.callers.cri import Cri
from conformance.callers.docker import Docker, DockerNetwork, Swarm
from conformance.callers.engines import Containerd, Podman
from conformance.callers.systemd import ContainerdSystemd, PodmanRootless, PodmanSystemd, Units


class Caller(Protocol):
    """What runs the scenarios of its name, and tells what they have left. FileNotFoundError when a program is missing."""

    def __init__(self, runtime: Path, work: Path, tag: str) -> None: ...

    def leftovers(self) -> list[str]: ...

    def close(self) -> list[str]: ...


ENGINES: dict[str, type[Caller]] = {
    "podman": Podman, "podman-systemd": PodmanSystemd, "podman-rootless": PodmanRootless, "containerd": Containerd,
    "containerd-systemd": ContainerdSystemd, "cri": Cri, "docker": Docker, "docker-network": DockerNetwork, "swarm": Swarm,
}  # fmt: skip
UNDER_SYSTEMD = [name for name, engine in ENGINES.items() if issubclass(engine, Units)]


def gone(engine: Caller) -> list[str]:
    """What containers have left when it had the time to go."""
    end = time.monotonic() + 60
    while (found := engine.leftovers()) and time.monotonic() < end:
        time.sleep(0.02)
    return found
