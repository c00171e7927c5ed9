"""What `checkpoint` and `restore` tell CRIU alike: directories, flags, and which mounts and namespaces come from outside."""

from __future__ import annotations

from pyrunc.config.rules.text import clean
from pyrunc.errors import ConfigError, KernelError, UnsupportedError
from pyrunc.kernel import os
from pyrunc.launch.criu import Criu, CriuError, find, tail
from pyrunc.launch.criu_messages import CGROUP_MODES
from pyrunc.plan.devices import DEFAULT_DEVICES
from pyrunc.plan.options import parse
from pyrunc.plan.seccomp import notifies

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from pyrunc.cgroups.view import Leg

DESCRIPTORS = "descriptors.json"
"""In the images' directory: what init's fds 0 to 2 were, as runc writes it."""

CONFIGURATION = "/etc/criu/runc.conf"
"""CRIU's own options for containers; what it says wins over the command line. The annotation names another file, or none."""
ANNOTATION = "org.criu.config"

CLONE_NEWNET = 0x40000000
"""Devices and addresses of a network namespace are the caller's business: always empty_ns."""

EXTERNAL_NAMESPACES = {"network": "extRootNetNS", "pid": "extRootPidNS"}
"""Those that CRIU leaves alone when they have a path in the config, with the names that runc's images have for them."""

LOG_LEVEL = 4


def find_criu() -> str:
    """Its path. Raises UnsupportedError."""
    return find()


def capable(rootless: bool | None) -> Criu:
    """A criu that is new enough. Raises UnsupportedError, without criu and without the host's root."""
    from pyrunc.kernel.host import in_user_namespace

    if os.geteuid() != 0 or rootless or in_user_namespace():
        raise UnsupportedError("checkpoint and restore need the host's root: CRIU cannot do it for rootless containers")
    criu = Criu(find_criu())
    criu.require()
    return criu


class Images:
    """The directories of one checkpoint. ``flags`` and ``manage_cgroups_mode`` are options of criu_opts by their names there."""

    def __init__(
        self, *, image_path: str, work_path: str | None, log: str, make: bool, manage_cgroups_mode: str, flags: dict[str, Any],
    ) -> None:  # fmt: skip
        """Raises KernelError. The images' directory is made if `make` says so, the work directory always."""
        self.path = os.path.abspath(image_path)
        self.work = os.path.abspath(work_path) if work_path else self.path
        self.log = log
        self._mode = CGROUP_MODES[manage_cgroups_mode]
        self._flags = flags
        self.fds: list[int] = []
        try:
            self._open(self.path, make)
            self._open(self.work, make or work_path is not None)
        except BaseException:
            self.close()
            raise

    def _open(self, path: str, make: bool) -> None:
        try:
            if make:
                _make_directories(path)
            self.fds.append(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        except OSError as error:
            raise KernelError.of(f"open {path}", error) from error

    def __enter__(self) -> Images:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.close()
        if isinstance(error, CriuError):
            log = os.path.join(self.work, self.log)
            told = tail(log)  # says more than the first of these errors, which is in criu's answer
            error.args = (f"criu failed: {told} ({log})" if told else f"{error.message} ({log})",)

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)
        self.fds = []

    def as_seen_by(self, pid: int) -> dict[str, int]:
        """The members of criu_opts for a criu in a mount namespace of its own: it mounts in its work directory, which must
        be one of that namespace."""
        for i, fd in enumerate(self.fds):
            path = f"/proc/{pid}/root{os.readlink(f'/proc/self/fd/{fd}')}"
            try:
                self.fds[i] = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError as error:
                raise KernelError.of(f"open {path}", error) from error
            os.close(fd)
        images, work = self.fds
        return {"images_dir_fd": images, "work_dir_fd": work}

    def options(self, annotations: dict[str, str], root: str) -> dict[str, Any]:
        """The part of criu_opts that is the same for saving and restoring."""
        images, work = self.fds
        own = annotations.get(ANNOTATION)
        return {
            "images_dir_fd": images, "work_dir_fd": work, "log_level": LOG_LEVEL, "log_file": self.log, "root": root,
            "notify_scripts": True, "orphan_pts_master": True, "empty_ns": CLONE_NEWNET,
            "manage_cgroups": True, "manage_cgroups_mode": self._mode,
            "config_file": (CONFIGURATION if os.path.exists(CONFIGURATION) else None) if own is None else own or None,
            **self._flags,
        }  # fmt: skip


def _make_directories(path: str) -> None:
    """Images are the container's memory: for nobody else to read."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return
    except FileNotFoundError:
        _make_directories(os.path.dirname(path))
        os.mkdir(path, 0o700)


def external_mounts(config: dict[str, Any], bundle: str, view: Sequence[Leg]) -> Iterator[tuple[str, str]]:
    """(path in the container, path on the host) of what is bound from outside. The first is its name in the images too."""
    linux = config.get("linux") or {}
    for mount in config.get("mounts") or ():
        target, options = clean("/" + mount["destination"].lstrip("/")), parse(mount.get("options"))
        if options.remount:
            continue
        if options.bind:
            yield target, os.path.join(bundle, mount["source"])
        elif mount.get("type") == "cgroup":
            yield from ((os.path.join(target, leg.target), leg.source) for leg in view if leg.kind == "bind")
    for path in linux.get("maskedPaths") or ():
        yield clean(path), "/dev/null"
    if any(entry["type"] == "user" for entry in linux.get("namespaces") or ()):
        # Device nodes cannot be made there, so they are the host's.
        for path in (*(path for path, _, _ in DEFAULT_DEVICES), *(clean(entry["path"]) for entry in linux.get("devices") or ())):
            yield path, path


def check_config(config: dict[str, Any], *, own_mounts: bool) -> None:
    """Raises UnsupportedError for what would be missing in a restored container, although its config asks for it. `own_mounts`:
    it has a mount namespace that is not the runtime's."""
    linux = config.get("linux") or {}
    for at, there, what in (
        ("mounts", config.get("mounts") and not own_mounts, "mounts in the runtime's mount namespace"),
        ("linux.netDevices", linux.get("netDevices"), "network devices"),
        ("linux.seccomp", notifies(linux.get("seccomp")), "a filter with a listener"),
    ):
        if there:
            raise UnsupportedError(f"{at}: CRIU cannot save and restore {what}", config_path=at)


def check_namespaces(joined: dict[str, str]) -> None:
    """Raises ConfigError for a path that CRIU has no way to join."""
    if "cgroup" in joined:
        raise ConfigError([("linux.namespaces", "CRIU cannot restore into a cgroup namespace that is joined by its path")])
