"""Every scenario with runc and with pyrunc, side by side: ``python3 -m conformance.callers [--engine NAME]... [RUNTIME]...``

Needs root, busybox-static, and the callers of Debian; those that are absent are left out.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from conformance.callers.known import ENGINES, gone
from conformance.callers.scenarios import SCENARIOS, Scenario

PROJECT = Path(__file__).resolve().parent.parent.parent


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m conformance.callers", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("runtime", nargs="*", help="paths of runtimes (default: runc and build/pyrunc)")
    parser.add_argument("--engine", action="append", choices=sorted(ENGINES), help="only this caller")
    given = parser.parse_args()
    runtimes = [Path(os.path.abspath(name)) for name in given.runtime] or default_runtimes()
    failed = 0
    for name in given.engine or ENGINES:
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


def default_runtimes() -> list[Path]:
    found = [Path(program) for program in (shutil.which("runc"), PROJECT / "build/pyrunc") if program]
    return [path for path in found if path.exists()]


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
