"""The generator: what it writes, what it refuses, and the helpers that it writes along."""

from __future__ import annotations

import ast
import copy
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from jsonschema.validators import Draft202012Validator

from pyrunc.config import _accept, _accept_process
from spec.generate import OF_PROCESS, WRONG_BY_PATTERN, generate

PROJECT = Path(__file__).resolve().parents[2]
SCHEMAS = {path.name.partition(".")[0]: json.loads(path.read_text()) for path in (PROJECT / "spec").glob("*.schema.json")}
CONFIG = SCHEMAS["config"]


def properties(schema: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(schema, dict):
        if "properties" in schema:
            yield from schema["properties"].items()
        for key, part in schema.items():
            if key not in ("if", "then"):
                yield from properties(part)


@pytest.mark.parametrize("stem", ["config", "state", "features"])
def test_schemas_are_schemas_with_descriptions(stem: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[stem])
    silent = [name for name, schema in properties(SCHEMAS[stem]) if not schema.get("description", "").endswith(".")]
    assert silent == []


@pytest.mark.parametrize("shared", ["SemVer", "Annotations"])
def test_definitions_in_several_files_are_the_same(shared: str) -> None:
    assert CONFIG["$defs"][shared] == SCHEMAS["state"]["$defs"][shared] == SCHEMAS["features"]["$defs"][shared]


def test_modules_of_this_tree_are_up_to_date() -> None:
    there = [Path(module.__file__).read_text() for module in (_accept, _accept_process)]
    assert there == [generate(CONFIG), generate(CONFIG, OF_PROCESS)], "run: python3 spec/generate.py pyrunc/config/_accept.py"


def test_command_line_writes_the_same_modules(tmp_path: Path) -> None:
    command = [sys.executable, str(PROJECT / "spec/generate.py")]
    subprocess.run([*command, str(tmp_path / "out.py")], check=True, cwd=tmp_path)
    assert (tmp_path / "out.py").read_text() == generate(CONFIG)
    assert (tmp_path / "out_process.py").read_text() == generate(CONFIG, OF_PROCESS)
    assert subprocess.run(command, capture_output=True).returncode == 2


@pytest.mark.parametrize("text", [generate(CONFIG), generate(CONFIG, OF_PROCESS)], ids=["all", "process"])
def test_module_imports_nothing_and_calls_nothing_unknown(text: str) -> None:
    tree = ast.parse(text)
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert called <= defined | {"frozenset", "list", "reversed", "int", "len", "enumerate", "bool"}


@pytest.mark.parametrize(
    "change",
    [
        {"format": "date"},
        {"uniqueItems": True},
        {"type": "number"},
        {"type": ["string", "null"]},
        {"type": "string", "pattern": "^a$"},
        {"type": "string", "minLength": 2},
        {"type": "array", "items": {"$ref": "#/$defs/Text"}, "minItems": 2},
        {"type": "object", "properties": {"a": {"type": "boolean"}, "A": {"type": "boolean"}}},
        {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["b"]},
        {"type": "object", "properties": {"a": {"type": "boolean"}}, "additionalProperties": {"type": "boolean"}},
        {"$ref": "other.json#/x"},
        {"$ref": "#/$defs/Text", "minLength": 1},
        {"type": "boolean", "anyOf": [{}]},
    ],
    ids=json.dumps,
)
def test_what_it_cannot_compile_is_refused(change: dict[str, Any]) -> None:
    schema = copy.deepcopy(CONFIG)
    schema["properties"]["hostname"] = change
    with pytest.raises(ValueError, match="no rule|only in case|record or a map|plain reference"):
        generate(schema)


def alphabet_of(pattern: str) -> str:
    return "".join(dict.fromkeys(re.sub(r"\W", "", pattern) + "019,-+. KMGB:\n\0é٣"))


@pytest.mark.parametrize("pattern", [*WRONG_BY_PATTERN, CONFIG["$defs"]["SemVer"]["pattern"]])
def test_patterns_are_compiled_to_what_they_match(pattern: str) -> None:
    name = next(name for name, part in CONFIG["$defs"].items() if part.get("pattern") == pattern)
    schema = {"type": "object", "properties": {"x": {"$ref": f"#/$defs/{name}"}}, "$defs": CONFIG["$defs"]}
    module: dict[str, Any] = {}
    exec(generate(schema), module)
    matches = re.compile(pattern).search

    @settings(max_examples=300, deadline=None)
    @given(st.from_regex(pattern) | st.text(alphabet=alphabet_of(pattern), max_size=12) | st.text(max_size=5))
    def check(text: str) -> None:
        assert module["accept_config"]({"x": text}) is (matches(text) is not None)

    check()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"CPU": 1}, {"cpu": 1}),
        ({"CPU": 1, "cpu": 2}, {"cpu": 2}),
        ({"cpu": 2, "CPU": 1}, {"cpu": 2}),
        ({"CPU": 1, "Cpu": 2}, {"cpu": 2}),
        ({"Cpu": 2, "CPU": 1}, {"cpu": 1}),
        ({"CPU": 1, "cpu": None}, {"cpu": 1}),
        ({"cpu": None, "CPU": 1}, {"cpu": 1}),
        ({"cpu": 1, "CPU": None}, {"cpu": 1}),
        ({"cpu": None}, {}),
        ({"CPU": None}, {}),
        ({"PAGESIZE": 1, "pagesize": 2}, {"pageSize": 2}),
        ({"other": None, "Other": 1}, {"other": None, "Other": 1}),
    ],
    ids=json.dumps,
)
def test_tidy(before: dict[str, Any], after: dict[str, Any]) -> None:
    _accept.tidy(before, frozenset({"cpu", "pageSize"}))
    assert before == after


