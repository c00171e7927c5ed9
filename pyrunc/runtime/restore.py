"""``restore``: a container out of the files of a checkpoint, by CRIU. What comes after is the same as for any container."""

from __future__ import annotations

from pyrunc.cgroups import layout
from pyrunc.errors import ConfigError, KernelError, PyruncError
from pyrunc.kernel import json, os
from pyrunc.kernel.files import read_bounded
from pyrunc.kernel.proc import open_pidfd, send_signal, start_time
from pyrunc.launch import criu_messages as m
from pyrunc.launch.child import Child
from pyrunc.launch.criu import FIRST_PASSED
from pyrunc.plan.container import compile_container
from pyrunc.plan.facts import Request
from pyrunc.plan.opcodes import SYNC_MAPS, SYNC_READY
from pyrunc.runtime.bundle import Options
from pyrunc.runtime.creation import Creation
from pyrunc.runtime.images import (
    DESCRIPTORS,
    EXTERNAL_NAMESPACES,
    Images,
    capable,
    check_config,
    check_namespaces,
    external_mounts,
)
from pyrunc.runtime.kill import SIGKILL
from pyrunc.runtime.process import check_console, write_pid
from pyrunc.state.status import CREATED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.launch.criu import Criu
    from pyrunc.log import Context

LOG = "restore.log"
DESCRIPTORS_BYTES = 1 << 16


def restore(
    ctx: Context, id: str, *, image_path: str, work_path: str | None, manage_cgroups_mode: str, detach: bool, no_subreaper: bool,
    bundle: str, console_socket: str | None, pid_file: str | None, no_pivot: bool, flags: dict[str, Any],
) -> int:  # fmt: skip
    """The exit status of the restored program, or 0 with `detach`; without it the container is removed at its end.

    Raises what `create` and `checkpoint` raise, and then leaves nothing but what CRIU wrote into its directories.
    """
    options = Options(
        bundle=bundle, console_socket=console_socket, pid_file=pid_file, no_pivot=no_pivot, waits=False
    )
    try:
        criu = capable(ctx.rootless)
        for option in ("lsm_profile", "lsm_mount_context"):
            if flags.get(option):
                criu.require((3, 16), "--" + option.replace("_", "-"))
        if flags.get("lazy_pages"):
            criu.require_feature("lazy_pages", "--lazy-pages")
        with Images(
            image_path=image_path, work_path=work_path, log=LOG, make=False, manage_cgroups_mode=manage_cgroups_mode, flags=flags
        ) as images:
            restoration = Restoration(ctx, id, options, criu, images)
            check_console(restoration.bundle.config["process"], console_socket, detached=detach)
            from pyrunc.runtime.run import supervise

            return supervise(ctx, restoration, detach=detach, keep=False, subreaper=not no_subreaper)
    except PyruncError as error:
        raise error.within("pyrunc restore failed") from None


