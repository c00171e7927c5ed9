"""A caller with the pyrunc under test."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.callers.known import ENGINES, Caller
from tests.conftest import TAG


@pytest.fixture(scope="module")
def engine(request: pytest.FixtureRequest, pyrunc: Path) -> Iterator[Caller]:
    """The caller, running; its socket's path must be short, so that it has a short directory."""
    work = Path(tempfile.mkdtemp(prefix=f"{TAG}-"))
    try:
        try:
            caller = ENGINES[request.param](pyrunc, work, TAG)
        except FileNotFoundError as error:
            pytest.skip(str(error))
        try:
            yield caller
        finally:
            left = caller.close()
        assert not left, f"left behind: {'; '.join(left)}"
    finally:
        shutil.rmtree(work)
