"""What is asked of a systemd manager, the system's or a user's: org.freedesktop.systemd1(5)."""

from __future__ import annotations

import time
from errno import ECONNREFUSED, ENOENT, ETIMEDOUT

from ..errors import SystemdError, UnsupportedError
from ..kernel import os
from ..kernel.sdbus import Bus, DBusError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .systemd_properties import Property

SECONDS = 30.0
"""How long systemd may take for a request, its job included."""

NAME = "org.freedesktop.systemd1"
PATH = "/org/freedesktop/systemd1"
MANAGER = NAME + ".Manager"
BOOTED = "/run/systemd/system"

PRIVATE_SOCKET = "/run/systemd/private"
"""Where the system's manager answers root without a message broker."""


class Client:
    """A connection to a systemd manager. Every request raises SystemdError when it is refused or not answered in time."""

    def __init__(self, bus: Bus, *, user: bool = False) -> None:
        self._bus = bus
        self._whose = "the user's systemd" if user else "systemd"
        self._version = 0

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._bus.close()

    def version(self) -> int:
        """systemd's major version; 0 for one that does not say a number."""
        if not self._version:
            text = str(self._property("Version"))
            start = next((at for at, letter in enumerate(text) if letter.isdigit()), len(text))
            digits = text[start:].partition(".")[0]
            self._version = int("0" + digits[: next((at for at, x in enumerate(digits) if not x.isdigit()), len(digits))])
        return self._version

    def control_group(self) -> str:
        """The cgroup of the manager, below which all of its units are; "" for the root."""
        return str(self._property("ControlGroup")).rstrip("/")

    def start(self, unit: str, properties: list[Property]) -> None:
        """Make and start a transient unit, and wait until it is there.

        A unit of this name that has failed is in the way until it is forgotten, so that is asked for once.
        """
        what = f"start the unit {unit}"
        try:
            try:
                self._job(what, "StartTransientUnit", "ssa(sv)a(sa(sv))", (unit, "replace", properties, []))
            except DBusError as error:
                if error.name != NAME + ".UnitExists":
                    raise
                self.forget(unit)
                self._job(what, "StartTransientUnit", "ssa(sv)a(sa(sv))", (unit, "replace", properties, []))
        except DBusError as error:
            raise self._failed(what, error) from None
        except SystemdError:
            self.forget(unit)
            raise

    def stop(self, unit: str) -> None:
        """Stop a unit and let systemd forget it; one that is not there is fine."""
        what = f"stop the unit {unit}"
        try:
            self._job(what, "StopUnit", "ss", (unit, "replace"))
        except DBusError as error:
            if error.name != NAME + ".NoSuchUnit":
                raise self._failed(what, error) from None
        self.forget(unit)

    def forget(self, unit: str) -> None:
        """Reset a failed unit, which systemd keeps for people to look at; errors mean that there is none."""
        try:
            self._call("ResetFailedUnit", "s", unit)
        except DBusError:
            return

    def set_properties(self, unit: str, properties: list[Property]) -> None:
        """Change properties of a running unit until the next boot."""
        try:
            self._call("SetUnitProperties", "sba(sv)", unit, True, properties)
        except DBusError as error:
            raise self._failed(f"set properties of the unit {unit}", error) from None

    def attach(self, unit: str, below: str, pids: list[int]) -> None:
        """Have processes moved into a unit's cgroup, or into the one at the path `below` in it."""
        try:
            self._call("AttachProcessesToUnit", "ssau", unit, below, pids)
        except DBusError as error:
            raise self._failed(f"attach process {pids[0]} to the unit {unit}", error) from None

    def _property(self, name: str) -> object:
        try:
            arguments = (NAME, PATH, "org.freedesktop.DBus.Properties", "Get", "ss", (MANAGER, name))
            return self._bus.call(*arguments, time.monotonic() + SECONDS)[0][1]
        except DBusError as error:
            raise self._failed(f"read the property {name}", error) from None

    def _call(self, member: str, signature: str, *values: Any) -> tuple[Any, ...]:
        return self._bus.call(NAME, PATH, MANAGER, member, signature, values, time.monotonic() + SECONDS)

    def _job(self, what: str, member: str, signature: str, values: tuple[Any, ...]) -> None:
        """A request that becomes a job, and the job's end."""
        deadline = time.monotonic() + SECONDS
        self._bus.subscribe(PATH, MANAGER, "JobRemoved", deadline)
        (job,) = self._bus.call(NAME, PATH, MANAGER, member, signature, values, deadline)
        while (removed := self._bus.signal(MANAGER, "JobRemoved", deadline))[1] != job:
            continue
        if removed[3] != "done":
            raise SystemdError(f'{what}: {self._whose} ended the job with "{removed[3]}"')

    def _failed(self, what: str, error: DBusError) -> SystemdError:
        if error.errno == ETIMEDOUT:
            return SystemdError(f"{what}: {self._whose} has not answered within {SECONDS:g} s")
        return SystemdError(f"{what}: {self._whose} answers: {error.text}" if error.name else f"{what}: {error.text}")


def connect(user: bool) -> Client:
    """A client of the user's manager or of the system's. Raises UnsupportedError without libsystemd or systemd, SystemdError."""
    places = _of_user() if user else _of_system()
    deadline, refusals = time.monotonic() + SECONDS, []
    for address, broker in places:
        try:
            return Client(Bus(address, broker=broker, deadline=deadline), user=user)
        except DBusError as error:
            # Not "no such file or directory": callers take that for a missing program.
            why = "nobody is there" if error.errno in (ENOENT, ECONNREFUSED) else error.text
            refusals.append(f"{address.removeprefix('unix:path=')}: {why}")
            if error.errno not in (ENOENT, ECONNREFUSED):
                break
    whose = "the user's systemd" if user else "systemd"
    hint = "install the package dbus-user-session, and see loginctl enable-linger" if user else "is the package dbus installed?"
    raise SystemdError(f"{whose} cannot be reached: {'; '.join(refusals)}", hint=hint)


def _of_system() -> list[tuple[str, bool]]:
    """Where to look, in order, as (address, whether a message broker is there)."""
    if not os.path.isdir(BOOTED):
        raise UnsupportedError(f"the systemd cgroup driver: there is no systemd here ({BOOTED})", hint="use cgroupfs")
    if address := os.getenv("DBUS_SYSTEM_BUS_ADDRESS"):
        return [(address, True)]
    return [(f"unix:path={PRIVATE_SOCKET}", False), ("unix:path=/run/dbus/system_bus_socket", True)]


def _of_user() -> list[tuple[str, bool]]:
    if address := os.getenv("DBUS_SESSION_BUS_ADDRESS"):
        return [(address, True)]
    if not (runtime := os.getenv("XDG_RUNTIME_DIR")):
        raise SystemdError(
            "the user's systemd cannot be reached: neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set",
            hint="log in as the user (ssh, machinectl shell), not by su or sudo",
        )
    return [(f"unix:path={escape(runtime)}/bus", True), (f"unix:path={escape(runtime)}/systemd/private", False)]


def escape(path: str) -> str:
    """A path in a D-Bus address, where only some bytes may stand for themselves (dbus-specification, "Server Addresses")."""
    plain = b"-_/\\*.0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return "".join(chr(byte) if byte in plain else f"%{byte:02x}" for byte in os.fsencode(path))
