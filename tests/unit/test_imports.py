"""The arrows of docs/architecture.md, read from the sources, and what the commands load, read from a running interpreter."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from native.launcher import build

if TYPE_CHECKING:
    from ..conftest import Bundle, Cli

PROJECT = Path(__file__).resolve().parents[2]
PACKAGE = PROJECT / "pyrunc"

LOWER = {"plan", "launch", "cgroups", "state", "config", "kernel"}
MAY_IMPORT = {
    "__init__": set(),
    "__main__": {"cli"},
    "cli": {"runtime", "log", "lines", "errors"},
    "log": {"lines", "daemons", "errors"},
    "lines": {"daemons"},
    "daemons": {"errors"},
    "runtime": {*LOWER, "log", "errors"},
    "plan": {"config", "kernel", "errors"},
    "launch": {"plan", "kernel", "errors"},
    "cgroups": {"config", "kernel", "errors"},
    "state": {"kernel", "errors"},
    "config": {"kernel", "errors"},
    "kernel": {"_shim", "errors"},
    "errors": set(),
}
"""Room to rooms, as the table in docs/architecture.md. Every room may import itself and the bare package (its version)."""

EXCEPTIONS = {
    ("cli/spec.py", "config.default"): "the default config is what the command prints",
    ("cli/kill.py", "kernel.signals"): "names of signals are part of the command line",
    ("cgroups/bpf.py", "_shim"): "bpf(2) is asked with a buffer of its own",
    ("plan/seccomp_bpf.py", "_shim"): "libseccomp is called with a buffer of its own, and no other system call is made",
}

BANNED = {
    *("re", "enum", "typing", "dataclasses", "argparse", "collections", "json", "subprocess", "socket", "jsonschema", "logging"),
    *("pathlib", "shutil", "tempfile", "contextlib", "functools", "datetime", "inspect", "random", "hashlib", "site", "cffi"),
    "_socket",
}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py"))


def imports(tree: ast.AST, package: list[str]) -> Iterator[tuple[int, str]]:
    """Every module that the code of this package names, type-checking blocks left out, as (line, dotted name)."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            yield from ((node.lineno, ".".join([*base, *filter(None, [node.module]), alias.name])) for alias in node.names)
        else:
            yield from imports(node, package)


def violations(path: str, source: str) -> list[str]:
    """Where this module's code (its path is below pyrunc/) imports against the arrows."""
    room = path.split("/")[0].removesuffix(".py")
    found = []
    for line, name in imports(ast.parse(source), ["pyrunc", *path.split("/")[:-1]]):
        package, _, rest = name.partition(".")
        target = rest.split(".")[0]
        if rest == "kernel.os":  # the standard library's os, but for what of it costs time
            continue
        if package != "pyrunc" or not rest or target == room or target.startswith("__") or target == "SPEC_VERSION":
            continue
        excepted = any(path == module and f"{rest}.".startswith(f"{what}.") for module, what in EXCEPTIONS)
        if target not in MAY_IMPORT[room] and not excepted:
            found.append(f"pyrunc/{path}:{line}: {room} may not import {name}")
    return found


def test_imports_run_one_way() -> None:
    assert len(modules()) > 10
    found = []
    for path in modules():
        found += violations(path.relative_to(PACKAGE).as_posix(), path.read_text())
    assert found == []


@pytest.mark.parametrize(
    "path, source",
    [
        ("kernel/facts.py", "from pyrunc.config.load import loads"),
        ("config/load.py", "import pyrunc.state.store"),
        ("cli/state.py", "def execute():\n    from pyrunc.state import store"),
        ("plan/ops.py", "try:\n    from pyrunc.launch import spawn\nexcept ImportError:\n    pass"),
        ("errors.py", "from pyrunc.log import Log"),
        ("runtime/start.py", "from pyrunc._shim import lib"),
        ("runtime/start.py", "from pyrunc import cli"),
        ("config/rules/linux.py", "from ...plan import ops"),
        ("launch/spawn.py", "from .. import runtime"),
    ],
)
def test_an_import_against_the_arrows_is_found(path: str, source: str) -> None:
    assert len(violations(path, source)) == 1


