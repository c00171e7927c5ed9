"""``linux.cgroupsPath`` for systemd, ``slice:prefix:name``, as the unit it means and the cgroup that this unit has.

Source: systemd.unit(5) for the names, systemd.slice(5) for the places; the messages are runc's, which callers know.
"""

from __future__ import annotations

from ..errors import ConfigError
from ..kernel import os
from ..kernel.json import dumps

AT = "linux.cgroupsPath"
PREFIX = "pyrunc"
SLICE = ".slice"
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.\\@-")
_LONGEST = 255


class Unit:
    """``name`` is the unit's, ``slice`` the one above it, ``path`` its cgroup below that of the manager, with a first ``/``."""

    __slots__ = ("name", "slice", "path")

    def __init__(self, name: str, slice: str, path: str) -> None:
        self.name = name
        self.slice = slice
        self.path = path

    @property
    def is_slice(self) -> bool:
        return self.name.endswith(SLICE)


def unit_of(cgroups_path: str, container_id: str, *, user: bool) -> Unit:
    """The unit for `cgroups_path`; empty, it is ``:pyrunc:ID``. The slice is system.slice, of a user's manager user.slice,
    if none is named. A name that ends in ``.slice`` is that slice, any other the scope ``prefix-name.scope``.

    Raises ConfigError.
    """
    parts = cgroups_path.split(":") if cgroups_path else ["", PREFIX, container_id]
    if len(parts) != 3:
        wanted = 'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups'
        raise ConfigError([(AT, f"{wanted}, got {dumps(cgroups_path)} instead")])
    slice, prefix, name = parts
    slice = slice or ("user" if user else "system") + SLICE
    above = expand_slice(slice)
    if name.endswith(SLICE):
        # systemd finds a slice's place by its name alone.
        return Unit(name, slice, expand_slice(name))
    scope = _valid(f"{prefix}-{name}.scope")
    return Unit(scope, slice, above.rstrip("/") + "/" + scope)


def expand_slice(slice: str) -> str:
    """The cgroup of a slice below its manager's: ``/a.slice/a-b.slice`` for ``a-b.slice``, ``/`` for ``-.slice``. ConfigError."""
    stem = slice.removesuffix(SLICE)
    if stem == "-" and slice != stem:
        return "/"
    parts = stem.split("-")
    if stem == slice or "/" in slice or "" in parts:
        raise ConfigError([(AT, f"invalid slice name: {slice}")])
    _valid(slice)
    return "".join(f"/{'-'.join(parts[: end + 1])}{SLICE}" for end in range(len(parts)))


def _valid(name: str) -> str:
    if not _LETTERS.issuperset(name) or len(os.fsencode(name)) > _LONGEST:
        allowed = f"at most {_LONGEST} of A-Z a-z 0-9 : _ . \\ @ -"
        raise ConfigError([(AT, f"{dumps(name)} cannot be a systemd unit's name: {allowed}")])
    return name
