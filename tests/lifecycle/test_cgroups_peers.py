"""On cgroup v2: the same bundle by Debian's runc, by crun and by us. Every file of the cgroup must read the same, but where a
newer rule says otherwise, and every device must be open to the same accesses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyrunc import cgroups
from tests.conftest import Bundle, until
from tests.lifecycle.test_cgroups_runc import VOLATILE

HOST = cgroups.layout()

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(HOST.version != 2, reason="compares v2 files"),
]

MIB = 1 << 20
QUIET: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "timeout": 120}

OLD_ENOUGH = "1.0.2"  # for Debian 12's crun

CURVE = "shares become a weight by the curve of 2025, where 1024 is 100; older ones by a line"
NONE_AT_ALL = "since runtime-spec 1.3 a pids limit of 0 is a limit, written as 1; before it meant none"
RESERVED = "since runtime-spec 1.3 a limit of huge pages is for reserved ones too"


def disk() -> str:
    return next((path.read_text().strip() for path in sorted(Path("/sys/block").glob("vd*/dev"))), "")


DISK = disk()
MAJOR, MINOR = map(int, (DISK or "0:0").split(":"))
DEVICE = {"major": MAJOR, "minor": MINOR}

CASES: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({}, {}),
    ({"memory": {"limit": 64 * MIB, "reservation": 32 * MIB}}, {}),
    ({"memory": {"limit": 64 * MIB, "swap": 96 * MIB}}, {}),
    ({"memory": {"limit": 64 * MIB, "swap": 64 * MIB}}, {}),
    ({"memory": {"limit": -1}}, {}),
    ({"cpu": {"quota": 20_000, "period": 50_000, "cpus": "0", "mems": "0"}}, {}),
    ({"cpu": {"quota": -1}}, {}),
    ({"cpu": {"shares": 1024}}, {"cpu.weight": CURVE, "cpu.weight.nice": CURVE}),
    ({"cpu": {"shares": 2}}, {}),
    ({"cpu": {"shares": 262144}}, {}),
    ({"pids": {"limit": 100}}, {}),
    ({"pids": {"limit": -1}}, {}),
    ({"pids": {"limit": 0}}, {"pids.max": NONE_AT_ALL}),
    ({"blockIO": {"weight": 300}}, {}),
    (
        {
            "blockIO": {
                "throttleReadBpsDevice": [{**DEVICE, "rate": 4 * MIB}],
                "throttleWriteIOPSDevice": [{**DEVICE, "rate": 200}],
            }
        },
        {},
    ),
    ({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]}, {"hugetlb.2MB.rsvd.max": RESERVED}),
    ({"unified": {"memory.high": str(48 * MIB), "pids.max": "20"}}, {}),
]


@pytest.fixture
def peers(pyrunc: Path) -> dict[str, str]:
    found = {name: path for name in ("runc", "crun") if (path := shutil.which(name))}
    if not found:
        pytest.skip("neither runc nor crun is installed")
    return {**found, "pyrunc": str(pyrunc)}


@pytest.fixture
def call(peers: dict[str, str], container_id: str, session_dir: Path) -> Iterator[Callable[..., Any]]:
    """Runs a command of one of the runtimes on the container."""

    def command(name: str, *words: str, **kw: Any) -> subprocess.CompletedProcess[str]:
        argv = [peers[name], "--root", str(session_dir / f"{name}-{container_id}"), *words]
        return subprocess.run(argv, text=True, **{**QUIET, **kw})

    yield command
    for name in peers:
        command(name, "delete", "-f", container_id)
        shutil.rmtree(session_dir / f"{name}-{container_id}", ignore_errors=True)


def limits(directory: Path) -> dict[str, str]:
    found = {}
    for path in directory.iterdir():
        if path.is_file() and path.stat().st_mode & 0o400 and not any(word in path.name for word in VOLATILE):
            found[path.name] = path.read_text()
    return found


@pytest.mark.parametrize(("resources", "newer"), CASES, ids=[json.dumps(case[0]) for case in CASES])
def test_the_same_files(
    bundle: Callable[..., Bundle], container_id: str, peers: dict[str, str], call: Callable[..., Any], resources: dict[str, Any],
    newer: dict[str, str],
) -> None:  # fmt: skip
    if "blockIO" in resources and not DISK:
        pytest.skip("there is no virtual disk here")
    made = bundle("sleep", "600")
    made.config["ociVersion"] = OLD_ENOUGH
    made.config["linux"]["resources"] = {"devices": [{"allow": False, "access": "rwm"}], **resources}
    made.config["linux"]["cgroupsPath"] = f"/{container_id}"
    made.write()
    directory = Path(HOST.hierarchies[0].mount, container_id)
    found = {}
    for name in peers:
        call(name, "run", "-d", "-b", str(made), container_id, check=True)
        found[name] = limits(directory)
        call(name, "delete", "-f", container_id, check=True)
        until(lambda: not directory.exists(), 30, f"{name} leaves {directory}")
    ours = found.pop("pyrunc")
    assert len(ours) > 20
    for name, theirs in found.items():
        different = {file for file in ours.keys() | theirs.keys() if ours.get(file) != theirs.get(file)}
        assert different <= newer.keys(), {file: (name, theirs.get(file), ours.get(file)) for file in different}


RULES: list[list[dict[str, Any]]] = [
    [{"allow": False, "access": "rwm"}],
    [{"allow": True, "access": "rwm"}],
    [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}],
    [{"allow": False, "access": "rwm"}, {"allow": True, "type": "b", "major": MAJOR, "access": "rw"}],
    [{"allow": True, "access": "rwm"}, {"allow": False, "type": "c", "major": 1, "minor": 11, "access": "rwm"}],
]
EXPLAINED = {
    "crun": {"c 10 200": "net/tun is among the defaults of runc and of us, not of this crun"},
    "runc": {"c 1 11": "the default that any node may be made comes last; in runc's lists it lifts no exception"},
}
NODES = ("c 1 3", "c 1 11", "c 10 200", "c 10 232", "c 5 2", f"b {MAJOR} {MINOR}", "b 7 0")
TRIES = """
for node in "$@"; do
    rm -f /node; mknod /node $node 2>/dev/null && made=m || made=-
    [ -e /node ] || { echo "$node $made"; continue; }
    dd if=/node of=/dev/null bs=1 count=0 2>/dev/null </dev/null && read=r || read=-
    (exec 3>>/node) 2>/dev/null && write=w || write=-
    echo "$node $made$read$write"
done
"""


@pytest.mark.parametrize("rules", RULES, ids=json.dumps)
def test_the_same_devices(
    bundle: Callable[..., Bundle], container_id: str, peers: dict[str, str], call: Callable[..., Any], rules: list[dict[str, Any]]
) -> None:
    made = bundle("sh", "-c", TRIES, "sh", *(node for node in NODES if node != "b 0 0"))
    made.config["root"]["readonly"] = False
    made.config["ociVersion"] = OLD_ENOUGH
    made.config["linux"]["resources"] = {"devices": rules}
    rights = [f"CAP_{name}" for name in ("MKNOD", "DAC_OVERRIDE", "SYSLOG", "SYS_ADMIN")]
    made.config["process"]["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), rights)
    made.write()
    told = {name: call(name, "run", "-b", str(made), container_id, stdout=subprocess.PIPE, check=True).stdout for name in peers}
    ours = set(told.pop("pyrunc").splitlines())
    assert "c 1 3 mrw" in ours and len(ours) >= 6
    for name, text in told.items():
        different = {line.rpartition(" ")[0] for line in ours ^ set(text.splitlines())}
        assert different <= EXPLAINED[name].keys(), (name, ours, text)
