"""The plan of every case is the one in the file of its name. To look at a change: --update-golden and `git diff`."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest

from pyrunc.plan import opcodes as c
from pyrunc.plan.encode import Plan, encode
from pyrunc.plan.show import show
from tests.golden.cases import CASES, Case
from tests.golden.decode import decode, op_of
from tests.golden.samples import SAMPLES

PLANS = Path(__file__).with_name("plans")


def every_op() -> Plan:
    return Plan(list(SAMPLES.values()))


ALL: dict[str, Case] = {**CASES, "every-op": every_op}


def written(plan: Plan) -> str:
    """What a file holds: the plan as people see it, and beside it what only the machine needs."""
    slots = " ".join(c.SLOT_NAMES[slot] for slot in plan.passed) or "none"
    return f"passed: {slots}; preserved: {plan.preserve}\n{show(plan, 'text')}"


@pytest.mark.parametrize("name", ALL)
def test_the_plan_is_as_before(name: str, request: pytest.FixtureRequest) -> None:
    path = PLANS / f"{name}.txt"
    text = written(ALL[name]())
    if request.config.getoption("--update-golden", False):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    before = path.read_text() if path.exists() else ""
    diff = "\n".join(difflib.unified_diff(before.splitlines(), text.splitlines(), f"{name}.txt", "now", lineterm="", n=1))
    assert not diff, f"the plan has changed (if so it should be: pytest tests/golden --update-golden)\n{diff}"


def test_there_is_no_plan_without_a_case() -> None:
    assert {path.stem for path in PLANS.iterdir()} == ALL.keys()


@pytest.mark.parametrize("name", ALL)
def test_the_bytes_say_the_same(name: str) -> None:
    plan = ALL[name]()
    decoded = decode(bytes(encode(plan, 4321)))
    assert decoded.ops == [op_of(op) for op in plan.ops]
    assert (decoded.parent, decoded.preserve, tuple(decoded.passed)) == (4321, plan.preserve, tuple(plan.passed))


@pytest.mark.parametrize("name", ALL)
def test_a_plan_is_a_function_of_its_config(name: str) -> None:
    """Compiled twice, it is the same to the byte: no order of a set, no clock, nothing of this machine."""
    assert encode(ALL[name](), 1) == encode(ALL[name](), 1)
