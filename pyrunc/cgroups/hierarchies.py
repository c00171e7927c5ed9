"""Where this host's cgroup hierarchies are, and where in them a container's cgroups belong.

Read from /proc/self/mountinfo and /proc/self/cgroup (cgroups(7), proc_pid_mountinfo(5)); everything else here is pure.
"""

from __future__ import annotations

from .. import errors
from ..kernel import os
from . import UNIFIED, files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Hierarchy:
    """One mounted hierarchy.

    ``mount`` is the mount point, ``controllers`` the names under which a record lists it (``("cpu", "cpuacct")``,
    ``("name=systemd",)``, ``("",)`` for cgroup2), ``own`` this process's cgroup, as a path below the mount point.
    """

    __slots__ = ("mount", "controllers", "own")

    def __init__(self, mount: str, controllers: tuple[str, ...], own: str) -> None:
        self.mount = mount
        self.controllers = controllers
        self.own = own

    @property
    def unified(self) -> bool:
        return self.controllers == (UNIFIED,)

    @property
    def options(self) -> str:
        """What mount(2) needs as data to mount this hierarchy again: ``cpu,cpuacct``, ``name=systemd``, nothing for cgroup2."""
        return ",".join(self.controllers)


class Layout:
    """All hierarchies of the host, in mount order. ``version`` is 1, 2, ``"hybrid"`` (both are mounted) or 0 (none is)."""

    __slots__ = ("version", "hierarchies")

    def __init__(self, hierarchies: Iterable[Hierarchy]) -> None:
        self.hierarchies = tuple(hierarchies)
        unified = legacy = False
        for hierarchy in self.hierarchies:
            if hierarchy.unified:
                unified = True
            else:
                legacy = True
        self.version: int | str = "hybrid" if unified and legacy else 2 if unified else 1 if legacy else 0


def layout(proc: str = "/proc/self") -> Layout:
    """The layout that the process behind `proc` sees. Raises OSError when procfs cannot be read."""
    return parse(files.read_bytes(proc + "/mountinfo"), files.read_bytes(proc + "/cgroup"))


def parse(mountinfo: bytes, cgroup: bytes) -> Layout:
    """The layout out of the bytes of the two procfs files. Of several mounts of one hierarchy the first one counts."""
    own: dict[str, str] = {}
    for line in os.fsdecode(cgroup).split("\n")[:-1]:
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(","):
            own[name] = path
    found: dict[tuple[str, ...], Hierarchy] = {}
    for raw in mountinfo.split(b"\n"):
        # A host has hundreds of mounts, and a dozen that matter here.
        if b" - cgroup" not in raw:
            continue
        fields = os.fsdecode(raw).split(" ")
        # Between the mount's own options and the dash there may be any number of optional fields.
        kind, _, options = fields[fields.index("-", 6) + 1 :]
        # A v1 mount's options name its controllers among flags such as rw and noprefix.
        named = (UNIFIED,) if kind == "cgroup2" else map(_unescape, filter(None, options.split(",")))
        names = tuple([name for name in named if name in own])
        if names and names not in found:
            found[names] = Hierarchy(_unescape(fields[4]), names, _below(_unescape(fields[3]), own[names[0]]))
    return Layout(found.values())


def container_paths(host: Layout, cgroups_path: str, container_id: str) -> dict[str, str]:
    """The container's directory in every hierarchy, by controller.

    An absolute `cgroups_path` counts from each mount point, a relative one (empty: the ID) from the runtime's own cgroup,
    on a pure v2 host from its parent, because a cgroup with processes cannot enable controllers for its children
    (cgroups(7), "no internal processes"). ``..`` is resolved lexically and cannot lead out.
    Raises ConfigError for a path that names the start itself, or that holds what no cgroup's name can.
    """
    wanted = cgroups_path or container_id
    _refuse_unusable(wanted)
    # posixpath keeps two leading slashes, so there must be exactly one.
    clean = os.path.normpath("/" + wanted.lstrip("/"))
    if clean == "/":
        raise errors.ConfigError([("linux.cgroupsPath", f"{wanted!r} names no cgroup below the start of the hierarchy")])
    paths = {}
    for hierarchy in host.hierarchies:
        start = ""
        if not wanted.startswith("/"):
            start = (os.path.dirname(hierarchy.own) if host.version == 2 else hierarchy.own).rstrip("/")
        for name in hierarchy.controllers:
            paths[name] = hierarchy.mount.rstrip("/") + start + clean
    return paths


def _refuse_unusable(path: str) -> None:
    try:
        raw = os.fsencode(path)
    except UnicodeEncodeError:
        raise errors.ConfigError([("linux.cgroupsPath", "is not text that a file name can hold")]) from None
    # The kernel refuses a newline in a v1 name; in a v2 name it would forge lines of /proc/PID/cgroup.
    if b"\n" in raw or b"\0" in raw:
        raise errors.ConfigError([("linux.cgroupsPath", f"{path!r} holds a newline or a NUL")])


def _below(root: str, path: str) -> str:
    """A path of /proc/self/cgroup seen from a mount whose root is the cgroup `root`, ``/`` where it cannot be told.

    It cannot when the mount or the process lies outside the cgroup namespace: the kernel then writes ``/..``.
    """
    root = root.rstrip("/")
    if path.startswith("/..") or not (path + "/").startswith(root + "/"):
        return "/"
    return path[len(root) :] or "/"


def _unescape(field: str) -> str:
    """Undo mountinfo's octal escapes of space, tab, newline, backslash and number sign."""
    if "\\" not in field:
        return field
    head, *tail = field.split("\\")
    return head + "".join(chr(int(part[:3], 8)) + part[3:] for part in tail)
