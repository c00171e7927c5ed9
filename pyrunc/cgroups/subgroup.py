"""``exec --cgroup [controller[,controller]:]path``: where below the container's cgroups a process goes."""

from __future__ import annotations

from ..errors import UsageError
from ..kernel import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def parse(values: Iterable[str], paths: Mapping[str, str]) -> dict[str, str]:
    """The `below` of `Manager.join` for the option's values; `paths` are the manager's.

    Without controllers a path is for all hierarchies. Raises UsageError for a controller that the container has no
    cgroup for, or one named twice.
    """
    below: dict[str, str] = {}
    for value in values:
        head, colon, path = value.rpartition(":")
        clean = os.path.normpath("/" + path.lstrip("/"))
        for name in head.split(",") if colon else ["*"]:
            if name != "*" and name not in paths:
                raise UsageError(f"--cgroup {value!r}: the container has no cgroup of the controller {name!r}")
            if name in below:
                raise UsageError(f"--cgroup {value!r}: a second path for the same controller")
            below[name] = "" if clean == "/" else clean
    return below
