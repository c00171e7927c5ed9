"""Turn plan.h, the one definition of the plan's numbers, into the Python module pyrunc/plan/opcodes.py."""

from __future__ import annotations

import re
import sys
from pathlib import Path

HEADER = Path(__file__).with_name("plan.h")
GROUPS = {  # list macro -> (prefix in Python, name of the table number -> name, of number -> text)
    "PLAN_OPS": ("OP", "OP_NAMES"),
    "PLAN_PLACES": ("AT", "PLACES"),
    "PLAN_SYNCS": ("SYNC", "SYNC_NAMES"),
    "PLAN_MESSAGES": ("MSG", "MESSAGE_NAMES"),
    "PLAN_SLOTS": ("SLOT", "SLOT_NAMES"),
    "PLAN_TOLERATED": ("TOLERATE", "TOLERATED"),
    "PLAN_MODES": ("MODE", "MODE_NAMES"),
}
LAYOUT = ("MAGIC", "VERSION", "MAX_SIZE", "MAX_OPS", "STRINGS", "VALUES", "PASSED", "DETAIL", "NSLOTS", "MODE_SLOT",
          "MESSAGE_HEAD", "STEP_LISTENER", "STEP_TAKEN", "STEP_FLAGS", "STEP_SIZE", "FILTER_MAX")  # fmt: skip


def generate() -> str:
    """The module's text. Raises ValueError when the header does not have the expected form."""
    header = HEADER.read_text()
    out = ['"""Generated from native/plan.h by native/gen_opcodes.py; do not edit."""', ""]
    for name in LAYOUT:
        found = re.search(rf"^#define PLAN_{name} (.+?)(?: /\*.*)?$", header, re.M)
        if not found:
            raise ValueError(f"plan.h does not define PLAN_{name}")
        out.append(f"PLAN_{name} = {eval(re.sub(r'(?<=[0-9a-f])u', '', found[1]), {})}")  # a C integer expression of ours
    for macro, (prefix, table) in GROUPS.items():
        body = re.search(rf"^#define {macro}\(\w+\) \\\n((?:.*\\\n)*.*)$", header, re.M)
        if not body:
            raise ValueError(f"plan.h has no list {macro}")
        entries = re.findall(r'\w+\((\w+), (\d+)(?:, "([^"]*)")?\)', body[1])
        out += ["", *(f"{prefix}_{name} = {number}" for name, number, _ in entries)]
        out.append(f"{table} = {{")
        out += [f"    {number}: {(text if macro == 'PLAN_PLACES' else name)!r}," for name, number, text in entries]
        out.append("}")
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(generate())
