"""``pytest tests/golden --update-golden`` rewrites the plans; `git diff` then shows what has changed."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the plans of tests/golden/plans anew")
