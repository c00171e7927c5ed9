"""The managers for ``--systemd-cgroup``: systemd makes the cgroup, as a unit's, and keeps its limits; we write the rest.

A scope cannot be without a process, so it is started with the container's first one, at the point where that waits for its
cgroups; what is forked from then on is born there. Limits are given to systemd as properties, so that it does not take
them back, and written to the files too, because it has no property for many. D-Bus is spoken in create, update and delete.
"""

from __future__ import annotations

from ..errors import CgroupError, PyruncError, StateError, SystemdError, UnsupportedError
from ..kernel import os
from . import UNIFIED
from .manager import NOT_PERMITTED, Manager
from .membership import cgroup2_of
from .v1 import DEVICES, V1
from .v2 import V2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .change import Journal
    from .hierarchies import Layout
    from .settings import Setting
    from .systemd_client import Client
    from .systemd_names import Unit
    from .systemd_properties import Property

NAMED = "name=systemd"
"""systemd's own hierarchy on a v1 host."""

DELEGATION = (
    "a user's systemd has only what it was given: [Service] Delegate=cpu cpuset io memory pids"
    " in /etc/systemd/system/user@.service.d/delegate.conf, then systemctl daemon-reload and a new login"
)


class Order:
    """What a new container's unit is made of: the config's part in it."""

    __slots__ = ("unit", "id", "resources", "annotations")

    def __init__(self, unit: Unit, id: str, resources: dict[str, Any] | None, annotations: dict[str, str]) -> None:
        self.unit = unit
        self.id = id
        self.resources = resources
        self.annotations = annotations


