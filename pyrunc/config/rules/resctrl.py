"""Rules for ``linux.intelRdt`` (runtime-spec config-linux.md, "IntelRdt")."""

from __future__ import annotations

from pyrunc.config.rules.text import check_text, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.config.rules.text import Faults

NAME_MAX = 255  # bytes of a file's name
TAKEN = (".", "..", "info", "mon_groups", "mon_data", "tasks", "schemata", "cpus", "cpus_list", "mode", "size")
"""What is in the directory of a class, or at the top, and so names none."""


def rdt_rules(faults: Faults, rdt: dict[str, Any]) -> None:
    closid = rdt.get("closID") or ""
    at = "linux.intelRdt.closID"
    if closid and closid != "/" and check_text(faults, at, closid):
        if "/" in closid or "\n" in closid or closid in TAKEN:
            faults.append((at, f"{quote(closid)} cannot name a class of service"))
        elif len(closid.encode("utf-8", "surrogateescape")) > NAME_MAX:
            faults.append((at, f"must be at most {NAME_MAX} bytes"))
    check_text(faults, "linux.intelRdt.l3CacheSchema", rdt.get("l3CacheSchema"))
    check_text(faults, "linux.intelRdt.memBwSchema", rdt.get("memBwSchema"))
    for i, line in enumerate(rdt.get("schemata") or ()):
        where = f"linux.intelRdt.schemata[{i}]"
        if check_text(faults, where, line) and ("\n" in line or ":" not in line):
            faults.append((where, f"{quote(line)} is not one line such as L3:0=7f"))
