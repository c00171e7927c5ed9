"""podman, containerd and Docker with pyrunc as their runtime; each is skipped where it is not installed."""

from __future__ import annotations

import pytest

from conformance.callers.known import ENGINES, UNDER_SYSTEMD, Caller, gone
from conformance.callers.scenarios import SCENARIOS, Scenario

pytestmark = pytest.mark.needs_root

NAMES = [name for name in ENGINES if name not in UNDER_SYSTEMD]
CASES = [pytest.param(name, scenario, id=f"{name}-{scenario.__name__}") for name in NAMES for scenario in SCENARIOS[name]]


@pytest.mark.parametrize(("engine", "scenario"), CASES, indirect=["engine"])
def test_scenario(engine: Caller, scenario: Scenario) -> None:
    scenario(engine)
    assert not (left := gone(engine)), f"left behind: {'; '.join(left)}"
