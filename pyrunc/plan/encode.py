"""A plan's bytes, as native/plan.h lays them out, and the plan itself."""

from __future__ import annotations

from _struct import Struct

from pyrunc import errors
from pyrunc.plan import opcodes as c

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyrunc.plan.ops import Op
    from pyrunc.plan.seccomp import Filter

_HEADER = Struct("=IHHIIIiHH12s")
_OP = Struct("=HH5I6Q")
_LENGTH = Struct("=I")
_FILTER = Struct("=II")
_TWO_64 = 1 << 64
_NO_STRINGS = [(0,) * (c.PLAN_STRINGS - given) for given in range(c.PLAN_STRINGS + 1)]
_NO_VALUES = [(0,) * (c.PLAN_VALUES - given) for given in range(c.PLAN_VALUES + 1)]
"""What follows the strings and values of an op that has fewer than there is room for."""
_PRESERVE_MAX = 0xFFFF


class Plan:
    """The ops in order, the slots of the fds that are passed with it, and how many of the caller's fds go through.

    Of `run` and `exec` the program starts at once; of `create` it waits for `start` (slots GO and REPLY).
    """

    __slots__ = ("ops", "passed", "preserve")

    def __init__(self, ops: list[Op], *, passed: Sequence[int] = (), preserve: int = 0) -> None:
        self.ops = ops
        self.passed = passed
        self.preserve = preserve


def encode(plan: Plan, parent: int) -> bytearray:
    """The plan for a pyrunc-init whose parent is the process `parent` (0: any).

    A value may be negative; the executor sees its two's complement. Raises UnsupportedError for a plan that is too large.
    """
    if len(plan.ops) > c.PLAN_MAX_OPS:
        raise errors.UnsupportedError(f"the plan has {len(plan.ops)} operations, more than {c.PLAN_MAX_OPS} are not supported")
    if plan.preserve > _PRESERVE_MAX:
        raise errors.UnsupportedError(f"{plan.preserve} file descriptors to pass on, more than {_PRESERVE_MAX} are not supported")
    texts: list[bytes] = [bytes(4)]  # so that no string has the offset 0, which means "none"
    offsets: dict[bytes | None, int] = {None: 0}
    records = [b""]
    end = 4
    pack, length = _OP.pack, _LENGTH.pack
    for op in plan.ops:
        strings, values = op.strings, op.values
        for string in strings:
            if string not in offsets:
                assert string is not None
                offsets[string] = end
                texts += length(len(string)), string, b"\0"
                end += _LENGTH.size + len(string) + 1
        if values and min(values) < 0:
            values = [value if value >= 0 else value + _TWO_64 for value in values]
        places = map(offsets.__getitem__, strings)
        record = pack(op.code, op.tolerate, *places, *_NO_STRINGS[len(strings)], *values, *_NO_VALUES[len(values)])
        records.append(record)
    text_at = _HEADER.size + _OP.size * len(plan.ops)
    size = text_at + end
    if size > c.PLAN_MAX_SIZE:
        raise errors.UnsupportedError(f"the plan has {size} bytes, more than {c.PLAN_MAX_SIZE} are not supported")
    records[0] = _HEADER.pack(
        c.PLAN_MAGIC, c.PLAN_VERSION, plan.preserve, size, len(plan.ops), text_at, parent,
        len(plan.passed), 0, bytes(plan.passed),
    )  # fmt: skip
    return bytearray(b"").join(records + texts)


def encode_filter(filter: Filter) -> bytes:
    """A seccomp filter for the step page, at PLAN_STEP_FLAGS."""
    bpf = filter.bpf or b""
    return _FILTER.pack(filter.flags, len(bpf)) + bpf


class Message:
    """What pyrunc-init says: see native/plan.h, struct plan_message."""

    __slots__ = ("detail", "error", "kind", "op", "value")

    def __init__(self, data: bytes) -> None:
        """Raises ValueError for what is no message."""
        if len(data) < c.PLAN_MESSAGE_HEAD:
            raise ValueError("short message")
        self.kind, self.op, self.value, self.error = _MESSAGE.unpack_from(data)
        self.detail = data[c.PLAN_MESSAGE_HEAD :].rstrip(b"\0").decode("utf-8", "replace")


_MESSAGE = Struct("=IIIi")
