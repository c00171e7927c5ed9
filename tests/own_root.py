"""Run a command with this process's root as the root of a mount namespace of its own: python3 tests/own_root.py COMMAND...

For a test run in a chroot, where the kernel makes no user namespace (user_namespaces(7)). What is mounted outside of the chroot
is out of reach for the command.
"""

from __future__ import annotations

import ctypes
import os
import sys

CLONE_NEWNS, MS_BIND, MS_REC, MS_SLAVE, MNT_DETACH = 0x20000, 0x1000, 0x4000, 1 << 19, 2
PIVOT_ROOT = {"x86_64": 155}.get(os.uname().machine, 41)

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *args: object) -> None:
    if getattr(libc, name)(*args) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), name)


def own_root() -> None:
    """setns(2) leads to the namespace's own root, from where the chroot is a directory with a name."""
    root, namespace = os.open("/", os.O_PATH | os.O_DIRECTORY), os.open("/proc/self/ns/mnt", os.O_RDONLY)
    call("setns", namespace, CLONE_NEWNS)
    os.fchdir(root)
    call("unshare", CLONE_NEWNS)
    call("mount", None, b"/", None, MS_SLAVE | MS_REC, None)
    call("mount", b".", b".", None, MS_BIND | MS_REC, None)
    os.chdir(os.getcwd())  # onto the new mount
    call("syscall", PIVOT_ROOT, b".", b".")
    call("umount2", b".", MNT_DETACH)


if __name__ == "__main__":
    here = os.getcwd()
    own_root()
    os.chdir(here)
    os.execvp(sys.argv[1], sys.argv[1:])
