"""rtnetlink's messages: what we write is what the kernel reads, and what anybody could send is bounded."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given, strategies as st

from pyrunc.errors import PyruncError
from pyrunc.kernel import netlink as n
from pyrunc.kernel.netlink import Address, Link, Netlink
from pyrunc.launch.netdevices import Device, _free


def message(kind: int, payload: bytes, *, sequence: int = 1, flags: int = 0) -> bytes:
    return struct.pack("=IHHII", 16 + len(payload), kind, flags, sequence, 0) + payload + bytes(-len(payload) % 4)


def done(error: int = 0, *, sequence: int = 1, kind: int = n.NLMSG_ERROR) -> bytes:
    return message(kind, struct.pack("=i", -error) + bytes(16), sequence=sequence)


class Kernel:
    """The other end of a socket, which answers with what it was given: ``recvmsg`` and ``send`` of the real one."""

    def __init__(self, *datagrams: bytes, port: int = 0, marks: int = 0) -> None:
        self.datagrams = list(datagrams)
        self.asked: list[bytes] = []
        self.port = port
        self.marks = marks

    def send(self, data: bytes) -> None:
        self.asked.append(data)

    def recvmsg(self, size: int) -> tuple[bytes, list[object], int, tuple[int, int]]:
        assert size == n.RECEIVE
        return self.datagrams.pop(0), [], self.marks, (self.port, 0)


def talking(*datagrams: bytes, **kw: int) -> tuple[Netlink, Kernel]:
    netlink = Netlink.__new__(Netlink)
    kernel = Kernel(*datagrams, **kw)
    netlink._socket = kernel  # type: ignore[assignment]
    netlink._sequence = 0
    return netlink, kernel


@pytest.fixture
def real() -> Iterator[Netlink]:
    netlink = Netlink()
    yield netlink
    netlink.close()


def test_the_kernel_knows_the_loopback_device(real: Netlink) -> None:
    """Without privilege, in whatever namespace this is."""
    lo = real.link("lo")
    assert lo and (lo.index, lo.name, lo.flags & n.IFF_LOOPBACK) == (socket.if_nametoindex("lo"), "lo", n.IFF_LOOPBACK)
    assert real.link("no-such-device") is None
    assert all(isinstance(address, Address) for address in real.addresses(lo))


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 65531])
def test_an_attribute_is_padded_and_read_back(size: int) -> None:
    value = bytes(range(256)) * 256
    made = n.attribute(3, value[:size])
    assert len(made) % 4 == 0 and struct.unpack_from("=HH", made) == (4 + size, 3)
    assert n.attributes(made) == {3: value[:size]}


@pytest.mark.parametrize("size", [65532, 65536, 1 << 17])
def test_a_length_that_would_wrap_is_refused(size: int) -> None:
    """CVE-2021-43784: 16 bits of it would be those of a short attribute, and the rest attributes of the sender's choice."""
    with pytest.raises(OSError) as caught:
        n.attribute(3, b"x" * size)
    assert caught.value.errno == errno.EMSGSIZE


@given(st.binary(max_size=64))
def test_any_bytes_are_attributes_or_an_error(data: bytes) -> None:
    try:
        for value in n.attributes(data).values():
            assert value in data
    except OSError as error:
        assert error.errno == errno.EBADMSG


@given(st.binary(max_size=96))
def test_any_bytes_are_messages_or_an_error(data: bytes) -> None:
    try:
        assert sum(16 + len(payload) for *_, payload in n.messages(data)) <= len(data)
    except OSError as error:
        assert error.errno == errno.EBADMSG


@pytest.mark.parametrize("length", [0, 3, 9, 0xFFFF])
def test_an_attribute_longer_than_its_message(length: int) -> None:
    with pytest.raises(OSError):
        n.attributes(struct.pack("=HH", length, 1) + b"abcd")


def test_a_move_is_one_request() -> None:
    netlink, kernel = talking(done())
    netlink.move(Link(7, "eth0", 1), 9, "lan0")
    (asked,) = kernel.asked
    assert asked[:16] == struct.pack("=IHHII", len(asked), n.RTM_NEWLINK, n.NLM_F_REQUEST | n.NLM_F_ACK, 1, 0)
    assert asked[16:32] == struct.pack("=BxHiII", 0, 0, 7, 0, 0)
    assert n.attributes(asked[32:]) == {n.IFLA_NET_NS_FD: struct.pack("=I", 9), n.IFLA_IFNAME: b"lan0\0"}


def test_a_name_that_stays_is_not_sent() -> None:
    netlink, kernel = talking(done())
    netlink.move(Link(7, "eth0", 1), 9, "eth0")
    assert n.attributes(kernel.asked[0][32:]).keys() == {n.IFLA_NET_NS_FD}


