"""Callers that have systemd make their cgroups, rootless podman, CRIU; skipped where systemd is not process 1.

conformance/vm/run has a machine with all of it.
"""

from __future__ import annotations

import pytest

from conformance.callers.known import UNDER_SYSTEMD, Caller, gone
from conformance.callers.scenarios import SCENARIOS, Scenario

pytestmark = pytest.mark.needs_root

CASES = [pytest.param(name, scenario, id=f"{name}-{scenario.__name__}") for name in UNDER_SYSTEMD for scenario in SCENARIOS[name]]


@pytest.mark.parametrize(("engine", "scenario"), CASES, indirect=["engine"])
def test_scenario(engine: Caller, scenario: Scenario) -> None:
    scenario(engine)
    assert not (left := gone(engine)), f"left behind: {'; '.join(left)}"
