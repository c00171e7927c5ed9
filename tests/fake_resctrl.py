"""A directory that does what the kernel's resctrl does when directories are made and removed in it: no test machine has the CPU.

`run`, in a process of its own, is pyrunc on a host where it is mounted.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

from pyrunc.cgroups import resctrl

DEFAULT = "    L3:0=fff;1=fff\n    MB:0=100;1=100\n"


def fill(path: Path) -> None:
    for name, text in (("schemata", DEFAULT), ("tasks", "")):
        (path / name).write_text(text)
    (path / "mon_groups").mkdir()


def make_top(path: Path) -> Path:
    path.mkdir()
    fill(path)
    (path / "info").mkdir()
    (path / "info/last_cmd_status").write_text("Mask out of range\n")
    return path


def mkdir(path: str) -> None:
    os.mkdir(path)
    fill(Path(path))


def rmdir(path: str) -> None:
    """The kernel takes the files of a group away with it."""
    if not os.path.isdir(path):
        os.rmdir(path)
    shutil.rmtree(path)


def install(top: str) -> None:
    resctrl.mount_point = lambda: top
    resctrl.make_directory, resctrl.remove_directory = mkdir, rmdir


def run() -> NoReturn:
    """The first argument is the mount point, the others are the command line."""
    from pyrunc.cli.main import main

    install(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
