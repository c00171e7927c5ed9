"""The network of a container: what pyrunc-init does for it."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable

import pytest

from tests.native.plan_harness import NEWNET, NEWUSER, Init, Op, Outcome, c, encode, host, op
from tests.netns import GETLINK, NEWLINK, REQUEST, NetNs, text

pytestmark = pytest.mark.needs_root
Go = Callable[..., Outcome]


@pytest.mark.parametrize("user", [False, True])
def test_a_netlink_socket_of_its_namespace_is_handed_over(init: int, user: bool) -> None:
    """It is waited for the answer, and nothing of it stays open."""
    enter = [op("UNSHARE", v=[NEWUSER, 0]), op("SYNC", v=[c.SYNC_MAPS]), op("BECOME_ROOT", v=[0])] if user else []
    ops: list[Op] = [*enter, op("UNSHARE", v=[NEWNET, 0]), op("NET_DEVICES", ["eth0"]), *host("ls", "/proc/self/fd")]
    with Init(init, encode(ops, parent=os.getpid())) as started:
        message = started.until(c.MSG_SYNC, c.SYNC_NETWORK)
        assert len(message.fds) == 1
        with socket.socket(fileno=message.fds[0]) as received, NetNs.of(started.pid) as there:
            assert (received.family, received.type, received.proto) == (socket.AF_NETLINK, socket.SOCK_RAW, 0)
            there.veth("only-here", "b")
            received.settimeout(20)
            wanted = bytes(16) + text(3, "only-here")
            received.send(struct.pack("=IHHII", 16 + len(wanted), GETLINK, REQUEST, 1, 0) + wanted)
            assert struct.unpack_from("=IH", received.recv(1 << 16))[1] == NEWLINK
        assert started.step == len(enter) + 1
        started.answer(message)
        assert started.finish().good().split() == ["0", "1", "2", "3"]
