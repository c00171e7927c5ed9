"""Datagram sockets whose owner does not read."""

from __future__ import annotations

import socket


def fill(receiver: socket.socket) -> int:
    """Send b"full" until no more is taken, net.unix.max_dgram_qlen; how many that were."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(receiver.getsockname())
        sender.setblocking(False)
        sent = 0
        try:
            while True:
                sender.send(b"full")
                sent += 1
        except BlockingIOError:
            return sent
