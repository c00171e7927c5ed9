"""Every scenario with runc and with pyrunc, side by side: ``python3 -m conformance.callers [--engine NAME]... [RUNTIME]...``

podman's with crun too. Needs root, busybox-static, and the callers of Debian; those that are absent are left out.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from conformance import room
from conformance.callers.known import ENGINES, gone
from conformance.callers.scenarios import SCENARIOS, Scenario

PROJECT = Path(__file__).resolve().parent.parent.parent
INSIDE = "PYRUNC_CALLERS_ROOM"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m conformance.callers", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("runtime", nargs="*", help="paths of runtimes (default: runc and build/pyrunc)")
    parser.add_argument("--engine", action="append", choices=sorted(ENGINES), help="only this caller")
    given = parser.parse_args()
    failed = 0
    for name in given.engine or ENGINES:
        runtimes = [Path(os.path.abspath(path)) for path in given.runtime] or default_runtimes(name)
        if INSIDE not in os.environ and any(runtime.name == "crun" for runtime in runtimes):
            failed += in_a_room(name, runtimes)
            continue
        columns = {}
        for runtime in runtimes:
            try:
                columns[runtime.name] = measure(name, runtime)
            except FileNotFoundError as error:
                print(f"\n{name}: left out: {error}")
                break
        else:
            failed += show(name, columns)
    return min(failed, 1)


def default_runtimes(engine: str) -> list[Path]:
    """crun is podman's; the others' scenarios want runc's words and options."""
    found = [shutil.which("runc"), shutil.which("crun") if engine == "podman" else None, PROJECT / "build/pyrunc"]
    return [path for program in found if program and (path := Path(program)).exists()]


def in_a_room(engine: str, runtimes: list[Path]) -> int:
    """One engine where v1's hugetlb is mounted, which crun 1.8 wants of a hybrid host; what `main` says of it."""
    sys.stdout.flush()
    words = [sys.executable, "-m", "conformance.callers", "--engine", engine, *map(str, runtimes)]
    env = {**os.environ, INSIDE: "yes", "PYTHONPATH": str(PROJECT)}
    return room.attend(room.enter(f"callers-room-{os.getpid()}", ["hugetlb"], *words), env)


def measure(engine: str, runtime: Path) -> dict[Scenario, str]:
    """Milliseconds or the fault, for each scenario. Raises FileNotFoundError when the caller is not installed."""
    work = Path(tempfile.mkdtemp(prefix="callers-"))
    results: dict[Scenario, str] = {}
    try:
        caller = ENGINES[engine](runtime, work, f"callers-{os.getpid()}")
        try:
            for scenario in SCENARIOS[engine]:
                begin = time.monotonic()
                try:
                    scenario(caller)
                    results[scenario] = f"{(time.monotonic() - begin) * 1000:.0f} ms"
                except Exception as error:  # a time-out or a file that is not there is this scenario's failure, not the run's end
                    results[scenario] = "FAILS"
                    print(f"{engine}, {runtime.name}, {scenario.__name__}: {type(error).__name__}: {error}", file=sys.stderr)
                if left := gone(caller):
                    results[scenario] += f", leaves {len(left)}"
        finally:
            left = caller.close()
        if left:
            results[scenario] += f", leaves {len(left)} to the end"
            print(f"{engine}, {runtime.name}: left behind: {'; '.join(left)}", file=sys.stderr)
    finally:
        shutil.rmtree(work)
    return results


def show(engine: str, columns: dict[str, dict[Scenario, str]]) -> int:
    """Print one engine's table; how many scenarios failed with the last runtime, which is ours."""
    width = max(len(scenario.__doc__ or scenario.__name__) for scenario in SCENARIOS[engine])
    print(f"\n{engine:<{width}}" + "".join(f"{name:>12}" for name in columns))
    for scenario in SCENARIOS[engine]:
        title = scenario.__doc__ or scenario.__name__
        print(f"{title:<{width}}" + "".join(f"{results[scenario]:>12}" for results in columns.values()))
    return sum(not result.endswith("ms") for result in list(columns.values())[-1].values())


if __name__ == "__main__":
    sys.exit(main())
