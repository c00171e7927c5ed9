"""Many containers come, are changed and go, some of their runtimes killed on the way: /sys/fs/cgroup is as it was.

PYRUNC_CHURN is how many there are, 200 by ``PYRUNC_CHURN=200 python -m pytest tests/lifecycle/test_cgroup_churn.py -s``.
"""

from __future__ import annotations

import os
import random
import subprocess
import time

from tests.conftest import TAG
from tests.lifecycle.box import Box
from tests.lifecycle.limits import HOST

COUNT = int(os.environ.get("PYRUNC_CHURN", "20"))
MIB = 1 << 20


def tree() -> set[str]:
    """Every cgroup of this session's containers; others come and go as they like."""
    return {path for hierarchy in HOST.hierarchies for path, _, _ in os.walk(hierarchy.mount) if TAG in path}


def killed(box: Box, seconds: float, *words: object) -> bool:
    """Start a command and send it SIGKILL after that time; False if it was faster."""
    process = box.cli.popen(*words, stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    process.kill()
    return process.wait(timeout=60) == -9


def test_nothing_stays_of_many(box: Box) -> None:
    before = tree()
    dice = random.Random(TAG)
    box.linux["resources"].update(memory={"limit": 64 * MIB}, pids={"limit": 50})
    box.args("sleep", "1000")
    deaths, begun, took = 0, time.monotonic(), {}
    for number in range(COUNT):
        box.id = f"{TAG}-churn-{number}"
        box.linux["cgroupsPath"] = f"/{TAG}-churn-{number}" if number % 2 else ""
        box.bundle.write()
        commands = (
            ("create", "--bundle", box.bundle, box.id),
            ("update", "--memory", "32m", "--pids-limit", "40", box.id),
            ("delete", "--force", box.id),
        )
        # One in ten is killed on the way, in turn at each of the three.
        victim = number // 10 % 3 if number % 10 == 9 else None
        for index, words in enumerate(commands):
            if index == victim:
                deaths += killed(box, took[index] * dice.uniform(0.1, 0.7), *words)
            else:
                start = time.monotonic()
                box.cli(*words, check=victim is None)
                took[index] = min(took.get(index, 60), time.monotonic() - start)
        if victim is not None:
            box.delete("--force")
        assert not box.exists()
    assert tree() == before
    print(f"\n{COUNT} containers in {time.monotonic() - begun:.1f} s, {deaths} of their runtimes killed on the way")
