"""Say what is wrong with a document, by the JSON Schemas that also made the accept path.

Loaded for refusals alone: jsonschema takes tens of milliseconds and megabytes to import.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import types
from typing import Any

from pyrunc.config import _accept
from pyrunc.errors import ConfigError

Schema = dict[str, Any]
Fault = tuple[str, str]

HERE = os.path.dirname(os.path.abspath(__file__))
SCHEMA_PLACES = (os.path.join(HERE, "../schemas"), os.path.join(HERE, "../../spec"))  # installed; in a source tree
SHOWN_TEXT = 40  # characters of a wrong value

# kind of document: schema file, part of it, and the accept path's function where there is one
KINDS = {
    "config": ("config", "", _accept.accept_config),
    "process": ("config", "Process", _accept.accept_process),
    "resources": ("config", "Resources", _accept.accept_resources),
    "state": ("state", "", None),
    "features": ("features", "", None),
}
TYPES = {
    "object": "an object",
    "array": "an array",
    "string": "a string",
    "integer": "an integer",
    "boolean": "true or false",
}


def explain(document: Any, kind: str) -> list[Fault]:
    """Every fault of `document` as (JSON path, text), none if it is right; the document gets its normal form in place.

    `kind` is config, process, resources, state or features. Raises ConfigError when the schema or jsonschema is missing.
    """
    gc.enable()  # the launcher has it off, which would cost jsonschema 2 MiB
    stem, part, accept = KINDS[kind]
    schema = load_schema(stem)
    if part:
        schema = {"$ref": f"#/$defs/{part}", "$defs": schema["$defs"]}
    document = normalise(document, schema, schema["$defs"])
    try:
        validator = _import_validator()
    except ImportError as error:
        raise ConfigError(f"the {kind} does not match the schema; to say where, pyrunc needs jsonschema ({error})") from None
    faults: dict[Fault, None] = {}
    for mismatch in validator(schema).iter_errors(document):
        faults.update(dict.fromkeys(_words(mismatch)))
    if not faults and accept is not None and not accept(document):
        faults["", "does not match the schema"] = None
    return list(faults)


def _import_validator() -> Any:
    """jsonschema's validator, without what would fetch remote schemas: ours has none, and http with ssl takes six MiB."""
    fetcher = "urllib.request"  # imported by the jsonschema 4.10 of Debian 12 from the start
    absent = fetcher not in sys.modules
    if absent:
        sys.modules[fetcher] = types.ModuleType(fetcher)
        vars(sys.modules[fetcher])["urlopen"] = None
    try:
        from jsonschema.validators import Draft202012Validator
    finally:
        if absent:
            sys.modules.pop(fetcher, None)
    return Draft202012Validator


def load_schema(stem: str) -> Schema:
    """One of the packaged schemas: config, state or features. Raises ConfigError when it is not there."""
    for place in SCHEMA_PLACES:
        try:
            with open(os.path.join(place, f"{stem}.schema.json"), encoding="utf-8") as file:
                schema: Schema = json.load(file)
                return schema
        except FileNotFoundError:
            continue
    raise ConfigError(f"pyrunc is not completely installed: {stem}.schema.json is missing")


def normalise(value: Any, schema: Schema, definitions: dict[str, Schema]) -> Any:
    """The accept path's normal form for all of a document, where the accept path stops at the first fault; in place."""
    while "$ref" in schema:
        schema = definitions[schema["$ref"].removeprefix("#/$defs/")]
    if isinstance(value, dict):
        properties = schema.get("properties")
        if properties:
            _accept.tidy(value, frozenset(properties))
        every = schema.get("additionalProperties")
        for key in value:
            if part := properties.get(key) if properties else every:
                value[key] = normalise(value[key], part, definitions)
    elif isinstance(value, list) and "items" in schema:
        value[:] = [normalise(item, schema["items"], definitions) for item in value]
    elif isinstance(value, float) and schema.get("type") == "integer" and value.is_integer():
        return int(value)
    return value


def json_path(parts: Any) -> str:
    """``mounts[3].options[0]``, ``linux.sysctl["net.ipv4.ip_forward"]``."""
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part.isidentifier():
            path += f".{part}" if path else part
        else:
            path += f"[{json.dumps(part)}]"
    return path


def _words(error: Any) -> list[Fault]:
    path = json_path(error.absolute_path)
    keyword, schema, value = error.validator, error.schema, error.instance
    if keyword == "required":
        missing = [name for name in error.validator_value if name not in value]
        return [(f"{path}.{name}" if path else name, "must be specified") for name in missing]
    if keyword == "pattern" and "\0" in value:
        return [(path, "must not contain a NUL character")]
    if "propertyNames" in error.absolute_schema_path:
        return [(path, f"expected {_expected(schema)} for a member, got {_shown(value)}")]
    if keyword == "minItems":
        return [(path, "must not be empty")]
    return [(path, f"expected {_expected(schema)}, got {_shown(value)}")]


def _expected(schema: Schema) -> str:
    if "title" in schema:
        return str(schema["title"])
    if "enum" in schema:
        return "one of " + ", ".join(schema["enum"])
    if "minimum" in schema:
        return f"an integer from {schema['minimum']} to {schema['maximum']}"
    return TYPES[schema["type"]]


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    text = json.dumps(value)
    return text if len(text) <= SHOWN_TEXT else text[: SHOWN_TEXT - 3] + "..."
