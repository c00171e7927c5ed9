"""Making a container: what `create` and `run` share, from the bundle to a process at its last step.

    load -> check -> plan -> pyrunc-init -> record the intent -> cgroups <-> answers -> record -> pid file

What is acquired is let go in the reverse order when a later step fails; what a SIGKILL leaves, the intent in state.json
lets `delete --force` find.
"""

from __future__ import annotations

from pyrunc import errors
from pyrunc.errors import PyruncError
from pyrunc.kernel import os
from pyrunc.kernel.files import write_new
from pyrunc.kernel.proc import start_time
from pyrunc.launch.child import Child, perhaps_killed
from pyrunc.plan.opcodes import SYNC_CGROUP, SYNC_HOOKS, SYNC_MAPS, SYNC_READY
from pyrunc.plan.seccomp import later
from pyrunc.runtime.bundle import Bundle, Options, select_manager
from pyrunc.runtime.hoststate import hook_state
from pyrunc.runtime.process import (
    CONFIG_COPY,
    give_listener,
    hand_over,
    mark,
    seccomp_filter,
    send_console,
    set_rlimits,
    write_pid,
)
from pyrunc.state.record import Record
from pyrunc.state.status import CREATED
from pyrunc.state.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrunc.cgroups.manager import Manager
    from pyrunc.cgroups.resctrl import Group
    from pyrunc.launch.netdevices import NetDevices
    from pyrunc.launch.notify import Notifier
    from pyrunc.log import Context
    from pyrunc.state.store import Container


