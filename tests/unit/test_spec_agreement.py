"""The accept path, our schemas and the official ones give the same verdicts.

The official schemas are taken with every deliberate difference of docs/schema.md applied to them (DIFFERENCES); then no further
disagreement is allowed, neither at any single place of the schema nor on whole generated configurations.
"""

from __future__ import annotations

import copy
import functools
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from jsonschema.validators import Draft4Validator, Draft202012Validator

from pyrunc.config import _accept, validate
from pyrunc.config.load import load_config, loads
from pyrunc.errors import ConfigError

PROJECT = Path(__file__).resolve().parents[2]
SHARED = PROJECT.parent / "shared"
OFFICIAL = SHARED / "oci"
Schema = dict[str, Any]

needs_official = pytest.mark.skipif(not OFFICIAL.is_dir(), reason="the official schemas are not beside the project")
needs_configs = pytest.mark.skipif(
    not (SHARED / "configs").is_dir(), reason="the callers' configurations are not beside the project"
)

OURS: dict[str, Schema] = {stem: validate.load_schema(stem) for stem in ("config", "state", "features")}
INT64 = 2**63 - 1
TEXT = "^[^\\u0000]*$"
BASE = {"ociVersion": "1.3.0", "root": {"path": "r"}}
STATE = {"ociVersion": "1.0.0", "id": "x", "status": "stopped", "bundle": "/b"}
FEATURES = {"ociVersionMin": "1.0.0", "ociVersionMax": "1.3.0"}


@pytest.fixture(scope="module", autouse=True)
def schemas_are_read_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validate, "load_schema", OURS.__getitem__)
        yield


# --- the official schemas as one tree, without references ---------------------------------------------------------------


@functools.cache
def official_file(name: str) -> Any:
    return json.loads((OFFICIAL / name).read_text())


def expand(node: Any, file: str) -> Any:
    """Replace references by what they refer to, as draft-04 does: what stands beside $ref is ignored. Fold allOf and anyOf."""
    if isinstance(node, list):
        return [expand(item, file) for item in node]
    if not isinstance(node, dict):
        return node
    if isinstance(node.get("$ref"), str):
        target, _, pointer = node["$ref"].partition("#")
        found = official_file(target or file)
        for part in pointer.strip("/").split("/"):
            found = found[part]
        return expand(found, target or file)
    result = {key: expand(value, file) for key, value in node.items() if key not in ("allOf", "anyOf")}
    assert len(node.get("anyOf", [0])) == 1
    for part in expand(node.get("allOf", []) + node.get("anyOf", []), file):
        for key, value in part.items():
            result[key] = {**result.get(key, {}), **value} if isinstance(value, dict) else value
    if isinstance(result.get("pattern"), str) and result["pattern"].endswith("$"):
        result["pattern"] = result["pattern"][:-1] + "\\Z"  # Python's $ also matches before a last newline, ECMA's does not
    return result


@functools.cache
def official(stem: str) -> Schema:
    schema: Schema = expand(official_file(f"{stem}-schema.json"), f"{stem}-schema.json")
    return schema


def at(schema: Schema, path: str) -> Schema:
    """The schema of a property: ``linux.devices[].fileMode``."""
    for part in path.replace("[]", ".[]").split("."):
        schema = schema["items"] if part == "[]" else schema["properties"][part]
    return schema


# --- the deliberate differences: docs/schema.md, one patch of the official schema each ----------------------------------


def linux_only(schema: Schema) -> None:
    for section in ("windows", "solaris", "vm", "zos", "freebsd"):
        del schema["properties"][section]
    del at(schema, "process")["properties"]["commandLine"]
    del at(schema, "process.user")["properties"]["username"]


def root_required(schema: Schema) -> None:
    schema["required"].append("root")


def semver(schema: Schema) -> None:
    for name in ("ociVersion", "ociVersionMin", "ociVersionMax"):
        if name in schema["properties"]:
            schema["properties"][name]["pattern"] = OURS["config"]["$defs"]["SemVer"]["pattern"]


def nul(schema: Schema) -> None:
    if schema.get("type") == "string" and not schema.keys() & {"enum", "pattern"}:
        schema["pattern"] = TEXT
    for name, part in schema.get("properties", {}).items():
        if name != "annotations":
            nul(part)
    for key in ("items", "additionalProperties"):
        if key in schema:
            nul(schema[key])
    if "additionalProperties" in schema:
        schema["patternProperties"] = {"^[^\\u0000]*$": schema["additionalProperties"]}
        schema["additionalProperties"] = False


