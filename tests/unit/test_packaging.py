"""The build: what sdist, wheel and launcher hold, and what is said when something that the build needs is missing."""

from __future__ import annotations

import os
import runpy
import shutil
import stat
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import manual
from native.launcher import build

PROJECT = Path(__file__).resolve().parents[2]
VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
GENERATED = {"pyrunc/config/_accept.py", "pyrunc/config/_accept_process.py", "pyrunc/kernel/consts.py", "pyrunc/plan/opcodes.py"}


def run(*command: str | Path, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, errors="surrogateescape")


def succeed(*command: str | Path, cwd: Path | None = None, **env: str) -> str:
    done = run(*command, cwd=cwd, **env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources without anything built, so that builds here disturb nobody."""
    path = tmp_path_factory.mktemp("source") / "pyrunc"
    built = ["build", "dist", ".git", ".tox", ".hypothesis", "*.egg-info", "__pycache__", ".*_cache", "*.so", "pyrunc-init"]
    shutil.copytree(PROJECT, path, symlinks=True, ignore=shutil.ignore_patterns(*built))
    for name in GENERATED:
        (path / name).unlink(missing_ok=True)
    return path


@pytest.fixture(scope="session")
def sdist(source: Path) -> Path:
    succeed(sys.executable, "setup.py", "-q", "sdist", cwd=source)
    (archive,) = (source / "dist").glob("*.tar.gz")
    return archive


@pytest.fixture(scope="session")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the sdist, and so a proof that the sdist is complete."""
    target = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(target)]
    succeed(sys.executable, "-m", "pip", "wheel", *options, sdist)
    (archive,) = target.glob("*.whl")
    return archive


