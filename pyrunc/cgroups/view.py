"""What a mount of type ``cgroup`` shows inside of a container, as pure data for the plan."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from .hierarchies import Layout


class Leg:
    """One step, in order; ``target`` is a path below the mount's destination, "" the destination itself.

    ``kind`` is "tmpfs" (``data`` its options), "cgroup" or "cgroup2" (a new mount of that type with ``data``), "bind"
    (``source`` a directory of the host, to be looked up before the root changes) or "symlink" (``source`` its text).
    ``instead`` is the directory that is bound where the kernel refuses a new mount, "" for nothing to be seen.
    For "tmpfs" the config's flags are for the end, when all below is made; for "bind", "cgroup" and "cgroup2" they hold as given.
    """

    __slots__ = ("kind", "source", "target", "data", "instead")

    def __init__(self, kind: str, source: str, target: str, data: str = "", *, instead: str | None = None) -> None:
        self.instead = instead
        self.kind = kind
        self.source = source
        self.target = target
        self.data = data

    def __repr__(self) -> str:
        return f"{self.kind} {self.source!r} on {self.target!r} ({self.data})"


def legs(host: Layout, paths: Mapping[str, str], *, private: bool) -> list[Leg]:
    """The legs of a ``cgroup`` mount.

    On v2 it is one cgroup2 mount, whose root follows the cgroup namespace; a user namespace that does not own that is refused
    it, and gets the container's own cgroup bound, or an empty directory where it has none (CVE-2023-25809). On v1 and hybrid
    hosts it is a tmpfs with a directory per hierarchy, named as on the host: with a `private` cgroup namespace a new mount of
    the hierarchy, else a bind of the container's own cgroup, so that it never sees the host's; controllers mounted together
    get a link each.
    """
    if host.version == 2:
        return [Leg("cgroup2", "cgroup", "", instead=paths.get("", ""))]
    steps, links = [Leg("tmpfs", "tmpfs", "", "mode=755")], []
    for hierarchy in host.hierarchies:
        name = hierarchy.mount.rpartition("/")[2]
        if private:
            steps.append(Leg("cgroup2" if hierarchy.unified else "cgroup", "cgroup", name, hierarchy.options))
        elif hierarchy.controllers[0] in paths:
            steps.append(Leg("bind", paths[hierarchy.controllers[0]], name))
        else:
            continue
        if len(hierarchy.controllers) > 1:
            links += [Leg("symlink", name, controller) for controller in hierarchy.controllers if controller != name]
    return steps + links
