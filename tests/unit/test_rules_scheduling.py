"""Rules for scheduling, CPUs and memory policy, the lists of numbers in them, and their names beside the system's headers."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from pyrunc.config import scheduling as s
from pyrunc.config.default import default_spec
from pyrunc.config.rules.container import check
from pyrunc.config.rules.process import check_process
from pyrunc.errors import ConfigError

SCHEMA: dict[str, Any] = json.loads((Path(__file__).parents[2] / "spec/config.schema.json").read_text())["$defs"]


def faults(path: str, value: object) -> list[tuple[str, str]]:
    """Of a config in which ``process.X`` or ``linux.X`` has this value."""
    config = default_spec(rootless=False, cgroup2=False, uid=0, gid=0)
    place, name = path.split(".")
    config[place][name] = value
    try:
        check(config)
    except ConfigError as error:
        return error.faults
    return []


def scheduler(policy: str, **more: Any) -> tuple[str, object]:
    return "process.scheduler", {"policy": policy, **more}


def memory(mode: str, nodes: str | None = None, *flags: str) -> tuple[str, object]:
    return "linux.memoryPolicy", {"mode": mode, "nodes": nodes, "flags": list(flags)}


GOOD: dict[str, tuple[str, object]] = {
    "other": scheduler("SCHED_OTHER", nice=-20),
    "batch": scheduler("SCHED_BATCH", nice=19, priority=0, flags=None, runtime=0),
    "idle": scheduler("SCHED_IDLE", nice=0),
    "iso": scheduler("SCHED_ISO"),
    "fifo": scheduler("SCHED_FIFO", priority=1, flags=["SCHED_FLAG_RESET_ON_FORK"]),
    "rr": scheduler("SCHED_RR", priority=99, nice=None),
    "deadline": scheduler("SCHED_DEADLINE", runtime=1024, deadline=1024, period=1024),
    "deadline-without-period": scheduler("SCHED_DEADLINE", runtime=5000, deadline=2**63 - 1),
    "io": ("process.ioPriority", {"class": "IOPRIO_CLASS_BE", "priority": 7}),
    "io-without-level": ("process.ioPriority", {"class": "IOPRIO_CLASS_IDLE", "priority": None}),
    "affinity": ("process.execCPUAffinity", {"initial": "0", "final": "0-8191, 3 , 5 - 7"}),
    "affinity-empty": ("process.execCPUAffinity", {"initial": "", "final": None}),
    "personality": ("linux.personality", {"domain": "LINUX32", "flags": []}),
    "memory-default": memory("MPOL_DEFAULT", ""),
    "memory-local": memory("MPOL_LOCAL"),
    "memory-preferred": memory("MPOL_PREFERRED"),
    "memory-bind": memory("MPOL_BIND", "0-1023", "MPOL_F_STATIC_NODES", "MPOL_F_NUMA_BALANCING"),
}

BAD: dict[str, tuple[tuple[str, object], str, str]] = {
    "other-nice-low": (scheduler("SCHED_OTHER", nice=-21), "process.scheduler.nice", "must be in -20..19, is -21"),
    "batch-nice-high": (scheduler("SCHED_BATCH", nice=20), "process.scheduler.nice", "must be in -20..19, is 20"),
    "idle-nice": (scheduler("SCHED_IDLE", nice=1), "process.scheduler.nice", "only for SCHED_OTHER and SCHED_BATCH"),
    "fifo-nice": (scheduler("SCHED_FIFO", priority=1, nice=-1), "process.scheduler.nice", "the policy is SCHED_FIFO"),
    "fifo-no-priority": (scheduler("SCHED_FIFO"), "process.scheduler.priority", "must be in 1..99, is 0"),
    "fifo-priority-low": (scheduler("SCHED_FIFO", priority=-1), "process.scheduler.priority", "must be in 1..99, is -1"),
    "rr-priority-high": (scheduler("SCHED_RR", priority=100), "process.scheduler.priority", "must be in 1..99, is 100"),
    "other-priority": (scheduler("SCHED_OTHER", priority=1), "process.scheduler.priority", "only for SCHED_FIFO and SCHED_RR"),
    "deadline-priority": (
        scheduler("SCHED_DEADLINE", runtime=2000, deadline=2000, priority=1), "process.scheduler.priority", "only for",
    ),
    "other-runtime": (scheduler("SCHED_OTHER", runtime=1), "process.scheduler.runtime", "only for SCHED_DEADLINE"),
    "rr-deadline": (scheduler("SCHED_RR", priority=1, deadline=1), "process.scheduler.deadline", "only for SCHED_DEADLINE"),
    "idle-period": (scheduler("SCHED_IDLE", period=1), "process.scheduler.period", "only for SCHED_DEADLINE"),
    "deadline-alone": (scheduler("SCHED_DEADLINE"), "process.scheduler.runtime", "at least 1024 ns, is 0"),
    "deadline-short": (scheduler("SCHED_DEADLINE", runtime=1023, deadline=2000), "process.scheduler.runtime", "1024"),
    "deadline-missing": (scheduler("SCHED_DEADLINE", runtime=1024), "process.scheduler.deadline", "at least the runtime, 1024"),
    "deadline-huge": (scheduler("SCHED_DEADLINE", runtime=1024, deadline=2**63), "process.scheduler.deadline", "below 2^63"),
    "deadline-period": (
        scheduler("SCHED_DEADLINE", runtime=1024, deadline=5000, period=4999), "process.scheduler.period", "least the deadline",
    ),
    "io-high": (("process.ioPriority", {"class": "IOPRIO_CLASS_RT", "priority": 8}), "process.ioPriority.priority", "0..7, is 8"),
    "io-low": (("process.ioPriority", {"class": "IOPRIO_CLASS_RT", "priority": -1}), "process.ioPriority.priority", "is -1"),
    "affinity-range": (
        ("process.execCPUAffinity", {"initial": "3-1"}), "process.execCPUAffinity.initial", "3-1 is the wrong way round",
    ),
    "affinity-open": (("process.execCPUAffinity", {"final": "3-"}), "process.execCPUAffinity.final", "a number is missing"),
    "affinity-comma": (("process.execCPUAffinity", {"final": "1,"}), "process.execCPUAffinity.final", "a number is missing"),
    "affinity-blank": (("process.execCPUAffinity", {"final": " "}), "process.execCPUAffinity.final", "a number is missing"),
    "affinity-two": (("process.execCPUAffinity", {"final": "1 2"}), "process.execCPUAffinity.final", "'1 2' is not a number"),
    "affinity-high": (("process.execCPUAffinity", {"final": "0-8192"}), "process.execCPUAffinity.final", "8192 is not below"),
    "affinity-huge": (("process.execCPUAffinity", {"final": "9" * 50}), "process.execCPUAffinity.final", "is not a number"),
    "personality": (("linux.personality", {"domain": "LINUX64"}), "linux.personality.domain", "must be one of LINUX, LINUX32"),
    "personality-flags": (
        ("linux.personality", {"domain": "LINUX", "flags": ["UNAME26"]}), "linux.personality.flags", "no flag is supported",
    ),
    "memory-default-nodes": (memory("MPOL_DEFAULT", "0"), "linux.memoryPolicy.nodes", "must be empty for MPOL_DEFAULT"),
    "memory-local-nodes": (memory("MPOL_LOCAL", "0"), "linux.memoryPolicy.nodes", "must be empty for MPOL_LOCAL"),
    **{
        f"memory-{mode.lower()}": (memory(mode, ""), "linux.memoryPolicy.nodes", f"must not be empty for {mode}")
        for mode in ("MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_WEIGHTED_INTERLEAVE", "MPOL_PREFERRED_MANY")
    },
    "memory-nodes": (memory("MPOL_BIND", "a\nb"), "linux.memoryPolicy.nodes", "'a\\nb' is not a number"),
    "memory-nodes-high": (memory("MPOL_BIND", "1024"), "linux.memoryPolicy.nodes", "1024 is not below 1024"),
    "memory-flags": (
        memory("MPOL_BIND", "0", "MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"), "linux.memoryPolicy.flags", "exclude each",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_good(name: str) -> None:
    assert faults(*GOOD[name]) == []


@pytest.mark.parametrize("name", BAD)
def test_bad(name: str) -> None:
    change, path, text = BAD[name]
    found = faults(*change)
    assert [where for where, _ in found] == [path]
    assert text in found[0][1] and found[0][1].isascii() and found[0][1].isprintable()


def test_of_a_process_file_too() -> None:
    process = {"args": ["id"], "cwd": "/", "scheduler": {"policy": "SCHED_RR"}, "execCPUAffinity": {"initial": "x"}}
    with pytest.raises(ConfigError) as caught:
        check_process(process, at="process.")
    assert [path for path, _ in caught.value.faults] == ["process.scheduler.priority", "process.execCPUAffinity.initial"]


@given(st.sets(st.integers(0, 300), min_size=1))
def test_a_list_says_the_same_as_its_mask(found: set[int]) -> None:
    mask = s.number_list(",".join(map(str, found)), 301)
    assert {n for n in range(len(mask) * 8) if mask[n // 8] >> n % 8 & 1} == found
    assert len(mask) % 8 == 0
    assert s.number_list(s.numbers(mask), 301) == mask


@pytest.mark.parametrize(("text", "short"), [("0", "0"), ("3,1,2", "1-3"), ("0-2,2-4,9", "0-4,9"), (" 5 , 63-64", "5,63-64")])
def test_the_shortest_form(text: str, short: str) -> None:
    assert s.numbers(s.number_list(text, 100)) == short


@given(st.text("0123456789-, x\n²", max_size=12))
def test_any_text_is_a_list_or_an_error(text: str) -> None:
    try:
        assert any(s.number_list(text, 1000))
    except ValueError as error:
        assert str(error).isprintable() and str(error).isascii()


def test_the_tables_have_what_the_schema_has() -> None:
    process, linux = SCHEMA["Process"]["properties"], SCHEMA["Linux"]["properties"]
    scheduler, memory = process["scheduler"]["properties"], linux["memoryPolicy"]["properties"]
    assert set(s.POLICIES) == set(scheduler["policy"]["enum"])
    assert set(s.SCHEDULER_FLAGS) == set(scheduler["flags"]["items"]["enum"])
    assert set(s.IO_CLASSES) == set(process["ioPriority"]["properties"]["class"]["enum"])
    assert set(s.MEMORY_MODES) == set(memory["mode"]["enum"])
    assert set(s.MEMORY_FLAGS) == set(memory["flags"]["items"]["enum"])
    assert set(s.DOMAINS) == set(linux["personality"]["properties"]["domain"]["enum"])


PROGRAM = """
#include <linux/ioprio.h>
#include <linux/mempolicy.h>
#include <linux/personality.h>
#include <linux/sched.h>
#include <stdio.h>
int main(void)
{
    const struct { const char *name; int value; } all[] = { %s };
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
        printf("%%s %%d\\n", all[i].name, all[i].value);
}
"""
ELSEWHERE = {"SCHED_OTHER": "SCHED_NORMAL", "LINUX": "PER_LINUX", "LINUX32": "PER_LINUX32"}
UNHEARD_OF = {"SCHED_ISO": 4, "MPOL_WEIGHTED_INTERLEAVE": 6}
"""A number that is kept free, and one of Linux 6.9: the headers of Debian 12 have neither."""


@pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")
def test_numbers_are_the_systems(tmp_path: Path) -> None:
    tables = (s.POLICIES, s.SCHEDULER_FLAGS, s.IO_CLASSES, s.MEMORY_MODES, s.MEMORY_FLAGS, s.DOMAINS)
    ours = {name: number for table in tables for name, number in table.items()}
    known = [name for name in ours if name not in UNHEARD_OF]
    listed = ", ".join(f'{{"{name}", {ELSEWHERE.get(name, name)}}}' for name in [*known, "IOPRIO_CLASS_SHIFT"])
    (tmp_path / "names.c").write_text(PROGRAM % listed)
    subprocess.run(["gcc", "-o", tmp_path / "names", tmp_path / "names.c"], check=True)
    lines = subprocess.run([tmp_path / "names"], capture_output=True, text=True, check=True).stdout.splitlines()
    system = {name: int(value) for name, value in map(str.split, lines)}
    assert system.pop("IOPRIO_CLASS_SHIFT") == s.IO_CLASS_SHIFT
    assert {**system, **UNHEARD_OF} == ours
