"""Explanations of refusals: their paths, their words, and that there always is one."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from pyrunc.config import validate
from pyrunc.config.validate import explain, json_path
from pyrunc.errors import ConfigError

PROJECT = Path(__file__).resolve().parents[2]
INT64 = "expected an integer from -9223372036854775808 to 9223372036854775807"
BASE = {"ociVersion": "1.3.0", "root": {"path": "rootfs"}}


def config(**members: Any) -> dict[str, Any]:
    return copy.deepcopy(BASE) | members


def process(**members: Any) -> dict[str, Any]:
    return config(process={"cwd": "/", **members})


def linux(**members: Any) -> dict[str, Any]:
    return config(linux=members)


FAULTS: list[tuple[dict[str, Any], str, str]] = [
    (config(root=None), "root", "must be specified"),
    (config(root={}), "root.path", "must be specified"),
    (config(root=[]), "root", "expected an object, got an array"),
    (config(root={"path": 1}), "root.path", "expected a string, got 1"),
    (config(root={"path": "r", "readonly": "yes"}), "root.readonly", 'expected true or false, got "yes"'),
    (config(hostname="a\0b"), "hostname", "must not contain a NUL character"),
    (config(hostname=True), "hostname", "expected a string, got true"),
    (config(mounts={"destination": "/"}), "mounts", "expected an array, got an object"),
    (
        config(mounts=[{"destination": "/"}] * 3 + [{"destination": "/", "options": [None]}]),
        "mounts[3].options[0]",
        "expected a string, got null",
    ),
    (config(annotations={"a.b": 1}), 'annotations["a.b"]', "expected a string, got 1"),
    (config(annotations={"": ""}), "annotations", 'expected a non-empty name for a member, got ""'),
    (
        config(hooks={"prestart": [{"path": "/x", "timeout": 0}]}),
        "hooks.prestart[0].timeout",
        "expected a number of seconds, 1 or more, got 0",
    ),
    (process(user={"uid": -1}), "process.user.uid", "expected an integer from 0 to 4294967295, got -1"),
    (process(user={"uid": "root"}), "process.user.uid", 'expected an integer from 0 to 4294967295, got "root"'),
    (
        process(user={"additionalGids": [1, 2.5]}),
        "process.user.additionalGids[1]",
        "expected an integer from 0 to 4294967295, got 2.5",
    ),
    (
        process(rlimits=[{"type": "RLIMIT_X", "soft": 1, "hard": 1}]),
        "process.rlimits[0].type",
        'expected a resource limit of Linux, such as RLIMIT_NOFILE, got "RLIMIT_X"',
    ),
    (process(rlimits=[{"type": "RLIMIT_AS", "soft": 1}]), "process.rlimits[0].hard", "must be specified"),
    (
        process(ioPriority={"class": "x" * 99}),
        "process.ioPriority.class",
        f'expected one of IOPRIO_CLASS_RT, IOPRIO_CLASS_BE, IOPRIO_CLASS_IDLE, got "{"x" * 36}...',
    ),
    (
        process(execCPUAffinity={"initial": "all"}),
        "process.execCPUAffinity.initial",
        'expected a list of CPUs such as 0-3,7, got "all"',
    ),
    (linux(sysctl={"net.core": "\0"}), 'linux.sysctl["net.core"]', "must not contain a NUL character"),
    (linux(sysctl={"a\0": "1"}), "linux.sysctl", "must not contain a NUL character"),
    (linux(netDevices={"eth0": None}), "linux.netDevices.eth0", "expected an object, got null"),
    (
        linux(namespaces=[{"type": "foo"}]),
        "linux.namespaces[0].type",
        'expected one of mount, pid, network, uts, ipc, user, cgroup, time, got "foo"',
    ),
    (linux(resources={"PIDS": {"LIMIT": "\x1b[31m\n"}}), "linux.resources.pids.limit", INT64 + ', got "\\u001b[31m\\n"'),
    (
        linux(resources={"hugepageLimits": [{"pageSize": "64kB", "limit": 1}]}),
        "linux.resources.hugepageLimits[0].pageSize",
        'expected a page size such as 64KB, 2MB or 1GB, got "64kB"',
    ),
    (
        linux(seccomp={"defaultAction": "SCMP_ACT_LOG", "syscalls": [{"names": [], "action": "SCMP_ACT_LOG"}]}),
        "linux.seccomp.syscalls[0].names",
        "must not be empty",
    ),
    (config(ociVersion="1"), "ociVersion", 'expected a version as Semantic Versioning 2.0 writes it, such as 1.0.2-dev, got "1"'),
]


@pytest.mark.parametrize(("document", "path", "text"), FAULTS, ids=[path or text for _, path, text in FAULTS])
def test_words(document: dict[str, Any], path: str, text: str) -> None:
    assert explain(document, "config") == [(path, text)]


@pytest.mark.parametrize(("document", "text"), [([], "an array"), (None, "null"), ("x", '"x"'), (5, "5")])
def test_document_that_is_no_object(document: Any, text: str) -> None:
    for kind in validate.KINDS:
        assert explain(document, kind) == [("", f"expected an object, got {text}")]


def test_all_faults_each_once() -> None:
    document = config(mounts=[{}, {"options": 1}, 5], linux={"devices": [{"type": "x"}]}, process={})
    assert sorted(path for path, _ in explain(document, "config")) == [
        "linux.devices[0].path",
        "linux.devices[0].type",
        "mounts[0].destination",
        "mounts[1].destination",
        "mounts[1].options",
        "mounts[2]",
        "process.cwd",
    ]


def test_kinds_start_their_paths_at_their_own_top() -> None:
    assert explain({"cwd": "/", "rlimits": [{"type": 1, "soft": 1, "hard": 1}]}, "process")[0][0] == "rlimits[0].type"
    assert explain({"cpu": {"shares": -1}}, "resources")[0][0] == "cpu.shares"
    assert explain({"ociVersionMin": "1.0.0"}, "features") == [("ociVersionMax", "must be specified")]
    assert explain({"ociVersion": "1.0.0", "id": "x", "bundle": "/b", "status": "created"}, "state") == [
        ("pid", "must be specified")
    ]


def test_right_documents_have_no_faults_and_get_their_normal_form() -> None:
    document = config(Hooks=None, MOUNTS=[{"Destination": "/x"}], linux={"resources": {"pids": {"limit": 5.0}}})
    assert explain(document, "config") == []
    assert document == config(mounts=[{"destination": "/x"}], linux={"resources": {"pids": {"limit": 5}}})


def test_a_refusal_always_has_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate, "KINDS", {"config": ("config", "", lambda document: False)})
    assert explain(config(), "config") == [("", "does not match the schema")]


@pytest.mark.parametrize(
    ("parts", "path"),
    [
        ([], ""),
        (["mounts", 3, "options", 0], "mounts[3].options[0]"),
        (["linux", "sysctl", "net.ipv4.ip_forward"], 'linux.sysctl["net.ipv4.ip_forward"]'),
        (["annotations", ""], 'annotations[""]'),
        (["a", 'x"\n'], 'a["x\\"\\n"]'),
        ([0, "a"], "[0].a"),
    ],
)
def test_json_path(parts: list[str | int], path: str) -> None:
    assert json_path(parts) == path


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=60),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["cwd", "args", "CWD", "user", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(JSON)
def test_every_explanation_is_one_printable_line(document: Any) -> None:
    for path, text in explain(document, "process"):
        assert (path + text).isascii()
        assert (path + text).isprintable()
        assert len(text) < 200


def test_without_jsonschema(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema.validators", None)
    with pytest.raises(ConfigError, match="^the config does not match the schema; to say where, pyrunc needs jsonschema"):
        explain({}, "config")


def test_schemas_are_looked_for_in_the_package_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = PROJECT / "pyrunc/schemas", PROJECT / "spec"
    assert tuple(Path(place).resolve() for place in validate.SCHEMA_PLACES) == installed
    monkeypatch.setattr(validate, "SCHEMA_PLACES", (str(tmp_path), *validate.SCHEMA_PLACES))
    assert explain(config(), "config") == []
    (tmp_path / "config.schema.json").write_text(json.dumps({"type": "string", "$defs": {}}))
    assert explain(config(), "config") == [("", "expected a string, got an object")]
    monkeypatch.setattr(validate, "SCHEMA_PLACES", (str(tmp_path),))
    with pytest.raises(ConfigError, match="not completely installed: state.schema.json is missing"):
        explain({}, "state")


def test_memory_of_a_refusal() -> None:
    """jsonschema and the schema fit beside the interpreter into what any command may use."""
    code = (
        "import sys; sys.path += sys.argv[2:]; from pyrunc.config.load import load_resources\n"
        "try: load_resources(sys.argv[1].encode(), 'x')\n"
        "except Exception as error: print(error)\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    optional = "idna rfc3339_validator jsonpointer webcolors uri_template isoduration fqdn rfc3987 rfc3986_validator"
    code = f"import sys; sys.modules.update(dict.fromkeys('{optional}'.split()))\n{code}"  # what jsonschema alone does not bring
    command = [sys.executable, "-I", "-S", "-c", code, '{"pids": 1}', str(PROJECT), *sys.path]
    peaks = []
    for _ in range(2):  # the first run may have to compile jsonschema to bytecode, which is the installer's business
        message, peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        assert message == "x: pids: expected an object, got 1"
        peaks.append(int(peak))
    assert min(peaks) <= 20 * 1024, "KiB"
