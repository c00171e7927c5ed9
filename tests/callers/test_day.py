"""A short day: `python3 -m conformance.callers.day` has a long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.callers.day import DAYS, day

pytestmark = pytest.mark.needs_root


@pytest.mark.parametrize("caller", DAYS)
def test_sixteen_containers_four_at_a_time(caller: str, pyrunc: Path) -> None:
    try:
        faults = day(caller, pyrunc, 16, 4)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    assert faults == []