def test_sdist_holds_all_sources_and_nothing_built(sdist: Path, source: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {
        path.relative_to(source).as_posix()
        for folder in ("pyrunc", "manual", "native", "spec", "tests", "conformance", "docs", ".ci")
        for path in (source / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert len(wanted) > 50
    assert wanted <= names | GENERATED
    assert {"README.md", "LICENSE", "setup.py", "pyproject.toml", "tox.ini"} <= names
    assert not {name for name in names if name.endswith((".so", ".pyc", "pyrunc-init"))} | GENERATED & names


def test_wheel_is_complete_and_bound_to_its_platform(wheel: Path) -> None:
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    assert wheel.name.split("-")[2:4] == [python, python]
    assert wheel.name.endswith(f"-linux_{os.uname().machine}.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        modes = {entry.filename: entry.external_attr >> 16 for entry in archive.infolist()}
        launcher = archive.read(next(name for name in names if name.endswith(".data/scripts/pyrunc")))
    sources = {path.relative_to(PROJECT).as_posix() for path in PROJECT.glob("pyrunc/**/*.py")}
    assert sources | GENERATED <= names
    assert {f"pyrunc/schemas/{path.name}" for path in PROJECT.glob("spec/*.schema.json")} <= names
    data = {name.partition(".data/data/")[2] for name in names if ".data/data/" in name}
    assert data == manual.files().keys() and not {name for name in names if name.startswith("manual/")}
    assert [name for name in names if name.startswith("pyrunc/_shim.") and name.endswith(".so")]
    assert stat.S_IMODE(modes["pyrunc/pyrunc-init"]) == 0o755
    assert launcher.startswith(b"\x7fELF" if sys.version_info[:2] in build.KNOWN else b"#!")


def test_init_is_static_and_needs_no_library(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read("pyrunc/pyrunc-init")
    assert content[:4] == b"\x7fELF"
    # PT_INTERP's name would be the dynamic loader, PT_DYNAMIC a library's.
    headers, size, count = int.from_bytes(content[32:40], "little"), *content[54:58:2]
    types = {int.from_bytes(content[at : at + 4], "little") for at in range(headers, headers + size * count, size)}
    assert 1 in types
    assert not types & {2, 3}
    assert len(content) < 64 * 1024


def test_an_installed_wheel_runs_without_a_compiler(wheel: Path, tmp_path: Path) -> None:
    import _cffi_backend

    target = tmp_path / "venv"
    venv.create(target, with_pip=False, symlinks=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    pip = [sys.executable, "-m", "pip", "--python", str(target / "bin/python")]
    succeed(*pip, "install", "-q", "--no-deps", "--no-index", wheel, PATH=str(empty))
    packages = target / "lib" / VERSION / "site-packages"
    shutil.copy(_cffi_backend.__file__, packages)
    init = packages / "pyrunc/pyrunc-init"
    assert os.access(init, os.X_OK)
    # An environment and a directory that would mislead any interpreter that looked at them.
    (tmp_path / "os.py").write_text("raise SystemExit('os.py of the current directory')")
    link = tmp_path / "link"
    link.symlink_to(target / "bin/pyrunc")
    for program in (link, target / "bin/pyrunc"):
        said = succeed(program, "--version", cwd=tmp_path, PYTHONPATH=str(tmp_path), PYTHONHOME="/nowhere", PATH=str(empty))
        assert said.startswith("pyrunc version")
    load = f"import sys; sys.path.append({str(packages)!r}); import pyrunc._shim; print(pyrunc._shim.__file__)"
    assert Path(succeed(target / "bin/python", "-ISc", load).strip()).parent == packages / "pyrunc"


def fake_install(prefix: Path, place: str, launcher: bytes) -> Path:
    """A pyrunc that only tells where it was imported from and what it was given."""
    package = prefix / place / "pyrunc" / "cli"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "main.py").write_text(
        "import os, sys\ndef main():\n"
        "    os.write(1, os.fsencode('\\n'.join([__file__, *sys.argv[1:]])))\n"
        "    return 7 if sys.flags.isolated and sys.flags.no_site and sys.flags.utf8_mode else 1\n"
    )
    program = prefix / "bin" / "pyrunc"
    program.parent.mkdir()
    program.write_bytes(launcher)
    program.chmod(0o755)
    return program


@pytest.fixture(scope="session")
def builder() -> dict[str, Any]:
    """The functions of setup.py."""
    arguments, sys.argv = sys.argv, ["setup.py", "--quiet", "--name"]
    try:
        return runpy.run_path(str(PROJECT / "setup.py"), run_name="setup")
    finally:
        sys.argv = arguments


@pytest.fixture(scope="module", params=["program", "script"])
def launcher(builder: dict[str, Any], request: pytest.FixtureRequest) -> Iterator[bytes]:
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "script":
            patch.setenv("PYRUNC_LAUNCHER", "script")
        elif sys.version_info[:2] not in build.KNOWN:
            pytest.skip("of this Python's version there is only the script")
        content: bytes = builder["launcher"](builder["install_places"]())
    assert content.startswith({"program": b"\x7fELF", "script": b"#!"}[request.param])
    yield content


@pytest.mark.parametrize("place", [f"lib/{VERSION}/site-packages", f"lib/{VERSION}/dist-packages", "lib/python3/dist-packages"])
def test_launcher_finds_its_package(launcher: bytes, tmp_path: Path, place: str) -> None:
    prefix = tmp_path / "pre fix"
    program = fake_install(prefix, place, launcher)
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "pyrunc"
    link.symlink_to(program)
    for path, cwd in ((program, None), (link, None), ("./pyrunc", program.parent), ("bin/pyrunc", prefix)):
        done = run(path, "a b", "--c", "\udcff\xe4", cwd=cwd)
        assert done.returncode == 7, done.stderr
        assert done.stdout.split("\n") == [str(prefix / place / "pyrunc/cli/main.py"), "a b", "--c", "\udcff\xe4"]


def test_nothing_shadows_the_standard_library(launcher: bytes, tmp_path: Path) -> None:
    place = f"lib/{VERSION}/site-packages"
    program = fake_install(tmp_path, place, launcher)
    for folder in (tmp_path / place, tmp_path / "bin", tmp_path):
        for name in ("os", "stat", "fcntl", "encodings", "io", "sitecustomize"):
            (folder / f"{name}.py").write_text("raise SystemExit('shadowed')")
    assert run(program, cwd=tmp_path, PYTHONPATH=str(tmp_path), PYTHONSTARTUP="os.py").returncode == 7


def test_launcher_loads_nothing_of_its_own(launcher: bytes, tmp_path: Path) -> None:
    program = fake_install(tmp_path, f"lib/{VERSION}/site-packages", launcher)
    main = tmp_path / f"lib/{VERSION}/site-packages/pyrunc/cli/main.py"
    main.write_text("import posix, sys\ndef main():\n    posix.write(1, ' '.join(sys.modules).encode())\n    return 0\n")
    assert not set(succeed(program).split()) & {"os", "site", "re", "runpy", "enum"}


@pytest.mark.skipif(sys.version_info[:2] not in build.KNOWN, reason="this Python's launcher is the script")
def test_the_trial_of_a_launcher_does_not_find_an_installed_pyrunc(tmp_path: Path) -> None:
    """Who installs once more, for the whole system, gets the program again."""
    fake_install(tmp_path, "site", b"")
    assert build.program(["gcc"], [], ["/nowhere"], [str(tmp_path / "site")]).startswith(b"\x7fELF")


@pytest.mark.parametrize("interpreter", ["/opt/my python/bin/python3", "/opt/" + "x" * 250 + "/python3"])
def test_an_interpreter_that_no_first_line_can_name(monkeypatch: pytest.MonkeyPatch, interpreter: str) -> None:
    monkeypatch.setattr(sys, "_base_executable", interpreter)
    with pytest.raises(ValueError, match="cannot stand in a script's first line"):
        build.script([""], [])


def headers_without(missing: str, directory: Path) -> str:
    """A preprocessor that finds every header but one."""
    script = directory / "cc"
    script.write_text(f"#!/bin/sh\n! grep -q {missing}\n")
    script.chmod(0o755)
    return str(script)


@pytest.mark.parametrize(
    "header, package", [("stdio.h", "libc6-dev"), ("linux/openat2.h", "linux-libc-dev"), ("Python.h", "python3-dev")]
)
def test_a_missing_header_is_named_with_its_package(source: Path, tmp_path: Path, header: str, package: str) -> None:
    done = run(sys.executable, "setup.py", "-q", "build", "-b", tmp_path / "b", cwd=source, CC=headers_without(header, tmp_path))
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1] == f"pyrunc: {header} is missing: apt-get install {package}"
    assert "Traceback" not in done.stderr


def test_a_missing_compiler_is_named_with_its_package(source: Path, tmp_path: Path) -> None:
    done = run(sys.executable, "setup.py", "-q", "build", "-b", tmp_path / "b", cwd=source, PATH=str(tmp_path))
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1].startswith("pyrunc: no C compiler (")
    assert done.stderr.splitlines()[-1].endswith(") was found: apt-get install gcc")
    assert "Traceback" not in done.stderr


def test_pip_shows_the_line_about_a_missing_compiler(source: Path, tmp_path: Path) -> None:
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(tmp_path / "wheel")]
    done = run(sys.executable, "-m", "pip", "wheel", *options, source, PATH=str(tmp_path))
    assert done.returncode != 0
    assert "apt-get install gcc" in done.stdout + done.stderr
    assert not (tmp_path / "wheel").exists() or not list((tmp_path / "wheel").iterdir())


@pytest.mark.parametrize(
    "name, value", [("CLONE_NEWNS", 0x20000), ("MOUNT_ATTR__ATIME", 0x70), ("MNT_DETACH", 2), ("AT_FDCWD", -100)]
)
def test_constants_are_the_headers(name: str, value: int) -> None:
    from pyrunc.kernel import consts

    assert getattr(consts, name) == value


def test_a_constant_later_than_the_headers_agrees_where_they_have_it(builder: dict[str, Any]) -> None:
    """What the LATER table claims is checked by every machine whose headers are new enough."""
    from native import gen_consts
    from pyrunc.kernel import consts

    text = gen_consts.generate(builder["compiler"]())
    lines = {key: int(value, 0) for key, value in (line.split(" = ") for line in text.splitlines() if " = " in line)}
    for name, value in gen_consts.LATER.items():
        assert lines[name] == value == getattr(consts, name)
