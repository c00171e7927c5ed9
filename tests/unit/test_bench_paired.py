"""The bench's pairs: what they say of two commands, and that these take turns."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.bench_paired import HEAD, summary, tables, time_pairs


def test_a_constant_difference_is_found_under_any_disturbance() -> None:
    pairs = [(10.0 + load, 10.5 + load) for load in [*range(30), *range(1000, 1010)]]
    without, with_it, difference, error, deciles, minima = summary(pairs)
    assert (without, with_it) == (29.5, 30.0)
    assert (difference, error, deciles, minima) == (0.5, 0, 0.5, 0.5)


def test_the_error_falls_with_the_root_of_the_number_and_outliers_do_not_count() -> None:
    spread = [(0.0, float(number % 10)) for number in range(100)]
    few, many, wild = (summary(pairs)[3] for pairs in (spread, spread * 4, [*spread[:-1], (0.0, 1e6)]))
    assert many == pytest.approx(few / 2, rel=0.05)
    assert wild == pytest.approx(few, rel=0.05)


def test_the_commands_take_turns_after_a_first_round(tmp_path: Path) -> None:
    log = tmp_path / "log"
    one, two = (["sh", "-c", f"printf {name} >>{log}"] for name in "ab")
    assert len(time_pairs(one, two, 4)) == 4
    assert log.read_text() == "ab" + "abba" * 2


def test_a_command_that_fails_ends_it() -> None:
    with pytest.raises(RuntimeError, match="failed"):
        time_pairs(["true"], ["false"], 1)


def test_tables_are_of_both_clocks(capsys: pytest.CaptureFixture[str]) -> None:
    tables("title", [("pyrunc", [((20.0, 10.0), (21.0, 10.25))] * 10)])
    wall, processors = capsys.readouterr().out.split("title, time of the processors")
    assert [line.split(" | ")[3].strip() for line in wall.splitlines() if line.startswith("pyrunc")] == ["1.00"]
    assert [line.split(" | ")[3].strip() for line in processors.splitlines() if line.startswith("pyrunc")] == ["0.25"]
    assert all(name in wall for name in HEAD)
