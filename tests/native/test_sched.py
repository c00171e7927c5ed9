"""When and where a process runs, as the kernel has it afterwards."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernel_sched import io_priority, numa, permitted, sched_attr
from tests.native.plan_harness import NEWUSER, Op, Outcome, c, host, op

pytestmark = pytest.mark.needs_root
Go = Callable[..., Outcome]

OTHER, FIFO, RR, BATCH, ISO, IDLE, DEADLINE = range(7)
RESET_ON_FORK = 1
MEMORY_BIND, MEMORY_LOCAL = 2, 4


def scheduler(policy: int, *, flags: int = 0, nice: int = 0, priority: int = 0, times: tuple[int, int, int] = (0, 0, 0)) -> Op:
    return op("SCHEDULER", v=[policy, flags, nice % 2**32 | priority << 32, *times])


REAL_TIME = pytest.mark.skipif(not permitted(FIFO, 1), reason="this machine permits no real-time policy")
DEADLINES = pytest.mark.skipif(not permitted(DEADLINE, 0, (10**6, 10**7, 10**7)), reason="this machine permits no SCHED_DEADLINE")


def seen(go: Go, ops: list[Op], look: Callable[[int], object]) -> object:
    """What `look` finds of the process after the ops."""
    found: list[object] = []
    go([*ops, op("SYNC", v=[c.SYNC_READY]), *host("true")], at={c.SYNC_READY: lambda init: found.append(look(init.pid))}).good()
    return found[0]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (scheduler(OTHER, nice=-20), (OTHER, 0, -20, 0)),
        (scheduler(OTHER, nice=19, flags=RESET_ON_FORK), (OTHER, RESET_ON_FORK, 19, 0)),
        (scheduler(BATCH, nice=5), (BATCH, 0, 5, 0)),
        (scheduler(IDLE), (IDLE, 0, 0, 0)),
        pytest.param(scheduler(FIFO, priority=1), (FIFO, 0, 0, 1), marks=REAL_TIME),
        pytest.param(scheduler(RR, priority=99, flags=RESET_ON_FORK), (RR, RESET_ON_FORK, 0, 99), marks=REAL_TIME),
    ],
)
def test_policies(go: Go, given: Op, expected: tuple[int, ...]) -> None:
    assert seen(go, [given], lambda pid: sched_attr(pid)[:4]) == expected


@DEADLINES
def test_a_deadline(go: Go) -> None:
    """The times are nanoseconds; without a period it is the deadline."""
    whole = scheduler(DEADLINE, times=(10**6, 10**7, 2 * 10**7))
    assert seen(go, [whole], sched_attr) == (DEADLINE, 0, 0, 0, 10**6, 10**7, 2 * 10**7)
    short = scheduler(DEADLINE, flags=RESET_ON_FORK, times=(10**6, 10**7, 0))
    assert seen(go, [short], sched_attr) == (DEADLINE, RESET_ON_FORK, 0, 0, 10**6, 10**7, 10**7)


@pytest.mark.parametrize(
    "wrong",
    [
        scheduler(ISO), scheduler(7), scheduler(2**32 - 1), scheduler(OTHER, priority=1), scheduler(FIFO),
        scheduler(FIFO, priority=100), scheduler(DEADLINE), scheduler(DEADLINE, times=(10**7, 10**6, 0)),
        scheduler(OTHER, flags=1 << 40),
    ],
)  # fmt: skip
def test_what_the_kernel_refuses(go: Go, wrong: Op) -> None:
    go([wrong]).bad([wrong], "SCHEDULER", "NONE", errno.EINVAL)


def test_real_time_is_the_hosts_roots(go: Go) -> None:
    inside = [op("UNSHARE", v=[NEWUSER, 0]), op("SYNC", v=[c.SYNC_MAPS]), op("BECOME_ROOT", v=[0])]
    for refused in (scheduler(FIFO, priority=1), scheduler(OTHER, nice=-1), op("IO_PRIORITY", v=[1 << 13])):
        ops = [*inside, refused]
        go(ops).bad(ops, refused.name, "NONE", errno.EPERM)
    assert seen(go, [*inside, scheduler(BATCH, nice=1)], lambda pid: sched_attr(pid)[:3]) == (BATCH, 0, 1)


@pytest.mark.parametrize("level", [1 << 13, 1 << 13 | 7, 2 << 13 | 3, 3 << 13])
def test_io_priority(go: Go, level: int) -> None:
    assert seen(go, [op("IO_PRIORITY", v=[level])], io_priority) == (level >> 13, level & 7)


def test_io_priorities_that_there_are_not(go: Go) -> None:
    for level in (7 << 13, 4 << 13):
        ops = [op("IO_PRIORITY", v=[level])]
        go(ops).bad(ops, "IO_PRIORITY", "NONE", errno.EINVAL)


def bits(*numbers: int) -> bytes:
    return sum(1 << number for number in numbers).to_bytes(1024, "little")


def test_affinity(go: Go) -> None:
    ours = os.sched_getaffinity(0)
    one = min(ours)
    only = op("AFFINITY", bits(one))
    assert seen(go, [only], os.sched_getaffinity) == {one}
    assert seen(go, [op("AFFINITY", bits(one)[:8]), op("AFFINITY", None)], os.sched_getaffinity) >= ours
    beyond = op("AFFINITY", bits(one, 8191))
    assert seen(go, [beyond], os.sched_getaffinity) == {one}
    assert os.sched_getaffinity(0) == ours


def test_no_cpu_at_all_is_an_error(go: Go) -> None:
    for mask in (bits(8191), bits(), b""):
        ops = [op("AFFINITY", mask)]
        go(ops).bad(ops, "AFFINITY", "NONE", errno.EINVAL)


def test_personality(go: Go) -> None:
    def read(pid: int) -> str:
        return Path(f"/proc/{pid}/personality").read_text().strip()

    assert seen(go, [op("PERSONALITY", v=[8])], read) == "00000008"
    assert seen(go, [op("PERSONALITY", v=[8]), op("PERSONALITY", v=[0])], read) == "00000000"


@pytest.mark.skipif(not numa(), reason="the kernel has no memory policies (CONFIG_NUMA)")
def test_memory_policy(go: Go) -> None:
    def policy(*ops: Op) -> str:
        return go([*ops, *host("head", "-n1", "/proc/self/numa_maps")]).good().split()[1]

    node = struct.pack("=Q", 1)
    assert policy(op("MEMORY_POLICY", node, v=[MEMORY_BIND | 0x8000])).startswith("bind=static:0")
    assert policy(op("MEMORY_POLICY", node, v=[MEMORY_BIND]), op("MEMORY_POLICY", b"", v=[0])) == "default"
    assert policy(op("MEMORY_POLICY", b"", v=[MEMORY_LOCAL])) == "local"
    bind = MEMORY_BIND
    for mask, mode in ((node, MEMORY_LOCAL), (b"", bind), (bytes(16), bind), (node, 99), (b"\xff" * 8192, bind)):
        ops = [op("MEMORY_POLICY", mask, v=[mode])]
        go(ops).bad(ops, "MEMORY_POLICY", "NONE", errno.EINVAL)


def test_it_is_still_so_after_execution(go: Go) -> None:
    ops = [scheduler(BATCH, nice=3), op("IO_PRIORITY", v=[3 << 13]), op("PERSONALITY", v=[8]), *host("cat", "/proc/self/stat")]
    fields = go(ops).good().rpartition(")")[2].split()
    assert (fields[19 - 3], fields[41 - 3]) == ("3", str(BATCH))  # proc_pid_stat(5)
