"""features: the document is valid, and every claim in it is one of the code's own."""

from __future__ import annotations

import ast
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pyrunc
from pyrunc.cgroups import RECORDED
from pyrunc.cgroups.limits_v2 import CONTROLLERS
from pyrunc.cli.main import COMMANDS, main
from pyrunc.config import names, scheduling
from pyrunc.config.default import default_spec
from pyrunc.config.rules.container import check
from pyrunc.config.validate import explain
from pyrunc.plan import seccomp_profile
from pyrunc.plan.options import parse
from pyrunc.runtime import features as module
from pyrunc.runtime.features import features

PROJECT = Path(__file__).resolve().parents[2]
SCHEMA: dict[str, Any] = json.loads((PROJECT / "spec/features.schema.json").read_text())
DOCUMENT = features()
LINUX: dict[str, Any] = DOCUMENT["linux"]
MAPS = {name: [{"containerID": 0, "hostID": 1, "size": 1}] for name in ("uidMappings", "gidMappings")}


def test_it_is_valid() -> None:
    assert explain(DOCUMENT, "features") == []


def test_the_official_schema_thinks_so_too(shared: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    from tests.unit.test_spec_agreement import official

    assert list(jsonschema.Draft4Validator(official("features")).iter_errors(DOCUMENT)) == []


def test_every_property_of_the_structure_is_there() -> None:
    """Nothing is left unknown."""

    def missing(schema: dict[str, Any], value: Any, at: str = "") -> Iterator[str]:
        if "$ref" in schema:
            schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
        for name, part in schema.get("properties", {}).items():
            if value.get(name) is None:
                yield f"{at}{name}"
            else:
                yield from missing(part, value[name], f"{at}{name}.")

    assert list(missing(SCHEMA, DOCUMENT)) == []


def test_the_lists_are_the_codes_own_tables() -> None:
    assert (DOCUMENT["ociVersionMin"], DOCUMENT["ociVersionMax"]) == ("1.0.0", pyrunc.SPEC_VERSION)
    for found, table in (
        (DOCUMENT["hooks"], names.HOOKS),
        (DOCUMENT["mountOptions"], names.MOUNT_OPTIONS),
        (LINUX["namespaces"], names.NAMESPACES),
        (LINUX["capabilities"], names.CAPABILITIES),
        (LINUX["seccomp"]["actions"], seccomp_profile.ACTIONS),
        (LINUX["seccomp"]["operators"], seccomp_profile.OPERATORS),
        (LINUX["seccomp"]["archs"], seccomp_profile.ARCHITECTURES),
        (LINUX["seccomp"]["knownFlags"], seccomp_profile.FLAGS),
        (LINUX["memoryPolicy"]["modes"], scheduling.MEMORY_MODES),
        (LINUX["memoryPolicy"]["flags"], scheduling.MEMORY_FLAGS),
    ):
        assert sorted(found) == sorted(table) and len(found) == len(set(found)) > 0
    assert set(LINUX["seccomp"]["supportedFlags"]) <= set(LINUX["seccomp"]["knownFlags"])


def test_no_mount_option_is_data_for_a_file_system() -> None:
    """What is listed has a meaning to the runtime, and what it would hand on is not listed."""
    for name in DOCUMENT["mountOptions"]:
        assert parse([name]).data == [], name
    assert parse(["size=1k"]).data == ["size=1k"]
    assert {"rro", "idmap", "ridmap", "tmpcopyup", "bind", "rbind", "nosymfollow"} <= set(DOCUMENT["mountOptions"])


def test_the_enumerations_of_the_schema_are_whole() -> None:
    """All that the specification names is known here."""
    seccomp = SCHEMA["properties"]["linux"]["properties"]["seccomp"]["properties"]
    for name in ("actions", "operators", "archs"):
        assert set(LINUX["seccomp"][name]) == set(seccomp[name]["items"]["enum"])
    assert set(LINUX["seccomp"]["knownFlags"]) == set(SCHEMA["$defs"]["SeccompFlags"]["items"]["enum"])


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"process": {"apparmorProfile": "p"}}, "apparmor.enabled"),
        ({"process": {"selinuxLabel": "l"}}, "selinux.enabled"),
        ({"linux": {"mountLabel": "l"}}, "selinux.enabled"),
        ({"linux": {"intelRdt": {"closID": "x"}}}, "intelRdt.enabled"),
        ({"linux": {"intelRdt": {"schemata": ["L3:0=f"]}}}, "intelRdt.schemata"),
        ({"linux": {"intelRdt": {"enableMonitoring": True}}}, "intelRdt.monitoring"),
        ({"linux": {"netDevices": {"eth0": {}}}}, "netDevices.enabled"),
        ({"linux": {"memoryPolicy": {"mode": "MPOL_LOCAL"}}}, "memoryPolicy.modes"),
        ({"mounts": [{**MAPS, "destination": "/a", "source": "/", "options": ["bind"]}]}, "mountExtensions.idmap.enabled"),
    ],
)
def test_what_is_said_to_be_there_is_not_refused(change: dict[str, Any], path: str) -> None:
    value: Any = LINUX
    for name in path.split("."):
        value = value[name]
    config = default_spec(rootless=False, cgroup2=False, uid=0, gid=0)
    for name, part in change.items():
        config[name] = {**config[name], **part} if isinstance(part, dict) else part
    check(config)
    assert value


def test_the_ways_to_cgroups() -> None:
    systemd = "systemd" in RECORDED
    assert LINUX["cgroup"] == {"v1": True, "v2": True, "systemd": systemd, "systemdUser": systemd, "rdma": True}
    assert "rdma" in CONTROLLERS


def test_annotations_that_the_code_obeys_are_called_unsafe() -> None:
    """Every name of an annotation that is written anywhere in the code is in the list, and no other."""
    written = set()
    for path in sorted((PROJECT / "pyrunc").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
                if node.value.startswith(("org.criu.", "org.systemd.property.", "run.oci.", "io.kubernetes.", "module.wasm")):
                    written.add(node.value)
    assert written == set(DOCUMENT["potentiallyUnsafeConfigAnnotations"])


def test_checkpoints_are_promised_only_with_the_command() -> None:
    assert (DOCUMENT["annotations"][module.CHECKPOINT] == "true") == ({"checkpoint", "restore"} <= set(COMMANDS))


def test_what_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    """As runc prints it: four spaces, a line's end, nothing else anywhere."""
    assert main(["features"]) == 0
    out, err = capfd.readouterr()
    assert (json.loads(out), err) == (DOCUMENT, "")
    assert out == json.dumps(DOCUMENT, indent=4) + "\n"


def test_the_installed_program_needs_no_privilege(pyrunc: Path) -> None:
    done = subprocess.run([pyrunc, "features"], capture_output=True, text=True, cwd="/", env={}, timeout=60)
    assert (done.returncode, done.stderr) == (0, "") and json.loads(done.stdout) == DOCUMENT
