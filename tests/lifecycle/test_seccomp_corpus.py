"""A part of the corpus of conformance/seccomp in containers: the kernel does what the filter says, as it does in runc's."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

import pytest

from conformance.seccomp.compare import Containers

if platform.machine() != "x86_64":
    pytest.skip("numbers of x86-64", allow_module_level=True)
if not shutil.which("gcc"):
    pytest.skip("gcc is missing, for the static probe", allow_module_level=True)


def test_system_calls_tried_in_containers(pyrunc: Path) -> None:
    with Containers(str(pyrunc), shutil.which("runc")) as containers:
        for seed in range(4):
            containers.compare(seed)
    assert (containers.count, containers.faults) == (4, []) and containers.calls > 400