def string_maps(schema: Schema) -> None:
    if "patternProperties" in schema:
        schema["additionalProperties"] = {"type": "string"}
        del schema["patternProperties"]
    for part in schema.get("properties", {}).values():
        string_maps(part)


def annotation_names(schema: Schema) -> None:
    annotations = at(schema, "annotations")
    annotations["patternProperties"] = {"[\\s\\S]": annotations["additionalProperties"]}
    annotations["additionalProperties"] = False


def file_mode(schema: Schema) -> None:
    at(schema, "linux.devices[].fileMode")["maximum"] = 2**32 - 1


def propagation(schema: Schema) -> None:
    at(schema, "linux.rootfsPropagation")["enum"] += ["rprivate", "rshared", "rslave", "runbindable"]


def rlimit_names(schema: Schema) -> None:
    kind = at(schema, "process.rlimits[].type")
    del kind["pattern"]
    words = "AS CORE CPU DATA FSIZE LOCKS MEMLOCK MSGQUEUE NICE NOFILE NPROC RSS RTPRIO RTTIME SIGPENDING STACK"
    kind["enum"] = [f"RLIMIT_{word}" for word in words.split()]


def integer_width(schema: Schema) -> None:
    for hook in at(schema, "hooks")["properties"].values():
        hook["items"]["properties"]["timeout"]["maximum"] = INT64
    at(schema, "process.oomScoreAdj").update(minimum=-INT64 - 1, maximum=INT64)


def required_names(schema: Schema) -> None:
    at(schema, "linux.memoryPolicy")["required"] = ["mode"]
    at(schema, "linux.personality")["required"] = ["domain"]


def paused(schema: Schema) -> None:
    at(schema, "status")["enum"].append("paused")


def state_pid(schema: Schema) -> None:
    at(schema, "pid")["maximum"] = INT64
    schema["anyOf"] = [{"required": ["pid"]}, {"properties": {"status": {"enum": ["creating", "stopped", "paused"]}}}]


def state_members(schema: Schema) -> None:
    schema["properties"] |= {name: OURS["state"]["properties"][name] for name in ("rootfs", "created", "owner")}


def features_members(schema: Schema) -> None:
    at(schema, "linux.intelRdt")["properties"] |= {"schemata": {"type": "boolean"}, "monitoring": {"type": "boolean"}}
    names = {"type": "array", "items": {"type": "string"}}
    at(schema, "linux")["properties"]["memoryPolicy"] = {"type": "object", "properties": {"modes": names, "flags": names}}


def nothing(schema: Schema) -> None:
    """The difference is in the normal form, which every document gets before it is compared."""


# kind, name in docs/schema.md, patch, a document, our verdict on it (the official one is the opposite)
DIFFERENCES: list[tuple[str, str, Callable[[Schema], None], Any, bool]] = [
    ("config", "linux-only", linux_only, BASE | {"freebsd": {"jail": {"vnet": "disable"}}}, True),
    ("config", "root-required", root_required, {"ociVersion": "1.3.0"}, False),
    ("config", "semver", semver, BASE | {"ociVersion": "1.0"}, False),
    ("config", "string-maps", string_maps, BASE | {"linux": {"sysctl": {"": 1}}}, False),
    ("config", "nul", nul, BASE | {"hostname": "a\0b"}, False),
    ("config", "annotation-names", annotation_names, BASE | {"annotations": {"": "x"}}, False),
    ("config", "file-mode", file_mode, BASE | {"linux": {"devices": [{"type": "c", "path": "/d", "fileMode": 8630}]}}, True),
    ("config", "propagation", propagation, BASE | {"linux": {"rootfsPropagation": "rslave"}}, True),
    (
        "config",
        "rlimit-names",
        rlimit_names,
        BASE | {"process": {"cwd": "/", "rlimits": [{"type": "RLIMIT_X", "soft": 0, "hard": 0}]}},
        False,
    ),
    ("config", "integer-width", integer_width, BASE | {"process": {"cwd": "/", "oomScoreAdj": 2**63}}, False),
    ("config", "required-names", required_names, BASE | {"linux": {"personality": {}}}, False),
    ("config", "null", nothing, BASE | {"hooks": None}, True),
    ("config", "whole-numbers", nothing, BASE | {"process": {"cwd": "/", "oomScoreAdj": 1.0}}, True),
    ("config", "key-case", nothing, {"OCIVersion": "1.3.0", "Root": {"path": "r"}}, True),
    ("state", "semver", semver, STATE | {"ociVersion": ""}, False),
    ("state", "string-maps", string_maps, STATE | {"annotations": {"": 1}}, False),
    ("state", "annotation-names", annotation_names, STATE | {"annotations": {"": "x"}}, False),
    ("state", "paused", paused, STATE | {"status": "paused"}, True),
    ("state", "state-pid", state_pid, STATE | {"status": "running"}, False),
    ("state", "state-members", state_members, STATE | {"created": "yesterday"}, False),
    ("features", "semver", semver, FEATURES | {"ociVersionMin": "one"}, False),
    ("features", "string-maps", string_maps, FEATURES | {"annotations": {"\n": 1}}, False),
    ("features", "annotation-names", annotation_names, FEATURES | {"annotations": {"": "x"}}, False),
    ("features", "features-members", features_members, FEATURES | {"linux": {"intelRdt": {"schemata": 1}}}, False),
]


