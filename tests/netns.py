"""Network namespaces of the tests' own, with devices made by plain rtnetlink(7): no iproute2, nothing of the host's network."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any, TypeVar

CLONE_NEWNET = 0x40000000
IFF_UP = 1
NEWLINK, GETLINK, NEWADDR, GETADDR = 16, 18, 20, 22
REQUEST, ACK, DUMP, CREATE_NEW = 1, 4, 0x300, 0x600
UNIVERSE, LINK_SCOPE = 0, 253

_libc = ctypes.CDLL(None, use_errno=True)
T = TypeVar("T")


def _call(name: str, *arguments: int) -> None:
    if getattr(_libc, name)(*arguments):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), name)


def in_thread(work: Callable[[], T]) -> T:
    """What `work` gives in a thread of its own, whose namespaces may be others than the process's."""
    found: list[T] = []
    failed: list[BaseException] = []

    def go() -> None:
        try:
            found.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=go)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def parse(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        found[kind & 0x3FFF] = data[4:length]
        data = data[length + 3 & ~3 :]
    return found


class NetNs:
    """A network namespace that lives as long as this object and what is in it. Use as a context."""

    def __init__(self, fd: int | None = None) -> None:
        def make() -> int:
            _call("unshare", CLONE_NEWNET)
            return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

        self.fd = in_thread(make) if fd is None else fd
        self._sequence = 0

    @classmethod
    def of(cls, pid: int) -> NetNs:
        """That of a process."""
        return cls(os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    def __enter__(self) -> NetNs:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self.fd)

    def enter(self) -> None:
        """Take the calling thread there, or the process in a preexec_fn."""
        _call("setns", self.fd, CLONE_NEWNET)

    def run(self, work: Callable[[], T]) -> T:
        def inside() -> T:
            self.enter()
            return work()

        return in_thread(inside)

    def socket(self, *kind: Any) -> socket.socket:
        """A socket of this namespace."""
        return self.run(lambda: socket.socket(*kind))

    def ask(self, kind: int, flags: int, body: bytes) -> list[bytes]:
        """Payloads of the answers. OSError for a refusal."""
        self._sequence += 1
        flags |= REQUEST | (0 if flags & DUMP == DUMP else ACK)
        with self.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as talk:
            talk.settimeout(30)
            talk.send(struct.pack("=IHHII", 16 + len(body), kind, flags, self._sequence, 0) + body)
            found = []
            while True:
                data = talk.recv(1 << 17)
                while data:
                    length, answer = struct.unpack_from("=IH", data)
                    payload, data = data[16:length], data[length + 3 & ~3 :]
                    if answer in (2, 3):
                        error = -struct.unpack_from("=i", payload)[0]
                        if error:
                            raise OSError(error, os.strerror(error))
                        return found
                    found.append(payload)

    # --- what there is ---

    def links(self) -> dict[str, tuple[int, int]]:
        """Name -> (index, IFF_* flags)."""
        found = {}
        for payload in self.ask(GETLINK, DUMP, bytes(16)):
            _, _, index, flags, _ = struct.unpack_from("=BxHiII", payload)
            found[parse(payload[16:])[3].rstrip(b"\0").decode()] = (index, flags)
        return found

    def is_up(self, name: str) -> bool:
        return bool(self.links()[name][1] & IFF_UP)

    def addresses(self, name: str) -> list[str]:
        """In the kernel's order, as ``10.0.0.1/24``; without those that the kernel gives by itself, of a link's own scope."""
        index = self.links()[name][0]
        found = []
        for payload in self.ask(GETADDR, DUMP, bytes(8)):
            family, prefix, _, scope, at = struct.unpack_from("=BBBBI", payload)
            if at == index and scope == UNIVERSE:
                own = parse(payload[8:])
                found.append(f"{socket.inet_ntop(family, own.get(2) or own[1])}/{prefix}")
        return found

    # --- what is made ---

    def link(self, name: str, kind: str, data: bytes = b"", more: bytes = b"") -> None:
        info = text(1, kind) + (attribute(2, data) if data else b"")
        self.ask(NEWLINK, CREATE_NEW, bytes(16) + text(3, name) + more + attribute(18, info))

    def bridge(self, name: str) -> None:
        self.link(name, "bridge")

    def veth(self, name: str, peer: str, other: NetNs | None = None) -> None:
        """A pair; the peer in another namespace, if there is one."""
        there = attribute(28, struct.pack("=I", other.fd)) if other else b""
        self.link(name, "veth", attribute(1, bytes(16) + text(3, peer) + there))

    def change(self, name: str, *, up: bool | None = None, master: str | None = None, move: NetNs | None = None) -> None:
        """Bring a device up or down, put it on a bridge, or move it elsewhere."""
        links = self.links()
        flags = IFF_UP if up else 0
        body = struct.pack("=BxHiII", 0, 0, links[name][0], flags, IFF_UP if up is not None else 0)
        body += attribute(10, struct.pack("=I", links[master][0])) if master else b""
        body += attribute(28, struct.pack("=I", move.fd)) if move else b""
        self.ask(NEWLINK, 0, body)

    def address(self, name: str, value: str, *, scope: int = UNIVERSE, seconds: int | None = None) -> None:
        """Give a device an address, for so many seconds or for good."""
        plain, _, prefix = value.partition("/")
        family = socket.AF_INET6 if ":" in plain else socket.AF_INET
        raw = socket.inet_pton(family, plain)
        body = struct.pack("=BBBBI", family, int(prefix), 0, scope, self.links()[name][0]) + attribute(1, raw) + attribute(2, raw)
        if family == socket.AF_INET6:
            body += attribute(8, struct.pack("=I", 0x02))  # IFA_F_NODAD: it can be used at once
        if seconds is not None:
            body += attribute(6, struct.pack("=IIII", seconds, seconds, 0, 0))
        self.ask(NEWADDR, CREATE_NEW, body)
