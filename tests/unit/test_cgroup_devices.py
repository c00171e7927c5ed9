"""Device rules: three readings of them (a model, v1's lists, the BPF program) must agree."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import example, given, settings, strategies as st

from pyrunc.cgroups import bpf
from pyrunc.cgroups.devices import ALL, DEFAULTS, MKNOD, READ, WRITE, Inexpressible, Rule, rules_of, v1_lines
from pyrunc.errors import ConfigError

Request = tuple[str, int, int, int]

numbers = st.one_of(st.none(), st.integers(0, 3))
rules = st.builds(Rule, st.booleans(), st.sampled_from(["c", "b", "cb"]), numbers, numbers, st.integers(1, ALL))
requests = st.tuples(st.sampled_from("cb"), st.integers(0, 3), st.integers(0, 3), st.integers(1, ALL))


def matches(rule: Rule, kind: str, major: int, minor: int) -> bool:
    return kind in rule.types and rule.major in (None, major) and rule.minor in (None, minor)


def model(in_order: Iterable[Rule], request: Request) -> bool:
    """The specification's words: start with nothing, apply every rule in order to every access bit."""
    kind, major, minor, access = request
    granted = 0
    for rule in in_order:
        if matches(rule, kind, major, minor):
            granted = granted | rule.access if rule.allow else granted & ~rule.access
    return access & ~granted == 0


def kernel_v1(allowed: bool, lines: list[str], request: Request) -> bool:
    """What security/device_cgroup.c does with the lists: one exception that covers all of it, or none that touches any."""
    kind, major, minor, access = request
    bits = {"r": READ, "w": WRITE, "m": MKNOD}
    for line in lines:
        where, numbers, letters = line.split(" ")
        mine = [number == "*" or int(number) == asked for number, asked in zip(numbers.split(":"), (major, minor), strict=True)]
        mask = sum(bits[letter] for letter in letters)
        if where == kind and all(mine) and (mask & access if allowed else access & ~mask == 0):
            return not allowed
    return allowed


def interpret(code: bytes, request: Request) -> int:
    """Runs the subset of eBPF that bpf.assemble uses; anything else, and leaving the program, is an error."""
    kind, major, minor, access = request
    context = struct.pack("=III", access << 16 | {"b": 1, "c": 2}[kind], major, minor)
    insns = list(struct.iter_unpack("=BBhi", code))
    registers: dict[int, Any] = {1: context}
    at = 0
    while True:
        opcode, packed, offset, imm = insns[at]
        target, source = (packed & 15, packed >> 4) if sys.byteorder == "little" else (packed >> 4, packed & 15)
        at += 1
        match opcode:
            case 0x61:
                (registers[target],) = struct.unpack_from("=I", registers[source], offset)
            case 0xBF:
                registers[target] = registers[source]
            case 0xB7:
                registers[target] = imm
            case 0x57:
                registers[target] &= imm
            case 0x77:
                registers[target] >>= imm
            case 0x15 | 0x55:
                assert offset >= 0, "the verifier of old kernels refuses backward jumps"
                if (registers[target] == imm) == (opcode == 0x15):
                    at += offset
            case 0x95:
                return int(registers[0])
            case _:
                raise AssertionError(f"unknown opcode {opcode:#x}")


def reachable(code: bytes) -> set[int]:
    """The instructions that control flow can arrive at; the verifier wants all of them."""
    insns = list(struct.iter_unpack("=BBhi", code))
    seen: set[int] = set()
    todo = [0]
    while todo:
        at = todo.pop()
        if at in seen:
            continue
        seen.add(at)
        opcode, _, offset, _ = insns[at]
        if opcode != 0x95:
            todo.append(at + 1)
        if opcode in (0x15, 0x55):
            todo.append(at + 1 + offset)
    return seen


