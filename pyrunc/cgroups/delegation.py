"""Who owns a container's cgroup on v2 (runtime-spec 1.1, config-linux.md "Cgroup ownership"; cgroups(7), "delegation")."""

from __future__ import annotations

from errno import ENOENT

from .. import errors
from ..kernel import os
from . import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DESTINATION = "/sys/fs/cgroup"
LIST = "/sys/kernel/cgroup/delegate"
"""The kernel's own list of the files that whom a cgroup is delegated to must be able to write (Linux 4.15)."""

OLDEST = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads"


def owner(config: dict[str, Any]) -> int | None:
    """The host's uid of ``process.user.uid``, if the container sees its cgroup as the root of a cgroup file system that it may
    write to: it has a cgroup namespace of its own and a mount of type ``cgroup`` there without ``ro``. None otherwise, and for
    an id that is not mapped or whose map is that of a namespace which is joined.
    """
    linux = config.get("linux") or {}
    namespaces = {entry["type"]: entry.get("path") for entry in linux.get("namespaces") or ()}
    if namespaces.get("cgroup", "no") or not any(map(_writable, config.get("mounts") or ())):
        return None
    uid: int = ((config.get("process") or {}).get("user") or {}).get("uid") or 0
    if "user" not in namespaces:
        return uid
    for entry in linux.get("uidMappings") or ():
        if 0 <= uid - entry["containerID"] < entry["size"]:
            return int(entry["hostID"] + uid - entry["containerID"])
    return None


def give(directory: str, uid: int) -> None:
    """Make `uid` the owner of the cgroup and of what the kernel lists, as far as it exists. Raises CgroupError."""
    try:
        names = files.read(LIST)
    except OSError:
        names = OLDEST
    for path in (directory, *(f"{directory}/{name}" for name in names.split())):
        try:
            os.chown(path, uid, -1, follow_symlinks=False)
        except OSError as error:
            if error.errno != ENOENT:
                raise errors.CgroupError.of(f"give {path} to user {uid}", error, config_path="linux.cgroupsPath") from None


def _writable(mount: dict[str, Any]) -> bool:
    flags = [option for option in mount.get("options") or () if option in ("ro", "rw")]
    here = os.path.normpath(mount["destination"]) == DESTINATION
    return mount.get("type") == "cgroup" and here and flags[-1:] != ["ro"]
