"""The form of docs/coverage.md; what it says is for tests/lifecycle/test_coverage.py."""

from __future__ import annotations

import re

from tests.lifecycle.test_coverage import COLUMNS, rows


def test_every_row_is_whole() -> None:
    """Of a property: since which release, what is done with it, by which test that is known, and where that was seen to pass."""
    for cells in rows():
        assert len(cells) in (2, COLUMNS), cells
        if len(cells) == 2:
            assert "::" in cells[1], cells
            continue
        _, since, state, tests, ran = cells
        assert re.fullmatch(r"1\.[0-3](\.[1-9])?", since), cells
        assert re.search(r"\b(covered|refused|ignored)\b", state), cells
        assert "::" in tests, cells
        assert ran in ("here", "VM", "here, VM"), cells