@functools.cache
def patched(stem: str) -> Draft4Validator:
    schema = copy.deepcopy(official(stem))
    for kind, _, patch, _, _ in DIFFERENCES:
        if kind == stem:
            patch(schema)
    return Draft4Validator(schema)


# --- the three judges --------------------------------------------------------------------------------------------------


def normal(document: Any, stem: str) -> Any:
    return validate.normalise(copy.deepcopy(document), OURS[stem], OURS[stem]["$defs"])


def accepts(document: Any, stem: str) -> bool:
    """Our verdict, in which the accept path, where there is one, agrees with jsonschema and gives the same normal form."""
    explained = copy.deepcopy(document)
    verdict = not validate.explain(explained, stem)
    if stem == "config":
        accepted = copy.deepcopy(document)
        assert _accept.accept_config(accepted) is verdict
        if verdict:
            assert repr(accepted) == repr(explained)  # repr tells 1 from 1.0 and the order of members
    return verdict


# --- places: every sub-schema, with the smallest document around a value there ------------------------------------------


def resolve(schema: Schema, root: Schema) -> Schema:
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    return schema


def minimal(schema: Schema, root: Schema) -> Any:
    schema = resolve(schema, root)
    if "enum" in schema:
        return schema["enum"][0]
    match schema["type"]:
        case "object":
            return {name: minimal(schema["properties"][name], root) for name in schema.get("required", ())}
        case "array":
            return [minimal(schema["items"], root)] * schema.get("minItems", 0)
        case "string":
            return example(schema)
        case "integer":
            return max(0, schema["minimum"])
    return False


EXAMPLES = ["text", "1.0.0", "2MB", "MB:0=1", "0-3", "CAP_KILL", "2026-01-02T03:04:05.678Z"]


def example(schema: Schema) -> str:
    return next(text for text in EXAMPLES if Draft202012Validator(schema).is_valid(text))


def member(wrap: Callable[[Any], Any], around: dict[str, Any], key: str, value: Any) -> Any:
    return wrap({**around, key: value})


def places(
    schema: Schema, root: Schema, wrap: Callable[[Any], Any], path: str = ""
) -> Iterator[tuple[str, Schema, Callable[[Any], Any]]]:
    schema = resolve(schema, root)
    yield path, schema, wrap
    for key, part in schema.get("properties", {}).items():
        around = minimal(schema, root)
        yield from places(part, root, functools.partial(member, wrap, around, key), f"{path}.{key}")
    if "items" in schema:
        yield from places(schema["items"], root, lambda v: wrap([v]), f"{path}[]")
    if schema.get("additionalProperties"):
        yield from places(schema["additionalProperties"], root, lambda v: wrap({"name": v}), f"{path}{{}}")


def ours(stem: str) -> list[tuple[str, Schema, Callable[[Any], Any]]]:
    return list(places(OURS[stem], OURS[stem], lambda v: v))


