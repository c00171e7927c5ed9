"""process.scheduler, ioPriority and execCPUAffinity, linux.personality and memoryPolicy: of a container and of what joins it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyrunc.config.names import CAPABILITIES
from tests.kernel_sched import call, io_priority, numa, permitted, sched_attr
from tests.lifecycle.box import Box, one_line, status_of

OTHER, FIFO, RR, BATCH, ISO, IDLE, DEADLINE = range(7)
MS = 1_000_000
"""Nanoseconds."""

HAS_SYS_RESOURCE = bool(int(status_of("self", "CapEff")[0], 16) >> CAPABILITIES["CAP_SYS_RESOURCE"] & 1)
GROUPS = Path("/sys/fs/cgroup/cpu/cpu.rt_runtime_us")
"""With CONFIG_RT_GROUP_SCHED a cgroup has no real time but what it is given, and only of what its parent has."""


def own_cgroup() -> str:
    """Ours in v1's cpu hierarchy, below which a container is by default."""
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    return next((path for _, controllers, path in lines if "cpu" in controllers.split(",")), "/")


POLICIES: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "other": ({"policy": "SCHED_OTHER", "nice": -5}, (OTHER, 0, -5, 0, 0)),
    "batch": ({"policy": "SCHED_BATCH", "nice": 19, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}, (BATCH, 1, 19, 0, 0)),
    "idle": ({"policy": "SCHED_IDLE", "flags": None}, (IDLE, 0, 0, 0, 0)),
    "fifo": ({"policy": "SCHED_FIFO", "priority": 1}, (FIFO, 0, 0, 1, 0)),
    "rr": ({"policy": "SCHED_RR", "priority": 99, "nice": 0}, (RR, 0, 0, 99, 0)),
    "deadline": (
        {"policy": "SCHED_DEADLINE", "runtime": MS, "deadline": 20 * MS, "period": 40 * MS},
        (DEADLINE, 0, 0, 0, MS, 20 * MS, 40 * MS),
    ),
}  # fmt: skip


def needs(box: Box, name: str) -> None:
    """Skip what this machine does not permit to anybody; where real time is given to cgroups, ask for some."""
    if name == "deadline" and not permitted(DEADLINE, 0, (MS, 20 * MS, 40 * MS)):
        pytest.skip("this machine permits no SCHED_DEADLINE")
    if name in ("fifo", "rr") and not permitted(FIFO, 1):
        pytest.skip("this machine permits no real-time policy")
    if name in ("fifo", "rr") and GROUPS.exists():
        if int(GROUPS.read_text()) < 100_000 or own_cgroup() != "/":
            pytest.skip("needs the root of the cpu hierarchy, which alone has real time to give (CONFIG_RT_GROUP_SCHED)")
        cpu = {"realtimeRuntime": 20_000, "realtimePeriod": 1_000_000}
        box.linux["resources"] = {**(box.linux.get("resources") or {}), "cpu": cpu}


def attributes(pid: int, like: tuple[int, ...]) -> tuple[int, ...]:
    """As much of them as `like` has: of fair policies newer kernels also tell the slice as a runtime."""
    return sched_attr(pid)[: len(like)] if like[4:] != (0,) else (*sched_attr(pid)[:4], 0)


@pytest.mark.parametrize("name", POLICIES)
def test_a_scheduling_policy(box: Box, name: str) -> None:
    needs(box, name)
    scheduler, expected = POLICIES[name]
    box.process["scheduler"] = scheduler
    # The shell must not fork: that is refused to a process with a deadline (sched(7)).
    box.args("sleep", "1000")
    pid = box.create()
    assert attributes(pid, expected) == expected
    box.start()
    assert attributes(pid, expected) == expected
    box.down()


def test_flags_that_keep_what_is_there(box: Box) -> None:
    box.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 7, "flags": ["SCHED_FLAG_KEEP_POLICY", "SCHED_FLAG_KEEP_PARAMS"]}
    box.args("sleep", "1000")
    assert sched_attr(box.create())[:3] == (OTHER, 0, 0)
    box.down()


def test_a_policy_that_the_kernel_does_not_have(box: Box) -> None:
    box.process["scheduler"] = {"policy": "SCHED_ISO"}
    assert box.refused().endswith("process.scheduler: set scheduling policy SCHED_ISO: invalid argument")


def test_a_policy_in_a_user_namespace(box: Box) -> None:
    """What needs no privilege works, what does needs an rlimit that permits it: the error says so."""
    box.map_ids()
    box.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 1}
    box.args("sleep", "1000")
    assert sched_attr(box.create())[:3] == (BATCH, 0, 1)
    box.down()
    box.process["scheduler"] = {"policy": "SCHED_FIFO", "priority": 2}
    box.bundle.write()
    done = box.cli("create", "--bundle", box.bundle, box.id, check=1)
    message = one_line(done)
    assert message.endswith("process.scheduler: set scheduling policy SCHED_FIFO, priority 2: operation not permitted")
    assert "RLIMIT_RTPRIO" in done.stderr and not box.exists()


