"""The launcher as a program (native/launcher): the first phase of its interpreter is all that a successful command needs."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import _cffi_backend
import pytest

from native.launcher import build
from tests.conftest import Bundle, Cli, until

PROJECT = Path(__file__).resolve().parents[2]
PLACE = f"/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
COMPLETED = 99

pytestmark = pytest.mark.skipif(sys.version_info[:2] not in build.KNOWN, reason="this Python's launcher is the script")


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installed pyrunc whose interpreter has no second phase: it ends instead."""
    prefix = tmp_path_factory.mktemp("half")
    package = Path(f"{prefix}{PLACE}/pyrunc")
    shutil.copytree(PROJECT / "pyrunc", package, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-X", "no_debug_ranges", PROJECT / "native/bundle.py", package, package / "_hot.bin"]
    subprocess.run(command, check=True)
    shutil.copy(_cffi_backend.__file__, package.parent)
    sources = tmp_path_factory.mktemp("sources")
    for name in ("launcher.c", "door.py.in", "lazy.py.in"):
        text = (PROJECT / "native/launcher" / name).read_text()
        (sources / name).write_text(text.replace("check(_Py_InitializeMain());", f"_exit({COMPLETED});"))
    program = prefix / "bin/pyrunc"
    program.parent.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "HERE", sources)
        build.link(program, ["gcc"], [], [PLACE], [])
    return program


def test_no_command_needs_the_second_phase(
    half: Path, bundle: Callable[..., Bundle], container_id: str, runtime_root: Path
) -> None:
    """On its way to success. If this fails: what is imported, opened or decoded there that is not built in?"""
    cli = Cli(half, runtime_root)
    runs, sleeps = str(bundle("true")), str(bundle("sleep", "100"))
    try:
        for words in (
            ["run", "--bundle", runs, container_id], ["create", "--bundle", sleeps, container_id], ["state", container_id],
            ["start", container_id], ["exec", container_id, "true"], ["kill", container_id, "KILL"],
        ):  # fmt: skip
            done = cli(*words)
            assert (words[0], done.returncode) == (words[0], 0), done.stderr
        until(lambda: '"stopped"' in cli("state", container_id).stdout, 10, "it does not end")
        assert cli("delete", container_id).returncode == 0
    finally:
        Cli(PROJECT / "build/pyrunc", runtime_root)("delete", "--force", container_id)


def test_the_test_before_sees_it(half: Path, bundle: Callable[..., Bundle], container_id: str, runtime_root: Path) -> None:
    """What jsonschema explains needs the whole interpreter."""
    wrong = bundle()
    wrong.config["process"]["args"] = 5
    assert Cli(half, runtime_root)("create", "--bundle", wrong.write(), container_id).returncode == COMPLETED


WAYS = {
    "a module of a path": "import colorsys\nassert colorsys.rgb_to_hsv(1, 1, 1)",
    "a codec": "assert b'\\x80'.decode('cp1252') == '\\u20ac'",
    "text": "assert open('/proc/self/comm').read() == 'pyrunc\\n'",
    "a built-in codec first": "assert b'\\xff'.decode('utf-8', 'replace') + b'a'.decode('cp037') == '\\ufffd/'",
    "an error handler": "assert '\\ud800'.encode('utf-8', 'surrogatepass') + 'x'.encode('punycode') == b'\\xed\\xa0\\x80x-'",
    "packages": "import json.decoder, email.message\nassert json.loads('[1]') == [1]",
    "streams": "open\nimport re\nprint('ok', file=sys.stderr); assert sys.stdout.encoding == 'utf-8'",
    "threads": "import threading\nt = threading.Thread(target=print); t.start(); t.join()",
}


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("launcher") / "pyrunc"
    build.link(program, ["gcc"], [], [PLACE], [])
    return program


@pytest.mark.parametrize("way", WAYS)
def test_the_second_phase_comes_when_it_is_asked_for(launcher: Path, tmp_path: Path, way: str) -> None:
    """And then the interpreter is one like any other: what the launcher has set stays."""
    package = Path(f"{tmp_path}{PLACE}/pyrunc/cli")
    package.mkdir(parents=True)
    for directory in (package, package.parent):
        (directory / "__init__.py").touch()
    (package / "main.py").write_text(
        f"import sys\ndef main():\n    before = list(sys.path), sys.argv\n    {WAYS[way].replace(chr(10), chr(10) + '    ')}\n"
        "    assert (sys.path, sys.argv) == before, before\n    assert sys.flags.isolated and sys.flags.no_site\n"
        "    import os, encodings\n    assert sys.modules['encodings'] is encodings and encodings.search_function('utf-8')\n"
        "    assert [finder for finder in sys.meta_path if finder.__name__ == 'PathFinder'] == sys.meta_path[-1:]\n    return 7\n"
    )
    program = tmp_path / "bin/pyrunc"
    program.parent.mkdir()
    shutil.copy(launcher, program)
    done = subprocess.run([program, "a"], capture_output=True, text=True)
    assert done.returncode == 7, done.stderr


def test_an_interrupted_command_undoes_what_it_did(
    pyrunc: Path, bundle: Callable[..., Bundle], container_id: str, runtime_root: Path
) -> None:
    """The first phase has no handler of its own for SIGINT."""
    place = bundle("true")
    # Its name is that of sleep when it has read all, and create is past the moment of its start.
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "cat >/dev/null; exec sleep 100"]}
    place.config["hooks"] = {"createRuntime": [hook]}
    command = [pyrunc, "--root", runtime_root, "create", "--bundle", str(place.write()), container_id]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    sleeps = f"/proc/{process.pid}/task/{process.pid}/children"
    until(lambda: any(comm(int(pid)) == "sleep" for pid in Path(sleeps).read_text().split()), 20, "its hook does not run")
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130, process.communicate()
    assert not (runtime_root / container_id).exists()


def comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