@settings(max_examples=300, deadline=None)
@given(st.lists(rules, max_size=8), st.lists(requests, min_size=1, max_size=20))
@example([Rule(True, "c", None, None, ALL), Rule(False, "c", 2, 1, WRITE)], [("c", 2, 1, READ), ("c", 2, 1, READ | WRITE)])
def test_bpf_means_what_the_rules_say(chosen: list[Rule], asked: list[Request]) -> None:
    code = bpf.assemble(chosen)
    assert reachable(code) == set(range(len(code) // 8))
    for request in asked:
        assert interpret(code, request) == model(chosen, request), (chosen, request)


@settings(max_examples=300, deadline=None)
@given(st.lists(rules, max_size=8), st.lists(requests, min_size=1, max_size=20))
def test_v1_lists_never_grant_more_and_agree_on_single_bits(chosen: list[Rule], asked: list[Request]) -> None:
    try:
        allowed, lines = v1_lines(chosen)
    except Inexpressible:
        return
    for request in asked:
        verdict = kernel_v1(allowed, lines, request)
        if request[3] in (MKNOD, READ, WRITE):
            assert verdict == model(chosen, request), (lines, request)
        else:
            assert not verdict or model(chosen, request), (lines, request)


def test_docker_rules_become_the_lists_that_are_expected() -> None:
    own = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "rwm"},
        {"allow": True, "type": "b", "major": 8, "minor": 0, "access": "r"},
        {"allow": False, "type": "c", "major": 10, "minor": 229, "access": "rwm"},
    ]
    allowed, lines = v1_lines(rules_of({"devices": own}))
    assert not allowed
    # No request is for mknod and something else, so the narrow line can do without the mknod that the defaults grant.
    assert lines[:2] == ["c 1:5 rwm", "b 8:0 r"]
    assert {"c *:* m", "b *:* m", "c 136:* rwm", "c 10:200 rwm"} <= set(lines)
    assert not any("229" in line for line in lines)


@pytest.mark.parametrize("resources", [None, {}, {"devices": None}, {"devices": []}])
def test_without_rules_only_the_defaults_are_allowed(resources: dict[str, Any] | None) -> None:
    chosen = rules_of(resources)
    assert chosen == list(DEFAULTS)
    assert model(chosen, ("c", 1, 3, ALL)) and model(chosen, ("b", 8, 0, MKNOD))
    assert not model(chosen, ("b", 8, 0, READ))


def test_allow_everything_keeps_its_exceptions() -> None:
    own = [
        {"allow": True, "access": "rwm"},
        {"allow": False, "type": "c", "major": 10, "minor": 229, "access": "rwm"},
        {"allow": False, "type": "b", "access": "w", "major": -1, "minor": -1},
    ]
    # mknod comes back by the defaults.
    assert v1_lines(rules_of({"devices": own})) == (True, ["c 10:229 rw", "b *:* w"])


def test_v1_says_so_when_it_would_have_to_grant_more_than_asked() -> None:
    own = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "access": "rwm"},
        {"allow": False, "type": "c", "major": 10, "minor": 229, "access": "rwm"},
    ]
    with pytest.raises(Inexpressible, match=r"deny c 10:229 rwm within c \*:\* rwm"):
        v1_lines(rules_of({"devices": own}))


def test_an_existence_check_passes_where_any_rule_lets_in() -> None:
    # access(F_OK) asks with no bits at all.
    assert interpret(bpf.assemble(rules_of({})), ("b", 8, 0, 0)) == 1
    assert interpret(bpf.assemble([Rule(True, "c", 1, 3, ALL)]), ("b", 8, 0, 0)) == 0


@pytest.mark.parametrize(
    ("entry", "path"),
    [
        ({"allow": True, "type": "x", "access": "r"}, "type"),
        ({"allow": True, "type": "p", "access": "r"}, "type"),
        ({"allow": True, "type": "c", "access": ""}, "access"),
        ({"allow": True, "type": "c"}, "access"),
        ({"allow": True, "type": "c", "access": "rx"}, "access"),
        ({"allow": True, "type": "c", "major": -2, "access": "r"}, "major"),
        ({"allow": True, "type": "c", "major": 1, "minor": 1 << 31, "access": "r"}, "minor"),
    ],
)
def test_bad_rules_name_their_place(entry: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        rules_of({"devices": [{"allow": False, "access": "rwm"}, entry]})
    assert caught.value.config_path == f"linux.resources.devices[1].{path}"
