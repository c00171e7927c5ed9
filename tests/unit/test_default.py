"""The default configuration: beside runc's own, and accepted by our rules."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pyrunc.config.default import default_spec
from pyrunc.config.rules.container import check

RUNC = shutil.which("runc")


def key_order(value: Any) -> Any:
    """The document with its objects as lists of pairs, so that the order of keys counts in a comparison."""
    if isinstance(value, dict):
        return [(key, key_order(part)) for key, part in value.items()]
    return [key_order(part) for part in value] if isinstance(value, list) else value


@pytest.mark.skipif(not RUNC, reason="needs runc (Debian: runc)")
@pytest.mark.parametrize("rootless", [False, True])
def test_equals_what_runc_writes(rootless: bool, tmp_path: Path) -> None:
    assert RUNC
    subprocess.run([RUNC, "spec", *(["--rootless"] if rootless else [])], cwd=tmp_path, check=True)
    theirs = json.loads((tmp_path / "config.json").read_text())
    cgroup2 = any(namespace["type"] == "cgroup" for namespace in theirs["linux"]["namespaces"])
    ours = default_spec(rootless=rootless, cgroup2=cgroup2, uid=os.geteuid(), gid=os.getegid())
    # Known differences: the version; and ambient capabilities, which runc before 1.2 granted too.
    theirs["ociVersion"] = ours["ociVersion"]
    theirs["process"]["capabilities"].pop("ambient", None)
    assert key_order(ours) == key_order(theirs)


@pytest.mark.parametrize("rootless", [False, True])
@pytest.mark.parametrize("cgroup2", [False, True])
def test_obeys_the_rules(rootless: bool, cgroup2: bool) -> None:
    check(default_spec(rootless=rootless, cgroup2=cgroup2, uid=1000, gid=1000))


def test_namespaces_follow_the_host_and_the_caller() -> None:
    def kinds(rootless: bool = False, cgroup2: bool = False) -> list[str]:
        spec = default_spec(rootless=rootless, cgroup2=cgroup2, uid=0, gid=0)
        return [namespace["type"] for namespace in spec["linux"]["namespaces"]]

    assert kinds() == ["pid", "network", "ipc", "uts", "mount"]
    assert kinds(cgroup2=True) == ["pid", "network", "ipc", "uts", "mount", "cgroup"]
    assert kinds(rootless=True, cgroup2=True) == ["pid", "ipc", "uts", "mount", "cgroup", "user"]


def test_the_caller_becomes_root() -> None:
    linux = default_spec(rootless=True, cgroup2=True, uid=1000, gid=100)["linux"]
    assert linux["uidMappings"] == [{"containerID": 0, "hostID": 1000, "size": 1}]
    assert linux["gidMappings"] == [{"containerID": 0, "hostID": 100, "size": 1}]
    assert "resources" not in linux


def test_documents_share_nothing() -> None:
    def mutable(value: Any) -> list[int]:
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return [id(value)] * isinstance(value, dict | list) + [found for part in parts for found in mutable(part)]

    first = default_spec(rootless=False, cgroup2=False, uid=0, gid=0)
    second = default_spec(rootless=False, cgroup2=False, uid=0, gid=0)
    assert len(set(mutable(first))) == len(mutable(first)), "one list in two places"
    assert not set(mutable(first)) & set(mutable(second))
