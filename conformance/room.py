"""A place in which foreign tests may do as they like: what they make lies below one cgroup, and ends with a namespace.

    outer    a mount namespace with the v1 hierarchies that the machine has not mounted; a cgroup named `tag` in every hierarchy
    inner    a cgroup namespace, in which that cgroup is the root of everything, and /sys/fs/cgroup mounted anew

The tests' fixed names, such as /cgrouptest, are then names below the tag; each test adds mount and pid namespaces of its own.
`python3 -m conformance.room TAG CONTROLLERS WORD...` runs the words in such a place.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from conformance.hierarchies import mounted

CGROUPS = Path("/sys/fs/cgroup")
UNSHARE = ["unshare", "--mount", "--propagation", "private"]


def enter(tag: str, controllers: list[str], *words: str) -> list[str]:
    """The command that runs `words` in such a place, with these v1 controllers mounted if the kernel lets them be."""
    return [*UNSHARE, sys.executable, "-m", "conformance.room", tag, ",".join(controllers), *words]


def main(tag: str, controllers: str, *words: str) -> int:
    """The outer part; the exit status of `words`."""
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as mounts:
        wanted = {name: Path(scratch, name) for name in controllers.split(",") if name and not _shown(name)}
        added = [place for name, place in wanted.items() if mounts.enter_context(mounted(name, place))]
        tops = [*_mounted(CGROUPS), *added]
        try:
            for top in tops:
                _join(top / tag)
            kinds = [f"{top.name}={_kind(top)}" for top in tops if top != CGROUPS]
            inner = [*UNSHARE, "--cgroup", "sh", "-ec", INNER, "room", *kinds, "--", *words]
            status = attend(inner)
        finally:
            for top in tops:
                (top / "cgroup.procs").write_text("0")  # out of it, back to where no room is
                clear(top / tag)
    return status


def attend(words: Sequence[str], env: dict[str, str] | None = None) -> int:
    """Run and wait; if we are told to end, it is told too, and its own end is waited for."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    process = subprocess.Popen(words, env=env)
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise


INNER = """
if [ "$1" = -- ]; then # cgroup v2: controllers are for the children of a cgroup without processes
    shift
    mount -t cgroup2 cgroup /sys/fs/cgroup
    mkdir /sys/fs/cgroup/runner
    echo $$ >/sys/fs/cgroup/runner/cgroup.procs
    exec "$@"
fi
new=$(mktemp -d)
mount -t tmpfs -o mode=755 cgroup "$new"
while [ "$1" != -- ]; do
    mkdir "$new/${1%%=*}"
    kind=${1#*=}
    mount -t "${kind%%:*}" -o "${kind#*:}" cgroup "$new/${1%%=*}"
    shift
done
shift
mount --move "$new" /sys/fs/cgroup
rmdir "$new"
exec "$@"
"""


def clear(cgroup: Path, seconds: float = 20) -> None:
    """Remove it and all below it; processes that were killed may take their time. Raises OSError when it stays."""
    end = time.monotonic() + seconds
    while cgroup.exists():
        try:
            for path, _, _ in os.walk(cgroup, topdown=False):
                os.rmdir(path)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def _mounted(place: Path) -> list[Path]:
    """The one hierarchy of a v2 host, or all of v1's and the hybrid's cgroup2."""
    if (place / "cgroup.procs").exists():
        return [place]
    return sorted(path for path in place.iterdir() if (path / "cgroup.procs").exists())


def _kind(top: Path) -> str:
    """The file system and the option that mount this hierarchy once more."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[4] == str(top):
            kind, _, options = after.split()
            return f"{kind}:" + ",".join(word for word in options.split(",") if word not in ("rw", "ro"))
    raise FileNotFoundError(f"{top} is no mount")


def _shown(controller: str) -> bool:
    """Whether the machine has it where everybody looks; a v2 host keeps its controllers."""
    return (CGROUPS / controller).exists() or (CGROUPS / "cgroup.procs").exists()


def _join(cgroup: Path) -> None:
    cgroup.mkdir()
    for name in ("cpuset.cpus", "cpuset.mems"):
        if (cgroup / name).exists():
            (cgroup / name).write_text((cgroup.parent / name).read_text())
    (cgroup / "cgroup.procs").write_text("0")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
