"""Network devices of the host on their way into a container (runtime-spec 1.3, config-linux.md, "Network devices").

Only the runtime can move them: root of a user namespace has no rights over the host's. pyrunc-init opens a netlink socket in
the container's namespace and hands it over; all that is done inside goes through that, so the runtime enters no namespace.
"""

from __future__ import annotations

import fcntl

from pyrunc import errors
from pyrunc.errors import PyruncError
from pyrunc.kernel import os
from pyrunc.kernel.netlink import IFF_LOOPBACK, IFF_UP, NAME_MAX, Link, Netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.kernel.netlink import Address

AT = "linux.netDevices"
SIOCGSKNS = 0x894C
"""ioctl of a socket: an fd of its network namespace (ioctl_nsfs(2))."""


class Device:
    """One to be moved. ``there`` is what it is inside, None while it is still here."""

    __slots__ = ("addresses", "at", "here", "name", "there")

    def __init__(self, at: str, here: Link, addresses: list[Address], name: str) -> None:
        self.at = at
        self.here = here
        self.addresses = addresses
        self.name = name
        self.there: Link | None = None


class NetDevices:
    """The devices of one container being made. `give` moves them; then `keep` leaves them there, or `take_back` does not.

    A device that a program has, it keeps: when the namespace goes, the kernel gives hardware back to the host and removes what is
    virtual. But a container that never came to be must not cost the host its devices.
    """

    def __init__(self, listed: dict[str, Any]) -> None:
        self.listed = listed
        self._moved: list[Device] = []
        self._inside: Netlink | None = None
        self._outside: Netlink | None = None

    def give(self, socket: int) -> None:
        """Move all of them through `socket`, a netlink socket of the container's namespace, which becomes ours.

        Each keeps its permanent addresses of global scope and is up afterwards. Raises KernelError and PyruncError, which name
        the device; then the caller owes a `take_back`.
        """
        self._inside = Netlink(socket)
        try:
            self._outside = Netlink()
            namespace = fcntl.ioctl(socket, SIOCGSKNS)
        except OSError as error:
            raise errors.KernelError.of(f"{AT}: open the container's network namespace", error, config_path=AT) from error
        try:
            for device in [self._look(name, entry) for name, entry in self.listed.items()]:
                self._move(device, namespace)
        except OSError as error:
            raise errors.KernelError.of(f"{AT}: talk to the kernel", error, config_path=AT) from error
        finally:
            os.close(namespace)

    def _look(self, name: str, entry: dict[str, Any]) -> Device:
        """What there is to move, before anything is."""
        assert self._outside and self._inside
        at = f"{AT}.{name}"
        here = self._outside.link(name)
        if here is None:
            raise PyruncError(f"{at}: there is no such network device", config_path=at)
        if here.flags & IFF_LOOPBACK:
            raise PyruncError(f"{at}: a loopback device cannot be moved", config_path=at)
        wanted = entry.get("name") or here.name
        if "%d" not in wanted and self._inside.link(wanted):
            raise PyruncError(f"{at}: a network device called {wanted} is in the container already", config_path=at)
        return Device(at, here, self._outside.addresses(here), wanted)

    def _move(self, device: Device, namespace: int) -> None:
        assert self._outside and self._inside
        name = _free(self._inside, device) if "%d" in device.name else device.name
        doing = f"move {device.here.name} into the container as {name}"
        self._moved.append(device)  # it may be there although the kernel says no: see _where
        try:
            self._outside.move(device.here, namespace, name)
            device.there = _found(self._inside, name)
            for address in device.addresses:
                doing = f"give {name} its addresses"
                self._inside.add_address(device.there, address)
            doing = f"bring up {name}"
            self._inside.set_up(device.there)
        except OSError as error:
            raise errors.KernelError.of(f"{device.at}: {doing}", error, config_path=device.at) from error

    def take_back(self) -> None:
        """All that were moved, the last first, as far as the kernel lets us; routes that they had are gone. Raises KernelError
        for the first that did not come back."""
        failed: errors.KernelError | None = None
        try:
            for device in reversed(self._moved):
                try:
                    self._return(device)
                except OSError as error:
                    what = f"{device.at}: bring {device.here.name} back from the container"
                    failed = failed or errors.KernelError.of(what, error, config_path=device.at)
        finally:
            self.keep()
        if failed:
            raise failed

    def _return(self, device: Device) -> None:
        """The kernel renames after it has moved: where the name was refused, the device is inside under its old one."""
        assert self._outside and self._inside
        there = device.there or self._inside.link(device.here.name)
        if self._outside.link(device.here.name) or not there:
            return
        host = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._inside.move(there, host, device.here.name)
        finally:
            os.close(host)
        here = _found(self._outside, device.here.name)
        for address in device.addresses:
            self._outside.add_address(here, address)
        if device.here.flags & IFF_UP:
            self._outside.set_up(here)

    def keep(self) -> None:
        """The container has them; nothing of the namespace stays open here."""
        self._moved = []
        for socket in (self._inside, self._outside):
            if socket:
                socket.close()
        self._inside = self._outside = None


def _free(inside: Netlink, device: Device) -> str:
    """The first name of a template that nobody has inside, as the kernel would find it. But it would not tell which."""
    number = 0
    while True:
        name = device.name.replace("%d", str(number))
        if len(os.fsencode(name)) > NAME_MAX:
            text = f"{device.at}.name: {device.name} leaves no name of at most {NAME_MAX} bytes that is free in the container"
            raise PyruncError(text, config_path=f"{device.at}.name")
        if not inside.link(name):
            return name
        number += 1


def _found(netlink: Netlink, name: str) -> Link:
    """A device that was just moved; its index may have changed on the way."""
    found = netlink.link(name)
    if not found:
        from errno import ENODEV

        raise OSError(ENODEV, os.strerror(ENODEV))
    return found