@pytest.mark.skipif(not HAS_SYS_RESOURCE, reason="needs CAP_SYS_RESOURCE: this root may raise no hard limit")
def test_the_rlimit_permits_it_in_a_user_namespace(box: Box) -> None:
    needs(box, "fifo")
    box.map_ids()
    box.process["scheduler"] = {"policy": "SCHED_FIFO", "priority": 2}
    box.process["rlimits"] = [{"type": "RLIMIT_RTPRIO", "soft": 2, "hard": 2}]
    box.args("sleep", "1000")
    assert sched_attr(box.create())[:4] == (FIFO, 0, 0, 2)
    box.down()


@pytest.mark.parametrize(
    ("priority", "expected"),
    [
        ({"class": "IOPRIO_CLASS_RT", "priority": 0}, (1, 0)),
        ({"class": "IOPRIO_CLASS_BE", "priority": 7}, (2, 7)),
        ({"class": "IOPRIO_CLASS_IDLE"}, (3, 0)),
    ],
)
def test_an_io_priority(box: Box, priority: dict[str, Any], expected: tuple[int, int]) -> None:
    box.process["ioPriority"] = priority
    pid = box.up()
    assert io_priority(pid) == expected
    box.down()


def test_a_personality(box: Box) -> None:
    box.linux["personality"] = {"domain": "LINUX32", "flags": []}
    box.up()
    assert Path(f"/proc/{box.pid}/personality").read_text() == "00000008\n"
    assert box.ex("cat /proc/self/personality") == "00000008\n"
    box.down()


def test_a_personality_under_a_filter_that_forbids_it(box: Box) -> None:
    """The filter is loaded after it, with and without no_new_privs."""
    box.linux["personality"] = {"domain": "LINUX32"}
    rule = {"names": ["personality", "sched_setattr", "ioprio_set", "set_mempolicy"], "action": "SCMP_ACT_ERRNO"}
    box.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    box.process.update(scheduler={"policy": "SCHED_BATCH"}, ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 1})
    for no_new_privs in (True, False):
        box.process["noNewPrivileges"] = no_new_privs
        assert box.sh("cat /proc/self/personality") == "00000008\n"


def test_a_personality_is_not_the_callers(box: Box) -> None:
    """ADDR_NO_RANDOMIZE of whoever calls goes no further if the config has a personality."""
    def other() -> None:
        call("personality", 0x0040000)

    assert box.sh("cat /proc/self/personality", preexec_fn=other) == "00040000\n"
    box.linux["personality"] = {"domain": "LINUX"}
    assert box.sh("cat /proc/self/personality", preexec_fn=other) == "00000000\n"


@pytest.mark.skipif(not numa(), reason="the kernel has no memory policies (CONFIG_NUMA)")
@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}, "bind=static:0"),
        ({"mode": "MPOL_PREFERRED", "nodes": " 0 ", "flags": None}, "prefer:0"),
        ({"mode": "MPOL_INTERLEAVE", "nodes": "0-0", "flags": ["MPOL_F_RELATIVE_NODES"]}, "interleave=relative:0"),
        ({"mode": "MPOL_LOCAL", "nodes": ""}, "local"),
        ({"mode": "MPOL_DEFAULT"}, "default"),
    ],
)
def test_a_memory_policy(box: Box, policy: dict[str, Any], expected: str) -> None:
    """Also of what joins it, and never the caller's."""
    box.linux["memoryPolicy"] = policy
    box.up(preexec_fn=lambda: call("set_mempolicy", 4, None, 0))
    for pid in (box.pid, "self"):
        text = Path(f"/proc/{pid}/numa_maps").read_text() if pid != "self" else box.ex("cat /proc/self/numa_maps")
        assert text.split()[1].startswith(expected)
    box.down()


@pytest.mark.skipif(not numa(), reason="the kernel has no memory policies (CONFIG_NUMA)")
def test_a_node_that_there_is_not(box: Box) -> None:
    box.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "1023"}
    assert "linux.memoryPolicy: set memory policy MPOL_BIND of nodes 1023: invalid argument" in box.refused()


# --- CPUs ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def cpus() -> Iterator[list[int]]:
    """The CPUs of this machine, two of them at least; and while a test runs we are on the first alone."""
    ours = os.sched_getaffinity(0)
    if len(ours) < 2:
        pytest.skip("needs two CPUs")
    os.sched_setaffinity(0, {min(ours)})
    yield sorted(ours)
    os.sched_setaffinity(0, ours)


