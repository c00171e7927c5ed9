"""Loading JSON: what is read, what is refused with line and column, and what is never imported on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from pyrunc.config import faults, load
from pyrunc.config.load import load_config, load_process, load_resources, loads
from pyrunc.errors import ConfigError
from pyrunc.kernel import json as fast
from pyrunc.kernel.json import dumps

PROJECT = Path(__file__).resolve().parents[2]
MINIMAL = {"ociVersion": "1.3.0", "root": {"path": "rootfs"}}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@pytest.fixture(params=["_json", "json"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both halves of the json module: what the C half does, the fallback for its loss does."""
    if request.param == "json":
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "_json", None)
            scan, encode = fast._make_scan(), fast._make_encode()
        monkeypatch.setattr(fast, "scan", scan)
        monkeypatch.setattr(fast, "_encode", encode)
        assert scan is fast._slow_scan
    return str(request.param)


def refused(call: Callable[..., Any], *args: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        call(*args)
    assert "\n" not in caught.value.message
    return caught.value.message


def config_with(tmp_path: Path, text: bytes) -> str:
    (tmp_path / "config.json").write_bytes(text)
    return str(tmp_path / "config.json")


# --- any JSON ----------------------------------------------------------------------------------------------------------


@given(JSON)
def test_loads_and_dumps_are_inverse(value: Any) -> None:
    text = dumps(value)
    assert text.isascii()
    assert "\n" not in text
    assert loads(text.encode(), "x") == json.loads(text) == value
    assert loads(json.dumps(value, indent=2, ensure_ascii=False).encode(), "x") == value


@given(st.binary(max_size=40) | st.text(alphabet='{}[]",:0123456789.eE+-tnrufalse\\ \n\x00NaI').map(str.encode))
def test_any_bytes_are_a_value_or_one_clean_refusal(text: bytes) -> None:
    try:
        value = loads(text, "x")
    except ConfigError as error:
        assert error.message.startswith("x: line ")
        assert "\n" not in error.message
    else:
        assert repr(value) == repr(json.loads(text.decode()))


SYNTAX_ERRORS = [
    (b"", 1, 1, "expected a value, found the end of the file"),
    (b" \n\t ", 2, 3, "expected a value, found the end of the file"),
    (b"{]", 1, 2, "expected a name in double quotes, found ']'"),
    (b"{'a': 1}", 1, 2, 'expected a name in double quotes, found "\'"'),
    (b'{"a" 1}', 1, 6, "expected ':', found '1'"),
    (b'{\n "a": 1\n "b": 2}', 3, 2, "expected ',' or the closing bracket, found '\"'"),
    (b"[1 2]", 1, 4, "expected ',' or the closing bracket, found '2'"),
    (b'["\xc3\xa9", x]', 1, 7, "expected a value, found 'x'"),
    (b'{"a": tru}', 1, 7, "expected a value, found 't'"),
    (b'{"a": .5}', 1, 7, "expected a value, found '.'"),
    (b'{"a": +1}', 1, 7, "expected a value, found '+'"),
    (b'{"a": 01}', 1, 8, "expected ',' or the closing bracket, found '1'"),
    (b'{"a": "b', 1, 7, "expected a closing quote for the string that starts here"),
    (b'"a\nb"', 1, 3, "expected no control character in a string, found '\\n'"),
    (b'"a\x00b"', 1, 3, "expected no control character in a string, found '\\x00'"),
    (b'"a\xff"', 1, 3, "expected UTF-8, found byte 0xff"),
    (b'\n"\xc3\xa9\xed\xb3\xbf"', 2, 3, "expected UTF-8, found byte 0xed"),
    (b"\xef\xbb\xbf{}", 1, 1, "expected a value, found '\\ufeff'"),
    (b"\xff\xfe{\0}\0", 1, 1, "expected UTF-8, found byte 0xff"),
    (b"{} {}", 1, 4, "expected the end of the file, found '{'"),
    (b"{}\n\n]", 3, 1, "expected the end of the file, found ']'"),
    (b'{"a":\n  NaN}', 2, 3, "expected a number, found NaN"),
    (b'["NaN\\"", Infinity]', 1, 11, "expected a number, found Infinity"),
    (b"[-Infinity]", 1, 2, "expected a number, found -Infinity"),
    (
        b'["' + b"1" * 5000 + b'", ' + b"1" * 5000 + b".5, -" + b"2" * 5000 + b"]",
        1,
        10010,
        "expected a number of at most 4300 digits",
    ),
]


@pytest.mark.parametrize(("text", "line", "column", "what"), SYNTAX_ERRORS, ids=[repr(text[:24]) for text, *_ in SYNTAX_ERRORS])
def test_where_the_syntax_is_wrong(either: str, text: bytes, line: int, column: int, what: str) -> None:
    assert refused(loads, text, "config.json") == f"config.json: line {line}, column {column}: {what}"


@pytest.mark.parametrize("text", [b'"\\x"', b'"\\u12"', b'"\\u12g4"', b'"\\', b'["a", "b\\'])
def test_wrong_escapes(either: str, text: bytes) -> None:
    message = refused(loads, text, "x")
    assert "expected a valid escape in a string" in message or "expected a closing quote" in message


@pytest.mark.parametrize("text", [b"[1,]", b'{"a":1,}', b"[1,\n]"])
def test_trailing_comma(either: str, text: bytes) -> None:
    """Python 3.13 names the comma, older ones what follows it."""
    assert "expected " in refused(loads, text, "x")


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000])
def test_too_deep(either: str, text: bytes) -> None:
    assert refused(loads, text, "x") == "x: nested too deeply"


