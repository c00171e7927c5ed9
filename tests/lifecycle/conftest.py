"""Fixtures of the life-cycle tests. All of them are skipped without root, and fail for what they leave (tests/conftest.py)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import Bundle, Cli
from tests.lifecycle.box import Box


@pytest.fixture
def box(bundle: Callable[..., Bundle], cli: Cli, container_id: str) -> Box:
    """A container that is not made yet, of a fresh bundle with the default config."""
    return Box(bundle(), cli, container_id)


@pytest.fixture
def boxes(bundle: Callable[..., Bundle], cli: Cli, container_id: str) -> Callable[[], Box]:
    """Makes further ones, each with a bundle and an ID of its own."""
    made: list[Box] = []

    def make() -> Box:
        made.append(Box(bundle(), cli, f"{container_id}.{len(made)}"))
        return made[-1]

    return make
