"""What of ID-mapped mounts the kernel under the tests can do (mount_setattr(2))."""

from __future__ import annotations

import os
import subprocess

import pytest

FIRST = {"ext2/ext3": (5, 12), "btrfs": (5, 15), "xfs": (5, 12), "tmpfs": (6, 3)}
"""File system, as stat(1) has it -> the first Linux that maps its ids."""


def linux() -> tuple[int, ...]:
    return tuple(int(number) for number in os.uname().release.split("-")[0].split(".")[:2])


def needs_linux(version: tuple[int, int], what: str) -> None:
    if linux() < version:
        pytest.skip(f"{what} needs Linux {version[0]}.{version[1]}, this is {os.uname().release}")


def can_map(path: object) -> bool:
    kind = subprocess.run(["stat", "-f", "-c", "%T", str(path)], capture_output=True, text=True, check=True).stdout.strip()
    return kind in FIRST and linux() >= FIRST[kind]


def needs_mappable(path: object) -> None:
    if not can_map(path):
        pytest.skip(f"this kernel cannot map the ids of the file system of {path}")
