"""The host's cgroup hierarchies, as the bench needs them and as it found them."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from conformance.hierarchies import bound

CGROUPS = Path("/sys/fs/cgroup")


def add_hugetlb(work: Path) -> None:
    """crun 1.8 refuses a hybrid host without this v1 controller: give one to our private mount namespace, for all three."""
    if not (CGROUPS / "memory").is_dir() or ":hugetlb:" in Path("/proc/self/cgroup").read_text():
        return
    private = work / "cgroup"
    private.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", private], check=True)
    for hierarchy in CGROUPS.iterdir():
        (private / hierarchy.name).mkdir()
        subprocess.run(["mount", "--bind", hierarchy, private / hierarchy.name], check=True)
    (private / "hugetlb").mkdir()
    subprocess.run(["mount", "-t", "cgroup", "-o", "hugetlb", "none", private / "hugetlb"], check=True)
    subprocess.run(["mount", "--move", private, CGROUPS], check=True)


def release_hugetlb(work: Path) -> None:
    """Unmounted while a cgroup was in it or still dying, the hierarchy stays: mount it again, empty it, let go of it later."""
    empty = 'cd "$0" && find . -depth -type d -path "*$1*" -exec rmdir {} ";"; cd /'
    steps = f'mount -t cgroup -o hugetlb none "$0" && {empty}; sleep 0.5; umount "$0"; sleep 0.5'
    for _ in range(10):
        if not bound("hugetlb"):
            return
        private = ["unshare", "--mount", "--propagation", "private"]
        subprocess.run([*private, "sh", "-c", steps, work / "hugetlb", work.name], check=True)


def remove_cgroups(tag: str) -> None:
    """What an interrupted bench has left. Its processes have been killed, but they end in their own time."""
    for _ in range(50):
        left = [path for path, _, _ in os.walk(CGROUPS, topdown=False) if tag in path]
        if not left:
            return
        for path in left:
            try:
                os.rmdir(path)
            except OSError:
                time.sleep(0.1)
