"""The command line and the bundle of `create` and `run`: loaded, checked, compiled. Needs no privilege: `plan` is made of it."""

from __future__ import annotations

from pyrunc import cgroups, errors
from pyrunc.config.load import load_config
from pyrunc.config.rules.container import check
from pyrunc.config.rules.mounts import ignored_options
from pyrunc.config.rules.process import unknown_capabilities
from pyrunc.kernel import os
from pyrunc.plan.container import Namespaces, compile_container
from pyrunc.plan.facts import Host, Request
from pyrunc.runtime.hoststate import split_state
from pyrunc.runtime.process import inherited_fds, with_listen_fds
from pyrunc.state.record import NAMESPACES, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from pyrunc.cgroups.hierarchies import Layout
    from pyrunc.cgroups.manager import Manager
    from pyrunc.cgroups.view import Leg
    from pyrunc.log import Context
    from pyrunc.plan.encode import Plan
    from pyrunc.plan.seccomp import Filter


class Options:
    """The command line of `create` and `run`, paths as given."""

    __slots__ = (
        "bundle", "config_path", "console_socket", "new_keyring", "pid_file", "pidfd_socket", "pivot", "preserve_fds", "waits",
    )  # fmt: skip

    def __init__(
        self, *, bundle: str, config_path: str | None = None, console_socket: str | None = None,
        pidfd_socket: str | None = None, pid_file: str | None = None, no_pivot: bool = False,
        no_new_keyring: bool = False, preserve_fds: int = 0, waits: bool = True,
    ) -> None:  # fmt: skip
        self.bundle = os.path.abspath(bundle)
        self.config_path = config_path
        self.console_socket = console_socket
        self.pidfd_socket = pidfd_socket
        self.pid_file = os.path.abspath(pid_file) if pid_file else None
        self.pivot = not no_pivot
        self.new_keyring = not no_new_keyring
        self.preserve_fds = preserve_fds
        self.waits = waits


class Bundle:
    """A loaded and checked config with what depends on it. Raises ConfigError and KernelError; needs no privilege."""

    def __init__(self, ctx: Context, options: Options) -> None:
        path = options.config_path or os.path.join(options.bundle, "config.json")
        self.path = options.bundle
        self.config, self.text, self.normal = load_config(path)
        self.rootless = os.geteuid() != 0
        self.linux: dict[str, Any] = self.config.get("linux") or {}
        self.namespaces = Namespaces(self.linux)
        self.host = self._host(options)
        # Root of a user namespace is an ordinary user where cgroups are concerned.
        self.rootless_cgroups = self.rootless or self.host.in_userns if ctx.rootless is None else ctx.rootless
        check(self.config, host=self.host)
        if self.namespaces.joined:
            self._leave_our_own()
        self.rootfs = self._rootfs()
        self._layout: Layout | None = None
        if unknown := unknown_capabilities(self.config["process"]):
            ctx.log.warning(f"unknown capabilities are left out: {', '.join(unknown)}")
        memory = (self.linux.get("resources") or {}).get("memory") or {}
        if memory.get("kernel") or memory.get("kernelTCP"):
            from pyrunc.runtime.update import warn_of_obsolete

            warn_of_obsolete(ctx, memory)
        if ctx.log.level:
            for at, words in ignored_options(self.config.get("mounts") or []):
                ctx.log.warning(f"{at}: a bind mount has no file system of its own, left out: {words}")

    def _leave_our_own(self) -> None:
        """A path that leads to the runtime's own namespace is as good as none. Taken for the container's, its sysctls and its
        hostname would be the host's, and its root, which would be replaced, the host's root."""
        own = {kind for kind, path in self.namespaces.joined.items() if _is_own(kind, path)}
        if own:
            kept = [entry for entry in self.linux["namespaces"] if entry["type"] not in own]
            self.linux = {**self.linux, "namespaces": kept}
            self.config = {**self.config, "linux": self.linux}
            self.namespaces = Namespaces(self.linux)
            check(self.config, host=self.host)

    def _rootfs(self) -> str:
        rootfs = os.path.abspath(os.path.join(self.path, self.config["root"]["path"]))
        try:
            mode = os.lstat(rootfs).st_mode
        except OSError as error:
            raise errors.KernelError.of(f"root.path: {rootfs}", error, config_path="root.path") from error
        if mode & 0o170000 != 0o040000:
            what = "a symbolic link" if mode & 0o170000 == 0o120000 else "no directory"
            raise errors.ConfigError([("root.path", f"{rootfs} is {what}: not a directory")])
        return rootfs

    def _host(self, options: Options) -> Host:
        from pyrunc.kernel.host import in_user_namespace, mount_points
        single = False
        if self.rootless:
            from pyrunc.launch.idmaps import is_own

            single = is_own(self.linux.get("gidMappings") or (), os.getegid())
        return Host(
            in_userns=in_user_namespace(),
            rootless=self.rootless,
            single_map=single,
            proc_mounts=[] if options.pivot else mount_points("proc", "sysfs"),
            kcore=os.path.exists("/proc/kcore"),
            selinux=self._selinux(),
        )

    def _selinux(self) -> bool:
        if not self.linux.get("mountLabel") and not (self.config.get("process") or {}).get("selinuxLabel"):
            return False
        from pyrunc.kernel.host import selinux_enabled

        return selinux_enabled()

    def about(self, id: str) -> Record:
        """What the hooks inside are told, who do not see the record."""
        return Record(id, self.path, oci_version=self.config["ociVersion"], annotations=self.config.get("annotations"))

    def layout(self) -> Layout:
        """The host's cgroup hierarchies. They are read once: the plan shows those in which the cgroups were chosen."""
        if self._layout is None:
            self._layout = cgroups.layout()
        return self._layout

    def plan(self, id: str, options: Options, manager: Manager, seccomp: Filter | None) -> Plan:
        """Compile, with the filter or what stands for it (`seccomp.later`)."""
        view: Sequence[Leg] = ()
        if any(mount.get("type") == "cgroup" for mount in self.config.get("mounts") or ()):
            view = manager.mount_view(self.layout(), private=self.namespaces.private("cgroup"))
        request = Request(
            id,
            self.path,
            self.rootfs,
            waits=options.waits,
            pivot=options.pivot,
            new_keyring=options.new_keyring,
            preserve=inherited_fds() + options.preserve_fds,
            seccomp=seccomp,
            state=lambda status: split_state(self.about(id), status),
            environment=_environment(self.config),
            cgroup_entry=manager.entry(),
            cgroup_view=view,
        )
        return compile_container(with_listen_fds(self.config), request, self.host)


def _is_own(kind: str, path: str) -> bool:
    file = next(file for name, _, file in NAMESPACES if name == kind)
    try:
        return os.path.samestat(os.stat(path), os.stat(f"/proc/self/ns/{file}"))
    except OSError:
        return False  # what is wrong with the path shows when it is joined


def select_manager(ctx: Context, bundle: Bundle, id: str) -> Manager:
    kind = ctx.cgroup_manager or "cgroupfs"
    host = bundle.layout() if kind in cgroups.RECORDED else None
    return cgroups.select(bundle.config, id, manager=kind, rootless=bundle.rootless_cgroups, host=host)


def _environment(config: dict[str, Any]) -> list[str]:
    """For createContainer hooks, which inherit the runtime's; read only if there are any."""
    if not (config.get("hooks") or {}).get("createContainer"):
        return []
    from pyrunc.kernel.host import original_environment

    return [f"{name}={value}" for name, value in original_environment().items()]
