"""Signals as callers write them."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given, settings, strategies as st

from pyrunc.kernel.signals import NUMBERS, parse


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("15", 15),
        ("0", 0),
        ("09", 9),
        ("64", 64),
        ("KILL", 9),
        ("SIGKILL", 9),
        ("kill", 9),
        ("SigTerm", 15),
        ("TERM", 15),
        ("hup", 1),
    ]
    + [("WINCH", 28), ("CLD", 17), ("IOT", 6), ("STKFLT", 16), ("sigpwr", 30)]
    + [
        ("RTMIN", 34),
        ("SIGRTMIN+3", 37),
        ("rtmin+3", 37),
        ("RTMIN+0", 34),
        ("RTMIN+30", 64),
        ("RTMAX", 64),
        ("RTMAX-1", 63),
        ("RTMAX-30", 34),
    ],
)
def test_known(text: str, number: int) -> None:
    assert parse(text) == number


@pytest.mark.parametrize(
    "text",
    ["", "SIG", "NOPE", "SIGSIGKILL", "KILL ", " 9", "-1", "-9", "+9", "65", "999", "9" * 5000, "9.0", "0x9", "１５", "²"]
    + [
        "RTMIN+31",
        "RTMIN-1",
        "RTMAX+1",
        "RTMAX-31",
        "RTMIN+",
        "RTMIN+x",
        "RTMIN++1",
        "RTMIN+1+1",
        "RTMIN+-1",
        "RTMIN+ 1",
        "KILL+1",
        "TERM-1",
        "kıll",
        "ſigkill",
        "0159",
    ]
    + ["SIG_DFL", "SIG_BLOCK", "_DFL", "BLOCK", "SIGNAL", "NSIG"],
)
def test_unknown(text: str) -> None:
    with pytest.raises(ValueError, match="unknown signal"):
        parse(text)


def test_the_table_is_that_of_the_signal_module() -> None:
    assert {f"SIG{name}": number for name, number in NUMBERS.items()} == {
        name: int(member) for name, member in signal.Signals.__members__.items()
    }


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_any_text_is_a_signal_or_a_value_error(text: str) -> None:
    try:
        assert 0 <= parse(text) <= 64
    except ValueError as error:
        assert text in str(error)
