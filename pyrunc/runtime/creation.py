"""Making a container: what `create` and `run` share, from the bundle to a process at its last step.

    load -> check -> record the intent -> cgroups -> plan -> pyrunc-init <-> answers -> record -> pid file

What is acquired is let go in the reverse order when a later step fails; what a SIGKILL leaves, the intent in state.json
lets `delete --force` find.
"""

from __future__ import annotations

from pyrunc import cgroups
from pyrunc.config.load import load_config
from pyrunc.config.names import RLIMITS
from pyrunc.config.rules import check, unknown_capabilities
from pyrunc.errors import ConfigError, HookError, KernelError, PyruncError
from pyrunc.kernel import os, sys
from pyrunc.kernel.files import write_atomic, write_new
from pyrunc.kernel.proc import start_time
from pyrunc.launch.child import Child, KilledInSetup
from pyrunc.plan.container import Namespaces, compile_container
from pyrunc.plan.facts import Host, Request
from pyrunc.plan.opcodes import SYNC_CGROUP, SYNC_HOOKS, SYNC_MAPS, SYNC_READY
from pyrunc.runtime.hoststate import hook_state, split_state
from pyrunc.state.record import Record
from pyrunc.state.status import CREATED
from pyrunc.state.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from pyrunc.cgroups.manager import Manager
    from pyrunc.cgroups.view import Leg
    from pyrunc.log import Context
    from pyrunc.plan.encode import Plan
    from pyrunc.plan.seccomp import Filter
    from pyrunc.state.store import Container

CONFIG_COPY = "config.json"
"""In the container's directory: later edits of the bundle's own have no effect (runtime-spec, lifecycle, step 2)."""

CACHE = "@cache"
"""Below --root; ``@`` cannot be in a container's ID."""


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
        self.config, self.text = load_config(path)
        self.rootless = os.geteuid() != 0 if ctx.rootless is None else ctx.rootless
        self.linux: dict[str, Any] = self.config.get("linux") or {}
        self.namespaces = Namespaces(self.linux)
        self.host = self._host(options)
        check(self.config, host=self.host)
        self.rootfs = self._rootfs()
        if unknown := unknown_capabilities(self.config["process"]):
            ctx.log.warning(f"unknown capabilities are left out: {', '.join(unknown)}")

    def _rootfs(self) -> str:
        rootfs = os.path.abspath(os.path.join(self.path, self.config["root"]["path"]))
        try:
            mode = os.lstat(rootfs).st_mode
        except OSError as error:
            raise KernelError.of(f"root.path: {rootfs}", error, config_path="root.path") from error
        if mode & 0o170000 != 0o040000:
            what = "a symbolic link" if mode & 0o170000 == 0o120000 else "no directory"
            raise ConfigError([("root.path", f"{rootfs} is {what}: not a directory")])
        return rootfs

    def _host(self, options: Options) -> Host:
        from pyrunc.kernel.host import in_user_namespace, mount_points
        from pyrunc.launch.idmaps import is_own

        single = self.rootless and is_own(self.linux.get("gidMappings") or (), os.getegid())
        return Host(
            in_userns=in_user_namespace(),
            rootless=self.rootless,
            single_map=single,
            proc_mounts=[] if options.pivot else mount_points("proc", "sysfs"),
            kcore=os.path.exists("/proc/kcore"),
        )

    def plan(self, ctx: Context, record: Record, options: Options, manager: Manager) -> Plan:
        """Compile; the seccomp filter comes from the cache below --root where it is there."""
        view: Sequence[Leg] = ()
        if any(mount.get("type") == "cgroup" for mount in self.config.get("mounts") or ()):
            view = manager.mount_view(cgroups.layout(), private=self.namespaces.private("cgroup"))
        request = Request(
            record.id,
            self.path,
            self.rootfs,
            waits=options.waits,
            pivot=options.pivot,
            new_keyring=options.new_keyring,
            preserve=inherited_fds() + options.preserve_fds,
            seccomp=seccomp_filter(ctx, self.linux),
            state=lambda status: split_state(record, status),
            environment=_environment(self.config),
            cgroup_entry=manager.entry(),
            cgroup_view=view,
        )
        return compile_container(with_listen_fds(self.config), request, self.host)


def select_manager(ctx: Context, bundle: Bundle, id: str) -> Manager:
    return cgroups.select(bundle.config, id, manager=ctx.cgroup_manager or "cgroupfs", rootless=bundle.rootless)


def seccomp_filter(ctx: Context, linux: dict[str, Any]) -> Filter | None:
    if not linux.get("seccomp"):
        return None
    from pyrunc.plan.seccomp import compile_seccomp

    cache = os.path.join(ctx.root, CACHE)
    return compile_seccomp(linux["seccomp"], cache_dir=cache if os.path.isdir(ctx.root) else None)


