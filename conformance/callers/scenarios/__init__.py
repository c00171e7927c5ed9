"""What callers must see. Whoever imports this package has the whole list in SCENARIOS."""

from conformance.callers.scenarios import containerd, docker, networks, podman, shared, swarm
from conformance.callers.scenarios.table import SCENARIOS, Scenario

__all__ = ["SCENARIOS", "Scenario", "containerd", "docker", "networks", "podman", "shared", "swarm"]