def test_last_duplicate_wins_and_large_floats_are_infinite(either: str) -> None:
    assert loads(b'{"a": 1, "b": 2, "a": 3, "c": 1e400}', "x") == {"a": 3, "b": 2, "c": float("inf")}


@pytest.mark.parametrize("value", [{1: object()}, {"a": {1, 2}}, b"bytes"])
def test_dumps_refuses_what_is_no_json(either: str, value: Any) -> None:
    with pytest.raises(TypeError):
        dumps(value)


def test_dumps_refuses_what_is_no_number(either: str) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        dumps([float("nan")])


def test_bytes_in_paths_survive_our_own_files(either: str) -> None:
    path = os.fsdecode(b"/b/\xff\xc3\xa9")
    assert loads(dumps({"b": path, "a": None}).encode(), "state.json") == {"b": path, "a": None}
    assert dumps({"b": [1, "é"], "a": True}) == '{"b":[1,"\\u00e9"],"a":true}'


# --- documents ---------------------------------------------------------------------------------------------------------


def test_config_and_its_bytes(tmp_path: Path) -> None:
    text = b' {"OciVersion": "1.3.0", "root": {"path": "r\\ud83d\\ude00"}, "hooks": null, "new": {"x": null}}\n'
    config, raw, normal = load_config(config_with(tmp_path, text))
    assert config == {"ociVersion": "1.3.0", "root": {"path": "r😀"}, "new": {"x": None}}
    assert raw == text and not normal
    assert load_config(config_with(tmp_path, json.dumps(config).encode()))[2]


def test_missing_config(tmp_path: Path) -> None:
    assert refused(load_config, str(tmp_path / "config.json")) == "JSON specification file config.json not found"
    message = f"open {tmp_path}/no/such/bundle: no such file or directory"
    assert refused(load_config, str(tmp_path / "no/such/bundle/config.json")) == message


def test_config_that_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    assert refused(load_config, str(tmp_path / "config.json")) == f"read {tmp_path}/config.json: is a directory"
    (tmp_path / "file").touch()
    assert refused(load_config, str(tmp_path / "file/config.json")) == f"read {tmp_path}/file/config.json: not a directory"
    assert refused(load_process, str(tmp_path / "none")) == f"open {tmp_path}/none: no such file or directory"


def test_size_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps(MINIMAL).encode()
    monkeypatch.setattr(load, "LIMIT", 1 << 20)
    assert load_config(config_with(tmp_path, text.ljust(1 << 20)))[0] == MINIMAL
    assert refused(load_config, config_with(tmp_path, text.ljust((1 << 20) + 1))) == f"{tmp_path}/config.json: larger than 1 MiB"


def test_limit_is_16_mib() -> None:
    assert load.LIMIT == 16 * 1024 * 1024


def test_process_from_a_pipe(tmp_path: Path) -> None:
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)
    text = b'{"cwd": "/", "args": ["' + b"a" * 200_000 + b'"]}'
    writer = threading.Thread(target=Path(fifo).write_bytes, args=(text,))
    writer.start()
    assert len(load_process(fifo)["args"][0]) == 200_000
    writer.join()