class Creation:
    """One container being made. `make` returns the pid of its process, which waits for `start` or already runs the program."""

    def __init__(self, ctx: Context, id: str, options: Options) -> None:
        self.ctx = ctx
        self.id = id
        self.options = options
        self.bundle = Bundle(ctx, options)
        self.console = -1
        self.meanwhile: Callable[[], None] | None = None
        self.notifier: Notifier | None = None
        self.network: NetDevices | None = None
        self.rdt: Group | None = None
        self.manager: Manager
        self.record: Record
        self.container: Container
        self._hooks_begun = False
        self._mounts: dict[str, Any] = {}
        self._forks = self.bundle.namespaces.private("pid") or self.bundle.namespaces.private("time")

    def make(self) -> int:
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
            if self.bundle.rootless_cgroups and not self.manager.wants_process:
                # Where it may not make cgroups the manager does without, and the plan must know.
                self._begin()
                self._warn_of_none()
            return self._launch()
        except BaseException as error:
            self.undo(error)
            raise

    def _new_record(self) -> Record:
        bundle, config, own = self.bundle, self.bundle.config, os.getpid()
        hooks = config.get("hooks") or {}
        if config.get("mounts") and not bundle.namespaces.private("mount"):
            from pyrunc.runtime.hostmounts import remember

            self._mounts = remember(bundle.rootfs)
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
            systemd_cgroup=self.manager.name == "systemd",
            hooks={name: hooks[name] for name in ("poststart", "poststop") if hooks.get(name)},
            external_descriptors=[_link(fd) for fd in range(3)],
            keyring=self.options.new_keyring,
            mounts=self._mounts,
            creator_pid=own,
            creator_start=start_time(own),
        )

    def _begin(self, pid: int | None = None) -> None:
        self.record = self._new_record()
        self._make_cgroups(pid)

    def _make_cgroups(self, pid: int | None = None) -> None:
        """The record first: it tells `delete --force` what there may be. The limits are in force before the process joins, also
        the device rules: v1 can only be told them after "nothing", and until then no device could be made."""
        rdt = self.bundle.linux.get("intelRdt")
        if rdt is not None:
            from pyrunc.cgroups.resctrl import select

            self.rdt = select(rdt, self.id)
            self.record.rdt = self.rdt.record()
        self.container.save(self.record)
        self.manager.create(pid)
        self.manager.apply(self.bundle.linux.get("resources"))
        if self.rdt and rdt is not None:
            self.rdt.create(rdt)

    def _warn_of_none(self) -> None:
        if not self.manager.paths and not self.bundle.namespaces.private("pid"):
            self.ctx.log.warning(
                f"{self.id}: without a cgroup and a pid namespace of its own, what outlives init cannot be killed"
            )

    def _launch(self) -> int:
        if os.getenv("NOTIFY_SOCKET"):
            self._announce()
        plan = self.bundle.plan(self.id, self.options, self.manager, later(self.bundle.linux.get("seccomp")))
        self.ctx.log.debug(f"{self.bundle.path}: {len(plan.ops)} ops, cgroups: {self.manager.paths}")
        fifos = self.container.make_fifos() if self.options.waits else ()
        try:
            with Child(plan, fifos) as child:
                answers: dict[int, Callable[[int], None]] = {
                    SYNC_MAPS: self._map,
                    SYNC_CGROUP: self._join,
                    SYNC_HOOKS: self._run_hooks,
                    SYNC_READY: self._ready,
                }
                if not (self.bundle.rootless_cgroups or self.manager.wants_process):
                    self._begin()  # while the child makes its namespaces
                child.converse(
                    answers, self._take_console, lambda pid: self._meanwhile(child, pid), self._give_listener,
                    self._move_net_devices, forks=self._forks,
                )  # fmt: skip
                if self.options.pidfd_socket:
                    self._send_pidfd(child.pid)
                if self.options.pid_file:
                    write_pid(self.options.pid_file, child.pid)
                if self.network:
                    self.network.keep()
                self.ctx.log.debug(f"process {child.pid} is set up")
                return child.pid
        except PyruncError as error:
            raise self._explain(error) from None
        finally:
            for fd in fifos:
                os.close(fd)

    def _announce(self) -> None:
        """The program of a created container cannot notify anybody before `start`, which binds the socket then."""
        from pyrunc.launch.notify import announced, listen

        self.bundle.config = announced(self.bundle.config, self.container.fd, self.container.path)
        if not self.options.waits:
            self.notifier = listen(self.container.fd, self.ctx.log.warning)

    def _is_of_notify(self, error: PyruncError) -> bool:
        """Whether it is about the mount that `_announce` has added, which nobody finds in the config."""
        if not os.getenv("NOTIFY_SOCKET"):
            return False
        from pyrunc.launch.notify import INSIDE

        mounts = self.bundle.config.get("mounts") or [{"destination": ""}]
        return error.config_path == f"mounts[{len(mounts) - 1}]" and mounts[-1]["destination"] == INSIDE

    def _meanwhile(self, child: Child, pid: int) -> None:
        """The child is at its mounts for some milliseconds, on another processor as likely as not."""
        if filter := seccomp_filter(self.ctx, self.bundle.linux):
            child.give_filter(filter)
        self._keep_config()
        self.record.cgroup = self.manager.record()
        self.record.ops = len(child.plan.ops)
        self.record.pid, self.record.start = pid, start_time(pid)
        self.record.stage = CREATED
        self.container.prepare(self.record)
        if self.meanwhile:
            self.meanwhile()

    def _keep_config(self) -> None:
        """As it is now; and whether who reads it need not judge it again."""
        write_new(self.container.fd, CONFIG_COPY, self.bundle.text)
        if self.bundle.normal:
            self.record.accepted = mark(self.bundle.text)

    def _explain(self, error: PyruncError) -> PyruncError:
        """A child that was killed was so by the OOM killer, if that killed anything here."""
        if perhaps_killed(error) and self.manager.oom_kills():
            error.args = ("container init was OOM-killed (memory limit too low?)",)
            error.config_path, error.code = "linux.resources.memory.limit", "oom"
        elif self._is_of_notify(error):
            error.config_path = None
            error.hint = "NOTIFY_SOCKET is set: for it the root file system needs this directory. Make it, or unset the variable"
        return error

    def _join(self, pid: int) -> None:
        """The child enters by itself, except a cgroup2 in which no fork of it is born."""
        self.ctx.log.debug(f"process {pid} is in its namespaces")
        if self.manager.wants_process:
            self._begin(pid)
        if not self._forks:
            self.manager.join(pid)
        if self.rdt:
            self.rdt.join(pid)

    def _map(self, pid: int) -> None:
        from pyrunc.launch.idmaps import write_maps

        write_maps(pid, self.bundle.linux, rootless=self.bundle.rootless)

    def _move_net_devices(self, socket: int) -> None:
        from pyrunc.launch.netdevices import NetDevices

        self.network = NetDevices(self.bundle.linux["netDevices"])
        self.network.give(socket)

    def _run_hooks(self, pid: int) -> None:
        from pyrunc.launch.hooks import run_hooks

        self._hooks_begun = True
        self.ctx.log.debug(f"process {pid} has its mounts and devices; prestart and createRuntime hooks")
        hooks = self.bundle.config["hooks"]
        state = hook_state(self.record, "creating", pid)
        for name in ("prestart", "createRuntime"):
            run_hooks(name, hooks.get(name), state)

    def _ready(self, pid: int) -> None:
        set_rlimits(pid, self.bundle.config["process"])
        self.manager.settle(self.bundle.linux.get("resources"))
        self.container.commit(self.record)
        self.ctx.log.debug(f"process {pid} is in its root; user, capabilities and seccomp come last")

    def _take_console(self, master: int) -> None:
        """To the caller's socket, or kept for the foreground `run`."""
        if self.options.console_socket:
            send_console(self.options.console_socket, master)
        else:
            from pyrunc.launch.terminal import copy_size

            self.console = master
            copy_size(master)  # the program may ask for it at once

    def _give_listener(self, pid: int, listener: int) -> None:
        give_listener(self.bundle.linux["seccomp"], self.record, "creating", pid, listener)

    def _send_pidfd(self, pid: int) -> None:
        fd = os.pidfd_open(pid)
        try:
            hand_over("--pidfd-socket", self.options.pidfd_socket or "", b"standard", fd)
        finally:
            os.close(fd)

    def undo(self, cause: BaseException) -> None:
        """Take everything back; what cannot be is told in the debug log, the cause is what the user must see."""
        hooks = (self._poststop,) if self._hooks_begun or isinstance(cause, errors.HookError) else ()
        network = (self.network.take_back,) if self.network else ()
        groups = (self.manager.destroy, self.rdt.remove) if self.rdt else (self.manager.destroy,)
        unmount = (self._unmount,) if self._mounts else ()
        # Without a pid namespace what a hook or the program has started lives on: with its cgroup it would be lost to `delete`.
        for step in (*network, self.manager.kill_all, *unmount, *groups, *hooks, self.container.remove, self.container.close):
            try:
                step()
            except PyruncError as error:
                self.ctx.log.debug(f"after {cause}: {error.message}")

    def _unmount(self) -> None:
        from pyrunc.runtime.hostmounts import detach

        detach(self.ctx, self.bundle.rootfs, self._mounts)

    def _poststop(self) -> None:
        """runtime-spec: a hook that fails stops the container, and what follows is what follows a `delete`."""
        from pyrunc.runtime.after import poststop

        poststop(self.ctx, self.record)


def _link(fd: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""
