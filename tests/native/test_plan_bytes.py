"""The plan's bytes: what is wrong with them is refused with 125 before anything is done."""

from __future__ import annotations

import fcntl
import os
import struct

import pytest

from tests.native.plan_harness import HEADER, OP, Init, Op, c, encode, op, run

REFUSED = 125
TRUE = [op("LOOKUP", "/bin/busybox"), op("RELEASE"), op("EXEC", ["true"], ["A=1"], v=[1, 1])]


def header(**change: object) -> bytes:
    """A good plan with this of its header changed."""
    names = ("magic", "version", "preserve", "size", "nops", "text", "parent", "npassed", "reserved", "passed")
    plan = encode(TRUE)
    fields = dict(zip(names, HEADER.unpack_from(plan), strict=True)) | change
    return HEADER.pack(*fields.values()) + plan[HEADER.size :]


def string_at(offset: int) -> bytes:
    """A good plan but for the offset of its first string."""
    plan = bytearray(encode(TRUE))
    struct.pack_into("=I", plan, HEADER.size + 4, offset)
    return bytes(plan)


def length_of(length: int) -> bytes:
    """A good plan but for the length of its first string."""
    plan = bytearray(encode(TRUE))
    struct.pack_into("=I", plan, HEADER.size + len(TRUE) * OP.size + 4, length)
    return bytes(plan)


GOOD = encode(TRUE)
TEXT = len(GOOD) - HEADER.size - OP.size * len(TRUE)
WRONG = {
    "empty": b"",
    "short": GOOD[: HEADER.size - 1],
    "header alone": GOOD[: HEADER.size],
    "cut": GOOD[:-1],
    "longer": GOOD + b"\0",
    "magic": header(magic=1),
    "version": header(version=2),
    "size": header(size=len(GOOD) + 1),
    "no ops": header(nops=0),
    "one op less": header(nops=len(TRUE) - 1),
    "one op more": header(nops=len(TRUE) + 1),
    "ops without end": header(nops=2**32 - 1),
    "too many ops": header(nops=c.PLAN_MAX_OPS + 1),
    "text in the header": header(text=8),
    "text beyond the end": header(text=2**32 - 1),
    "too many passed": header(npassed=c.PLAN_PASSED + 1),
    "a slot that is not": header(npassed=1, passed=bytes([c.SLOT_HELD])),
    "preserved over the plan": header(preserve=1),
    "string beyond": string_at(TEXT),
    "string at the very end": string_at(TEXT - 4),
    "string far beyond": string_at(2**32 - 1),
    "length beyond": length_of(TEXT),
    "length far beyond": length_of(2**32 - 1),
    "length that wraps": length_of(2**32 - 5),
    "no NUL": length_of(3),
    "opcode 0": encode([Op("EXEC")])[: HEADER.size] + bytes(OP.size) + bytes(4),
    "opcode unknown": encode([Op("EXEC")])[: HEADER.size] + b"\xff\xff" + bytes(OP.size - 2) + bytes(4),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_malformed_plan_is_refused_before_anything_is_done(init: int, name: str) -> None:
    with Init(init, WRONG[name]) as process:
        got = process.finish()
    assert (got.status, got.messages, got.step) == (REFUSED, [], 0)


def test_a_plan_must_be_sealed(init: int) -> None:
    """Or else what was checked could change before it is used."""
    for seals in ((), ("SEAL",), ("SHRINK", "GROW"), ("WRITE", "GROW"), ("WRITE", "SHRINK")):
        fd = os.memfd_create("plan", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.write(fd, GOOD)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, sum(getattr(fcntl, f"F_SEAL_{name}") for name in seals))
        with Init(init, b"", plan_fd=fd) as process:
            assert process.finish().status == REFUSED
        os.close(fd)
    with open(__file__, "rb") as file, Init(init, b"", plan_fd=file.fileno()) as process:
        assert process.finish().status == REFUSED


def test_a_plan_without_an_end_is_refused_at_its_end(init: int) -> None:
    assert run(init, [op("UMASK", v=[0])]).status == REFUSED


ARGV = ([], [""], ["abc"], ["3x"], ["2"], ["-3"], ["1048577"], ["3", "4"])


@pytest.mark.parametrize("argv", ARGV, ids=" ".join)
def test_arguments(init: int, argv: list[str]) -> None:
    with Init(init, GOOD, argv=["pyrunc-init", *argv]) as process:
        assert process.finish().status == REFUSED


ONE = "OPEN_NS OPEN_CGROUP PROPAGATE ROOT OPEN_ROOT DEVICE HIDE MAKE_CWD CHDIR LOOKUP TIME_OFFSETS OOM_SCORE READONLY_MOUNT"
ONE += " READONLY_PATH MASK_PATH HOSTNAME DOMAINNAME"
TWO = "BIND_DEVICE SYMLINK SYSCTL MOUNT MOUNT_DATA BIND EXEC"
REQUIRED = dict.fromkeys(ONE.split(), 1) | dict.fromkeys(TWO.split(), 2) | {"HOOK": 5}


@pytest.mark.parametrize("name", REQUIRED)
def test_a_string_that_an_op_needs_is_there(init: int, name: str) -> None:
    for missing in range(REQUIRED[name]):
        strings: list[str | None] = ["x"] * REQUIRED[name]
        strings[missing] = None
        got = run(init, [op(name, *strings)])
        assert (got.status, got.messages) == (REFUSED, []), missing


def test_a_list_shorter_than_its_count_says(init: int) -> None:
    for count in (2, 1000, 2**61 - 2, 2**61 - 1, 2**61, 2**64 - 1):
        for counts in ([count, 1], [1, count]):
            ops = [*TRUE[:2], op("HOME"), op("EXEC", ["true"], ["A=1"], v=counts)]
            got = run(init, ops)
            assert got.status == 0 or [error.value for error in got.errors] == [c.AT_MEMORY], (counts, got)
