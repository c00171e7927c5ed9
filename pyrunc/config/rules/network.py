"""Rules for network devices (runtime-spec config-linux.md, "Network devices")."""

from __future__ import annotations

from pyrunc.config.rules.text import check_text, member, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.config.rules.text import Faults

NAME_MAX = 15  # bytes, IFNAMSIZ without the NUL


def net_device_rules(faults: Faults, devices: dict[str, Any], namespaces: dict[str, str]) -> None:
    if "network" not in namespaces:
        faults.append(("linux.netDevices", "needs a network namespace in linux.namespaces"))
    taken: dict[str, str] = {}
    for name, device in devices.items():
        at = member("linux.netDevices", name)
        wanted = device.get("name") or ""
        _name(faults, at, name)
        if wanted:
            _name(faults, at + ".name", wanted, template=True)
        first = taken.setdefault(wanted or name, at)
        if first != at and "%" not in wanted:
            faults.append((at + ".name", f"{quote(wanted or name)} is also the name of {first}"))


def _name(faults: Faults, at: str, name: str, *, template: bool = False) -> None:
    """What the kernel takes for a name (dev_valid_name), and its template of a number; of names here it knows no template."""
    if not check_text(faults, at, name):
        return
    size = len(name.encode("utf-8", "surrogateescape"))
    if not 0 < size <= NAME_MAX:
        faults.append((at, f"a network device's name is of 1 to {NAME_MAX} bytes, {quote(name)} of {size}"))
    elif name in (".", "..") or any(char in "/:" or char.isspace() for char in name):
        rule = "it may be neither . nor .., nor hold a slash, colon or space"
        faults.append((at, f"{quote(name)} is no name of a network device: {rule}"))
    elif "%" in (name.replace("%d", "", 1) if template else name):
        faults.append((at, f"{quote(name)}: a % stands only in a name for the container, once, and as %d"))