@pytest.mark.parametrize(
    ("resources", "normal"),
    [
        ({"pids": {"limit": 1}, "other": None, "Other": 1.0}, True),
        ({"pids": {"limit": 1.0}}, False),
        ({"PIDS": {"limit": 1}}, False),
        ({"pids": None}, False),
        ({"pids": {"Limit": 1}}, False),
    ],
    ids=json.dumps,
)
def test_what_is_not_in_normal_form_is_told(resources: dict[str, Any], normal: bool) -> None:
    before = len(_accept.changes)
    assert _accept.accept_resources(resources)
    assert (len(_accept.changes) == before) is normal


@pytest.mark.parametrize("value", [1.5, float("inf"), float("-inf"), float("nan"), True, "1", [1], {}])
def test_what_is_no_integer(value: Any) -> None:
    assert not _accept.accept_resources({"pids": {"limit": value}})


def test_numbers_become_integers() -> None:
    resources = {"pids": {"limit": -1.0}, "network": {"classID": 2.0}}
    assert _accept.accept_resources(resources)
    assert repr(resources) == "{'pids': {'limit': -1}, 'network': {'classID': 2}}"
    process = {"cwd": "/", "user": {"additionalGids": [1.0, 2]}}
    assert _accept.accept_process(process)
    assert repr(process["user"]) == "{'additionalGids': [1, 2]}"


@pytest.mark.parametrize("document", [None, [], "x", 1, True, {}, {"ociVersion": "1.0.0"}, {"ociVersion": "1.0.0", "root": {}}])
def test_what_is_no_config(document: Any) -> None:
    assert not _accept.accept_config(document)


def test_speed_on_dockers_config() -> None:
    """Well under the 0.5 ms that it may take; some 50 µs. The best of many, so that a busy machine does not fail it."""
    path = PROJECT.parent / "shared/configs/docker.json"
    if not path.exists():
        pytest.skip("Docker's configuration is not beside the project")
    config = json.loads(path.read_bytes())
    times = []
    for _ in range(300):
        start = time.perf_counter()
        assert _accept.accept_config(config)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.0005


def test_generator_needs_no_package(tmp_path: Path) -> None:
    """The build runs it with whatever python3 there is."""
    subprocess.run([sys.executable, "-I", "-S", str(PROJECT / "spec/generate.py"), str(tmp_path / "out.py")], check=True)
    assert (tmp_path / "out.py").read_text() == generate(CONFIG)
