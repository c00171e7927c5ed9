"""Where the container's cgroups are and what is written there; see docs/cgroups.md.

A new container takes `select`, then the manager's check, create, apply and join, and stores its record in state.json;
every later command takes that record to `reopen`.
"""

from __future__ import annotations

from .. import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .hierarchies import Layout
    from .manager import Manager

UNIFIED = ""
"""The name of the cgroup2 hierarchy among the controllers, as /proc/PID/cgroup and runc's ``cgroup_paths`` have it."""

RECORDED = ("cgroupfs", "systemd")
"""The managers whose record names directories."""
_NO_NAMES = frozenset(("", ".", ".."))


def layout() -> Layout:
    """The host's hierarchies. Raises OSError when procfs cannot be read."""
    from .hierarchies import layout

    return layout()


def select(
    config: dict[str, Any], container_id: str, *, manager: str = "cgroupfs", rootless: bool = False, host: Layout | None = None
) -> Manager:
    """The manager for a new container: ``linux.cgroupsPath`` (default: the ID) and `host`, read from /proc/self if not given.

    Nothing is made yet. Raises ConfigError for a path that cannot be, UnsupportedError for a manager or a host without cgroups,
    SystemdError.
    """
    if manager == "disabled":
        from .disabled import Disabled

        return Disabled()
    if manager == "systemd":
        from . import systemd

        return systemd.select(config, container_id, rootless=rootless, host=host or layout())
    if manager != "cgroupfs":
        raise errors.UnsupportedError(f"unknown cgroup manager {manager!r}: it is cgroupfs, systemd or disabled")
    from .hierarchies import container_paths

    linux = config.get("linux") or {}
    path = linux.get("cgroupsPath") or ""
    host = host or layout()
    if host.version == 0:
        if rootless and not path and not _limits(linux.get("resources") or {}):
            from .disabled import Disabled

            return Disabled()
        raise errors.UnsupportedError("no cgroup hierarchy is mounted", hint="mount cgroup2, or use --cgroup-manager disabled")
    paths = container_paths(host, path, container_id)
    if host.version != 2:
        from .v1 import V1

        return V1(paths, rootless=rootless, explicit=bool(path))
    from .delegation import owner
    from .v2 import V2, needs_domain

    domain = needs_domain(linux.get("resources"))
    top = host.hierarchies[0].mount
    return V2(paths, rootless=rootless, explicit=bool(path), top=top, domain=domain, owner=owner(config))


def _limits(resources: dict[str, Any]) -> bool:
    """Whether there is more than device rules, which a rootless runtime lets go."""
    return any(value for name, value in resources.items() if name != "devices")


def reopen(record: object) -> Manager:
    """The manager that `Manager.record` described. Raises StateError for a record that no manager wrote."""
    fields = record if isinstance(record, dict) else {}
    if fields.get("manager") == "disabled":
        from .disabled import Disabled

        return Disabled()
    paths, rootless = _paths(fields), bool(fields.get("rootless"))
    if fields["manager"] == "systemd":
        from . import systemd

        return systemd.reopen(fields, paths, rootless=rootless)
    if list(paths) == [""]:
        from .v2 import V2

        return V2(paths, rootless=rootless, ours=True)
    from .v1 import V1

    return V1(paths, rootless=rootless, ours=True)


def frozen(record: object) -> bool:
    """What the reopened manager's `frozen` says, for commands that ask nothing else of it: they need not load it.

    Raises as `reopen` does, and CgroupError.
    """
    if isinstance(record, dict) and record.get("manager") == "disabled":
        return False
    from .freezer import Freezer

    paths = _paths(record)
    name = "freezer" if "freezer" in paths else ""
    return name in paths and Freezer(paths[name], not name).frozen()


def verify(record: object) -> None:
    """Raise StateError as `reopen` does."""
    if not isinstance(record, dict) or record.get("manager") != "disabled":
        _paths(record)


def _paths(record: object) -> dict[str, str]:
    paths = record.get("paths") if isinstance(record, dict) and record.get("manager") in RECORDED else None
    if not isinstance(paths, dict) or not all(map(_sound, paths.values())):
        raise errors.StateError("the record of the container's cgroups is damaged")
    return paths


def _sound(path: object) -> bool:
    """An absolute path below some directory and without a way back: nothing else may be killed and removed."""
    if not isinstance(path, str) or not path.startswith("/"):
        return False
    names = path[1:].split("/")
    return len(names) > 1 and _NO_NAMES.isdisjoint(names)
