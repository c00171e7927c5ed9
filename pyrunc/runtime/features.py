"""``features``: what this version of pyrunc can do on any host (runtime-spec, features.md and features-linux.md).

Each list is the table that the code itself works by.
The specification tells null (unknown) from an empty list (none); here everything is known.
"""

from __future__ import annotations

from pyrunc import SPEC_VERSION, __version__
from pyrunc.cgroups import RECORDED
from pyrunc.cgroups.limits_v2 import CONTROLLERS
from pyrunc.cgroups.systemd_values import PREFIX
from pyrunc.config.names import CAPABILITIES, HOOKS, MOUNT_OPTIONS, NAMESPACES
from pyrunc.config.scheduling import MEMORY_FLAGS, MEMORY_MODES
from pyrunc.plan.seccomp_profile import ACTIONS, ARCHITECTURES, FLAGS, OPERATORS
from pyrunc.runtime.images import ANNOTATION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OLDEST = "1.0.0"
UNSAFE_ANNOTATIONS = [ANNOTATION, PREFIX]
"""Of those of a config, the ones that make the runtime do something; a dot at the end makes it a prefix."""

CHECKPOINT = "org.opencontainers.runc.checkpoint.enabled"
"""What callers look at to learn whether a container can be checkpointed: runc and crun both say it by this name."""


def features() -> dict[str, Any]:
    """The document, its members in the specification's order."""
    return {
        "ociVersionMin": OLDEST,
        "ociVersionMax": SPEC_VERSION,
        "hooks": list(HOOKS),
        "mountOptions": sorted(MOUNT_OPTIONS),
        "linux": _linux(),
        "annotations": {CHECKPOINT: "true", "org.pyrunc.version": __version__},
        "potentiallyUnsafeConfigAnnotations": list(UNSAFE_ANNOTATIONS),
    }


def _linux() -> dict[str, Any]:
    systemd = "systemd" in RECORDED
    return {
        "namespaces": sorted(NAMESPACES),
        "capabilities": list(CAPABILITIES),
        "cgroup": {"v1": True, "v2": True, "systemd": systemd, "systemdUser": systemd, "rdma": "rdma" in CONTROLLERS},
        "seccomp": {
            "enabled": True,
            "actions": sorted(ACTIONS),
            "operators": sorted(OPERATORS),
            "archs": sorted(ARCHITECTURES),
            "knownFlags": sorted(FLAGS),
            "supportedFlags": sorted(FLAGS),
        },
        "apparmor": {"enabled": True},
        "selinux": {"enabled": True},
        "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
        "memoryPolicy": {"modes": sorted(MEMORY_MODES), "flags": sorted(MEMORY_FLAGS)},
        "mountExtensions": {"idmap": {"enabled": "idmap" in MOUNT_OPTIONS}},
        "netDevices": {"enabled": True},
    }
