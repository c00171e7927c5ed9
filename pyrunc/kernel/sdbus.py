"""D-Bus by libsystemd's sd-bus(3), typed: a connection, method calls, signals. The library is loaded by the first `Bus`.

Values are Python's own by the D-Bus type: int, bool, str, float, lists for arrays, tuples for structures, and for a variant
the pair (signature, value). All times are moments of time.monotonic().
"""

from __future__ import annotations

import time
from errno import EAGAIN, EINTR, ENOENT, ETIMEDOUT

from pyrunc._shim import ffi, lib
from pyrunc.errors import UnsupportedError
from pyrunc.kernel import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LIBRARY = "libsystemd.so.0"
TEXTS = "sog"
NUMBERS = {
    "y": "uint8_t *", "b": "int *", "n": "int16_t *", "q": "uint16_t *", "i": "int32_t *", "u": "uint32_t *",
    "x": "int64_t *", "t": "uint64_t *", "d": "double *",
}  # fmt: skip
CLOSING = {"(": ")", "{": "}"}
MAX_BACKOFF = 6.4


class DBusError(Exception):
    """A call failed. ``name`` is the error's name on the bus or "", ``errno`` positive, ``text`` for people, without a dot."""

    def __init__(self, name: str, errno: int, text: str) -> None:
        super().__init__(text)
        self.name = name
        self.errno = errno
        self.text = text.rstrip(".")


