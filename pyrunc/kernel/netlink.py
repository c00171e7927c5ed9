"""rtnetlink(7), as far as moving network devices needs it: one request, its answers, devices and addresses.

Both sides' lengths are checked: an attribute's is of 16 bits, and one that wraps writes attributes of the text's own
(CVE-2021-43784). Raises OSError with the kernel's errno; a message that does not keep its own lengths is EBADMSG.
"""

from __future__ import annotations

from _socket import AF_NETLINK, MSG_TRUNC, SOCK_CLOEXEC, SOCK_RAW, socket as Socket
from _struct import Struct
from errno import EBADMSG, EMSGSIZE, ENODEV

from pyrunc.kernel import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

NETLINK_ROUTE = 0

NLMSG_ERROR, NLMSG_DONE, RTM_NEWLINK, RTM_GETLINK, RTM_NEWADDR, RTM_GETADDR = 2, 3, 16, 18, 20, 22
NLM_F_REQUEST, NLM_F_MULTI, NLM_F_ACK, NLM_F_DUMP_INTR, NLM_F_DUMP = 0x1, 0x2, 0x4, 0x10, 0x300
NLM_F_EXCL, NLM_F_CREATE = 0x200, 0x400

IFLA_IFNAME, IFLA_NET_NS_FD = 3, 28
IFF_UP, IFF_LOOPBACK = 0x1, 0x8

IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_CACHEINFO, IFA_FLAGS, IFA_RT_PRIORITY = 1, 2, 4, 6, 8, 9
IFA_KEPT = (IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_CACHEINFO, IFA_RT_PRIORITY)
IFA_F_PERMANENT = 0x80
IFA_F_SETTABLE = 0x02 | 0x10 | 0x100 | 0x200 | 0x400
"""NODAD, HOMEADDRESS, MANAGETEMPADDR, NOPREFIXROUTE, MCAUTOJOIN; the others are the kernel's to say."""
RT_SCOPE_UNIVERSE = 0

NAME_MAX = 15
"""Bytes of a device's name, IFNAMSIZ without the NUL."""
ATTRIBUTE_MAX = 0xFFFF - 4
RECEIVE = 1 << 17
"""Bytes, far more than the kernel puts into one answer."""

_HEADER = Struct("=IHHII")  # length, kind, flags, sequence, port
_ATTRIBUTE = Struct("=HH")
_LINK = Struct("=BxHiII")  # family, type, index, flags, change
_ADDRESS = Struct("=BBBBI")  # family, prefix length, flags, scope, index
_INT = Struct("=i")
_WORD = Struct("=I")
_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER


class Link:
    """A network device: its index and name in the namespace that was asked, and the IFF_* flags."""

    __slots__ = ("flags", "index", "name")

    def __init__(self, index: int, name: str, flags: int) -> None:
        self.index = index
        self.name = name
        self.flags = flags