def _environment(config: dict[str, Any]) -> list[str]:
    """For createContainer hooks, which inherit the runtime's; read only if there are any."""
    if not (config.get("hooks") or {}).get("createContainer"):
        return []
    from pyrunc.kernel.host import original_environment

    return [f"{name}={value}" for name, value in original_environment().items()]


def inherited_fds() -> int:
    """How many fds systemd passed to us (sd_listen_fds(3))."""
    if os.getenv("LISTEN_PID") != str(os.getpid()):
        return 0
    number = os.getenv("LISTEN_FDS") or ""
    return int(number) if number.isascii() and number.isdigit() else 0


def with_listen_fds(config: dict[str, Any]) -> dict[str, Any]:
    """The config whose process is told of them; it will be process 1 of its namespace."""
    count = inherited_fds()
    if not count:
        return config
    process = config["process"]
    env = [*(process.get("env") or ()), f"LISTEN_FDS={count}", "LISTEN_PID=1"]
    return {**config, "process": {**process, "env": env}}


def check_console(process: dict[str, Any], socket: str | None, *, detached: bool) -> None:
    """A terminal of a detached process needs somebody to take it, and nobody waits for one that is not there."""
    terminal = bool(process.get("terminal"))
    if terminal and detached and not socket:
        raise ConfigError([("process.terminal", "cannot allocate tty if pyrunc will detach without setting console socket")])
    if socket and not terminal:
        raise ConfigError([("process.terminal", "cannot use console socket if pyrunc will not allocate a tty")])


def set_rlimits(pid: int, process: dict[str, Any], at: str = "process") -> None:
    """From outside, because a process in a user namespace may not raise its own. Raises KernelError."""
    for i, limit in enumerate(process.get("rlimits") or ()):
        try:
            sys.prlimit(pid, RLIMITS[limit["type"]], limit["soft"], limit["hard"])
        except OSError as error:
            path = f"{at}.rlimits[{i}]"
            values = f"{limit['soft']}:{limit['hard']}"
            hint = "raising a hard limit needs CAP_SYS_RESOURCE" if error.errno == 1 else None
            what = f"{path} ({limit['type']}): set to {values}"
            raise KernelError(what, error.errno or 0, config_path=path, hint=hint) from error


