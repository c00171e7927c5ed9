"""The two logs that are no files: ``--log journald:NAME`` and ``--log syslog:NAME``, one datagram a record.

systemd's journal takes fields (systemd.journal-fields(7)), so what the JSON log has as further keys is searchable there, as in
``journalctl PYRUNC_CODE=usage``; syslog(3) takes a line.
"""

from __future__ import annotations

import _socket
import struct

from pyrunc.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Extras = Iterable[tuple[str, object]]

JOURNALD, SYSLOG = "journald", "syslog"
SOCKETS = {JOURNALD: "/run/systemd/journal/socket", SYSLOG: "/dev/log"}
PRIORITIES = {"error": 3, "warning": 4, "debug": 7}
DAEMON = 3 << 3
"""The facility, LOG_DAEMON of syslog(3)."""
MESSAGE_BYTES = 16384
"""Of a message. A longer datagram would need a larger send buffer, and syslog's readers cut at less."""
SEND_SECONDS = 1
"""A daemon that is stopped, and so reads nothing, loses a record and does not hold a container up."""


def connect(kind: str) -> int:
    """A descriptor that takes what `entry` makes for this kind. Raises KernelError."""
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, struct.pack("@ll", SEND_SECONDS, 0))
        socket.connect(SOCKETS[kind])
    except OSError as error:
        socket.close()
        raise KernelError.of(f"open log {kind}: connect to {SOCKETS[kind]}", error) from error
    return socket.detach()


def entry(kind: str, name: str, level: str, message: str, extras: Extras) -> bytes:
    """The datagram of one record, `name` being who writes it. A line break would end a field: it becomes a blank."""
    priority, text = PRIORITIES[level], _flat(message)
    if kind == SYSLOG:
        return f"<{DAEMON | priority}>{_flat(name)}: {text}".encode("utf-8", "surrogateescape")
    fields = [("MESSAGE", text), ("PRIORITY", priority), ("SYSLOG_IDENTIFIER", _flat(name))]
    fields += [(f"PYRUNC_{key.upper()}", _flat(str(value))) for key, value in extras]
    return "".join(f"{key}={value}\n" for key, value in fields).encode("utf-8", "surrogateescape")


def _flat(text: str) -> str:
    return " ".join(text[:MESSAGE_BYTES].splitlines()).replace("\0", " ")
