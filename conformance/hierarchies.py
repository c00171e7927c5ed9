"""v1 hierarchies that a test mounts for itself, in a mount namespace of its own, and gives back."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path


def bound(options: str) -> bool:
    """Whether a v1 hierarchy of these controllers, or of this name (name=...), is there, be it mounted or not."""
    if options.startswith("name="):
        return f":{options}:" in Path("/proc/self/cgroup").read_text()
    lines = [line.split() for line in Path("/proc/cgroups").read_text().splitlines()]
    return any(line[0] in options.split(",") and line[1] != "0" for line in lines)


def unseen() -> list[str]:
    """Those that are there but that we see no mount of, each by what mounts it.

    One stays after its last mount as long as a cgroup is left in it, and others may have mounted one for themselves.
    """
    names = [line.split(":")[1] for line in Path("/proc/self/cgroup").read_text().splitlines()]
    mounts = [line.partition(" - cgroup ")[2] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [name for name in names if name and not any(mount.endswith(f",{name}") for mount in mounts)]


def mount_command(options: str, place: object) -> list[str]:
    return ["mount", "-t", "cgroup", "-o", f"none,{options}" if options.startswith("name=") else options, "cgroup", str(place)]


@contextlib.contextmanager
def mounted(options: str, place: Path) -> Iterator[bool]:
    """Whether it is mounted at `place`, a new directory; in the end the controllers are free again, if they were before.

    False where the kernel has no such controller, or others use it otherwise. Raises TimeoutError when it stays bound.
    """
    others = bound(options)
    place.mkdir()
    try:
        if subprocess.run(mount_command(options, place), stderr=subprocess.DEVNULL).returncode:
            yield False
            return
        try:
            yield True
        finally:
            subprocess.run(["umount", place], check=True)
            if not others:
                _free(options, place)
    finally:
        place.rmdir()


def _free(options: str, place: Path) -> None:
    """A hierarchy outlives its last mount if a removed cgroup was still dying in it then: it takes one mount more.

    One that does go, goes a while after its last mount; who mounts it too early gets a new one, and has to wait again. The
    kernel lets removed cgroups die one after the other: after a hundred it takes half a minute.
    """
    for seconds in (0.2, 0.5, 1, 1, 2, 2, 4, 4, 8, 8, 16, 16):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if not bound(options):
                return
            time.sleep(0.02)
        subprocess.run(mount_command(options, place), check=True)
        subprocess.run(["umount", place], check=True)
    raise TimeoutError(f"the v1 hierarchy {options} stays bound")
