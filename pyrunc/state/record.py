"""What is remembered of a container: ``state.json``.

The names that other tools read (nsenter helpers, CRIU, cAdvisor) are runc's, with its ``NEWPID`` names of namespaces; beside
them stand our own. What follows from other members (``namespace_paths``, ``labels``) is written for those tools only.
"""

from __future__ import annotations

import time

from pyrunc.kernel import json
from pyrunc.kernel.proc import boot_id
from pyrunc.state.status import CREATED, CREATING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias, TypeVar

    T = TypeVar("T")
    Hooks: TypeAlias = dict[str, list[dict[str, Any]]]

# Type in the config, in runc's records, in /proc/PID/ns.
NAMESPACES = (
    ("cgroup", "NEWCGROUP", "cgroup"),
    ("ipc", "NEWIPC", "ipc"),
    ("network", "NEWNET", "net"),
    ("mount", "NEWNS", "mnt"),
    ("pid", "NEWPID", "pid"),
    ("time", "NEWTIME", "time"),
    ("user", "NEWUSER", "user"),
    ("uts", "NEWUTS", "uts"),
)


class Record:
    """All that later commands need to know of a container beyond its bundle.

    ``pid`` and ``start`` are the init process and its start time (ticks since boot; 0 and 0 before there is one), valid
    in the boot ``boot``. ``creator_pid`` and ``creator_start`` are the runtime process that is creating the container.
    ``created`` is RFC 3339 in UTC. ``namespaces`` maps the types of the config to the path joined, ``""`` for a new
    namespace. ``cgroup`` is what `cgroups.reopen` takes, ``rdt`` what `cgroups.resctrl.Group.of` does. ``hooks`` holds the
    config's ``poststart`` and ``poststop``. ``mounts`` is what `runtime.hostmounts.detach` takes, empty with a mount namespace.
    ``accepted`` is the mark of the copied configuration (`runtime.process.mark`), empty if that is not in normal form.
    ``external_descriptors`` tells what fds 0 to 2 of init were. ``owner`` is the uid of the creator. ``stage`` is
    ``creating`` until the container is ready for `start`, and ``created`` ever after.
    """

    __slots__ = (
        *("id", "bundle", "rootfs", "hostname", "oci_version", "annotations", "created", "owner", "rootless", "terminal"),
        *("namespaces", "cgroup", "rdt", "systemd_cgroup", "hooks", "external_descriptors", "keyring", "ops", "mounts"),
        *("accepted", "stage", "pid", "start", "creator_pid", "creator_start", "boot"),
    )

    def __init__(
        self,
        id: str,
        bundle: str,
        *,
        rootfs: str = "",
        hostname: str = "",
        oci_version: str = "",
        annotations: dict[str, str] | None = None,
        created: str | None = None,
        owner: int = 0,
        rootless: bool = False,
        terminal: bool = False,
        namespaces: dict[str, str] | None = None,
        cgroup: dict[str, Any] | None = None,
        rdt: dict[str, Any] | None = None,
        systemd_cgroup: bool = False,
        hooks: Hooks | None = None,
        external_descriptors: list[str] | None = None,
        keyring: bool = True,
        ops: int = 0,
        mounts: dict[str, Any] | None = None,
        accepted: str = "",
        stage: str = CREATING,
        pid: int = 0,
        start: int = 0,
        creator_pid: int = 0,
        creator_start: int = 0,
        boot: str | None = None,
    ) -> None:
        self.id = id
        self.bundle = bundle
        self.rootfs = rootfs
        self.hostname = hostname
        self.oci_version = oci_version
        self.annotations = annotations or {}
        self.created = now() if created is None else created
        self.owner = owner
        self.rootless = rootless
        self.terminal = terminal
        self.namespaces = namespaces or {}
        self.cgroup = cgroup or {}
        self.rdt = rdt or {}
        self.systemd_cgroup = systemd_cgroup
        self.hooks: Hooks = hooks or {}
        self.external_descriptors = external_descriptors or []
        self.keyring = keyring
        self.ops = ops
        self.mounts = mounts or {}
        self.accepted = accepted
        self.stage = stage
        self.pid = pid
        self.start = start
        self.creator_pid = creator_pid
        self.creator_start = creator_start
        self.boot = boot_id() if boot is None else boot

    @property
    def private_pidns(self) -> bool:
        """Whether the container has a PID namespace of its own: then all its processes end with init."""
        return self.namespaces.get("pid") == ""

    @property
    def same_boot(self) -> bool:
        """False when the machine was restarted since: the process ids and start times then mean other processes."""
        return not self.boot or boot_id() in ("", self.boot)

    def to_dict(self) -> dict[str, Any]:
        """The members of ``state.json``, in order."""
        labels = [f"bundle={self.bundle}", *(f"{key}={value}" for key, value in self.annotations.items())]
        return {
            "id": self.id,
            "init_process_pid": self.pid,
            "init_process_start": self.start,
            "created": self.created,
            "config": {
                "rootfs": self.rootfs,
                "hostname": self.hostname,
                "labels": labels,
                "namespaces": [
                    {"type": name, "path": self.namespaces[type]} for type, name, _ in NAMESPACES if type in self.namespaces
                ],
            },
            "rootless": self.rootless,
            "cgroup_paths": self.cgroup.get("paths", {}),
            "intel_rdt_path": self.rdt.get("path", ""),
            "namespace_paths": {name: f"/proc/{self.pid}/ns/{file}" for _, name, file in NAMESPACES} if self.pid else {},
            "external_descriptors": self.external_descriptors,
            "bundle": self.bundle,
            "oci_version": self.oci_version,
            "annotations": self.annotations,
            "owner": self.owner,
            "terminal": self.terminal,
            "cgroup": self.cgroup,
            "rdt": self.rdt,
            "systemd_cgroup": self.systemd_cgroup,
            "hooks": self.hooks,
            "keyring": self.keyring,
            "ops": self.ops,
            "mounts": self.mounts,
            "accepted": self.accepted,
            "stage": self.stage,
            "creator_pid": self.creator_pid,
            "creator_start": self.creator_start,
            "boot_id": self.boot,
        }

    @classmethod
    def from_dict(cls, value: object) -> Record:
        """The record that `to_dict` gave. Unknown members are ignored, ours may be absent. ValueError names what is wrong."""
        top = _typed(value, dict, "the record")
        config = _member(top, "config", dict, {})
        record = cls(
            _member(top, "id", str),
            _member(top, "bundle", str),
            rootfs=_member(config, "rootfs", str),
            hostname=_member(config, "hostname", str, ""),
            oci_version=_member(top, "oci_version", str, ""),
            annotations=_strings(_member(top, "annotations", dict, {}), "annotations"),
            created=_member(top, "created", str),
            owner=_number(top, "owner"),
            rootless=_member(top, "rootless", bool, False),
            terminal=_member(top, "terminal", bool, False),
            namespaces=_namespaces(_member(config, "namespaces", list, [])),
            cgroup=_member(top, "cgroup", dict, {}),
            rdt=_member(top, "rdt", dict, {}),
            systemd_cgroup=_member(top, "systemd_cgroup", bool, False),
            hooks=_hooks(_member(top, "hooks", dict, {})),
            external_descriptors=_items(_member(top, "external_descriptors", list, []), str, "external_descriptors"),
            keyring=_member(top, "keyring", bool, True),
            ops=_number(top, "ops") if "ops" in top else 0,
            mounts=_mounts(_member(top, "mounts", dict, {})),
            accepted=_member(top, "accepted", str, ""),
            stage=_member(top, "stage", str),
            pid=_number(top, "init_process_pid"),
            start=_number(top, "init_process_start"),
            creator_pid=_number(top, "creator_pid"),
            creator_start=_number(top, "creator_start"),
            boot=_member(top, "boot_id", str, ""),
        )
        if record.stage not in (CREATING, CREATED):
            raise ValueError(f"stage is {record.stage!r}")
        return record

    def to_json(self) -> bytes:
        """The content of ``state.json``."""
        return json.dumps(self.to_dict()).encode("ascii")

    @classmethod
    def from_json(cls, text: bytes) -> Record:
        """Raises ValueError if `text` is no JSON or no record."""
        return cls.from_dict(json.parse(text.decode()))


