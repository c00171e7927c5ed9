"""state.json: the record, its JSON, and what is not one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from pyrunc.kernel.json import dumps, parse
from pyrunc.state import record as record_module
from pyrunc.state.record import NAMESPACES, Record, now

PROJECT = Path(__file__).resolve().parents[2]

TEXT = st.one_of(st.text(max_size=20), st.binary(max_size=20).map(lambda raw: raw.decode("utf-8", "surrogateescape")))
NUMBER = st.integers(0, 2**63)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
HOOK = st.fixed_dictionaries({"path": TEXT}, optional={"args": st.lists(TEXT), "timeout": NUMBER})
RECORDS = st.builds(
    Record,
    id=TEXT,
    bundle=TEXT,
    rootfs=TEXT,
    hostname=TEXT,
    oci_version=TEXT,
    annotations=st.dictionaries(TEXT, TEXT, max_size=3),
    created=TEXT,
    owner=NUMBER,
    rootless=st.booleans(),
    terminal=st.booleans(),
    namespaces=st.dictionaries(st.sampled_from([type for type, _, _ in NAMESPACES]), TEXT),
    cgroup=st.dictionaries(TEXT, VALUE, max_size=3),
    rdt=st.dictionaries(TEXT, VALUE, max_size=3),
    accepted=TEXT,
    mounts=st.just({}) | st.fixed_dictionaries({"namespace": NUMBER, "before": st.lists(NUMBER, max_size=3)}),
    systemd_cgroup=st.booleans(),
    hooks=st.dictionaries(st.sampled_from(["poststart", "poststop"]), st.lists(HOOK, max_size=2)),
    external_descriptors=st.lists(TEXT, max_size=3),
    stage=st.sampled_from(["creating", "created"]),
    pid=NUMBER,
    start=NUMBER,
    creator_pid=NUMBER,
    creator_start=NUMBER,
    boot=TEXT,
)


def members(record: Record) -> dict[str, object]:
    return {name: getattr(record, name) for name in Record.__slots__}


@settings(max_examples=150)
@given(RECORDS)
def test_a_record_survives_its_file(record: Record) -> None:
    text = record.to_json()
    assert members(Record.from_json(text)) == members(record)
    assert json.loads(text) == record.to_dict()


@settings(max_examples=150)
@given(RECORDS, st.data())
def test_a_damaged_record_is_a_value_error(record: Record, data: st.DataObject) -> None:
    """Half of it, or any member of any other type, is refused or taken; it is never another exception."""
    text = record.to_json()
    with pytest.raises(ValueError):
        Record.from_json(text[: data.draw(st.integers(0, len(text) - 1))])
    document = json.loads(text)
    document[data.draw(st.sampled_from(sorted(document)))] = data.draw(VALUE)
    try:
        Record.from_dict(document)
    except ValueError:
        pass


def test_members_that_other_tools_read() -> None:
    record = Record(
        "box",
        "/bundles/box",
        rootfs="/bundles/box/rootfs",
        hostname="box",
        annotations={"org.example.key": "value"},
        namespaces={"pid": "", "network": "/run/netns/x", "mount": ""},
        cgroup={"manager": "cgroupfs", "paths": {"memory": "/sys/fs/cgroup/memory/box", "": "/sys/fs/cgroup/unified/box"}},
        pid=42,
        start=1000,
        boot="",
    )
    document = json.loads(record.to_json())
    assert (document["id"], document["init_process_pid"], document["init_process_start"]) == ("box", 42, 1000)
    assert document["rootless"] is False
    assert document["cgroup_paths"] == {"memory": "/sys/fs/cgroup/memory/box", "": "/sys/fs/cgroup/unified/box"}
    assert document["namespace_paths"] == {
        "NEWCGROUP": "/proc/42/ns/cgroup", "NEWIPC": "/proc/42/ns/ipc", "NEWNET": "/proc/42/ns/net", "NEWNS": "/proc/42/ns/mnt",
        "NEWPID": "/proc/42/ns/pid", "NEWTIME": "/proc/42/ns/time", "NEWUSER": "/proc/42/ns/user", "NEWUTS": "/proc/42/ns/uts",
    }
    assert document["external_descriptors"] == []
    assert document["config"] == {
        "rootfs": "/bundles/box/rootfs",
        "hostname": "box",
        "labels": ["bundle=/bundles/box", "org.example.key=value"],
        "namespaces": [
            {"type": "NEWNET", "path": "/run/netns/x"},
            {"type": "NEWNS", "path": ""},
            {"type": "NEWPID", "path": ""},
        ],
    }
    created = document["created"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", created)
    assert abs((datetime.now(UTC) - datetime.fromisoformat(created)).total_seconds()) < 60


def test_without_a_process_there_are_no_namespace_paths() -> None:
    assert Record("box", "/b").to_dict()["namespace_paths"] == {}


@pytest.mark.parametrize(
    "nanoseconds, text",
    [
        (0, "1970-01-01T00:00:00.000000000Z"),
        (951_782_400_000_000_007, "2000-02-29T00:00:00.000000007Z"),
        (1_767_225_599_999_999_999, "2025-12-31T23:59:59.999999999Z"),
    ],
)
def test_now(monkeypatch: pytest.MonkeyPatch, nanoseconds: int, text: str) -> None:
    monkeypatch.setattr(record_module.time, "time_ns", lambda: nanoseconds)
    assert now() == text


@pytest.mark.parametrize(
    "namespaces, private", [({}, False), ({"pid": ""}, True), ({"pid": "/proc/1/ns/pid"}, False), ({"ipc": ""}, False)]
)
def test_private_pidns(namespaces: dict[str, str], private: bool) -> None:
    assert Record("box", "/b", namespaces=namespaces).private_pidns is private


def test_a_record_of_an_earlier_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    record = Record("box", "/b")
    assert record.boot == record_module.boot_id() != ""
    assert record.same_boot
    monkeypatch.setattr(record_module, "boot_id", lambda: "another")
    assert not record.same_boot
    # Where either of the two could not be read nothing can be told, and the start time alone has to do.
    monkeypatch.setattr(record_module, "boot_id", lambda: "")
    assert record.same_boot
    assert Record("box", "/b", boot="").same_boot


@pytest.mark.parametrize(
    "change, message",
    [
        ({"id": None}, "id is missing"),
        ({"id": 5}, "id is a int, not a str"),
        ({"bundle": []}, "bundle is a list"),
        ({"init_process_pid": "7"}, "init_process_pid is a str"),
        ({"init_process_pid": True}, "init_process_pid is a bool"),
        ({"init_process_pid": 7.0}, "init_process_pid is a float"),
        ({"init_process_pid": -1}, "init_process_pid is -1"),
        ({"init_process_start": -5}, "init_process_start is -5"),
        ({"creator_pid": -1}, "creator_pid is -1"),
        ({"owner": -1}, "owner is -1"),
        ({"stage": "running"}, "stage is 'running'"),
        ({"config": []}, "config is a list"),
        ({"config": {}}, "rootfs is missing"),
        ({"config": {"rootfs": "/r", "namespaces": [{"type": "NEWFOO"}]}}, "config.namespaces holds 'NEWFOO'"),
        ({"config": {"rootfs": "/r", "namespaces": ["NEWPID"]}}, "config.namespaces is a str"),
        ({"annotations": {"key": 1}}, "annotations.key is a int"),
        ({"hooks": {"poststop": {}}}, "hooks.poststop is a dict"),
        ({"hooks": {"poststop": ["/bin/true"]}}, "hooks.poststop is a str"),
        ({"external_descriptors": [0]}, "external_descriptors is a int"),
        ({"cgroup": "x"}, "cgroup is a str"),
    ],
)
def test_a_member_that_is_wrong_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        Record.from_dict({**Record("box", "/b").to_dict(), **change})


@pytest.mark.parametrize("document", [None, [], "x", 1])
def test_a_record_is_an_object(document: object) -> None:
    with pytest.raises(ValueError, match="the record is"):
        Record.from_dict(document)


def test_a_record_of_another_version() -> None:
    """Members that we do not know are passed over, and those that we have added since are not asked for."""
    old = {
        "id": "box", "init_process_pid": 1, "init_process_start": 2, "created": "then", "config": {"rootfs": "/r"},
        "bundle": "/b", "owner": 0, "stage": "created", "creator_pid": 3, "creator_start": 4, "intel_rdt_path": "/sys",
    }
    record = Record.from_dict(old)
    assert (record.id, record.pid, record.rootfs, record.hooks, record.namespaces, record.boot) == ("box", 1, "/r", {}, {}, "")


# --- JSON


@settings(max_examples=200)
@given(VALUE)
def test_json_agrees_with_the_json_module(value: object) -> None:
    text = dumps(value)
    assert text == json.dumps(value, separators=(",", ":"))
    assert parse(text) == value
    assert parse(f" \n\t{text}\r\n ") == value


BAD_JSON = [
    *("", " ", "{", "[1,", '"a', "{}{}", "[] x", "nul", "NaN", "-Infinity", '{"a":NaN}', "{'a':1}"),
    *("\x00", "1 2", "[1,]", "\u00a01", "[" * 200_000),
]


@pytest.mark.parametrize("text", BAD_JSON, ids=lambda text: ascii(text)[:12])
def test_bad_json(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)


@pytest.mark.parametrize("value", [b"", {1, 2}, float("nan"), float("inf"), [object()], {(1,): 2}])
def test_what_json_cannot_say(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        dumps(value)


def test_json_without_its_c_half() -> None:
    """Another interpreter, or another version of this one, may not have it."""
    program = f"""
import sys
sys.modules["_json"] = None
sys.path.insert(0, {str(PROJECT)!r})
from pyrunc.kernel.json import dumps, parse
assert sys.modules["json"].encoder.c_make_encoder is None
value = {{"a": [1, 2.5, None, True, "\\udcff\\u00e9"], "b": {{}}}}
text = dumps(value)
assert text == '{{"a":[1,2.5,null,true,"\\\\udcff\\\\u00e9"],"b":{{}}}}', text
assert parse(text) == value
for bad in ("", "NaN", "{{}}{{}}", "[" * 200000):
    try:
        parse(bad)
    except ValueError:
        continue
    raise AssertionError(bad)
for bad in (b"", float("nan")):
    try:
        dumps(bad)
    except (TypeError, ValueError):
        continue
    raise AssertionError(bad)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
