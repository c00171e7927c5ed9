"""A day in production, shortened: ``python3 -m conformance.callers.day [--podman N] [--ctr N] [--jobs N] [RUNTIME]``

So many containers are started, looked into, killed and removed by each caller, some at a time; in the end nothing may be left.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from conformance.callers.engines import Containerd, Podman
from conformance.callers.known import gone
from conformance.callers.scenarios.table import until

PROJECT = Path(__file__).resolve().parent.parent.parent


def podman_container(engine: Podman, name: str) -> None:
    engine("run", "-d", "--name", name, *engine.COMMON, *engine.image(), "sleep", "1000")
    engine("exec", name, "sh", "-c", "exit 7", status=7)
    engine("kill", name)
    engine("wait", name).prints("137")
    engine(*engine.REMOVE, name)


def ctr_task(engine: Containerd, name: str) -> None:
    engine("run", "-d", *engine.from_rootfs(), name, "/bin/sleep", "1000")
    engine("task", "exec", "--exec-id", "e", name, "/bin/sh", "-c", "exit 7", status=7)
    engine("task", "kill", "-s", "KILL", name)
    until(lambda: "STOPPED" in line_of(engine, name))
    engine("task", "delete", name).says("exit code 137")
    engine("container", "delete", name)


def line_of(engine: Containerd, name: str) -> str:
    lines = engine("task", "list").out.splitlines()
    return next((line for line in lines if line.split()[0] == name), "")


DAYS: dict[str, tuple[type[Any], Callable[[Any, str], None]]] = {
    "podman": (Podman, podman_container), "ctr": (Containerd, ctr_task),
}  # fmt: skip


def day(caller: str, runtime: Path, number: int, jobs: int) -> list[str]:
    """What went wrong with `number` containers, `jobs` at a time, and what they left. FileNotFoundError without the caller."""
    kind, life = DAYS[caller]
    work = Path(tempfile.mkdtemp(prefix="day-"))
    try:
        engine = kind(runtime, work, f"day-{os.getpid()}")
        try:
            mounts = (engine.sandbox.root / "proc/mounts").read_text().count("\n")
            with ThreadPoolExecutor(jobs) as pool:
                results = [pool.submit(life, engine, f"day{i}") for i in range(number)]
            faults = [str(error) for result in results if (error := result.exception())]
            faults += gone(engine)
            more = (engine.sandbox.root / "proc/mounts").read_text().count("\n") - mounts
            faults += [f"{more} mounts"] * (caller == "ctr" and more > 0)  # podman keeps one for its storage
        finally:
            left: list[str] = engine.close()
        return faults + left
    finally:
        shutil.rmtree(work)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m conformance.callers.day", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("runtime", nargs="?", default=PROJECT / "build/pyrunc", type=Path, help="path of the runtime")
    for caller in DAYS:
        parser.add_argument(f"--{caller}", type=int, default=500, metavar="N", help="how many containers (default: 500)")
    parser.add_argument("--jobs", type=int, default=8, metavar="N", help="how many at a time (default: 8)")
    given = parser.parse_args()
    failed = False
    for caller in DAYS:
        number = getattr(given, caller)
        begin = time.monotonic()
        try:
            faults = day(caller, given.runtime.absolute(), number, given.jobs)
        except FileNotFoundError as error:
            print(f"{caller}: left out: {error}")
            continue
        print(f"{caller}: {number} containers in {time.monotonic() - begin:.0f} s, {len(faults)} faults")
        print(*(f"  {fault}" for fault in faults[:20]), sep="\n", end="\n" if faults else "")
        failed |= bool(faults)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
