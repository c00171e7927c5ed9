"""docs/coverage.md says which test covers which property: every property is there, and every test that it names."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import PROJECT, TESTS

PAGE = (PROJECT / "docs/coverage.md").read_text()
SCHEMA: dict[str, Any] = json.loads((PROJECT / "spec/config.schema.json").read_text())
QUOTED = re.compile(r"`([^`]+)`")


def rows() -> Iterator[list[str]]:
    """The cells of the tables' rows, without their heads."""
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and not set(line) <= set("|- ") and cells[0] not in ("property", "rule"):
            yield cells


def leaves(node: dict[str, Any], at: str = "") -> Iterator[str]:
    """The paths of all properties that hold no further ones; ``[]`` is an item of a list, ``{}`` a value of a map."""
    if "$ref" in node:
        node = {**SCHEMA["$defs"][node["$ref"].rpartition("/")[2]], **{key: node[key] for key in node if key != "$ref"}}
    below = [(value, f"{at}.{name}".lstrip(".")) for name, value in node.get("properties", {}).items()]
    for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
        below += [(node[key], at + mark)] if isinstance(node.get(key), dict) else []
    for key in ("allOf", "anyOf", "oneOf"):
        below += [(part, at) for part in node.get(key, ()) if part.keys() & {"$ref", "properties"}]
    if not below:
        yield at
    for part, path in below:
        yield from leaves(part, path)


PROPERTIES = sorted(set(leaves(SCHEMA)))
COLUMNS = 5
"""Of the tables of properties: property, since, state, tests, ran. The rules of safety have two."""
PATTERNS = [pattern for cells in rows() if len(cells) == COLUMNS for pattern in QUOTED.findall(cells[0])]
NAMED = sorted(set(re.findall(r"`((?:\w+/)?test_\w+)::(test_\w+)`", PAGE)))


def matches(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith(".*") else path == pattern


def test_the_schema_was_read() -> None:
    assert len(PROPERTIES) > 150 and {"root.path", "linux.seccomp.syscalls[].args[].op", "linux.sysctl{}"} <= set(PROPERTIES)


def test_every_property_of_the_schema_is_in_the_table() -> None:
    assert [path for path in PROPERTIES if not any(matches(pattern, path) for pattern in PATTERNS)] == []


def test_every_property_in_the_table_is_in_the_schema() -> None:
    assert [pattern for pattern in PATTERNS if not any(matches(pattern, path) for path in PROPERTIES)] == []


@pytest.mark.parametrize(("file", "name"), NAMED, ids="::".join)
def test_a_test_that_is_named_is_there(file: str, name: str) -> None:
    path = TESTS / f"{file if '/' in file else 'lifecycle/' + file}.py"
    tree = ast.parse(path.read_text())
    assert name in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
