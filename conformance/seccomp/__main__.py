"""python3 -m conformance.seccomp [--profiles N] [--seed N] [--pyrunc PROGRAM] [--runc PROGRAM]: the corpus, with its counts.

First all profiles are compiled, and each decision is compared with that of libseccomp's own program, for every number up to the
newest and some beyond, on three architectures. Then, as root, a container is started for each by pyrunc and by runc; a static
probe makes the same system calls in both. runc is left out where it is missing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from conformance.seccomp.compare import Containers, compare_decisions, shared_profiles
from conformance.seccomp.corpus import Library


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m conformance.seccomp")
    parser.add_argument("--profiles", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pyrunc", default=str(Path(__file__).resolve().parents[2] / "build/pyrunc"))
    parser.add_argument("--runc", default=shutil.which("runc"))
    given = parser.parse_args()
    library = Library()
    profiles, decisions, faults = compare_decisions(library, given.profiles, given.seed)
    named = shared_profiles()
    for name, profile in named.items():
        _, more, wrong = compare_decisions(library, 0, given.seed, [profile])
        decisions += more
        faults += [f"{name}: {fault}" for fault in wrong]
    print(f"decisions: {profiles} random profiles and {len(named)} of engines, {decisions} compared, {len(faults)} differ")
    if os.geteuid() == 0:
        with Containers(given.pyrunc, given.runc) as containers:
            for number in range(given.profiles):
                containers.compare(given.seed * 1_000_000 + number)
            print(
                f"containers: {containers.count} profiles, {containers.calls} system calls tried in each container,"
                f" {len(containers.faults)} differ" + ("" if given.runc else " (without runc)")
            )
            faults += containers.faults
    for fault in faults[:20]:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
