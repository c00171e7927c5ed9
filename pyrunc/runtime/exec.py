"""``exec``: a further process in a running container."""

from __future__ import annotations

from pyrunc import errors
from pyrunc.cgroups import reopen
from pyrunc.cgroups.files import write
from pyrunc.config.rules.process import check_process
from pyrunc.errors import PyruncError
from pyrunc.kernel import os
from pyrunc.kernel.files import read_bounded
from pyrunc.launch.child import Child, perhaps_killed
from pyrunc.plan.further import compile_exec
from pyrunc.plan.opcodes import SYNC_CGROUP, SYNC_READY
from pyrunc.runtime.kill import open_init
from pyrunc.runtime.process import (
    check_console,
    give_listener,
    hand_over,
    inherited_fds,
    own_config,
    seccomp_filter,
    send_console,
    set_rlimits,
    with_listen_fds,
    write_pid,
)
from pyrunc.state.status import NOT_RUNNING, STOPPED, require_executable, status
from pyrunc.state.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrunc.log import Context
    from pyrunc.state.store import Container

NAMESPACE_FILES = {
    "user": "user", "ipc": "ipc", "uts": "uts", "network": "net",
    "pid": "pid", "cgroup": "cgroup", "time": "time", "mount": "mnt",
}  # fmt: skip
INHERITED = ("capabilities", "rlimits", "scheduler", "ioPriority", "execCPUAffinity")


class Wishes:
    """What the command line changes in the container's own `process`; None or empty where it says nothing."""

    __slots__ = ("additional_gids", "apparmor", "argv", "caps", "cwd", "env", "no_new_privs", "process_label", "tty", "user")

    def __init__(
        self, *, argv: list[str], env: list[str], cwd: str | None, user: tuple[int, int | None] | None, tty: bool,
        additional_gids: list[int], caps: list[str], no_new_privs: bool | None, process_label: str | None, apparmor: str | None,
    ) -> None:  # fmt: skip
        self.argv = argv
        self.env = env
        self.cwd = cwd
        self.user = user
        self.tty = tty
        self.additional_gids = additional_gids
        self.caps = caps
        self.no_new_privs = no_new_privs
        self.process_label = process_label
        self.apparmor = apparmor

    def applied_to(self, own: dict[str, Any]) -> dict[str, Any]:
        """A process document. The container's terminal is not taken over: a further process has one only if asked."""
        process = {**own, "args": self.argv, "terminal": bool(self.tty)}
        process.pop("consoleSize", None)
        user = dict(own.get("user") or {})
        if self.user:
            uid, gid = self.user
            user["uid"] = uid
            if gid is not None:
                user["gid"] = gid
        if self.additional_gids:
            user["additionalGids"] = [*(user.get("additionalGids") or ()), *self.additional_gids]
        process["user"] = user
        process["env"] = [*(own.get("env") or ()), *self.env]
        if self.cwd:
            process["cwd"] = self.cwd
        if self.no_new_privs is not None:
            process["noNewPrivileges"] = self.no_new_privs
        for name, value in (("apparmorProfile", self.apparmor), ("selinuxLabel", self.process_label)):
            if value:
                process[name] = value
        if self.caps:
            process["capabilities"] = self._more_capabilities(own.get("capabilities") or {})
        return process

    def _more_capabilities(self, own: dict[str, Any]) -> dict[str, Any]:
        """Never into the inheritable set, and ambient only where the config has an inheritable one (CVE-2022-29162)."""
        names = ["bounding", "effective", "permitted", *(["ambient"] if own.get("inheritable") else [])]
        more = {name: [*(own.get(name) or ()), *self.caps] for name in names}
        return {**own, **more}


def exec_(
    ctx: Context, id: str, process: dict[str, Any] | None, *, process_file: str | None, console_socket: str | None,
    pidfd_socket: str | None, pid_file: str | None, detach: bool, preserve_fds: int, cgroup: list[str], ignore_paused: bool,
    **wishes: Any,
) -> int:  # fmt: skip
    """The exit status of the process, or 0 with `detach`. `process` or `process_file` is the whole process; else `wishes`.

    Raises ContainerMissing, WrongStatus, ConfigError, ExecutableError and whatever the launch raises.
    """
    container = Store(ctx.root).open(id, lock=False)
    try:
        execution = Execution(ctx, container, ignore_paused=ignore_paused)
        if process_file is not None:
            from pyrunc.config.load import load_process

            process = load_process(process_file)
        if process is None:
            process = Wishes(**wishes).applied_to(execution.config["process"])
        execution.prepare(process, console_socket, detach=detach, preserve_fds=preserve_fds, cgroup=cgroup)
        finish = (console_socket, pidfd_socket, os.path.abspath(pid_file) if pid_file else None)
        if detach:
            execution.launch(*finish)
            return 0
        from pyrunc.launch.foreground import Foreground

        foreground = Foreground()
        return foreground.wait(execution.launch(*finish), execution.console)
    except PyruncError as error:
        if error.stage == "setup":
            error.within("unable to start container process")
        raise
    finally:
        container.close()