def test_process_and_resources_have_their_own_schema(tmp_path: Path) -> None:
    path = config_with(tmp_path, b'{"args": ["true"]}')
    assert refused(load_process, path) == f"{path}: cwd: must be specified"
    assert load_resources(b'{"MEMORY": {"limit": 1e6}}', "stdin") == {"memory": {"limit": 1000000}}
    assert refused(load_resources, b'{"pids": {}}', "stdin") == "stdin: pids.limit: must be specified"
    assert refused(load_resources, b"[", "stdin") == "stdin: line 1, column 2: expected a value, found the end of the file"


def test_every_fault_is_reported(tmp_path: Path) -> None:
    config = {"ociVersion": "1.3.0", "mounts": [{"destination": "/", "options": ["ro", 5]}], "hostname": ["x"]}
    with pytest.raises(ConfigError) as caught:
        load_config(config_with(tmp_path, json.dumps(config).encode()))
    assert sorted(caught.value.faults) == [
        ("hostname", "expected a string, got an array"),
        ("mounts[0].options[1]", "expected a string, got 5"),
        ("root", "must be specified"),
    ]
    assert caught.value.message.startswith("config.json: ")
    assert caught.value.config_path == caught.value.faults[0][0]


def test_very_many_faults_stay_one_short_line(tmp_path: Path) -> None:
    config = MINIMAL | {"process": {"cwd": "/", "args": [1] * 1000}}
    message = refused(load_config, config_with(tmp_path, json.dumps(config).encode()))
    assert message.endswith("; and 950 more")
    assert len(message) < 8000


@pytest.mark.parametrize(
    "text", ["\\ud800", "\\udc80", "\\ude00\\ud83d", "\\ud83d\\ud83d\\ude00", "\\ud83d \\ude00", "\\\\\\uDfff"]
)
def test_half_surrogate_pairs(tmp_path: Path, text: str) -> None:
    config = '{"ociVersion": "1.3.0",\n "root": {"path": "é' + text + '"}}'
    message = refused(load_config, config_with(tmp_path, config.encode()))
    column = 21 + text.startswith("\\\\") * 2
    assert message == f"config.json: line 2, column {column}: expected text, found half of a surrogate pair"


@pytest.mark.parametrize("text", ["\\ud83d\\ude00", "\\\\ud800", "\\\\\\ud83d\\ude00", "\\n\\u00e9\\t", "\\\\\\\\udc80"])
def test_whole_surrogate_pairs(tmp_path: Path, text: str) -> None:
    config = '{"ociVersion": "1.3.0", "root": {"path": "' + text + '"}}'
    assert load_config(config_with(tmp_path, config.encode()))[0] == json.loads(config)


@given(st.lists(st.sampled_from(["\\ud83d", "\\ude00", "\\\\", "\\n", "u", "d", "\\u0041", "\\uDBFF", "\\uDFFF", "ud800"])))
def test_surrogates_are_found_as_python_sees_them(parts: list[str]) -> None:
    text = f'["{"".join(parts)}"]'
    lone = any("\ud800" <= character <= "\udfff" for character in json.loads(text)[0])
    assert (faults.lone_surrogate(text) >= 0) is lone


def test_success_imports_nothing_of_comfort(tmp_path: Path) -> None:
    path = config_with(tmp_path, json.dumps(MINIMAL).encode())
    code = (
        f"import os, sys; sys.path.append({str(PROJECT)!r}); before = set(sys.modules)\n"
        f"from pyrunc.config.load import *; from pyrunc.kernel.json import dumps; dumps(load_config({path!r})[0])\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    output = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True).stdout
    ours = ("config", "config.load", "config._accept", "errors", "kernel", "kernel.json", "kernel.os")
    assert set(output.split()) == {"__future__", "_json", "pyrunc", *(f"pyrunc.{name}" for name in ours)}


@pytest.mark.parametrize("python", [sys.executable, "/usr/bin/python3"])
def test_wrong_syntax_is_explained_by_a_fresh_interpreter(python: str) -> None:
    """Python's scanner before 3.12 cannot raise its error unless json, which no command imports, is there."""
    if not os.access(python, os.X_OK):
        pytest.skip(f"no {python}")
    code = (
        f"import sys; sys.path.append({str(PROJECT)!r})\n"
        "from pyrunc.config.load import loads; from pyrunc.errors import ConfigError\n"
        "try: loads(b'{]', 'x')\n"
        "except ConfigError as error: print(error)"
    )
    output = subprocess.run([python, "-I", "-S", "-c", code], capture_output=True, text=True, check=True).stdout
    assert output == "x: line 1, column 2: expected a name in double quotes, found ']'\n"