def test_errors_are_the_kernels() -> None:
    netlink, _ = talking(done(errno.EEXIST))
    with pytest.raises(OSError) as caught:
        netlink.set_up(Link(7, "eth0", 0))
    assert caught.value.errno == errno.EEXIST


def test_answers_to_another_question_are_passed_over() -> None:
    """As are those of anybody but the kernel."""
    netlink, _ = talking(done(errno.EPERM, sequence=99) + done())
    netlink.set_up(Link(7, "eth0", 0))
    netlink, kernel = talking(done(errno.EPERM), done(), port=5)
    with pytest.raises(IndexError):  # it goes on listening
        netlink.set_up(Link(7, "eth0", 0))
    assert kernel.datagrams == []


def test_an_answer_that_was_cut_off_is_an_error() -> None:
    netlink, _ = talking(done(), marks=n.MSG_TRUNC)
    with pytest.raises(OSError) as caught:
        netlink.set_up(Link(7, "eth0", 0))
    assert caught.value.errno == errno.EMSGSIZE


def address(
    index: int, *attributes: bytes, flags: int = 0x80, scope: int = 0, sequence: int = 1, marks: int = n.NLM_F_MULTI
) -> bytes:  # fmt: skip
    body = struct.pack("=BBBBI", socket.AF_INET, 24, flags, scope, index) + b"".join(attributes)
    return message(n.RTM_NEWADDR, body, sequence=sequence, flags=marks)


def test_the_addresses_that_are_kept() -> None:
    local = n.attribute(n.IFA_LOCAL, bytes([10, 0, 0, 1]))
    label = n.attribute(3, b"eth0\0")
    wide = n.attribute(n.IFA_FLAGS, struct.pack("=I", 0x80 | 0x200 | 0x01))
    first = address(7, local, label, wide, flags=0) + address(8, local) + address(7, local, flags=0)
    second = address(7, local, scope=253) + address(7, flags=0x80) + done(kind=n.NLMSG_DONE)
    netlink, kernel = talking(first, second)
    found = netlink.addresses(Link(7, "eth0", 0))
    assert [(a.family, a.prefix) for a in found] == [(socket.AF_INET, 24)] * 2
    assert n.attributes(found[0].attributes) == {n.IFA_LOCAL: bytes([10, 0, 0, 1]), n.IFA_FLAGS: struct.pack("=I", 0x200)}
    assert struct.unpack_from("=H", kernel.asked[0], 6) == (n.NLM_F_REQUEST | n.NLM_F_DUMP,)


def test_a_dump_that_something_came_between_is_made_anew() -> None:
    spoilt = address(7, marks=n.NLM_F_MULTI | n.NLM_F_DUMP_INTR) + done(kind=n.NLMSG_DONE)
    netlink, kernel = talking(spoilt, address(7, sequence=2) + address(7, sequence=2) + done(kind=n.NLMSG_DONE, sequence=2))
    assert len(netlink.addresses(Link(7, "eth0", 0))) == 2 and len(kernel.asked) == 2


def test_a_new_address_says_what_the_old_one_was() -> None:
    netlink, kernel = talking(done())
    netlink.add_address(Link(5, "lan0", 0), Address(socket.AF_INET, 24, n.attribute(n.IFA_LOCAL, b"abcd")))
    (asked,) = kernel.asked
    flags = n.NLM_F_REQUEST | n.NLM_F_ACK | n.NLM_F_CREATE | n.NLM_F_EXCL
    assert asked[:16] == struct.pack("=IHHII", len(asked), n.RTM_NEWADDR, flags, 1, 0)
    assert asked[16:24] == struct.pack("=BBBBI", socket.AF_INET, 24, 0, 0, 5)
    assert n.attributes(asked[24:]) == {n.IFA_LOCAL: b"abcd"}


class Names:
    """A namespace in which these names are taken."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def link(self, name: str) -> Link | None:
        return Link(1, name, 0) if name in self.names else None


def free(template: str, *names: str) -> str:
    return _free(Names(*names), Device("linux.netDevices.x", Link(1, "x", 0), [], template))  # type: ignore[arg-type]


def test_templates() -> None:
    assert free("eth%d") == "eth0"
    assert free("eth%d", "eth0", "eth2", "lo") == "eth1"
    assert free("a%db", "a0b") == "a1b"
    long = "n" * 13 + "%d"
    assert free(long, *("n" * 13 + str(i) for i in range(99))) == "n" * 13 + "99"
    with pytest.raises(PyruncError, match=r"linux\.netDevices\.x\.name: n+%d leaves no name of at most 15 bytes") as caught:
        free(long, *("n" * 13 + str(i) for i in range(100)))
    assert caught.value.config_path == "linux.netDevices.x.name"