class Systemd(Manager):
    """What the two versions share. `unit` is the unit's name, `user` says whose manager has it, `order` is only for `create`."""

    name = "systemd"
    wants_process = True
    unified = True

    def __init__(
        self, paths: dict[str, str], *, unit: str, user: bool = False, order: Order | None = None, **settings: Any
    ) -> None:
        super().__init__(paths, **settings)
        self.unit = unit
        self.user = user
        self._order = order
        self._client: Client | None = None

    def connect(self) -> Client:
        """The connection of this command, made when it is first needed."""
        if self._client is None:
            from .systemd_client import connect

            self._client = connect(self.user)
        return self._client

    def _close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def record(self) -> dict[str, object]:
        return {**super().record(), "unit": self.unit, "user": self.user}

    def check(self) -> None:
        super().check()
        # What is wrong with them is told before there is anything to undo.
        if self._order is not None:
            from .systemd_values import properties_of

            properties_of(self._order.annotations)

    def create(self, pid: int | None = None) -> None:
        """Start the unit with the process `pid` in it, and make what systemd leaves to us. Raises SystemdError too."""
        if self._order is None or pid is None:
            raise StateError("a systemd unit is started with the process of a new container only")
        try:
            self.connect().start(self.unit, self._properties(self._order, pid))
            self._ours = True
            self._complete()
        except BaseException:
            try:
                self.destroy()
            except PyruncError:
                pass  # the first error is the one to tell
            raise
        finally:
            self._close()

    def _properties(self, order: Order, pid: int) -> list[Property]:
        """From what every unit has to what the config says, because the last one of a name counts."""
        from .systemd_properties import of_start, of_unit
        from .systemd_values import properties_of

        properties = of_unit(order.unit, order.id, pid, unified=self.unified)
        properties += properties_of(order.annotations)
        if unified := (order.resources or {}).get("unified"):
            properties += of_start(unified, self.connect().version())
        return properties + self._of_resources(order.resources, devices=True)

    def limits(self, resources: dict[str, Any]) -> list[list[Setting]]:
        from .systemd_properties import rounded

        return super().limits(rounded(resources) or {})

    def _of_resources(self, resources: dict[str, Any] | None, *, devices: bool) -> list[Property]:
        from .devices import rules_of
        from .systemd_properties import of_devices, of_limits

        properties: list[Property] = []
        # A user's manager may not set device rules, and ours are not its business.
        if devices and not self.user:
            properties += of_devices(rules_of(resources))[0]
        if resources:
            properties += of_limits(self._now(self.limits(resources)), self.connect().version())
        return properties

    def _complete(self) -> None:
        """Directories in the hierarchies that are none of systemd's business, and controllers that it does not know."""
        place = self.paths.get(NAMED) or self.paths[UNIFIED]
        if not os.path.isdir(place):
            raise SystemdError(f"the unit {self.unit} has started, but its cgroup {place} is not there")
        for directory in self.directories():
            try:
                try:
                    self._make(directory)
                except FileExistsError:
                    pass
                self._prepare(directory)
            except OSError as error:
                raise CgroupError.of(f"create cgroup {directory}", error, config_path="linux.cgroupsPath") from None

    def update(self, change: dict[str, Any], saved: dict[str, Any]) -> Journal:
        """As the others; then systemd is told, which the kernel has refused nothing of. Raises SystemdError too."""
        from .change import effective

        journal = super().update(change, saved)
        try:
            wanted = effective(saved, change)
            devices = bool(wanted.get("devices")) and wanted["devices"] != saved.get("devices")
            if properties := self._of_resources(wanted, devices=devices):
                self._tell(properties, devices)
                journal.add(f"the properties of {self.unit}", lambda: self._tell(self._before(properties, saved), devices))
        except BaseException:
            journal.undo()
            raise
        finally:
            self._close()
        return journal

    def _before(self, properties: list[Property], saved: dict[str, Any]) -> list[Property]:
        from .systemd_properties import taken_back

        return taken_back(properties, self._of_resources(saved, devices=True))

    def _tell(self, properties: list[Property], devices: bool) -> None:
        try:
            self.connect().set_properties(self.unit, properties)
        finally:
            self._close()

    def _write(self, groups: list[list[Setting]], journal: Journal | None = None) -> None:
        try:
            super()._write(self._now(groups), journal)
        except UnsupportedError as error:
            if self.user and error.hint:
                error.hint = DELEGATION
            raise

    def _now(self, groups: list[list[Setting]]) -> list[list[Setting]]:
        """Without a pids limit of 1 while a container is made: the first process is in the cgroup, and must fork once."""
        return groups if self._order is None else _apart(groups)[0]

    def settle(self, resources: dict[str, Any] | None) -> None:
        self._order = None
        later = _apart(self.limits(resources or {}))[1]
        if not later:
            return
        from .systemd_properties import of_limits

        self._tell(of_limits(later, self.connect().version()), devices=False)
        self._write(later)

    def join(self, pid: int, *, below: dict[str, str] | None = None, init: int | None = None) -> None:
        """As the others do it; where the kernel does not let a user move the process, their systemd does."""
        try:
            super().join(pid, below=below, init=init)
        except CgroupError as error:
            if not self.user or error.errno not in NOT_PERMITTED:
                raise
            top = self.paths[UNIFIED]
            inside = cgroup2_of(init, top)[len(top) :] if init and not below else ""
            try:
                self.connect().attach(self.unit, (below or {}).get("", (below or {}).get("*", inside)), [pid])
            finally:
                self._close()

    def destroy(self) -> None:
        """Stop the unit and remove what is left. Without an answer of systemd's the directories go all the same, and then
        SystemdError is raised: systemd will miss the cgroup, but may remember a failed unit."""
        try:
            if self._ours:
                self.connect().stop(self.unit)
        finally:
            self._close()
            super().destroy()


class SystemdV2(Systemd, V2):
    def apply_devices(self, resources: dict[str, Any] | None) -> None:
        """systemd's own program stays, and is attached again whenever systemd likes; ours is exact, and both must agree."""
        from . import bpf
        from .devices import rules_of

        bpf.attach(self.paths[UNIFIED], rules_of(resources), tolerate_eperm=self.rootless, beside=True)


