"""docs/cgroups-table.md is what happens: every property of linux.resources in every column that this machine offers."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.cgroups_table import ABSENT, COLUMNS, available, measure_apart, read_page, rows

SPECIFICATION = {"memory", "cpu", "pids", "blockIO", "hugepageLimits", "network", "rdma", "unified", "devices"}
"""Sections of linux.resources: runtime-spec, config-linux.md, "Control groups"."""


def same(measured: str, documented: str) -> bool:
    """A kernel that lacks a file, a scheduler that takes no weights and what is not mounted are no fault of the page's."""
    of_the_host = (ABSENT, "operation not supported", "no hierarchy with the controller")
    return measured == documented or any(words in cell for words in of_the_host for cell in (measured, documented))


def test_the_page_has_every_row() -> None:
    page = read_page()
    assert [row[0] for row in rows("8:0")] == list(page)
    assert {name.partition(".")[0].partition(" ")[0].rstrip("[]{}") for name in page} == SPECIFICATION
    for column in COLUMNS:
        cells = [page[name].get(column) for name in page]
        assert None not in cells or not any(cells), f"{column} is half empty"


@pytest.mark.parametrize("column", COLUMNS)
def test_a_column(pyrunc: Path, column: str) -> None:
    if column not in available():
        pytest.skip(f"this machine has no {COLUMNS[column]}")
    page = read_page()
    if not any(column in cells for cells in page.values()):
        pytest.skip(f"the page has no {COLUMNS[column]}")
    measured = measure_apart(column, pyrunc)
    if measured is None:
        pytest.skip("others have bound the controllers otherwise")
    different = {name: (cell, page[name][column]) for name, cell in measured.items() if not same(cell, page[name][column])}
    assert not different
