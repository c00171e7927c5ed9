"""Tests of pyrunc in a throw-away Debian 12: systemd as process 1, cgroup v2 or v1, AppArmor, CRIU, a user with a session.

The first call builds the machine's image, from packages of the archive that apt is configured for. What follows the options
goes to pytest, whose exit status is this command's; without it, all tests that make containers or cgroups are run.
Exit status 125 says that there was no machine to run them in, and why; 124 that the time was over.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from conformance.vm import image
from conformance.vm.machine import Failed, Machine, TimeIsOver, within

PROJECT = Path(__file__).resolve().parents[2]
WHOLE = [
    *("tests/lifecycle", "tests/native", "tests/unit/test_cgroup_fake.py", "tests/unit/test_cgroup_paths.py"),
    "tests/callers/test_callers_vm.py",
]
SMOKE = [
    "tests/lifecycle/test_commands.py::test_the_life_of_a_container",
    "tests/lifecycle/test_update.py::test_every_option",
    "tests/lifecycle/test_cgroups_v2.py::test_life",
    "tests/lifecycle/test_cgroups_v2.py::test_new_rules_replace_the_program",
    "tests/lifecycle/test_systemd.py::test_a_life",
    "tests/lifecycle/test_systemd.py::test_update",
    "tests/lifecycle/test_systemd.py::test_a_user",
    "tests/lifecycle/test_apparmor.py::test_create_and_exec",
    "tests/lifecycle/test_rootless.py::test_limits_in_a_cgroup_that_is_the_users",
    "tests/lifecycle/test_checkpoint.py::test_a_counter_goes_on_counting",
]
"""One of each kind that needs the machine."""

NO_MACHINE, TIME_IS_OVER = 125, 124
"""Exit statuses that are none of pytest's; env(1) and timeout(1) have them for the same."""

HIERARCHIES = {
    "v2": "systemd.unified_cgroup_hierarchy=1",
    "v1": "systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=1",
    "hybrid": "systemd.unified_cgroup_hierarchy=0",
}
"""What makes systemd mount them, systemd(1)."""

PREPARE_SECONDS = 300
"""For copying and building the project, which takes some ten."""

LEFT_OUT = shutil.ignore_patterns(".git", "build", "__pycache__", "*.so", "*.egg-info", ".*_cache", ".hypothesis", ".tox")


def arguments() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        "conformance/vm/run", usage="%(prog)s [options] [pytest's arguments]", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--cgroup", choices=HIERARCHIES, default="v2", help="the hierarchies that systemd mounts (v2)")
    parser.add_argument("--smoke", action="store_true", help="only a part that takes some three minutes")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write pytest's results to FILE, as JUnit does")
    parser.add_argument("--shell", metavar="TEXT", help="run this instead of pytest, by bash, in the copy of the project")
    parser.add_argument("--dir", type=Path, default="/var/tmp/pyrunc-vm", help="where the image is kept, 3 GB (%(default)s)")
    parser.add_argument("--rebuild", action="store_true", help="build the image anew")
    parser.add_argument("--time", type=float, default=7200, metavar="SECONDS", help="for all but building (%(default)g)")
    parser.add_argument("--build-time", type=float, default=3600, metavar="SECONDS", help="for building (%(default)g)")
    parser.add_argument("--memory", type=int, default=2048, metavar="MIB", help="of the machine (%(default)s)")
    parser.add_argument("--console", action="store_true", help="show what the kernel and systemd say")
    return parser.parse_known_args()


def main() -> int:
    options, words = arguments()
    if os.geteuid() != 0:
        print("conformance/vm/run: must be root: it builds a Debian and shares files with it", file=sys.stderr)
        return NO_MACHINE
    if words[:1] == ["--"]:
        del words[0]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TIME_IS_OVER))  # of timeout(1): what was started is stopped
    try:
        return run(options, words)
    except (Failed, OSError) as failure:
        print(f"conformance/vm/run: {failure}", file=sys.stderr)
        return TIME_IS_OVER if isinstance(failure, TimeIsOver) else NO_MACHINE


def run(options: argparse.Namespace, words: list[str]) -> int:
    """pytest's exit status, or the shell's. Raises Failed, TimeIsOver, OSError."""
    with within(options.build_time, "building the machine"):
        root = image.ensure(options.dir.resolve(), rebuild=options.rebuild)
    with tempfile.TemporaryDirectory(prefix="share-", dir=options.dir) as share:
        with within(PREPARE_SECONDS, "building the project"):
            prepare(Path(share), root)
        text = options.shell or pytest(words, smoke=options.smoke, junit=bool(options.junit))
        (Path(share) / "command").write_text(text + "\n")
        machine = Machine(options.dir.resolve(), memory=options.memory, console=options.console)
        status = machine.run(Path(share), HIERARCHIES[options.cgroup], options.time)
        if options.junit:
            shutil.copy(Path(share) / "junit.xml", options.junit)
    return status


def pytest(words: list[str], *, smoke: bool, junit: bool) -> str:
    """The command line. Options alone do not say which tests: then it is the whole, or the smoke."""
    named = any(not word.startswith("-") and (PROJECT / word.partition("::")[0]).exists() for word in words)
    chosen = words if named else [*words, *(SMOKE if smoke else WHOLE)]
    return shlex.join(["python3", "-m", "pytest", *(["--junitxml=/work/junit.xml"] if junit else []), *chosen])


def prepare(share: Path, root: Path) -> None:
    """A copy of the project, built by the guest's own compiler and interpreter, which run here and not emulated.

    Raises Failed when nothing can be run in the guest's root. A project that does not build is a failure like a test's.
    """
    image.inside(root, "true")
    share.chmod(0o755)
    shutil.copytree(PROJECT, share / "project", symlinks=True, ignore=LEFT_OUT)
    script = 'mount --bind "$0" "$1/work" && cd "$1/work" && exec chroot "$1" sh -c "$2"'
    build = "cd /work/project && exec python3 -W ignore setup.py -q build_inplace"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, share, root, build],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, env={"PATH": image.PATH, "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"conformance/vm/run: the project does not build in the guest's root:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    sys.exit(main())
