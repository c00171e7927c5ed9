"""The default root, and what the commands load before the runtime does its work."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pyrunc.cli import globals as global_options
from pyrunc.kernel import os as hot_os

PROJECT = Path(__file__).resolve().parents[2]

BANNED = (
    "re enum typing dataclasses argparse collections json subprocess socket jsonschema logging pathlib shutil tempfile "
    "contextlib functools datetime inspect random hashlib traceback signal importlib.metadata ctypes"
).split()
"""docs/architecture.md, and what the CLI itself loads only for a person."""


@pytest.mark.parametrize(
    ("euid", "user", "nested", "directory", "root"),
    [
        (0, "root", False, None, "/run/pyrunc"),
        (0, None, False, "/run/user/0", "/run/pyrunc"),
        (0, "me", False, "/run/user/0", "/run/pyrunc"),
        (0, "root", True, "/run/user/0", "/run/pyrunc"),
        (0, "me", True, "/run/user/1000", "/run/user/1000/pyrunc"),
        (0, None, True, "/run/user/1000", "/run/user/1000/pyrunc"),
        (0, None, True, None, "/run/pyrunc"),
        (1000, "root", False, "/run/user/1000/", "/run/user/1000/pyrunc"),
        (1000, "me", False, None, "/run/pyrunc"),
        (1000, "me", False, "", "/run/pyrunc"),
    ],
)
def test_default_root(
    monkeypatch: pytest.MonkeyPatch, euid: int, user: str | None, nested: bool, directory: str | None, root: str
) -> None:
    monkeypatch.setattr(hot_os, "geteuid", lambda: euid)
    monkeypatch.setattr(global_options, "_in_user_namespace", lambda: nested)
    for name, value in (("USER", user), ("XDG_RUNTIME_DIR", directory)):
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
    assert global_options.default_root() == root


def test_a_user_namespace_is_told_from_the_host_s() -> None:
    code = f"import sys; sys.path.append({str(PROJECT)!r}); from pyrunc.cli.globals import default_root; print(default_root())"
    command = [sys.executable, "-IS", "-c", code]
    environment = {"XDG_RUNTIME_DIR": "/run/user/7"}
    unshare = shutil.which("unshare") or "unshare"
    if subprocess.run([unshare, "-Ur", "true"], capture_output=True, timeout=60).returncode:
        pytest.skip("this machine makes no user namespaces")
    nested = subprocess.run([unshare, "-Ur", *command], capture_output=True, env=environment, timeout=60)
    assert nested.stdout == b"/run/user/7/pyrunc\n"


def loaded(*argv: str) -> set[str]:
    """The modules of an isolated interpreter after `argv`, up to the verb: that is where the runtime's own budget begins."""
    code = (
        f"import sys; sys.path.append({str(PROJECT)!r})\n"
        "fake = type(sys)('fake')\n"
        "fake.__getattr__ = lambda name: lambda *a, **k: 0 if name != 'state' else {'id': 'x', 'pid': 1}\n"
        "for name in ('create', 'run', 'start', 'state', 'kill', 'delete', 'exec'):\n"
        "    sys.modules['pyrunc.runtime.' + name] = fake\n"
        "from pyrunc.cli.main import main\n"
        "status = main()\n"
        "sys.stderr.write(' '.join(sys.modules)); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-IS", "-c", code, *argv], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "argv",
    [
        ["state", "c1"],
        ["kill", "--all", "c1", "RTMIN+3"],
        ["--root", "/r", "--log-format", "json", "create", "--bundle", "/b", "c1"],
        ["start", "c1"],
        ["delete", "--force", "c1"],
        ["run", "-d", "c1"],
        ["exec", "-e", "A=1", "-u", "1:1", "c1", "true"],
    ],
    ids=lambda argv: next(word for word in argv if word in "state kill create start delete run exec".split()),
)
def test_the_hot_path_loads_nothing_comfortable(argv: list[str]) -> None:
    modules = loaded(*argv)
    assert "pyrunc.cli.options" in modules
    assert not modules & set(BANNED)
    assert not {name for name in modules if name.startswith("pyrunc.cli.")} & {
        "pyrunc.cli.help",
        "pyrunc.cli.matching",
        "pyrunc.cli.list",
    }
