"""Every op has all five: a number in native/plan.h, a constructor, a description, an encoding, one executor in native/init."""

from __future__ import annotations

import ast
import inspect
import re
from functools import cache
from pathlib import Path

import pytest

from native import gen_opcodes
from pyrunc.plan import opcodes as c, ops, show
from pyrunc.plan.encode import Plan, encode
from pyrunc.plan.failure import SUBJECTS
from pyrunc.plan.ops import Op
from tests.golden.decode import decode, op_of
from tests.golden.samples import SAMPLES

PROJECT = Path(__file__).resolve().parents[2]
HEADER = (PROJECT / "native/plan.h").read_text()
NUMBERS = {name: int(number) for name, number in re.findall(r"\bOP\((\w+), (\d+)\)", HEADER)}

FOR_MESSAGES = {"SETNS": {0}, "NET_DEVICES": {0}}
"""Strings that no executor reads: an error names them."""


# --- what the executors read, from the C sources -----------------------------------------------------------------------


@cache
def functions() -> dict[str, str]:
    """Function -> its body, of native/init. An executor is called ``op_NAME``, as its macro says."""
    found: dict[str, str] = {}
    head = re.compile(r"^(?:EXECUTOR\((\w+)\)|[A-Za-z_][\w *]*?\b(\w+)\([^;{}]*\)) (\{.*\}$|\{$(?:\n.*)*?\n\}$)", re.M)
    for path in sorted((PROJECT / "native/init").glob("*.c")):
        for executor, function, body in head.findall(path.read_text()):
            name = f"op_{executor}" if executor else function
            assert name not in found or not executor, f"{name} has two executors"
            found[name] = body
    return found


def reads(function: str) -> tuple[set[int], set[int]]:
    """The indices of the strings and of the values that a function and those to which it gives its op read."""
    body = re.sub(r"/\*.*?\*/", "", functions()[function], flags=re.S)
    strings = {int(i) for i in re.findall(r"\bop_(?:text|length|vector)\(op, (\d)|\bop->s\[(\d)\]", body) for i in i if i}
    values = {int(i) for i in re.findall(r"\bop->v\[(\d)\]", body)}
    assert not re.search(r"\bop->[sv]\[[^\d]|\bop_(?:text|length|vector)\(op, [^\d]", body), f"{function}: an index is no number"
    callees = set(re.findall(r"\b(\w+)\((?:[^()]*, )?op[,)]", body)) - {"op_text", "op_length", "op_vector"}
    for callee in callees & functions().keys():
        more = reads(callee)
        strings |= more[0]
        values |= more[1]
    return strings, values


def test_the_reader_of_c_sees_through_helpers() -> None:
    assert reads("op_MASK_PATH") == ({0, 1}, set())  # the second by masked_tree()
    assert reads("op_CONSOLE") == (set(), {0, 1, 2})  # two of them by open_pty()
    assert reads("op_HOOK") == ({0, 1, 2, 3, 4}, {0, 1, 2})  # most by start_hook() and become_hook()
    assert reads("op_MOVE_ROOT") == (set(), set())


def test_opcodes_are_those_of_the_header() -> None:
    assert len(NUMBERS) == len(set(NUMBERS.values())) == HEADER.count("    OP(") > 40
    assert {name: number for number, name in c.OP_NAMES.items()} == NUMBERS
    assert gen_opcodes.generate() == Path(c.__file__).read_text()


def test_every_opcode_has_one_executor() -> None:
    declared = re.findall(r"^EXECUTOR\((\w+)\);", (PROJECT / "native/init/init.h").read_text(), re.M)
    assert sorted(declared) == sorted(NUMBERS)
    sources = "".join(path.read_text() for path in (PROJECT / "native/init").glob("*.c"))
    defined = re.findall(r"^EXECUTOR\((\w+)\) \{", sources, re.M)
    assert sorted(defined) == sorted(NUMBERS)


def test_every_constructor_has_a_sample_and_every_opcode_a_constructor() -> None:
    constructors = {f for _, f in inspect.getmembers(ops, inspect.isfunction) if f.__annotations__.get("return") == "Op"}
    assert constructors == SAMPLES.keys()
    assert sorted(op.code for op in SAMPLES.values()) == sorted(NUMBERS.values())


def test_constructors_are_named_after_their_op() -> None:
    tree = ast.parse(inspect.getsource(ops))
    constructors = {f.__name__ for f in SAMPLES}
    named = {
        node.name: {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute) and part.attr.startswith("OP_")}
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name in constructors
    }
    expected = {name.lower(): {f"OP_{name}"} for name in NUMBERS}
    expected["execute"] = expected.pop("exec")
    assert named == expected


@pytest.mark.parametrize("op", SAMPLES.values(), ids=lambda op: op.name)
def test_a_constructor_gives_what_the_executor_reads(op: Op) -> None:
    strings, values = reads(f"op_{op.name}")
    assert not strings & FOR_MESSAGES.get(op.name, set())
    strings |= FOR_MESSAGES.get(op.name, set())
    assert strings == set(range(len(op.strings)))
    assert values == set(range(len(op.values)))
    assert len(op.strings) <= c.PLAN_STRINGS and len(op.values) <= c.PLAN_VALUES


@pytest.mark.parametrize("op", SAMPLES.values(), ids=lambda op: op.name)
def test_a_description_holds_what_the_op_is_about(op: Op) -> None:
    text = show.describe(op)
    assert text and text == text.strip() and "  " not in text and text[0].islower()
    for word in op.text(SUBJECTS[op.code]).split() if op.code in SUBJECTS else ():
        assert word in text
    if op.code in SUBJECTS:
        assert op.text(SUBJECTS[op.code])


def test_descriptions_and_subjects_are_of_ops_that_there_are() -> None:
    assert show.DESCRIPTIONS.keys() == set(NUMBERS.values())
    assert SUBJECTS.keys() <= set(NUMBERS.values())
    assert show.SYNCS.keys() == c.SYNC_NAMES.keys()


@pytest.mark.parametrize("op", SAMPLES.values(), ids=lambda op: op.name)
def test_an_op_survives_its_encoding(op: Op) -> None:
    (found,) = decode(bytes(encode(Plan([op]), 1))).ops
    assert found == op_of(op)
