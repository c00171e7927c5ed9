"""Another process's cgroup: to move it there, and where it is."""

from __future__ import annotations

import time
from errno import EINVAL

from ..errors import CgroupError
from ..kernel import os
from . import files


def cgroup2_of(pid: int, top: str) -> str:
    """The directory of a process's cgroup2, which is the container's, `top`, or lies below it."""
    try:
        lines = files.read(f"/proc/{pid}/cgroup").splitlines()
    except OSError:
        return top
    for path in (line[3:] for line in lines if line.startswith("0::")):
        # procfs gives the path from the root of the hierarchy, `top` from the root of the file system.
        head = path
        while len(head) > 1:
            if top.endswith(head):
                return top + path[len(head) :]
            head = os.path.dirname(head)
    return top


def enter(directory: str, pid: int) -> None:
    """Move the process `pid` there. Raises CgroupError."""
    for attempt in range(5):
        try:
            return files.write(directory + "/cgroup.procs", str(pid))
        except OSError as error:
            if error.errno == EINVAL and attempt < 4:
                # A process in the middle of an exec or an exit is refused; that passes.
                time.sleep(0.03)
                continue
            raise CgroupError.of(f"put process {pid} into cgroup {directory}", error) from None