def affinity(text: str) -> set[int]:
    """``Cpus_allowed_list`` of a status file."""
    line = next(line for line in text.splitlines() if line.startswith("Cpus_allowed_list:"))
    parts = [part.partition("-") for part in line.split(":")[1].strip().split(",")]
    return {cpu for low, _, high in parts for cpu in range(int(low), int(high or low) + 1)}


def test_the_callers_cpus_are_not_the_containers(box: Box, cpus: list[int]) -> None:
    assert os.sched_getaffinity(0) == {cpus[0]}
    pid = box.up()
    assert os.sched_getaffinity(pid) >= set(cpus)
    assert affinity(box.ex("cat /proc/self/status")) >= set(cpus)
    box.down()


def test_a_cpuset_is_not_left(box: Box, cpus: list[int]) -> None:
    box.linux["resources"] = {**(box.linux.get("resources") or {}), "cpu": {"cpus": str(cpus[1])}}
    pid = box.up()
    assert os.sched_getaffinity(pid) == {cpus[1]}
    assert affinity(box.ex("cat /proc/self/status")) == {cpus[1]}
    box.down()


KERNEL = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"initial": "first", "final": "second"}, "second"),
        ({"final": "second"}, "second"),
        ({"initial": "second"}, "second"),
        ({"initial": "second", "final": ""}, "second"),
        ({"initial": "", "final": ""}, "both"),
        ({}, "both"),
        (None, "both"),
    ],
)
def test_cpus_of_exec(box: Box, cpus: list[int], tmp_path: Path, asked: dict[str, str] | None, expected: str) -> None:
    """From the process file, and without one from config.json; init is on all of them."""
    names = {"first": {cpus[0]}, "second": {cpus[1]}, "both": set(cpus)}
    lists = {name: ",".join(map(str, sorted(found))) for name, found in names.items()} | {"": ""}
    document = None if asked is None else {name: lists[value] for name, value in asked.items()}
    if asked and not asked.get("final") and KERNEL < (6, 2):
        expected = "both"  # who enters a cpuset was given all of its CPUs
    box.process["execCPUAffinity"] = document
    pid = box.up()
    assert os.sched_getaffinity(pid) >= set(cpus)
    path = tmp_path / "process.json"
    for named in ({}, {"execCPUAffinity": None}):
        path.write_text(json.dumps({**box.process, "args": ["cat", "/proc/self/status"], **named}))
        found = affinity(box.exec("--process", path, box.id, check=True).stdout)
        assert found & set(cpus) == names[expected]
    assert affinity(box.ex("cat /proc/self/status")) & set(cpus) == names[expected]
    box.down()


def test_where_the_runtime_is_before_it_has_joined(box: Box, cpus: list[int], tmp_path: Path) -> None:
    """The process is on the initial CPUs while it enters the cgroup: seen by a cpuset that does not have them."""
    box.linux["resources"] = {**(box.linux.get("resources") or {}), "cpu": {"cpus": str(cpus[1])}}
    box.up()
    path = tmp_path / "process.json"
    path.write_text(json.dumps({**box.process, "execCPUAffinity": {"final": str(cpus[0])}}))
    message = one_line(box.exec("--process", path, box.id, check=255))
    assert f"process.execCPUAffinity.final: run on CPUs {cpus[0]}: invalid argument" in message
    path.write_text(json.dumps({**box.process, "execCPUAffinity": {"initial": "8191"}}))
    message = one_line(box.exec("--process", path, box.id, check=255))
    assert "process.execCPUAffinity.initial: run on CPUs 8191: invalid argument" in message
    box.down()


def test_exec_is_scheduled_as_its_process_says(box: Box, tmp_path: Path) -> None:
    """Or, where that says nothing, as the container's process."""
    box.process.update(scheduler={"policy": "SCHED_BATCH", "nice": 3}, ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 1})
    box.up()
    path, pid_file = tmp_path / "process.json", tmp_path / "pid"

    def run(**changes: Any) -> tuple[object, ...]:
        path.write_text(json.dumps({**box.process, "args": ["sleep", "1000"], **changes}))
        box.exec("--detach", "--process", path, "--pid-file", pid_file, box.id, check=True)
        pid = int(pid_file.read_text())
        return (*sched_attr(pid)[:3], *io_priority(pid))

    assert run(scheduler=None, ioPriority=None) == (BATCH, 0, 3, 2, 1)
    assert run(scheduler={"policy": "SCHED_IDLE"}, ioPriority={"class": "IOPRIO_CLASS_IDLE"}) == (IDLE, 0, 0, 3, 0)
    assert run(scheduler={"policy": "SCHED_OTHER"}) == (OTHER, 0, 0, 2, 1)
    box.down()
