"""What callers must see. Whoever imports this package has the whole list in SCENARIOS."""

from conformance.callers.scenarios import containerd, cri, docker, networks, podman, shared, swarm, systemd
from conformance.callers.scenarios.table import SCENARIOS, Scenario

__all__ = ["SCENARIOS", "Scenario", "containerd", "cri", "docker", "networks", "podman", "shared", "swarm", "systemd"]