def official_paths(schema: Schema, path: str = "") -> Iterator[str]:
    yield path
    for key, part in schema.get("properties", {}).items():
        yield from official_paths(part, f"{path}.{key}")
    if "items" in schema:
        yield from official_paths(schema["items"], f"{path}[]")
    every = schema.get("additionalProperties") or next(iter(schema.get("patternProperties", {}).values()), None)
    if every:
        yield from official_paths(every, f"{path}{{}}")


NUMBERS = [
    -(2**63) - 1,
    -(2**63),
    -(2**31) - 1,
    -(2**31),
    -1,
    0,
    1,
    511,
    512,
    65535,
    65536,
    2**31,
    2**32 - 1,
    2**32,
    INT64,
    2**63,
    2**64 - 1,
    2**64,
]
FLOATS = [1.0, -1.0, 1.5, 2.0**63, 2.0**64, 1e300, float("inf")]
WORDS = [
    "",
    "text",
    "a\0b",
    "1.0",
    "01.0.0",
    "1.0.0-01",
    "1.0.0-a.01x+y",
    "1.0.0\n",
    "0-3\n",
    "0KB",
    "2MB\n",
    "MB:\n",
    "MB:1\0",
    "c\n",
    "x{}",
]
OTHERS: list[Any] = [
    None,
    True,
    False,
    [],
    {},
    [None],
    [1],
    ["\0"],
    [[]],
    {"": 1},
    {"": ""},
    {"\n": 1},
    {"a": None},
    {"a\0": "b"},
    {"a": "\0"},
    {"a": {}},
]
VALUES: list[Any] = [*NUMBERS, *FLOATS, *WORDS, *EXAMPLES, *OTHERS]


def fitting(schema: Schema) -> list[Any]:
    """Values that matter at this schema: its own limits and one of everything else's."""
    few: list[Any] = [None, True, 1.5, "text", "a\0b", 0, [], {}, [None], {"": 1}]
    if schema.get("type") == "object" or schema.get("type") == "array":
        return few + OTHERS
    if "enum" in schema:
        return [*few, *schema["enum"], *(word + "\n" for word in schema["enum"]), schema["enum"][0].lower()]
    more: dict[str, list[Any]] = {"integer": [*NUMBERS, *FLOATS], "string": WORDS + EXAMPLES}
    return few + more.get(schema["type"], [])


@needs_official
@pytest.mark.parametrize("stem", OURS)
def test_same_properties(stem: str) -> None:
    assert {path for path, _, _ in ours(stem)} == set(official_paths(patched(stem).schema))


@needs_official
@pytest.mark.parametrize("stem", OURS)
def test_same_verdict_at_every_place(stem: str) -> None:
    verdicts = []
    for path, schema, wrap in ours(stem):
        for value in fitting(schema):
            document = wrap(value)
            verdict = accepts(document, stem)
            verdicts.append(verdict)
            assert patched(stem).is_valid(normal(document, stem)) is verdict, (path, value)
    assert len(verdicts) / 20 < sum(verdicts) < len(verdicts) * 19 / 20


@needs_official
@pytest.mark.parametrize(("stem", "name", "document", "verdict"), [(k, n, d, v) for k, n, _, d, v in DIFFERENCES])
def test_every_difference_is_one_and_is_documented(stem: str, name: str, document: Any, verdict: bool) -> None:
    assert accepts(document, stem) is verdict
    assert Draft4Validator(official(stem)).is_valid(document) is not verdict
    assert f"| `{name}` |" in (PROJECT / "docs/schema.md").read_text()


@needs_official
@pytest.mark.parametrize("path", sorted(OFFICIAL.glob("vectors/*/*/*.json")), ids=lambda path: "-".join(path.parts[-3:]))
def test_vectors(path: Path) -> None:
    stem, goodness = path.parts[-3:-1]
    try:
        document = loads(path.read_bytes(), path.name)
    except ConfigError:
        assert path.name == "invalid-json.json"
        return
    assert accepts(document, stem) is (goodness == "good" or path.name == "freebsd-vnet-disable.json")  # not of Linux: ignored


@needs_configs
@pytest.mark.parametrize("name", ["docker", "podman", "containerd"])
def test_callers_configs_are_accepted_as_they_are(name: str) -> None:
    path = SHARED / f"configs/{name}.json"
    assert load_config(str(path))[0] == json.loads(path.read_bytes())
    assert accepts(json.loads(path.read_bytes()), "config")


