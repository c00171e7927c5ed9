#!/usr/bin/env python3
"""Stands in for criu(8). It is run by a link in a directory of its own, where `script` (JSON) says what to do and `log` gets
what it was told, read by a decoder that shares nothing with pyrunc's.

Keys of the script: version, features (0 or 1), sleep (seconds: a process that stands for the restored one), hang (seconds, before
it says anything), notify (names, each answered by the runtime), fail (an errno), end (no answer at all), text (for CRIU's log
file), status (the exit status).
"""

from __future__ import annotations

import array
import ctypes
import json
import os
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(sys.argv[0]).parent
VERSION, FEATURES = 10, 9


def number_at(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        number |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            return number, at


def fields(data: bytes) -> list[tuple[int, Any]]:
    """Numbers, and strings or messages as bytes; nothing else is ever sent."""
    found: list[tuple[int, Any]] = []
    at = 0
    while at < len(data):
        tag, at = number_at(data, at)
        value, at = number_at(data, at)
        if tag & 7 == 0:
            found.append((tag >> 3, value))
        else:
            assert tag & 7 == 2 and at + value <= len(data)
            found.append((tag >> 3, data[at : at + value]))
            at += value
    return found


def varint(number: int) -> bytes:
    data = b""
    while number > 0x7F:
        data += bytes([number & 0x7F | 0x80])
        number >>= 7
    return data + bytes([number])


def message(*members: tuple[int, int | bytes]) -> bytes:
    data = b""
    for number, value in members:
        if isinstance(value, int):
            data += varint(number << 3) + varint(value)
        else:
            data += varint(number << 3 | 2) + varint(len(value)) + value
    return data


def log(**what: object) -> None:
    with (HERE / "log").open("a") as file:
        file.write(json.dumps(what) + "\n")


def session_keyring() -> str:
    """keyctl_describe(3): the last field is the name."""
    number = {"x86_64": 250, "aarch64": 219}[os.uname().machine]
    buffer = ctypes.create_string_buffer(256)
    ctypes.CDLL(None).syscall(number, 6, -3, buffer, len(buffer), 0)
    return buffer.value.decode().rpartition(";")[2]


def restored(seconds: str) -> int:
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.closerange(0, 100)
        os.execvp("sleep", ["sleep", seconds])
    return pid


def notify(channel: socket.socket, name: str, pid: int) -> bool:
    controls = []
    if name == "orphan-pts-master":
        master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
        controls = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [master]))]
    channel.sendmsg([message((1, 6), (2, 1), (5, message((1, name.encode()), (2, pid))))], controls)
    answer = dict(fields(channel.recv(1 << 16)))
    log(notify=name, success=bool(answer.get(3)))
    return bool(answer.get(3))


def main() -> int:
    assert sys.argv[1:] == ["swrk", "3"]
    script = json.loads((HERE / "script").read_text())
    channel = socket.socket(fileno=3)
    peer = struct.unpack("3i", channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    request = dict(fields(channel.recv(1 << 16)))
    kind = request[1]
    if kind == VERSION:
        major, minor = script.get("version", [4, 0])
        version = message((1, major), (2, minor), (6, b"a name that nobody reads"))
        channel.send(message((1, VERSION), (2, 1), (10, version)))
        return int(script.get("status", 0))
    if kind == FEATURES:
        answer = script.get("features", 1)
        channel.send(message((1, FEATURES), (2, 1), (8, message((1, answer), (2, answer)))))
        return 0
    options = fields(request[2]) if 2 in request else []
    log(
        type=kind,
        opts=[[number, value if isinstance(value, int) else value.decode("latin-1")] for number, value in options],
        directories=[os.readlink(f"/proc/{peer}/fd/{dict(options)[number]}") for number in (1, 17) if number in dict(options)],
        cgroup=Path("/proc/self/cgroup").read_text(),
        mounts=os.readlink("/proc/self/ns/mnt"),
        keyring=session_keyring(),
    )
    pid = restored(script["sleep"]) if "sleep" in script else 0
    if "hang" in script:
        time.sleep(script["hang"])
    if not all(notify(channel, name, pid) for name in script.get("notify", [])):
        return 1
    if script.get("end"):
        return 1
    if "text" in script:
        path = f"/proc/{peer}/fd/{dict(options)[17]}/{dict(options)[10].decode()}"
        Path(path).write_text(script["text"])
    failed = script.get("fail", 0)
    channel.send(message((1, kind), (2, 0 if failed else 1), (7, failed), (4, message((1, pid)))))
    return int(script.get("status", 1 if failed else 0))


if __name__ == "__main__":
    sys.exit(main())