class Creation:
    """One container being made. `make` returns its process, which waits for `start` or already runs the program."""

    def __init__(self, ctx: Context, id: str, options: Options) -> None:
        self.ctx = ctx
        self.id = id
        self.options = options
        self.bundle = Bundle(ctx, options)
        self.console = -1
        self.meanwhile: Callable[[], None] | None = None
        self.manager: Manager
        self.record: Record
        self.container: Container
        self._hooks_begun = False
        self._forks = self.bundle.namespaces.private("pid") or self.bundle.namespaces.private("time")

    def make(self) -> Child:
        """The whole of it, under the container's lock. Raises any PyruncError; then nothing is left."""
        from pyrunc.state.ids import check_id

        check_id(self.id)
        self.manager = select_manager(self.ctx, self.bundle, self.id)
        self.container = Store(self.ctx.root).create(self.id)
        try:
            self.manager.check()
        except BaseException:
            # The cgroup that is in the way is somebody else's, and not ours to undo.
            self.container.remove()
            self.container.close()
            raise
        try:
            self.record = self._new_record()
            if self.bundle.rootless:
                # Where it may not make cgroups the manager does without, and the plan must know.
                self._make_cgroups()
            return self._launch()
        except BaseException as error:
            self.undo(error)
            raise

    def _new_record(self) -> Record:
        bundle, config, own = self.bundle, self.bundle.config, os.getpid()
        hooks = config.get("hooks") or {}
        return Record(
            self.id,
            bundle.path,
            rootfs=bundle.rootfs,
            hostname=config.get("hostname") or "",
            oci_version=config["ociVersion"],
            annotations=config.get("annotations"),
            owner=os.geteuid(),
            rootless=bundle.rootless,
            terminal=bool(config["process"].get("terminal")),
            namespaces={kind: bundle.namespaces.joined.get(kind, "") for kind in bundle.namespaces.at},
            cgroup=self.manager.record(),
            hooks={name: hooks[name] for name in ("poststart", "poststop") if hooks.get(name)},
            external_descriptors=[_link(fd) for fd in range(3)],
            keyring=self.options.new_keyring,
            creator_pid=own,
            creator_start=start_time(own),
        )

    def _make_cgroups(self) -> None:
        """The record first: it tells `delete --force` what there may be. The limits are in force before the process joins."""
        self.container.save(self.record)
        self.manager.create()
        self.manager.apply(self.bundle.linux.get("resources"))

    def _launch(self) -> Child:
        plan = self.bundle.plan(self.ctx, self.record, self.options, self.manager)
        self.record.cgroup = self.manager.record()
        self.record.ops = len(plan.ops)
        fifos = self.container.make_fifos() if self.options.waits else ()
        try:
            with Child(plan, fifos) as child:
                answers: dict[int, Callable[[int], None]] = {
                    SYNC_MAPS: self._map,
                    SYNC_CGROUP: self._join,
                    SYNC_HOOKS: self._run_hooks,
                    SYNC_READY: self._ready,
                }
                if not self.bundle.rootless:
                    self._make_cgroups()  # while the child makes its namespaces
                child.converse(answers, self._take_console, self._meanwhile)
                if self.options.pidfd_socket:
                    self._send_pidfd(child.pid)
                if self.options.pid_file:
                    write_pid(self.options.pid_file, child.pid)
                return child
        except KilledInSetup as error:
            raise self._explain(error) from None
        finally:
            for fd in fifos:
                os.close(fd)

    def _meanwhile(self) -> None:
        """The child is at its mounts for some milliseconds, on another processor as likely as not."""
        write_new(self.container.fd, CONFIG_COPY, self.bundle.text)
        if self.meanwhile:
            self.meanwhile()

    def _explain(self, error: KilledInSetup) -> PyruncError:
        """A child that was killed was so by the OOM killer, if that killed anything here."""
        if error.signal == 9 and self.manager.oom_kills():
            error.args = ("container init was OOM-killed (memory limit too low?)",)
            error.config_path, error.code = "linux.resources.memory.limit", "oom"
        return error

    def _join(self, pid: int) -> None:
        """The child enters by itself, except a cgroup2 in which no fork of it is born."""
        if not self._forks:
            self.manager.join(pid)

    def _map(self, pid: int) -> None:
        from pyrunc.launch.idmaps import write_maps

        write_maps(pid, self.bundle.linux, rootless=self.bundle.rootless)

    def _run_hooks(self, pid: int) -> None:
        from pyrunc.launch.hooks import run_hooks

        self._hooks_begun = True
        hooks = self.bundle.config["hooks"]
        state = hook_state(self.record, "creating", pid)
        for name in ("prestart", "createRuntime"):
            run_hooks(name, hooks.get(name), state)

    def _ready(self, pid: int) -> None:
        set_rlimits(pid, self.bundle.config["process"])
        self.record.pid, self.record.start = pid, start_time(pid)
        self.record.stage = CREATED
        self.container.save(self.record)

    def _take_console(self, master: int) -> None:
        """To the caller's socket, or kept for the foreground `run`."""
        if self.options.console_socket:
            send_console(self.options.console_socket, master)
        else:
            from pyrunc.launch.terminal import copy_size

            self.console = master
            copy_size(master)  # the program may ask for it at once

    def _send_pidfd(self, pid: int) -> None:
        fd = os.pidfd_open(pid)
        try:
            hand_over("--pidfd-socket", self.options.pidfd_socket or "", b"standard", fd)
        finally:
            os.close(fd)

    def undo(self, cause: BaseException) -> None:
        """Take everything back; what cannot be is told in the debug log, the cause is what the user must see."""
        hooks = (self._poststop,) if self._hooks_begun or isinstance(cause, HookError) else ()
        for step in (self.manager.destroy, *hooks, self.container.remove, self.container.close):
            try:
                step()
            except PyruncError as error:
                self.ctx.log.debug(f"after {cause}: {error.message}")

    def _poststop(self) -> None:
        """runtime-spec: a hook that fails stops the container, and what follows is what follows a `delete`."""
        from pyrunc.runtime.after import poststop

        poststop(self.ctx, self.record)


def write_pid(path: str, pid: int) -> None:
    """Digits alone: go-runc reads the whole file as a number."""
    write_atomic(os.path.dirname(path) or "/", os.path.basename(path), b"%d" % pid, 0o644)


def send_console(path: str, master: int) -> None:
    """One message with the master's name and its fd, as every caller's console socket expects it."""
    try:
        hand_over("--console-socket", path, b"/dev/ptmx", master)
    finally:
        os.close(master)


def hand_over(option: str, path: str, payload: bytes, fd: int) -> None:
    try:
        sys.hand_over(path, payload, fd)
    except OSError as error:
        raise KernelError.of(f"send to {option} {path}", error) from error


def _link(fd: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""
