"""Run by test_root.py in a mount namespace of its own, where mounts are shared with nobody else: a container whose root is a
mount of its own, and whether a mount that is made on one side shows on the other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.lifecycle.box import mountinfo


def call(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout


def main(place: str, rootfs: str, from_host: str, *rest: str) -> None:
    """Print "seen" or "hidden"."""
    *pyrunc, bundle, id = rest

    call("mount", "--bind", rootfs, rootfs)
    call("mount", "--make-shared", rootfs)
    run = [*pyrunc, "run", "--detach", "--bundle", bundle, id]
    subprocess.run(run, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        if from_host == "1":
            call("mount", "-t", "tmpfs", "tmpfs", rootfs + place)
            listed = call(*pyrunc, "exec", id, "cat", "/proc/self/mountinfo")
        else:
            call(*pyrunc, "exec", id, "mount", "-t", "tmpfs", "tmpfs", place)
            listed = Path("/proc/self/mountinfo").read_text()
        print("seen" if (place if from_host == "1" else rootfs + place) in mountinfo(listed) else "hidden")
    finally:
        call(*pyrunc, "delete", "--force", id)


if __name__ == "__main__":
    main(*sys.argv[1:])
