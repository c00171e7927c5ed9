"""The messages of CRIU's RPC (https://criu.org/RPC): protocol buffers, of which only what pyrunc says and hears is here.

A message is a dict; its kind a table from names to the field's number and type, as CRIU's rpc.proto has them. Lists are
repeated fields. What a table does not name is skipped when read, as protocol buffers ask.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    Table: TypeAlias = "dict[str, tuple[int, Any]]"

INT, BOOL, TEXT = "int", "bool", "text"
"""Types of fields; a table stands for a message in the message."""

VARINT, LONG, BYTES, SHORT = 0, 1, 2, 5
"""Wire types, https://protobuf.dev/programming-guides/encoding"""

DUMP, RESTORE, PRE_DUMP, NOTIFY, FEATURE_CHECK, VERSION = 1, 2, 4, 6, 9, 10
"""criu_req_type"""

CGROUP_MODES = {"ignore": 0, "soft": 3, "full": 4, "strict": 5, "": 6}
"""criu_cg_mode; the empty name is CRIU's own default, which is soft."""

PAGE_SERVER: Table = {"address": (1, TEXT), "port": (2, INT)}
PAIR: Table = {"key": (1, TEXT), "val": (2, TEXT)}
OPTIONS: Table = {
    "images_dir_fd": (1, INT), "pid": (2, INT), "leave_running": (3, BOOL), "ext_unix_sk": (4, BOOL),
    "tcp_established": (5, BOOL), "evasive_devices": (6, BOOL), "shell_job": (7, BOOL), "file_locks": (8, BOOL),
    "log_level": (9, INT), "log_file": (10, TEXT), "ps": (11, PAGE_SERVER), "notify_scripts": (12, BOOL), "root": (13, TEXT),
    "parent_img": (14, TEXT), "track_mem": (15, BOOL), "auto_dedup": (16, BOOL), "work_dir_fd": (17, INT),
    "link_remap": (18, BOOL), "ext_mnt": (23, PAIR), "manage_cgroups": (24, BOOL),
    "cg_root": (25, {"ctrl": (1, TEXT), "path": (2, TEXT)}), "rst_sibling": (26, BOOL),
    "inherit_fd": (27, {"key": (1, TEXT), "fd": (2, INT)}), "manage_cgroups_mode": (34, INT), "external": (37, TEXT),
    "empty_ns": (38, INT), "join_ns": (39, {"ns": (1, TEXT), "ns_file": (2, TEXT)}), "freeze_cgroup": (44, TEXT),
    "tcp_skip_in_flight": (46, BOOL), "lazy_pages": (48, BOOL), "orphan_pts_master": (50, BOOL), "config_file": (51, TEXT),
    "tcp_close": (52, BOOL), "lsm_profile": (53, TEXT), "lsm_mount_context": (63, TEXT),
}  # fmt: skip
FEATURES: Table = {"mem_track": (1, BOOL), "lazy_pages": (2, BOOL)}
REQUEST: Table = {"type": (1, INT), "opts": (2, OPTIONS), "notify_success": (3, BOOL), "features": (5, FEATURES)}
RESPONSE: Table = {
    "type": (1, INT), "success": (2, BOOL), "restore": (4, {"pid": (1, INT)}),
    "notify": (5, {"script": (1, TEXT), "pid": (2, INT)}), "cr_errno": (7, INT), "features": (8, FEATURES),
    "cr_errmsg": (9, TEXT),
    "version": (10, {"major_number": (1, INT), "minor_number": (2, INT), "sublevel": (4, INT)}),
}  # fmt: skip


def encode(table: Table, message: dict[str, Any]) -> bytes:
    """The message as CRIU reads it; members that are None are left out. KeyError for a name that the table does not have."""
    data = bytearray()
    for name, value in message.items():
        number, kind = table[name]
        for item in value if isinstance(value, list) else [] if value is None else [value]:
            if kind in (INT, BOOL):
                data += _varint(number << 3 | VARINT) + _varint(int(item) & (1 << 64) - 1)
            else:
                content = item.encode("utf-8", "surrogateescape") if kind is TEXT else encode(kind, item)
                data += _varint(number << 3 | BYTES) + _varint(len(content)) + content
    return bytes(data)


def decode(table: Table, data: bytes) -> dict[str, Any]:
    """The members that the table names; of a repeated one the last. ValueError if `data` is not such a message."""
    fields = {number: (name, kind) for name, (number, kind) in table.items()}
    message: dict[str, Any] = {}
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        name, kind = fields.get(tag >> 3, ("", None))
        content: bytes | None = None
        number = 0
        if tag & 7 == VARINT:
            number, at = _read_varint(data, at)
        elif tag & 7 in (LONG, BYTES, SHORT):
            size, at = _read_varint(data, at) if tag & 7 == BYTES else (8 if tag & 7 == LONG else 4, at)
            content, at = data[at : at + size], at + size
            if at > len(data):
                raise ValueError("a field is longer than its message")
        else:
            raise ValueError(f"wire type {tag & 7}")
        if not name:
            continue
        if (content is None) != (kind in (INT, BOOL)) or tag & 7 in (LONG, SHORT):
            raise ValueError(f"{name} has wire type {tag & 7}")
        if content is not None:
            message[name] = content.decode("utf-8", "surrogateescape") if kind is TEXT else decode(kind, content)
        else:
            message[name] = bool(number) if kind is BOOL else number - (number >> 63 << 64)
    return message


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the top bit says that more come."""
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)
    return bytes(data)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number and where it ends."""
    number = shift = 0
    while shift < 64:
        if at >= len(data):
            raise ValueError("the message ends within a number")
        number |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return number & (1 << 64) - 1, at
    raise ValueError("a number of more than 64 bits")
