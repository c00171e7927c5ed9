"""Properties of the rules, on whatever the schema accepts."""

from __future__ import annotations

import json
from functools import cache
from itertools import combinations
from pathlib import Path
from posixpath import normpath
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from pyrunc.config.names import CAPABILITIES, MOUNT_OPTIONS, NAMESPACES, sysctl_path
from pyrunc.config.rules.container import check
from pyrunc.config.rules.linux import check_mappings
from pyrunc.config.rules.mounts import PROC_OVERMOUNTS, mount_rules
from pyrunc.config.rules.process import check_process, unknown_capabilities
from pyrunc.errors import ConfigError

SCHEMA = json.loads((Path(__file__).parents[2] / "spec/config.schema.json").read_text())

WORDS = st.sampled_from([
    *("", "/", "a", "/a", "..", "/proc", "/proc/self", "/a\nb", "A=b", "=", "1.0.0", "\ud800", "\udc80", "é" * 40, "x" * 70),
    *("kernel.hostname", "net.ipv4.ip_forward", "net/../x", "tmpfs", "proc", "none", "rwm", *sorted(MOUNT_OPTIONS)),
])  # fmt: skip
TEXT = WORDS | st.text(max_size=6)


def strategy(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that `schema` accepts; properties that are not required may be null too, as Go's programs write them."""
    if "$ref" in schema:
        return st.deferred(lambda: definition(schema["$ref"].rpartition("/")[2]))
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kind = schema["type"]
    if kind == "boolean":
        return st.booleans()
    if kind == "integer":
        low, high = schema.get("minimum", -(1 << 63)), schema.get("maximum", (1 << 64) - 1)
        return st.sampled_from([low, high]) | st.integers(max(low, -3), min(high, 5)) | st.integers(low, high)
    if kind == "string":
        return st.from_regex(schema["pattern"], fullmatch=True) if "Z-]" in schema.get("pattern", "") else TEXT
    if kind == "array":
        return st.lists(strategy(schema["items"]), min_size=schema.get("minItems", 0), max_size=3)
    if "additionalProperties" in schema:
        return st.dictionaries(TEXT, strategy(schema["additionalProperties"]), max_size=3)
    parts = {name: strategy(part) for name, part in schema["properties"].items()}
    needed = {name: parts.pop(name) for name in schema.get("required", ())}
    return st.fixed_dictionaries(needed, optional={name: st.none() | part for name, part in parts.items()})


@cache
def definition(name: str) -> st.SearchStrategy[Any]:
    return strategy(SCHEMA["$defs"][name])


def refusal(document: dict[str, Any]) -> list[tuple[str, str]]:
    try:
        check(document)
    except ConfigError as error:
        assert error.faults, "a refusal without a reason"
        return error.faults
    return []


# Text of any kind stands for the patterns of names and paths: the rules must bear more than the schema lets through.
moderate = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@moderate
@given(strategy(SCHEMA))
def test_only_config_errors(document: dict[str, Any]) -> None:
    before = json.dumps(document)
    for path, text in refusal(document):
        assert text.isascii() and text.isprintable() and path.isascii() and path.isprintable()
    assert json.dumps(document) == before, "a rule changed the configuration"


@moderate
@given(definition("Process") | st.none())
def test_only_config_errors_for_exec(process: dict[str, Any] | None) -> None:
    try:
        check_process(process)
    except ConfigError as error:
        assert error.faults
    assert not set(unknown_capabilities(process or {})) & set(CAPABILITIES)


mappings = st.lists(
    st.fixed_dictionaries({"containerID": st.integers(0, 20), "hostID": st.integers(0, 20), "size": st.integers(1, 6)}),
    max_size=5,
)


@given(mappings)
def test_overlaps_are_what_sets_say(listed: list[dict[str, int]]) -> None:
    faults: list[tuple[str, str]] = []
    check_mappings(faults, "m", listed)
    for side in ("containerID", "hostID"):
        ranges = [set(range(entry[side], entry[side] + entry["size"])) for entry in listed]
        overlap = any(one & other for one, other in combinations(ranges, 2))
        assert overlap == any(path.endswith(side) for path, _ in faults)


pieces = st.lists(st.sampled_from(["proc", "sys", "stat", "self", "..", ".", "", "x"]), max_size=6)


@given(pieces, st.booleans(), st.sampled_from(["tmpfs", "proc", "none"]))
def test_nothing_gets_over_proc(parts: list[str], absolute: bool, kind: str) -> None:
    destination = "/" * absolute + "/".join(parts)
    faults: list[tuple[str, str]] = []
    mount_rules(faults, [{"destination": destination, "type": kind, "source": "x", "options": ["bind"]}], {})
    target = normpath("/x/../" + destination)
    harmless = target != "/" and (not target.startswith("/proc/") or target in PROC_OVERMOUNTS) and destination
    assert bool(faults) == (not harmless)


@given(st.lists(st.sampled_from(["net", "kernel", "fs", "mqueue", "shmmax", "..", ".", "/", "//", "x"]), max_size=7))
def test_sysctls_stay_in_their_namespaces(parts: list[str]) -> None:
    key = "".join(parts)
    document = {
        "ociVersion": "1.0.0",
        "root": {"path": "r"},
        "process": {"args": ["a"], "cwd": "/"},
        "linux": {"namespaces": [{"type": kind} for kind in NAMESPACES if kind != "user"], "sysctl": {key: "1"}},
    }
    path = sysctl_path(key)
    confined = path.startswith(("net/", "fs/mqueue/")) or path == "kernel/shmmax"
    if not refusal(document):
        assert confined and normpath(path) == path and not path.startswith("/")


@pytest.mark.parametrize("word", ["\0", "a\0b", "\0/x"])
def test_no_nul_reaches_the_kernel(word: str) -> None:
    """Every string that the schema calls text is put to the test where it stands in a configuration."""
    good = {
        "ociVersion": "1.0.0",
        "root": {"path": "r"},
        "process": {"args": ["a"], "cwd": "/", "env": ["A=b"]},
        "hostname": "h",
        "mounts": [{"destination": "/m", "type": "tmpfs", "source": "s", "options": ["ro"]}],
        "hooks": {"poststop": [{"path": "/h", "args": ["h"], "env": ["A=b"]}]},
        "linux": {
            "namespaces": [{"type": "mount"}, {"type": "uts"}, {"type": "network"}, {"type": "ipc", "path": "/i"}],
            "maskedPaths": ["/x"],
            "readonlyPaths": ["/x"],
            "cgroupsPath": "/c",
            "sysctl": {"net.a": "1"},
            "devices": [{"type": "p", "path": "/dev/p"}],
        },
    }
    assert refusal(good) == []
    spoilt = list(spoil(good, word))
    assert len(spoilt) > 20
    for document in spoilt:
        assert refusal(document), document


def spoil(value: Any, word: str) -> list[Any]:
    """The document once for each of its strings, with `word` put behind that string."""
    if isinstance(value, str):
        return [value + word]
    if isinstance(value, dict):
        return [{**value, key: part} for key in value for part in spoil(value[key], word)]
    return [[*value[:i], part, *value[i + 1 :]] for i in range(len(value)) for part in spoil(value[i], word)]
