"""docs/callers-table.md has a line for each scenario, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from conformance.callers.known import UNDER_SYSTEMD
from conformance.callers.scenarios import SCENARIOS

PAGE = Path(__file__).resolve().parents[2] / "docs/callers-table.md"


def test_each_scenario_has_its_line() -> None:
    names = {"ctr": "containerd", "Docker with networks": "docker-network", "a swarm of two": "swarm"}
    found: set[tuple[str, str]] = set()
    for section in PAGE.read_text().split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        engine = names.get(title, title.lower())
        for line in re.findall(r"^\| (.+?) \| (?:yes|no|–) \|", text, re.MULTILINE):
            prefix, _, rest = line.partition(": ")
            found.add((prefix, rest) if prefix in UNDER_SYSTEMD else (engine, line))
    assert found == {(engine, scenario.__doc__) for engine, listed in SCENARIOS.items() for scenario in listed}