class Restoration(Creation):
    """A container whose processes CRIU makes, where otherwise pyrunc-init would."""

    def __init__(self, ctx: Context, id: str, options: Options, criu: Criu, images: Images) -> None:
        super().__init__(ctx, id, options)
        self.criu = criu
        self.images = images
        check_namespaces(self.bundle.namespaces.joined)
        check_config(self.bundle.config, own_mounts=self.bundle.namespaces.private("mount"))
        self.descriptors = self._descriptors()

    def _descriptors(self) -> list[str]:
        text = read_bounded(os.path.join(self.images.path, DESCRIPTORS), DESCRIPTORS_BYTES)
        try:
            found = json.parse(text.decode())
        except ValueError as error:
            raise ConfigError(f"{self.images.path}/{DESCRIPTORS}: {error}") from None
        if not isinstance(found, list) or not all(isinstance(entry, str) for entry in found):
            raise ConfigError(f"{self.images.path}/{DESCRIPTORS} is no list of strings")
        return found

    def _launch(self) -> int:
        self.record = self._new_record()
        self._keep_config()
        self.record.external_descriptors = self.descriptors
        if not self.manager.wants_process:
            self._make_cgroups()
        namespaces: list[int] = []
        try:
            options = self._options(namespaces)
            self._make_mount_points()
            response = self.criu.ask(
                m.RESTORE,
                answers={
                    "setup-namespaces": self._namespaces_are_there,
                    "orphan-pts-master": self._terminal,
                    "post-restore": self._restored,
                },
                passed=namespaces,
                apart=(self.bundle.rootfs, f"_ses.{self.id}"),
                started=self._enter_cgroups,
                opts=options,
            )
            pid = (response.get("restore") or {}).get("pid") or self.record.pid
            if self.options.pid_file:
                write_pid(self.options.pid_file, pid)
            return int(pid)
        except BaseException:
            self._kill()
            raise
        finally:
            for fd in namespaces:
                os.close(fd)

    def _kill(self) -> None:
        """Without cgroups nothing else would end what CRIU has made."""
        pidfd = open_pidfd(self.record.pid, self.record.start)
        if pidfd is not None:
            send_signal(pidfd, SIGKILL)
            os.close(pidfd)

    def _options(self, namespaces: list[int]) -> dict[str, Any]:
        bundle = self.bundle
        view = self.manager.mount_view(layout(), private=bundle.namespaces.private("cgroup"))
        inherited = [{"key": name, "fd": fd} for fd, name in enumerate(self.descriptors) if "pipe:" in name]
        joined = []
        for kind, path in bundle.namespaces.joined.items():
            if kind in EXTERNAL_NAMESPACES:
                inherited.append({"key": EXTERNAL_NAMESPACES[kind], "fd": FIRST_PASSED + len(namespaces)})
                namespaces.append(_open_namespace(kind, path))
            else:
                joined.append({"ns": "mnt" if kind == "mount" else kind, "ns_file": path})
        return {
            **self.images.options(self.record.annotations, bundle.rootfs),
            "rst_sibling": True,
            "evasive_devices": True,
            "inherit_fd": inherited,
            "join_ns": joined,
            "ext_mnt": [{"key": name, "val": path} for name, path in external_mounts(bundle.config, bundle.path, view)],
        }

    def _make_mount_points(self) -> None:
        """In a root that comes from elsewhere they may be missing. The plan of a creation makes them by all its rules; it
        is left off when the root is complete, and its mounts go with it."""
        bundle = self.bundle
        request = Request(self.id, bundle.path, bundle.rootfs, waits=False)
        plan = compile_container(_only_root(bundle.config), request, bundle.host)

        def complete(pid: int) -> None:
            raise _Enough

        try:
            with Child(plan) as child:
                child.converse({SYNC_MAPS: self._map, SYNC_READY: complete}, os.close)
        except _Enough:
            pass

    def _enter_cgroups(self, pid: int, request: dict[str, Any]) -> None:
        """What CRIU makes is born where it is itself, and its images' cgroups are mapped to these."""
        if self.manager.wants_process:
            self._make_cgroups(pid)
        self.manager.join(pid)
        if self.rdt:
            self.rdt.join(pid)
        try:
            with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
                lines = [line.rstrip("\n").split(":", 2) for line in file]
        except OSError as error:
            raise KernelError.of("read the cgroups of criu", error) from error
        roots = [{"ctrl": name.removeprefix("name="), "path": path} for _, names, path in lines for name in names.split(",")]
        request["opts"].update(cg_root=roots, **self.images.as_seen_by(pid))

    def _namespaces_are_there(self, pid: int, fd: int | None) -> None:
        hooks = self.bundle.config.get("hooks") or {}
        if hooks.get("prestart") or hooks.get("createRuntime"):
            self._run_hooks(pid)

    def _terminal(self, pid: int, fd: int | None) -> None:
        if fd is not None:
            self._take_console(fd)

    def _restored(self, pid: int, fd: int | None) -> None:
        """CRIU has put them into a time namespace too, so that their clocks go on from where they were."""
        self.record.pid, self.record.start = pid, start_time(pid)
        self.record.stage = CREATED
        if "time" not in self.record.namespaces and _differs(pid, "time"):
            self.record.namespaces["time"] = ""
        self.manager.settle(self.bundle.linux.get("resources"))
        self.container.save(self.record)


def _only_root(config: dict[str, Any]) -> dict[str, Any]:
    """The config of a container that has this one's root, and nothing else that could be felt outside."""
    kept = ("namespaces", "uidMappings", "gidMappings", "devices", "rootfsPropagation")
    linux = config.get("linux") or {}
    return {
        "root": config["root"],
        "process": {"cwd": config["process"]["cwd"], "args": ["true"], "user": {"uid": 0, "gid": 0}},
        "mounts": [mount for mount in config.get("mounts") or () if mount.get("type") != "cgroup"],
        "linux": {name: linux[name] for name in kept if name in linux},
    }


class _Enough(Exception):
    """All that was wanted of the plan is done."""


def _open_namespace(kind: str, path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        at = "linux.namespaces"
        raise KernelError.of(f"{at}: open the {kind} namespace {path}", error, config_path=at) from error


def _differs(pid: int, kind: str) -> bool:
    try:
        return not os.path.samestat(os.stat(f"/proc/{pid}/ns/{kind}"), os.stat(f"/proc/self/ns/{kind}"))
    except OSError:
        return False