class Address:
    """A permanent address of global scope: family, prefix length, and the attributes that make it again elsewhere."""

    __slots__ = ("attributes", "family", "prefix")

    def __init__(self, family: int, prefix: int, attributes: bytes) -> None:
        self.family = family
        self.prefix = prefix
        self.attributes = attributes


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded. OSError EMSGSIZE for a value that its 16-bit length cannot tell."""
    if len(value) > ATTRIBUTE_MAX:
        raise OSError(EMSGSIZE, os.strerror(EMSGSIZE))
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def attributes(data: bytes) -> dict[int, bytes]:
    """Attributes by their kinds, of several of one kind the last."""
    found = {}
    at = 0
    while len(data) - at >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if not _ATTRIBUTE.size <= length <= len(data) - at:
            raise _malformed()
        found[kind & _TYPE_MASK] = data[at + _ATTRIBUTE.size : at + length]
        at += length + 3 & ~3
    return found


def messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """(kind, flags, sequence, payload) of each message in one datagram."""
    at = 0
    while len(data) - at >= _HEADER.size:
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, at)
        if not _HEADER.size <= length <= len(data) - at:
            raise _malformed()
        yield kind, flags, sequence, data[at + _HEADER.size : at + length]
        at += length + 3 & ~3


def _malformed() -> OSError:
    return OSError(EBADMSG, os.strerror(EBADMSG))


class Netlink:
    """A socket of one network namespace: of the process's own, or of the one in which `fd` was opened."""

    def __init__(self, fd: int = -1) -> None:
        self._socket = Socket(fileno=fd) if fd >= 0 else Socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def request(self, kind: int, flags: int, body: bytes) -> list[bytes]:
        """The payloads that answer it, none for a change that was made. A dump that a change came between is made anew."""
        while True:
            found = self._once(kind, flags, body)
            if found is not None:
                return found

    def _once(self, kind: int, flags: int, body: bytes) -> list[bytes] | None:
        self._sequence += 1
        if flags & NLM_F_DUMP != NLM_F_DUMP:
            flags |= NLM_F_ACK
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), kind, flags | NLM_F_REQUEST, self._sequence, 0) + body)
        found: list[bytes] = []
        interrupted = False
        while True:
            for answer, marks, sequence, payload in messages(self._receive()):
                if sequence != self._sequence:
                    continue
                interrupted |= bool(marks & NLM_F_DUMP_INTR)
                if answer not in (NLMSG_ERROR, NLMSG_DONE):
                    found.append(payload)
                    continue
                if len(payload) < _INT.size and answer == NLMSG_ERROR:
                    raise _malformed()
                error = -_INT.unpack_from(payload)[0] if len(payload) >= _INT.size else 0
                if error:
                    raise OSError(error, os.strerror(error))
                return None if interrupted else found

    def _receive(self) -> bytes:
        """One datagram of the kernel's: any process may send to our port."""
        while True:
            data, _, marks, sender = self._socket.recvmsg(RECEIVE)
            if marks & MSG_TRUNC:
                raise OSError(EMSGSIZE, os.strerror(EMSGSIZE))
            if sender[0] == 0:
                return data

    def link(self, name: str) -> Link | None:
        """The device of this name or alternative name, None if there is none."""
        body = _LINK.pack(0, 0, 0, 0, 0) + attribute(IFLA_IFNAME, os.fsencode(name) + b"\0")
        try:
            found = self.request(RTM_GETLINK, 0, body)
        except OSError as error:
            if error.errno == ENODEV:
                return None
            raise
        if len(found) != 1 or len(found[0]) < _LINK.size:
            raise _malformed()
        _, _, index, flags, _ = _LINK.unpack_from(found[0])
        own = attributes(found[0][_LINK.size :]).get(IFLA_IFNAME, b"").rstrip(b"\0")
        return Link(index, os.fsdecode(own), flags)

    def move(self, link: Link, namespace: int, name: str) -> None:
        """Into the namespace of this fd and under this name, with one request. The kernel takes the device down for it."""
        body = _LINK.pack(0, 0, link.index, 0, 0) + attribute(IFLA_NET_NS_FD, _WORD.pack(namespace))
        if name != link.name:
            body += attribute(IFLA_IFNAME, os.fsencode(name) + b"\0")
        self.request(RTM_NEWLINK, 0, body)

    def set_up(self, link: Link) -> None:
        self.request(RTM_NEWLINK, 0, _LINK.pack(0, 0, link.index, IFF_UP, IFF_UP))

    def addresses(self, link: Link) -> list[Address]:
        """The permanent ones of global scope, in the kernel's order, which has a subnet's first address first."""
        found = []
        for payload in self.request(RTM_GETADDR, NLM_F_DUMP, _ADDRESS.pack(0, 0, 0, 0, 0)):
            if len(payload) < _ADDRESS.size:
                raise _malformed()
            family, prefix, flags, scope, index = _ADDRESS.unpack_from(payload)
            own = attributes(payload[_ADDRESS.size :])
            if len(own.get(IFA_FLAGS, b"")) == _WORD.size:
                flags = _WORD.unpack(own[IFA_FLAGS])[0]
            if index != link.index or scope != RT_SCOPE_UNIVERSE or not flags & IFA_F_PERMANENT:
                continue
            kept = b"".join([attribute(kind, own[kind]) for kind in IFA_KEPT if kind in own])
            found.append(Address(family, prefix, kept + attribute(IFA_FLAGS, _WORD.pack(flags & IFA_F_SETTABLE))))
        return found

    def add_address(self, link: Link, address: Address) -> None:
        head = _ADDRESS.pack(address.family, address.prefix, 0, RT_SCOPE_UNIVERSE, link.index)
        self.request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, head + address.attributes)
