"""/dev: the devices and links that every container has, and those that the config asks for."""

from __future__ import annotations

from pyrunc.config.rules.text import clean
from pyrunc.plan import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.plan.facts import Host
    from pyrunc.plan.held import Held
    from pyrunc.plan.ops import Op

S_IFCHR, S_IFBLK, S_IFIFO = 0o020000, 0o060000, 0o010000
TYPES = {"c": S_IFCHR, "u": S_IFCHR, "b": S_IFBLK, "p": S_IFIFO}

DEFAULT_DEVICES = (  # runtime-spec config-linux.md, "Default Devices"
    ("/dev/null", 1, 3), ("/dev/zero", 1, 5), ("/dev/full", 1, 7), ("/dev/random", 1, 8), ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
)  # fmt: skip
LINKS = (  # runtime-linux.md, "Dev symbolic links"
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
)
MADE_BY_US = ("/dev/ptmx", "/dev/console")
"""Device paths that the config may list and that the container gets from its own devpts in any case."""


def compile_devices(linux: dict[str, Any], host: Host, held: Held, *, user_namespace: bool) -> list[Op]:
    """The nodes, then the links. In a user namespace nodes cannot be made: the host's are bound."""
    bind = user_namespace or host.in_userns
    wanted: dict[str, tuple[str, int, int, int, int, int]] = {
        path: ("linux.devices", S_IFCHR | 0o666, major, minor, 0, 0) for path, major, minor in DEFAULT_DEVICES
    }
    for i, device in enumerate(linux.get("devices") or ()):
        path = clean(device["path"])
        if path in MADE_BY_US:
            continue
        mode = device.get("fileMode")
        wanted[path] = (
            f"linux.devices[{i}]",
            TYPES[device["type"]] | (0o666 if mode is None else mode & 0o7777),
            device.get("major") or 0,
            device.get("minor") or 0,
            device.get("uid") or 0,
            device.get("gid") or 0,
        )
    plan = []
    for path, (at, mode, major, minor, uid, gid) in wanted.items():
        if bind and mode & 0o170000 != S_IFIFO:
            slot = held.tree(at, path, recursive=False)
            plan.append(ops.bind_device(at, path, path, mode & 0o170000, major, minor, slot))
        else:
            plan.append(ops.device(at, path, mode, major, minor, uid, gid))
    plan += [ops.symlink("linux.devices", link, text) for link, text in LINKS]
    if host.kcore:
        plan.append(ops.symlink("linux.devices", "/dev/core", "/proc/kcore"))
    plan.append(ops.symlink("linux.devices", "/dev/ptmx", "pts/ptmx", replace=True))
    return plan