@pytest.mark.parametrize(
    "path, source",
    [
        ("runtime/start.py", "from pyrunc.state.store import load\nfrom pyrunc import __version__, errors"),
        ("config/rules/linux.py", "from . import text\nfrom .text import quote\nfrom ..names import HOOKS"),
        ("config/load.py", "import os\nimport pyrunc\nfrom pyrunc.config.names import HOOKS"),
        ("config/rules.py", "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    from pyrunc.kernel import facts"),
    ],
)
def test_an_import_along_the_arrows_is_not(path: str, source: str) -> None:
    assert violations(path, source) == []


def test_every_room_is_in_the_table() -> None:
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in modules()}
    assert rooms == MAY_IMPORT.keys()


def test_exceptions_are_in_use() -> None:
    for module, what in EXCEPTIONS:
        names = [name for _, name in imports(ast.parse((PACKAGE / module).read_text()), [])]
        assert any(f"{name}.".startswith(f"pyrunc.{what}.") for name in names), module


def test_output_goes_through_system_calls() -> None:
    """The launcher leaves by _exit, which would lose what print() has buffered."""
    for path in modules():
        calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name | ast.Attribute))
        names = {ast.unparse(node) for node in calls}
        assert not names & {"print", "sys.stdout", "sys.stderr"}, path


CODECS = {"encodings", "encodings.aliases", "encodings.utf_8"}
"""What the interpreter itself loads. Every other costs a look along the path."""

PROBE = """
import builtins, sys
paths, report, opens, *arguments = sys.argv[1:]
sys.path += paths.split(":")
from pyrunc.cli.main import main
plain = open
if not opens:
    builtins.open = None
status = main(arguments)
with plain(report, "w") as out:
    out.write("\\n".join([str(status), *sys.modules]))
"""


@pytest.fixture
def loaded(cli: Cli, tmp_path: Path) -> Callable[..., set[str]]:
    """Runs a command in an isolated interpreter like the launcher's; gives the names of the modules it has loaded."""
    # Like the launcher, after the standard library: the package under test, then where cffi is.
    program = tmp_path / "probe"
    program.write_text(f"#!{build.interpreter()} -ISXutf8{PROBE}")
    program.chmod(0o755)
    import _cffi_backend

    paths = [str(PROJECT), str(Path(_cffi_backend.__file__).parent)]

    def run(*args: str, status: int = 0, opens: bool = False) -> set[str]:
        report = tmp_path / "modules"
        command = [str(program), ":".join(paths), str(report), "opens" if opens else "", "--root", str(cli.root), *args]
        # The container keeps its stdio: no pipe whose end we would wait for.
        with open(tmp_path / "output", "w+") as output:
            subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=20, check=True)
            output.seek(0)
            code, *names = report.read_text().split("\n")
            assert int(code) == status, output.read()
        return set(names)

    return run


def banned_in(names: set[str]) -> set[str]:
    codecs = {name for name in names if name.split(".")[0] == "encodings"} - CODECS
    return codecs | {name for name in names if name.split(".")[0] in BANNED}


@pytest.mark.needs_root
def test_the_hot_path_loads_no_banned_module(
    loaded: Callable[..., set[str]], bundle: Callable[..., Bundle], container_id: str, cli: Cli
) -> None:
    """Nor does it open a file by Python's own objects, which have the text's codec looked up."""
    commands = [
        ["create", "--bundle", str(bundle("sleep", "100")), container_id],
        ["state", container_id],
        ["start", container_id],
        ["exec", container_id, "true"],
        ["kill", container_id, "KILL"],
        ["delete", "--force", container_id],
        ["run", "--bundle", str(bundle("true")), container_id],
    ]
    try:
        names = {command[0]: loaded(*command) for command in commands}
    finally:
        cli("delete", "--force", container_id)
    assert {command: banned_in(found) for command, found in names.items()} == {command: set() for command in names}
    assert [command for command, found in names.items() if "pyrunc.errors.tree" in found] == []
    # What create has accepted is not judged by every exec again.
    assert {"pyrunc.config._accept", "pyrunc.config.load"} & names["exec"] == set()


def test_a_refusal_loads_the_comfortable_modules(loaded: Callable[..., set[str]], bundle: Callable[..., Bundle]) -> None:
    """jsonschema explains what is wrong, and only then is loaded. If this fails the test above may be blind."""
    wrong = bundle()
    wrong.config["process"]["args"] = 5
    names = loaded("create", "--bundle", str(wrong.write()), "wrong", status=1, opens=True)
    assert {"jsonschema", "re"} <= banned_in(names)
