"""What commands print, and the commands that print: list, spec, version, help."""

from __future__ import annotations

import json
import os
import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

import pyrunc
from pyrunc.cli.emit import json_text, table
from pyrunc.cli.main import COMMANDS, command_module, main

HEADER = "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet=st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet=st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=12,
)


def as_go(text: str) -> str:
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


@settings(max_examples=150, deadline=None)
@given(VALUES)
def test_json_is_that_of_the_json_module_with_go_s_escapes(value: Any) -> None:
    assert json_text(value) == as_go(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    for indent in ("  ", "\t"):
        assert json_text(value, indent) == as_go(json.dumps(value, ensure_ascii=False, indent=indent))


@pytest.mark.parametrize("value", [1j, b"x", ("a",), {"a": {1, 2}}, [object()]])
def test_what_has_no_json_form_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="has no JSON form"):
        json_text(value)


def test_a_wide_cell_widens_its_column_and_the_last_is_not_padded() -> None:
    assert table([("A", "B", "C"), ("123456789012", "é" * 9, "x"), ("1", "", "")]) == (
        "A              B           C\n123456789012   ééééééééé   x\n1                          \n"
    )


@pytest.fixture
def listing(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    fake = types.ModuleType("pyrunc.runtime.listing")
    vars(fake)["containers"] = lambda ctx: found
    monkeypatch.setitem(sys.modules, "pyrunc.runtime.listing", fake)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    return found


ROW = {"ociVersion": "1.3.0", "id": "web", "pid": 4711, "status": "running", "bundle": "/b", "created": "2026-01-02T03:04:05.6Z"}


def listed(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["list", *words]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    return out


def test_list_of_nothing(listing: list[dict[str, Any]], capfd: pytest.CaptureFixture[str]) -> None:
    assert listed(capfd) == HEADER
    assert listed(capfd, "--format=json") == "null\n"
    assert listed(capfd, "-q") == ""


def test_list_of_containers(listing: list[dict[str, Any]], capfd: pytest.CaptureFixture[str]) -> None:
    listing += [ROW | {"rootfs": "/b/r", "owner": "root"}, ROW | {"id": "db", "pid": 0, "status": "stopped", "owner": "#1000"}]
    assert listed(capfd) == (
        "ID          PID         STATUS      BUNDLE      CREATED                  OWNER\n"
        "web         4711        running     /b          2026-01-02T03:04:05.6Z   root\n"
        "db          0           stopped     /b          2026-01-02T03:04:05.6Z   #1000\n"
    )
    assert listed(capfd, "--quiet") == "web\ndb\n"
    assert json.loads(listed(capfd, "-f", "json")) == listing
    assert listed(capfd, "-f", "json").find("\n") == len(listed(capfd, "-f", "json")) - 1


def test_list_names_a_bad_format_or_root(
    listing: list[dict[str, Any]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", "-f", "xml"]) == 1
    assert "invalid format option: xml" in capfd.readouterr().err
    assert main(["--root", f"{tmp_path}/none", "list"]) == 1
    assert f"--root {tmp_path}/none: no such file or directory" in capfd.readouterr().err
    assert not (tmp_path / "none").exists()
    assert main(["--root", str(tmp_path), "list"]) == 0


@pytest.fixture
def default_spec(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    asked: list[dict[str, Any]] = []

    def default_spec(**kwargs: Any) -> dict[str, Any]:
        asked.append(kwargs)
        return {"ociVersion": "1.3.0", "process": {"args": ["sh"], "terminal": True}, "hooks": {}}

    fake = types.ModuleType("pyrunc.config.default")
    vars(fake)["default_spec"] = default_spec
    monkeypatch.setitem(sys.modules, "pyrunc.config.default", fake)
    monkeypatch.chdir(tmp_path)
    return asked


def test_spec_writes_and_never_overwrites(default_spec: list[dict[str, Any]], capfd: pytest.CaptureFixture[str]) -> None:
    before = os.umask(0o022)
    try:
        assert main(["spec"]) == 0
    finally:
        os.umask(before)
    process = '\t"process": {\n\t\t"args": [\n\t\t\t"sh"\n\t\t],\n\t\t"terminal": true\n\t}'
    text = f'{{\n\t"ociVersion": "1.3.0",\n{process},\n\t"hooks": {{}}\n}}'
    assert Path("config.json").read_text() == text
    assert Path("config.json").stat().st_mode & 0o777 == 0o644
    assert capfd.readouterr() == ("", "")
    assert main(["spec", "--rootless"]) == 1
    assert 'msg="File config.json exists. Remove it first"' in capfd.readouterr().err
    assert Path("config.json").read_text() == text
    assert [call["rootless"] for call in default_spec] == [False, True]
    assert default_spec[0] | {"rootless": None, "cgroup2": None} == {
        "rootless": None,
        "cgroup2": None,
        "uid": os.geteuid(),
        "gid": os.getegid(),
    }


def test_spec_goes_where_it_is_told(default_spec: list[dict[str, Any]], capfd: pytest.CaptureFixture[str]) -> None:
    os.mkdir("b")
    assert main(["spec", "-b", "b", "-f", "other.json"]) == 0
    assert os.listdir("b") == ["other.json"]
    assert main(["spec", "--bundle=none"]) == 1
    assert "create none/config.json: no such file or directory" in capfd.readouterr().err


def test_spec_does_not_follow_a_dangling_link(default_spec: list[dict[str, Any]], capfd: pytest.CaptureFixture[str]) -> None:
    os.symlink("elsewhere", "config.json")
    assert main(["spec"]) == 1
    assert "File config.json exists" in capfd.readouterr().err
    assert not os.path.exists("elsewhere")


@pytest.mark.parametrize("words", [["--version"], ["-v"], ["version"], ["--root", "/x", "--version"], ["--version", "state"]])
def test_version_lines_are_where_callers_look(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert err == "" and out.endswith("\n")
    # go-runc's Version() cuts line 1 at "version " and lines 2 and 3 at ": "
    assert lines[0] == f"pyrunc version {pyrunc.__version__}"
    assert re.fullmatch("commit: [^: ]+", lines[1])
    assert lines[2] == f"spec: {pyrunc.SPEC_VERSION}"
    assert re.fullmatch(r"python: 3\.\d+\.\S+", lines[3])
    assert all(re.fullmatch(r"libseccomp: \d+\.\d+\.\d+", line) for line in lines[4:]) and len(lines) <= 5


def test_version_without_libseccomp_says_nothing_of_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import ctypes

    def absent(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert main(["version"]) == 0
    assert "seccomp" not in capfd.readouterr().out


@pytest.mark.parametrize("words", [[], ["help"], ["h"], ["--help"], ["-h"], ["--debug", "-h", "state"]])
def test_global_help(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    out, err = capfd.readouterr()
    assert err == "" and out.startswith("NAME:\n   pyrunc - ") and out.endswith("\n")
    for section in ("USAGE", "VERSION", "COMMANDS", "GLOBAL OPTIONS"):
        assert f"\n\n{section}:\n" in out
    for name in COMMANDS:
        assert re.search(f"^   {name} +{re.escape(command_module(name).COMMAND.summary)}$", out, re.M)
    assert "--log-format FORMAT" in out


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command(name: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_module(name).COMMAND, "needs", None)  # criu, which not every machine has
    assert main([name, "--help"]) == 0
    out, err = capfd.readouterr()
    assert main(["help", name]) == 0
    assert capfd.readouterr() == (out, err) == (out, "")
    assert out.startswith(f"NAME:\n   pyrunc {name} - ")
    assert f"\n\nUSAGE:\n   pyrunc {name}" in out
    for option in command_module(name).COMMAND.options:
        assert f"   --{option.name}" in out and option.help in out
    assert all(line == line.rstrip() for line in out.splitlines())
