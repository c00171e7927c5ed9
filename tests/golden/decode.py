"""A second reading of native/plan.h: the bytes of a plan back into what they say, as strictly as pyrunc-init reads them."""

from __future__ import annotations

import struct
from typing import NamedTuple

from pyrunc.plan import opcodes as c
from pyrunc.plan.ops import Op

HEADER = struct.Struct(f"=IHHIIIiHH{c.PLAN_PASSED}B")
RECORD = struct.Struct(f"=HH{c.PLAN_STRINGS}I{c.PLAN_VALUES}Q")


class DecodedOp(NamedTuple):
    code: int
    tolerate: int
    strings: tuple[bytes | None, ...]
    values: tuple[int, ...]


class Decoded(NamedTuple):
    ops: list[DecodedOp]
    parent: int
    preserve: int
    passed: list[int]


def decode(data: bytes) -> Decoded:
    """The plan in these bytes; AssertionError where pyrunc-init would refuse them."""
    magic, version, preserve, size, count, text_at, parent, npassed, reserved, *passed = HEADER.unpack_from(data)
    assert (magic, version, size, reserved) == (c.PLAN_MAGIC, c.PLAN_VERSION, len(data), 0)
    assert HEADER.size % 8 == 0 and text_at == HEADER.size + count * RECORD.size and text_at % 4 == 0
    assert npassed <= c.PLAN_PASSED and passed[npassed:] == [0] * (c.PLAN_PASSED - npassed)
    text = data[text_at:]
    ops = []
    for i in range(count):
        code, tolerate, *rest = RECORD.unpack_from(data, HEADER.size + i * RECORD.size)
        offsets, values = rest[: c.PLAN_STRINGS], rest[c.PLAN_STRINGS :]
        ops.append(DecodedOp(code, tolerate, tuple(string(text, offset) for offset in offsets), tuple(values)))
    return Decoded(ops, parent, preserve, passed[:npassed])


def string(text: bytes, offset: int) -> bytes | None:
    if not offset:
        return None
    (length,) = struct.unpack_from("=I", text, offset)
    assert offset + 4 + length < len(text) and text[offset + 4 + length] == 0
    return text[offset + 4 : offset + 4 + length]


def op_of(op: Op) -> DecodedOp:
    """What an op must read as: all its strings and values, those that it does not use empty."""
    strings = (*op.strings, *[None] * (c.PLAN_STRINGS - len(op.strings)))
    values = (*[value % 2**64 for value in op.values], *[0] * (c.PLAN_VALUES - len(op.values)))
    return DecodedOp(op.code, op.tolerate, strings, values)