# --- whole configurations ------------------------------------------------------------------------------------------------


def whole(schema: Schema, root: Schema, rng: random.Random, density: float) -> Any:
    """A valid document: every optional property with the probability `density`."""
    schema = resolve(schema, root)
    if "enum" in schema:
        return rng.choice(schema["enum"])
    match schema["type"]:
        case "object" if "properties" in schema:
            chosen = [k for k in schema["properties"] if k in schema.get("required", ()) or rng.random() < density]
            return {key: whole(schema["properties"][key], root, rng, density) for key in chosen}
        case "object":
            return {key: whole(schema["additionalProperties"], root, rng, density) for key in rng.sample(["a", "b.c", "d/é"], 2)}
        case "array":
            return [whole(schema["items"], root, rng, density) for _ in range(rng.randint(schema.get("minItems", 0), 2))]
        case "string":
            return rng.choice([text for text in [*EXAMPLES, "", "é😀\n"] if Draft202012Validator(schema).is_valid(text)])
        case "integer":
            return rng.choice(
                [
                    schema["minimum"],
                    schema["maximum"],
                    max(1, schema["minimum"]),
                    rng.randint(schema["minimum"], schema["maximum"]),
                ]
            )
    return rng.random() < 0.5


def holders(value: Any) -> Iterator[tuple[Any, Any]]:
    for key, item in list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()):
        yield value, key
        yield from holders(item)


def replace(holder: Any, key: Any, value: Any) -> None:
    holder[key] = value


def drop(holder: Any, key: Any, value: Any) -> None:
    del holder[key]


def unknown(holder: Any, key: Any, value: Any) -> None:
    if isinstance(holder, dict):
        holder["pyrunc.unknown"] = value


def respell(holder: Any, key: Any, value: Any) -> None:
    if isinstance(holder, dict):
        holder[key.swapcase()] = holder.pop(key)


def shadow(holder: Any, key: Any, value: Any) -> None:
    if isinstance(holder, dict):
        holder[key.upper()] = value


MUTATIONS = st.lists(
    st.tuples(st.sampled_from([replace, drop, unknown, respell, shadow]), st.integers(0, 2**16), st.sampled_from(VALUES)),
    max_size=3,
)


@settings(max_examples=250, deadline=None)
@given(seed=st.integers(0, 2**32), density=st.sampled_from([0.0, 0.2, 0.5, 1.0]), mutations=MUTATIONS)
def test_same_verdict_on_whole_configs(seed: int, density: float, mutations: list[tuple[Callable[..., None], int, Any]]) -> None:
    config = whole(OURS["config"], OURS["config"], random.Random(seed), density)
    assert accepts(config, "config")
    for mutate, index, value in mutations:
        spots = list(holders(config))
        mutate(*spots[index % len(spots)], copy.deepcopy(value))
        if not config:
            break
    verdict = accepts(config, "config")
    if OFFICIAL.is_dir():
        assert patched("config").is_valid(normal(config, "config")) is verdict


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_normal_form_undoes_what_go_allows(seed: int) -> None:
    """Whatever a Go program may write for a configuration, its readers here see the same one."""
    rng = random.Random(seed)
    config = whole(OURS["config"], OURS["config"], rng, 0.3)
    loose = loosen(config, OURS["config"], rng)
    kept = copy.deepcopy(loose)
    assert _accept.accept_config(loose)
    assert loose == config
    assert validate.explain(kept, "config") == []
    assert kept == config


def loosen(value: Any, schema: Schema, rng: random.Random) -> Any:
    """Nulls for absent properties, other cases for present ones, floats for integers that they can hold."""
    schema = resolve(schema, OURS["config"])
    if isinstance(value, dict) and "properties" in schema:
        result = {}
        for key, part in schema["properties"].items():
            spelt = rng.choice([key, key.upper(), key.swapcase()])
            if key in value:
                result[spelt] = loosen(value[key], part, rng)
            elif rng.random() < 0.3:
                result[spelt] = None
        return result
    if isinstance(value, list):
        return [loosen(item, schema["items"], rng) for item in value]
    if type(value) is int and float(value) == value and rng.random() < 0.3:
        return float(value)
    return value
