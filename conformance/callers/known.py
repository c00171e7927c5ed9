"""Every caller by its name."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol

from conformance.callers.cri import Cri
from conformance.callers.docker import Docker, DockerNetwork, Swarm
from conformance.callers.engines import Containerd, Podman


class Caller(Protocol):
    """What runs the scenarios of its name, and tells what they have left. FileNotFoundError when a program is missing."""

    def __init__(self, runtime: Path, work: Path, tag: str) -> None: ...

    def leftovers(self) -> list[str]: ...

    def close(self) -> list[str]: ...


ENGINES: dict[str, type[Caller]] = {
    "podman": Podman, "containerd": Containerd, "cri": Cri, "docker": Docker, "docker-network": DockerNetwork, "swarm": Swarm,
}  # fmt: skip


def gone(engine: Caller) -> list[str]:
    """What containers have left when it had the time to go."""
    end = time.monotonic() + 5
    while (found := engine.leftovers()) and time.monotonic() < end:
        time.sleep(0.02)
    return found
