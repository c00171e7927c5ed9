"""The runtime-tools validation suite with several runtimes, as one table; `docs/validation.md` says what is to be known of it.

Needs root. Without --checkout the suite is built from Debian's source package, in build/validation, the first time.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from conformance import room
from conformance.validation import trial
from conformance.validation.expected import EXPECTED, RACES, TRIES, lawful
from conformance.validation.suite import Suite, from_debian

PROJECT = Path(__file__).resolve().parent.parent.parent
INSIDE = "PYRUNC_VALIDATION_ROOM"

Row = dict[str, trial.Trial]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m conformance.validation", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("runtime", nargs="*", help="paths of runtimes, the first is ours (default: build/pyrunc, runc and crun)")
    parser.add_argument("--checkout", type=Path, help="a built checkout of runtime-tools instead of Debian's source package")
    parser.add_argument("--network-cgroups", action="store_true", help="mount net_cls and net_prio for the tests")
    parser.add_argument("--only", action="append", metavar="TEST", help="only this test; may be repeated")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for one test with one runtime (default: 300)")
    parser.add_argument("--why", action="store_true", help="print what was said about each row that is not clean")
    given = parser.parse_args()
    if os.geteuid():
        parser.error("must be root: it makes containers")
    try:
        suite = Suite(given.checkout.resolve()) if given.checkout else from_debian(PROJECT / "build/validation")
        if unknown := set(given.only or ()) - set(suite.programs):
            parser.error(f"no such test: {', '.join(sorted(unknown))}")
    except (FileNotFoundError, subprocess.SubprocessError) as error:
        print(f"validation: {error}", file=sys.stderr)
        return 2
    if INSIDE not in os.environ:
        return _in_a_room(given.network_cgroups)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    runtimes = [Path(os.path.abspath(name)) for name in given.runtime] or default_runtimes()
    rows = {name: measure(program, runtimes, suite, given.timeout) for name, program in suite.programs.items()
            if not given.only or name in given.only}  # fmt: skip
    return show(rows, [runtime.name for runtime in runtimes], given.why)


def _in_a_room(network: bool) -> int:
    """This command again, where all that it makes lies below one cgroup. crun refuses a hybrid host without v1's hugetlb."""
    tag = f"validation-{os.getpid()}"
    wanted = ["hugetlb", *(["net_cls", "net_prio"] if network else [])]
    words = [sys.executable, "-m", "conformance.validation", *sys.argv[1:]]
    env = {**os.environ, INSIDE: tag, "PYTHONPATH": str(PROJECT)}
    return room.attend(room.enter(tag, wanted, *words), env)


def default_runtimes() -> list[Path]:
    found = [PROJECT / "build/pyrunc", *(Path(path) for name in ("runc", "crun") if (path := shutil.which(name)))]
    return [path for path in found if path.exists()]


def measure(program: Path, runtimes: list[Path], suite: Suite, timeout: float) -> Row:
    row = {}
    for runtime in runtimes:
        for _ in range(TRIES if program.stem in RACES else 1):
            row[runtime.name] = trial.run(program, runtime, suite.directory, timeout)
            trial.sweep(room.CGROUPS)
            if row[runtime.name].clean:
                break
    words = "  ".join(f"{name} {one.verdict} {one.seconds:.1f} s" for name, one in row.items())
    print(f"{program.stem}: {words}", file=sys.stderr, flush=True)
    return row


def show(rows: dict[str, Row], names: list[str], why: bool) -> int:
    """Print the table; 1 if our row of a test is neither clean nor what `expected.py` explains."""
    width = max(map(len, rows))
    print(f"\n{'':<{width}}" + "".join(f"  {name:<9}" for name in names))
    unexplained = []
    for name, row in rows.items():
        ours = row[names[0]]
        reason = EXPECTED.get(name)
        text = "" if ours.clean or not reason else f"{reason.kind}: {reason.text}"
        if not ours.clean and not (reason and reason.covers(ours)):
            text = f"UNEXPLAINED: {'; '.join(ours.reasons)}"
            unexplained.append(name)
        print(f"{name:<{width}}" + "".join(f"  {row[runtime].verdict:<9}" for runtime in names) + f"  {text}".rstrip())
        for runtime in names if why else []:
            for told in row[runtime].reasons:
                print(f"    {runtime}: {told}")
    print()
    for runtime in names:
        clean = sum(row[runtime].clean for row in rows.values())
        by_law = sum(row[runtime].clean or lawful(name, row[runtime]) for name, row in rows.items())
        print(f"{runtime}: {clean} of {len(rows)} clean, {by_law} with those that contradict the specification of today")
    worse = [name for name, row in rows.items() if not row[names[0]].clean and any(row[other].clean for other in names[1:])]
    if worse:
        print(f"clean with another runtime, not with {names[0]}: {', '.join(worse)}")
    if unexplained:
        print(f"unexplained: {', '.join(unexplained)}")
    return min(len(unexplained), 1)


if __name__ == "__main__":
    sys.exit(main())
