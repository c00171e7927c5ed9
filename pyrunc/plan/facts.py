"""What the compiler may know beside config.json: how it was asked, and what the host is like.

Everything is plain data, so that a golden test can write it down; runtime/ collects it from the real host.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyrunc.cgroups.view import Leg
    from pyrunc.plan.seccomp import Filter


class Request:
    """One `create` or `run`.

    ``bundle`` and ``rootfs`` are absolute. ``state`` gives for a status the state's JSON for the hooks inside the
    container, before and after the pid. ``environment`` is what createContainer hooks without `env` inherit.
    ``cgroup_entry`` is how the process enters its cgroups by itself: v1 `tasks` files, and the cgroup2 directory or None.
    ``cgroup_view`` is what a mount of type cgroup shows. ``waits``: the program waits for `start`.
    """

    __slots__ = (
        "bundle", "cgroup_entry", "cgroup_view", "environment", "id", "new_keyring", "pivot", "preserve", "rootfs", "seccomp",
        "state", "waits",
    )  # fmt: skip

    def __init__(
        self, id: str, bundle: str, rootfs: str, *, waits: bool, pivot: bool = True, new_keyring: bool = True,
        preserve: int = 0, seccomp: Filter | None = None, state: Callable[[str], tuple[str, str]] = lambda status: ("{}", ""),
        environment: Sequence[str] = (), cgroup_view: Sequence[Leg] = (),
        cgroup_entry: tuple[Sequence[str], str | None] = ((), None),
    ) -> None:  # fmt: skip
        self.id = id
        self.bundle = bundle
        self.rootfs = rootfs
        self.waits = waits
        self.pivot = pivot
        self.new_keyring = new_keyring
        self.preserve = preserve
        self.seccomp = seccomp
        self.state = state
        self.environment = environment
        self.cgroup_view = cgroup_view
        self.cgroup_entry = cgroup_entry


class Host:
    """The host as far as a plan depends on it.

    ``in_userns``: the runtime itself is inside a user namespace, where mknod(2) is refused. ``rootless``: it has no
    privilege but in namespaces it makes. ``single_map``: only one id can be mapped, and setgroups(2) must be given up.
    ``selinux``: it has a policy; asked for only where a label is. ``proc_mounts``: mount points of every procfs and sysfs,
    needed for --no-pivot only. ``kcore``: /proc/kcore exists.
    """

    __slots__ = ("in_userns", "kcore", "proc_mounts", "rootless", "selinux", "single_map")

    def __init__(
        self, *, in_userns: bool = False, rootless: bool = False, single_map: bool = False,
        proc_mounts: Sequence[str] = (), kcore: bool = True, selinux: bool = False,
    ) -> None:  # fmt: skip
        self.in_userns = in_userns
        self.rootless = rootless
        self.single_map = single_map
        self.proc_mounts = proc_mounts
        self.kcore = kcore
        self.selinux = selinux
