"""The names and numbers of config/names.py, beside the system's headers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pyrunc.config import names
from pyrunc.config.names import sysctl_path

CLONE_FLAGS = {
    "pid": "CLONE_NEWPID", "network": "CLONE_NEWNET", "mount": "CLONE_NEWNS", "ipc": "CLONE_NEWIPC", "uts": "CLONE_NEWUTS",
    "user": "CLONE_NEWUSER", "cgroup": "CLONE_NEWCGROUP", "time": "CLONE_NEWTIME",
}  # fmt: skip
PROGRAM = """
#include <stdio.h>
#include <linux/capability.h>
#include <asm/resource.h>
#include <linux/sched.h>
#include <linux/mount.h>
int main(void)
{
    const struct { const char *name; unsigned long value; } all[] = { %s };
    for (unsigned long i = 0; i < sizeof all / sizeof *all; i++)
        printf("%%s %%lu\\n", all[i].name, all[i].value);
}
"""


def ours() -> dict[str, int]:
    flags = {name: value for name, value in vars(names).items() if name.startswith(("MS_", "MOUNT_ATTR_"))}
    clone = {CLONE_FLAGS[name]: flag for name, flag in names.NAMESPACES.items()}
    return {**names.CAPABILITIES, **names.RLIMITS, **flags, **clone}


@pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")
def test_numbers_are_the_systems(tmp_path: Path) -> None:
    numbers = ours()
    extra = ("CAP_LAST_CAP", "RLIM_NLIMITS")
    listed = ", ".join(f'{{"{name}", {name}}}' for name in (*numbers, *extra))
    (tmp_path / "names.c").write_text(PROGRAM % listed)
    subprocess.run(["gcc", "-o", tmp_path / "names", tmp_path / "names.c"], check=True)
    lines = subprocess.run([tmp_path / "names"], capture_output=True, text=True, check=True).stdout.splitlines()
    system = {name: int(value) for name, value in map(str.split, lines)}
    assert system.pop("RLIM_NLIMITS") == len(names.RLIMITS)
    assert system.pop("CAP_LAST_CAP") <= max(names.CAPABILITIES.values()), "Linux has a capability that we lack"
    assert system == numbers


def test_how_many_there_are() -> None:
    assert sorted(names.CAPABILITIES.values()) == list(range(41))
    assert sorted(names.RLIMITS.values()) == list(range(16))
    assert len(names.NAMESPACES) == 8 and len(names.HOOKS) == 6 and len(names.PROPAGATION) == 8


def test_names_are_sorted_into_one_table_each() -> None:
    tabled = [*names.MOUNT_ATTRS, *names.MOUNT_ATIME_CLEARS, *names.RECURSIVE_ATTRS, *names.PROPAGATION, *names.INERT_OPTIONS]
    assert len(set(tabled)) == len(tabled)
    assert set(names.SUPERBLOCK_FLAGS) & set(tabled) == {"ro", "rw"}
    for flag, contrary in names.SUPERBLOCK_FLAGS.items():
        assert not contrary or names.SUPERBLOCK_FLAGS[contrary] == flag


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("kernel.msgmax", "kernel/msgmax"),
        ("kernel/msgmax", "kernel/msgmax"),
        ("net.ipv4.conf.eth0/1.rp_filter", "net/ipv4/conf/eth0.1/rp_filter"),
        ("net/ipv4/conf/eth0.1/rp_filter", "net/ipv4/conf/eth0.1/rp_filter"),
        ("net", "net"),
        ("net.//.kernel.core_pattern", "net/../kernel/core_pattern"),
        ("net/../kernel", "net/../kernel"),
    ],
)
def test_sysctl_path(key: str, path: str) -> None:
    assert sysctl_path(key) == path
