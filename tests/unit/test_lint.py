"""ruff and mypy --strict over the whole tree, with the settings of pyproject.toml."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("tool", [("ruff", "check", "."), ("mypy",)], ids=lambda tool: str(tool[0]))
def test_clean(tool: tuple[str, ...]) -> None:
    pytest.importorskip(tool[0], reason=f"{tool[0]} is missing: pip install {tool[0]}")
    done = subprocess.run([sys.executable, "-m", *tool], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
