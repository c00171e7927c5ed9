"""podman, containerd and Docker with pyrunc as their runtime; each is skipped where it is not installed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.callers.known import ENGINES, Caller, gone
from conformance.callers.scenarios import SCENARIOS, Scenario
from tests.conftest import TAG

pytestmark = pytest.mark.needs_root

CASES = [pytest.param(name, scenario, id=f"{name}-{scenario.__name__}") for name in ENGINES for scenario in SCENARIOS[name]]


@pytest.fixture(scope="module")
def engine(request: pytest.FixtureRequest, pyrunc: Path) -> Iterator[Caller]:
    """The caller, running; its socket's path must be short, so that it has a short directory."""
    work = Path(tempfile.mkdtemp(prefix=f"{TAG}-"))
    try:
        try:
            caller = ENGINES[request.param](pyrunc, work, TAG)
        except FileNotFoundError as error:
            pytest.skip(f"{error}: tests/run --callers installs it")
        try:
            yield caller
        finally:
            left = caller.close()
        assert not left, f"left behind: {'; '.join(left)}"
    finally:
        shutil.rmtree(work)


@pytest.mark.parametrize(("engine", "scenario"), CASES, indirect=["engine"])
def test_scenario(engine: Caller, scenario: Scenario) -> None:
    scenario(engine)
    assert not (left := gone(engine)), f"left behind: {'; '.join(left)}"