def now() -> str:
    """The time in UTC, RFC 3339 with nanoseconds."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{nanoseconds:09}Z"


_REQUIRED: Any = object()


def _member(of: dict[str, Any], key: str, kind: type[T], default: T = _REQUIRED) -> T:
    if key not in of and default is not _REQUIRED:
        return default
    return _typed(of.get(key), kind, key)


def _typed(value: object, kind: type[T], what: str) -> T:
    # Not isinstance: True is an int, and True as a process id would be 1.
    if type(value) is not kind:
        raise ValueError(f"{what} is {'missing' if value is None else 'a ' + type(value).__name__}, not a {kind.__name__}")
    return value


def _number(of: dict[str, Any], key: str) -> int:
    """Process ids, start times and uids. A negative process id would make kill(2) hit whole groups."""
    number = _member(of, key, int)
    if number < 0:
        raise ValueError(f"{key} is {number}")
    return number


def _strings(of: dict[str, Any], what: str) -> dict[str, str]:
    return {key: _typed(value, str, f"{what}.{key}") for key, value in of.items()}


def _namespaces(entries: list[Any]) -> dict[str, str]:
    types = {name: type for type, name, _ in NAMESPACES}
    found = {}
    for entry in entries:
        entry = _typed(entry, dict, "config.namespaces")
        name = _member(entry, "type", str)
        if name not in types:
            raise ValueError(f"config.namespaces holds {name!r}")
        found[types[name]] = _member(entry, "path", str, "")
    return found


def _mounts(of: dict[str, Any]) -> dict[str, Any]:
    return of and {"namespace": _number(of, "namespace"), "before": _items(_member(of, "before", list), int, "mounts.before")}


def _hooks(of: dict[str, Any]) -> Hooks:
    return {name: _items(_typed(hooks, list, f"hooks.{name}"), dict, f"hooks.{name}") for name, hooks in of.items()}


def _items(of: list[Any], kind: type[T], what: str) -> list[T]:
    return [_typed(item, kind, what) for item in of]
