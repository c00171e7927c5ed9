"""A container without a mount namespace: its mounts are the runtime's, which nothing else of the host's may suffer from."""

from __future__ import annotations

from pyrunc import errors
from pyrunc.config.names import PROPAGATION
from pyrunc.kernel import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from pyrunc.config.rules.text import Faults

NEEDED = "needs a mount namespace"


def check_shared(config: dict[str, Any], linux: dict[str, Any], rootfs: str, *, user_namespace: bool) -> None:
    """Raises ConfigError for what would change the host's own mounts, which no `delete` would undo, or needs mounts that there
    are none of."""
    mounts = config.get("mounts") or ()
    targets = [_target(mount) for mount in mounts]
    faults: Faults = [
        (name, NEEDED)
        for name, given in (
            ("root.readonly", config["root"].get("readonly")),
            ("linux.rootfsPropagation", linux.get("rootfsPropagation")),
            ("mounts", mounts and user_namespace),  # its root has no rights over the host's
        )
        if given
    ]
    if mounts and rootfs == "/":
        faults.append(("mounts", f"{NEEDED}: the root is the host's"))
    if config["process"].get("terminal") and not any(mount.get("type") == "devpts" for mount in mounts):
        faults.append(("process.terminal", f"{NEEDED}, or a devpts in mounts"))
    if linux.get("devices") and "/dev" not in targets:
        faults.append(("linux.devices", f"{NEEDED}, or a file system of their own on /dev"))
    for i, mount in enumerate(mounts):
        if "remount" in (mount.get("options") or ()) and targets[i] not in targets[:i]:
            faults.append((f"mounts[{i}]", f"{NEEDED}: what is mounted there is the host's"))
    if faults:
        raise errors.ConfigError(faults)


def one_way(mounts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The mounts, where what is bound receives the mounts of its source and sends none: so it is with a mount namespace, and to
    unmount the copy would unmount what is on the source. What says something about that itself stays as it is."""
    return [mount if _says(mount) else {**mount, "options": [*(mount.get("options") or ()), "rslave"]} for mount in mounts]


def _says(mount: dict[str, Any]) -> bool:
    options = mount.get("options") or ()
    copied = mount.get("type") == "cgroup" or "bind" in options or "rbind" in options
    return not copied or "remount" in options or any(option in PROPAGATION for option in options)


def _target(mount: dict[str, Any]) -> str:
    return os.path.normpath("/" + mount["destination"].lstrip("/"))
