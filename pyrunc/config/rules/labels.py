"""Rules for the labels of security modules: process.apparmorProfile, process.selinuxLabel, linux.mountLabel."""

from __future__ import annotations

from pyrunc.config.rules.text import check_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.config.rules.text import Faults

ATTRIBUTE_MAX = 4000
"""Bytes. The kernel cuts what is written to /proc/PID/attr at a page, and would take the first half of a name for the name."""
MOUNT_LABEL_MAX = 255
"""Bytes of a value that fsconfig(2) takes."""
SELINUX_OFF = "selinux label is specified in config, but selinux is disabled or not supported"


def process_labels(faults: Faults, process: dict[str, Any], at: str) -> None:
    for name in ("apparmorProfile", "selinuxLabel"):
        if label := process.get(name):
            _label(faults, at + name, label, ATTRIBUTE_MAX)


def mount_label(faults: Faults, label: str) -> None:
    _label(faults, "linux.mountLabel", label, MOUNT_LABEL_MAX)
    if '"' in label:  # mount(2) takes it in quotes, because of the commas of its categories
        faults.append(("linux.mountLabel", "must not contain a quote"))


def _label(faults: Faults, at: str, label: str, limit: int) -> None:
    if not check_text(faults, at, label):
        return
    if "\n" in label:
        faults.append((at, "must not contain a newline"))
    if len(label.encode("utf-8", "surrogateescape")) > limit:
        faults.append((at, f"must be at most {limit} bytes"))


def selinux_labels(config: dict[str, Any]) -> list[str]:
    """The JSON paths of the labels that need SELinux."""
    found = ["process.selinuxLabel"] if (config.get("process") or {}).get("selinuxLabel") else []
    return found + (["linux.mountLabel"] if (config.get("linux") or {}).get("mountLabel") else [])
