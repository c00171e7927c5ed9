"""All modules in one file (native/bundle.py): what is loaded at once on a host of either kind, and what on demand."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import _cffi_backend
import pytest

PROJECT = Path(__file__).resolve().parents[2]

START = """
import marshal, posix, sys
root, version, *words = sys.argv[1:]
sys.path.append(root)
sys.argv[1:] = words[1:]
posix.access = lambda path, mode: path == "/sys/fs/cgroup/cgroup.controllers" and version == "v2"
here = posix.open(root + "/pyrunc/_hot.bin", posix.O_RDONLY)
head = int.from_bytes(posix.read(here, 8), "little")
_, loader, known = marshal.loads(posix.read(here, head))
sys.path.append(words[0])
exec(marshal.loads(loader), {**known, "root": root, "bundle": here, "begin": 8 + head})
print(*sorted(name for name in sys.modules if name.startswith("pyrunc.cgroups.")))
for name in ("v1", "v2"):
    __import__("pyrunc.cgroups." + name)
"""

ALWAYS = {
    "create": "devices files hierarchies manager settings view", "exec": "files freezer manager",
    "state": "files freezer",
}  # fmt: skip
OF_VERSION = {
    "create": {"v1": "v1 limits_v1", "v2": "v2 limits_v1 limits_v2 bpf delegation"},
    "exec": {"v1": "v1", "v2": "v2"}, "state": {"v1": "", "v2": ""},
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle")
    shutil.copytree(PROJECT / "pyrunc", path / "pyrunc", ignore=shutil.ignore_patterns("__pycache__"))
    package = path / "pyrunc"
    subprocess.run([sys.executable, PROJECT / "native/bundle.py", package, package / "_hot.bin"], check=True)
    return path


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("command", ALWAYS)
def test_what_a_host_needs_is_there_at_once(root: Path, command: str, version: str) -> None:
    """And nothing else, but what is missing can be imported: the version is a guess."""
    places = (str(root), version, str(Path(_cffi_backend.__file__).parent))
    argv = [sys.executable, "-ISXutf8", "-c", START, *places, command, "an-id"]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    wanted = f"{ALWAYS[command]} {OF_VERSION[command][version]}".split()
    assert {name.removeprefix("pyrunc.cgroups.") for name in done.stdout.split()} == set(wanted)