class SystemdV1(Systemd, V1):
    unified = False

    def apply_devices(self, resources: dict[str, Any] | None) -> None:
        """systemd writes v1's lists anew at a daemon-reload, so what it cannot be told must not be there alone."""
        from . import bpf
        from .devices import rules_of
        from .systemd_properties import of_devices

        rules = rules_of(resources)
        if of_devices(rules)[1]:
            return super().apply_devices(resources)
        if UNIFIED not in self.paths:
            raise UnsupportedError(f"{DEVICES}: systemd can only be told what is allowed", config_path=DEVICES)
        bpf.attach(self.paths[UNIFIED], rules, tolerate_eperm=self.rootless, beside=True)

    def update(self, change: dict[str, Any], saved: dict[str, Any]) -> Journal:
        from .devices import rules_of
        from .systemd_properties import of_devices

        if change.get("devices") and of_devices(rules_of(change))[1] != of_devices(rules_of(saved))[1]:
            what = f"{DEVICES}: rules that systemd can be told cannot take the place of rules that it cannot, nor the reverse"
            raise UnsupportedError(what, config_path=DEVICES)
        return super().update(change, saved)

    def _tell(self, properties: list[Property], devices: bool) -> None:
        """systemd first denies all devices and then allows some, which no process may live to see."""
        if not devices or self.frozen():
            return super()._tell(properties, devices)
        self.freeze()
        try:
            super()._tell(properties, devices)
        finally:
            self.thaw()


def select(config: dict[str, Any], container_id: str, *, rootless: bool, host: Layout) -> Systemd:
    """The manager for a new container, see `cgroups.select`. A user's systemd is asked where it is. Raises ConfigError,
    UnsupportedError, SystemdError."""
    from .delegation import owner
    from .systemd_names import unit_of

    linux = config.get("linux") or {}
    user = rootless or _of_a_user()
    unit = unit_of(linux.get("cgroupsPath") or "", container_id, user=user)
    order = Order(unit, container_id, linux.get("resources"), config.get("annotations") or {})
    if host.version not in (2, 1, "hybrid"):
        raise UnsupportedError("no cgroup hierarchy is mounted", hint="mount cgroup2, or use --cgroup-manager disabled")
    if host.version == 2:
        top = host.hierarchies[0].mount.rstrip("/")
        manager = SystemdV2({}, unit=unit.name, user=user, order=order, rootless=user, top=top, owner=owner(config))
        manager.paths[UNIFIED] = top + (manager.connect().control_group() if user else "") + unit.path
        return manager
    if user:
        raise UnsupportedError("cannot use rootless systemd cgroups manager on cgroup v1", hint="use cgroupfs, or boot with v2")
    paths = {name: one.mount.rstrip("/") + unit.path for one in host.hierarchies for name in one.controllers}
    if NAMED not in paths:
        raise UnsupportedError(f"systemd's own hierarchy, {NAMED}, is not mounted here", hint="use cgroupfs")
    return SystemdV1(paths, unit=unit.name, order=order)


def reopen(record: dict[str, Any], paths: dict[str, str], *, rootless: bool) -> Systemd:
    """The manager of a recorded container. Raises StateError."""
    unit, user = record.get("unit"), record.get("user")
    if not isinstance(unit, str) or not unit or not isinstance(user, bool):
        raise StateError("the record of the container's cgroups is damaged")
    kind = SystemdV2 if list(paths) == [UNIFIED] else SystemdV1
    return kind(paths, unit=unit, user=user, rootless=rootless, ours=True)


def _apart(groups: list[list[Setting]]) -> tuple[list[list[Setting]], list[list[Setting]]]:
    """The settings, and those of them that keep a process from forking."""
    pids = [group for group in groups if group[-1].file == "pids.max"]
    if not pids or pids[-1][-1].value not in ("0", "1"):
        return groups, []
    return [group for group in groups if group not in pids], pids


def _of_a_user() -> bool:
    """Whether the manager to ask is not the host's although we are root: root of a user namespace that somebody has made.

    The host's root is nobody in there, and so the owner of the host's files; in a container that runs a systemd of its own
    they are root's."""
    from ..kernel.host import in_user_namespace
    from .systemd_client import PRIVATE_SOCKET

    if not in_user_namespace():
        return False
    try:
        return os.stat(PRIVATE_SOCKET).st_uid != os.geteuid()
    except OSError:
        return True