class Bus:
    """A connection to `address` (``unix:path=...``), by a message broker if `broker`, else to the one peer itself.

    Raises UnsupportedError when libsystemd is missing or too old, DBusError when the connection does not come up by `deadline`.
    """

    def __init__(self, address: str, *, broker: bool, deadline: float) -> None:
        self._api = _load()
        self._broker = broker
        self._bus = ffi.NULL
        delay = 0.1
        while True:
            try:
                return self._connect(address, deadline)
            except DBusError as error:
                self.close()
                # A full queue of a busy peer; that passes.
                if error.errno != EAGAIN or time.monotonic() + delay > deadline:
                    raise
            time.sleep(delay)
            delay = min(delay * 2, MAX_BACKOFF)

    def _connect(self, address: str, deadline: float) -> None:
        api, out = self._api, ffi.new("void **")
        _check(api.new_(out))
        self._bus = out[0]
        _check(api.set_address(self._bus, os.fsencode(address)))
        _check(api.set_bus_client(self._bus, int(self._broker)))
        _check(api.start(self._bus))
        while not _check(api.is_ready(self._bus)):
            if not _check(api.process(self._bus, ffi.NULL)):
                self._wait(deadline)

    def close(self) -> None:
        if self._bus != ffi.NULL:
            self._api.close(self._bus)
            self._api.unref(self._bus)
            self._bus = ffi.NULL

    def call(
        self, destination: str, path: str, interface: str, member: str, signature: str, values: tuple[Any, ...], deadline: float
    ) -> tuple[Any, ...]:
        """Call a method with the values, one for each complete type of `signature`; what it answers. Raises DBusError."""
        api, out, error = self._api, ffi.new("void **"), ffi.new("struct shim_sdbus_error *")
        names = [name.encode() for name in (path, interface, member)]
        # A peer without a broker has no name, and one is no business of its.
        to = destination.encode() if self._broker else ffi.NULL
        _check(api.message_new_method_call(self._bus, out, to, *names))
        message, reply = out[0], ffi.new("void **")
        try:
            for kind, value in zip(split(signature), values, strict=True):
                self._append(message, kind, value)
            left = max(1, int((deadline - time.monotonic()) * 1e6))
            result = api.call(self._bus, message, left, error, reply)
            if result < 0:
                raise DBusError(_text(error.name), -result, _text(error.message) or os.strerror(-result))
            return tuple(self._read_all(reply[0]))
        finally:
            api.error_free(error)
            api.message_unref(reply[0])
            api.message_unref(message)

    def subscribe(self, path: str, interface: str, member: str, deadline: float) -> None:
        """Have this signal sent to us; a peer without a broker sends all of its own anyway. Raises DBusError."""
        if self._broker:
            bus = "org.freedesktop.DBus"
            rule = f"type='signal',path='{path}',interface='{interface}',member='{member}'"
            self.call(bus, "/org/freedesktop/DBus", bus, "AddMatch", "s", (rule,), deadline)

    def signal(self, interface: str, member: str, deadline: float) -> tuple[Any, ...]:
        """The values of the next signal of this name. Raises DBusError, with ETIMEDOUT if none has come by `deadline`."""
        out = ffi.new("void **")
        while True:
            done = _check(self._api.process(self._bus, out))
            message, out[0] = out[0], ffi.NULL
            if message != ffi.NULL:
                try:
                    if _check(self._api.message_is_signal(message, interface.encode(), member.encode())):
                        return tuple(self._read_all(message))
                finally:
                    self._api.message_unref(message)
            elif not done:
                self._wait(deadline)

    def _wait(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise DBusError("", ETIMEDOUT, os.strerror(ETIMEDOUT))
        result = self._api.wait(self._bus, int(left * 1e6) + 1)
        if result != -EINTR:
            _check(result)

    def _append(self, message: Any, kind: str, value: Any) -> None:
        """One value of one complete type."""
        api, first = self._api, kind[0]
        if first in TEXTS:
            _check(api.message_append_basic(message, first.encode(), ffi.from_buffer(value.encode() + b"\0")))
        elif first in NUMBERS:
            _check(api.message_append_basic(message, first.encode(), ffi.new(NUMBERS[first], value)))
        else:
            code, inner = {"(": "r", "{": "e"}.get(first, first), kind[1:] if first == "a" else kind[1:-1]
            if first == "v":
                inner, value = value[0], [value[1]]
            _check(api.message_open_container(message, code.encode(), inner.encode()))
            kinds = [inner] * len(value) if first == "a" else split(inner)
            for one, part in zip(kinds, value, strict=True):
                self._append(message, one, part)
            _check(api.message_close_container(message))

    def _read_all(self, message: Any) -> list[Any]:
        """What is left of the message, or of the container that was entered."""
        api, kind, contents = self._api, ffi.new("char *"), ffi.new("char **")
        values: list[Any] = []
        while _check(api.message_peek_type(message, kind, contents)):
            code = kind[0].decode()
            if code in TEXTS:
                text = ffi.new("char **")
                _check(api.message_read_basic(message, kind[0], text))
                values.append(_text(text[0]))
            elif code in NUMBERS:
                number = ffi.new(NUMBERS[code])
                _check(api.message_read_basic(message, kind[0], number))
                values.append(bool(number[0]) if code == "b" else number[0])
            else:
                inner = _text(contents[0])
                _check(api.message_enter_container(message, kind[0], inner.encode()))
                parts = self._read_all(message)
                _check(api.message_exit_container(message))
                values.append(parts if code == "a" else (inner, parts[0]) if code == "v" else tuple(parts))
        return values


def split(signature: str) -> list[str]:
    """The complete types of a signature: ``sa(sv)u`` is s, a(sv), u. ValueError for what is none."""
    kinds, start = [], 0
    while start < len(signature):
        end = start
        while end < len(signature) and signature[end] == "a":
            end += 1
        if end == len(signature):
            raise ValueError(f"{signature!r} ends in an array of nothing")
        if closing := CLOSING.get(signature[end]):
            depth, opening = 1, signature[end]
            while depth:
                end += 1
                if end == len(signature):
                    raise ValueError(f"{signature!r} has an open bracket")
                depth += (signature[end] == opening) - (signature[end] == closing)
        elif signature[end] not in NUMBERS and signature[end] not in TEXTS + "v":
            raise ValueError(f"{signature[end]!r} is no D-Bus type")
        kinds.append(signature[start : end + 1])
        start = end + 1
    return kinds


def _load() -> Any:
    api = ffi.new("struct shim_sdbus *")
    error = lib.shim_sdbus_load(api)
    if error:
        what = "is missing" if error == -ENOENT else "is too old"
        how = "install the package libsystemd0 (Debian's name), or use cgroupfs"
        raise UnsupportedError(f"the systemd cgroup driver: {LIBRARY} {what}: {how}")
    return api


def _check(result: int) -> int:
    if result < 0:
        raise DBusError("", -result, os.strerror(-result))
    return result


def _text(pointer: Any) -> str:
    return "" if pointer == ffi.NULL else str(ffi.string(pointer).decode("utf-8", "replace"))