class Execution:
    """One process on its way into a container."""

    def __init__(self, ctx: Context, container: Container, *, ignore_paused: bool) -> None:
        self.ctx = ctx
        self.container = container
        self.record = container.record
        self.manager = reopen(self.record.cgroup)
        require_executable(status(self.record, container.fd, self.manager.frozen), ignore_paused=ignore_paused)
        self.config = own_config(container)
        self.console = -1
        self._below: dict[str, str] | None = None

    def prepare(
        self, process: dict[str, Any], console_socket: str | None, *, detach: bool, preserve_fds: int, cgroup: list[str]
    ) -> None:
        """Check the process, and everything that can be known before it is started.

        What a process file does not say of INHERITED is as the container's own process has it, not as the runtime.
        """
        own = self.config["process"]
        process = {**process, **{name: own.get(name) for name in INHERITED if process.get(name) is None}}
        check_process(process, config=self.config, at="process.")
        if process.get("selinuxLabel"):
            _check_selinux()
        check_console(process, console_socket, detached=detach)
        self.process = with_listen_fds({"process": process})["process"]
        self.preserve = inherited_fds() + preserve_fds
        if cgroup:
            from pyrunc.cgroups.subgroup import parse

            self._below = parse(cgroup, self.manager.paths)

    def launch(self, console_socket: str | None, pidfd_socket: str | None, pid_file: str | None) -> int:
        """Start it; its pid. The pid file appears only when the program runs: conmon takes it as the sign of success."""
        pidfd = open_init(self.container)
        if pidfd is None:
            raise errors.WrongStatus(f"cannot exec in a stopped container: {NOT_RUNNING}", STOPPED)
        self._socket = console_socket
        try:
            differing = self._differing()
            plan = compile_exec(
                self.process,
                differing,
                id=self.record.id,
                new_keyring=self.record.keyring,
                setgroups=self._may_set_groups(),
                seccomp=seccomp_filter(self.ctx, self.config.get("linux") or {}),
                preserve=self.preserve,
                cgroup_entry=((), None) if self._moved(differing) else self.manager.entry(),
                linux=self.config.get("linux") or {},
                rootfs=None if "mount" in self.record.namespaces else self.record.rootfs,
                rootless=self.record.rootless,
            )
            with Child(plan, (pidfd,)) as child:
                answers: dict[int, Callable[[int], None]] = {SYNC_CGROUP: self._join, SYNC_READY: self._ready}
                child.converse(answers, self._take_console, on_listener=self._give_listener)
                if pidfd_socket:
                    self._send_pidfd(pidfd_socket, child.pid)
                if pid_file:
                    write_pid(pid_file, child.pid)
                self.ctx.log.debug(f"process {child.pid} is set up, {len(plan.ops)} ops")
                return child.pid
        except PyruncError as error:
            if perhaps_killed(error) and self.manager.oom_kills():
                error.args = (f"{error.message} (possibly OOM-killed)",)
            raise
        finally:
            os.close(pidfd)

    def _differing(self) -> list[str]:
        """The namespaces of init that are not the runtime's: joining one's own user namespace is an error (setns(2))."""
        found = []
        for kind, name in NAMESPACE_FILES.items():
            try:
                ours, theirs = os.stat(f"/proc/self/ns/{name}"), os.stat(f"/proc/{self.record.pid}/ns/{name}")
            except FileNotFoundError:
                continue  # the kernel has no such namespaces, or init is gone, which JOIN will say
            except OSError as error:
                raise errors.KernelError.of(f"look at the container's {kind} namespace", error) from error
            if not os.path.samestat(ours, theirs):
                found.append(kind)
        return found

    def _may_set_groups(self) -> bool:
        """user_namespaces(7): a namespace may have given up setgroups(2) for good."""
        try:
            return read_bounded(f"/proc/{self.record.pid}/setgroups", 16) != b"deny\n"
        except errors.KernelError:
            return True

    def _moved(self, differing: list[str]) -> bool:
        """Whether the runtime must put the process into the cgroups: into one that the command line names, into a cgroup2
        that is not entered by a fork, or where the container may have given its own cgroup2's controllers away."""
        self._move = self._below is not None or list(self.manager.paths) == [""] or not {"pid", "time"} & set(differing)
        return self._move

    def _join(self, pid: int) -> None:
        if self._move:
            self.manager.join(pid, below=self._below, init=self.record.pid)
        if self.record.rdt:
            from pyrunc.cgroups.resctrl import Group

            if group := Group.of(self.record.rdt):
                group.join(pid)
        score = self.process.get("oomScoreAdj")
        if score is not None:
            at, path = "process.oomScoreAdj", f"/proc/{pid}/oom_score_adj"
            try:
                write(path, str(score))
            except OSError as error:
                raise errors.KernelError.of(f"{at}: write {path}", error, config_path=at) from error

    def _ready(self, pid: int) -> None:
        set_rlimits(pid, self.process)

    def _take_console(self, master: int) -> None:
        if self._socket:
            send_console(self._socket, master)
        else:
            from pyrunc.launch.terminal import copy_size

            self.console = master
            copy_size(master)  # the program may ask for it at once

    def _give_listener(self, pid: int, listener: int) -> None:
        give_listener(self.config["linux"]["seccomp"], self.record, "running", pid, listener)

    def _send_pidfd(self, path: str, pid: int) -> None:
        fd = os.pidfd_open(pid)
        try:
            hand_over("--pidfd-socket", path, b"setns", fd)
        finally:
            os.close(fd)


def _check_selinux() -> None:
    from pyrunc.config.rules.labels import SELINUX_OFF
    from pyrunc.kernel.host import selinux_enabled

    if not selinux_enabled():
        raise errors.ConfigError([("process.selinuxLabel", SELINUX_OFF)])
