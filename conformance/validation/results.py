"""What a test of the suite has said: the Test Anything Protocol, version 13, with JSON between `---` and `...`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

RESULT = re.compile(r"(not )?ok\b *(\d*) *-? *((?:\\.|[^#\\])*)(?:# *(TODO|SKIP)\b.*)?$", re.IGNORECASE)
PLAN = re.compile(r"1\.\.(\d+)\s*(#.*)?$")


@dataclass
class Assertion:
    """One result; what was said about it comes after it."""

    passed: bool
    about: str
    directive: str = ""
    remarks: list[str] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """A failure that was announced (TODO) is none."""
        return not self.passed and self.directive != "TODO"


@dataclass
class Report:
    """All of a test's output. ``complaints`` are errors told without a result, which is all that some tests do."""

    assertions: list[Assertion] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    miscounted: bool = False

    @property
    def failures(self) -> list[Assertion]:
        return [assertion for assertion in self.assertions if assertion.failed]


def parse(text: str) -> Report:
    """Read any number of streams, one after the other; other lines are ignored, as the protocol wants it."""
    report = Report()
    begin = 0
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith("TAP version"):
            begin = len(report.assertions)
        elif plan := PLAN.match(line):
            # A plan is the first line of a stream, or the last.
            if len(report.assertions) > begin or plan[1] == "0":
                report.miscounted |= int(plan[1]) != len(report.assertions) - begin
        elif result := RESULT.match(line):
            about = re.sub(r"\\(.)", r"\1", result[3]).strip()
            report.assertions.append(Assertion(not result[1], about, (result[4] or "").upper()))
        elif line.strip() == "---":
            _remark(report, begin, _block(lines))
        elif line.startswith("#") and len(report.assertions) > begin:
            report.assertions[-1].remarks.append(line[1:].strip())
    return report


def _block(lines: Any) -> str:
    text = []
    for line in lines:
        if line.strip() == "...":
            break
        text.append(line)
    return "\n".join(text)


def _remark(report: Report, begin: int, text: str) -> None:
    try:
        data = json.loads(text)
    except ValueError:
        data = None
    if len(report.assertions) > begin:
        report.assertions[-1].remarks += _told(data)
    elif isinstance(data, dict) and data.get("error"):
        report.complaints.append(str(data["error"]).split("\n")[0])


def _told(data: Any) -> list[str]:
    """What explains a failure, in one line; references are left out."""
    if not isinstance(data, dict):
        return []
    words = [f"{key} {data[key]}" for key in ("expected", "actual") if key in data]
    words += [" ".join(str(data[key]).split()) for key in ("error", "stderr") if data.get(key)]
    return [", ".join(words)] if words else []
