"""Labels of security modules. This kernel may have none in force: what writing one does is seen at attributes that every kernel
has, and with the real AppArmor in lifecycle/test_apparmor.py."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.native.plan_harness import NEWNS, NEWPID, PROC, Outcome, c, host, op, prelude, sh, tmpfs

pytestmark = pytest.mark.needs_root
Go = Callable[..., Outcome]
REAL = NEWNS | NEWPID


def label(attribute: str, text: str, older: str | None = None) -> object:
    return op("LABEL", attribute, text, older)


HOLD = [op("SYNC", v=[c.SYNC_READY]), *host("true")]


def name_when_held(go: Go, *ops: object) -> str:
    seen = []
    go([*ops, *HOLD], at={c.SYNC_READY: lambda child: seen.append(Path(f"/proc/{child.pid}/comm").read_text())}).good()
    return str(seen[0]).strip()


def test_an_attribute_of_the_process_itself_is_written(go: Go) -> None:
    assert name_when_held(go, op("OPEN_PROC"), label("comm", "written")) == "written"
    assert name_when_held(go, op("OPEN_PROC"), op("UNSHARE", v=[NEWPID]), op("FORK"), label("comm", "in-a-fork")) == "in-a-fork"


def test_the_older_name_is_for_where_the_newer_does_not_exist(go: Go) -> None:
    assert name_when_held(go, op("OPEN_PROC"), label("attr/no-such/exec", "older", "comm")) == "older"
    assert name_when_held(go, op("OPEN_PROC"), label("comm", "newer", "attr/no-such")) == "newer"


@pytest.mark.parametrize("older", [None, "attr/no-such-either"])
def test_neither_exists(go: Go, older: str | None) -> None:
    ops = [op("OPEN_PROC"), label("attr/no-such", "x", older), *host("true")]
    assert go(ops).bad(ops, "LABEL", "OPEN", errno.ENOENT).detail == f"`/proc/self/{older or 'attr/no-such'}`"


def test_what_the_kernel_refuses(go: Go) -> None:
    """timens_offsets of a process whose namespace is in use: any attribute that can be refused."""
    ops = [op("OPEN_PROC"), label("oom_score_adj", "no number", "comm"), *host("true")]
    assert go(ops).bad(ops, "LABEL", "WRITE", errno.EINVAL).detail == "`/proc/self/oom_score_adj`"


@pytest.mark.parametrize("way", ["../1/comm", "../self/comm", "cwd/x", "root/proc/self/comm", "task/../../1/comm"])
def test_an_attribute_is_in_the_processes_own_directory(go: Go, way: str) -> None:
    ops = [op("OPEN_PROC"), label(way, "x"), *host("true")]
    got = go(ops)
    assert got.status == 1 and got.errors[0].value == c.AT_OPEN and got.errors[0].error in (errno.EXDEV, errno.ELOOP)


def test_joining_a_container_leaves_the_hosts_procfs_behind(go: Go) -> None:
    pidfd = os.pidfd_open(os.getpid())
    ops = [op("OPEN_PROC"), op("JOIN", v=[NEWNS]), label("comm", "x"), *host("true")]
    assert go(ops, slots={c.SLOT_PIDFD: pidfd}).bad(ops, "LABEL", "OPEN", errno.EBADF).detail == "`/proc/self/comm`"
    os.close(pidfd)


def test_a_mounts_root_directory_is_labelled(go: Go, rootfs: Path) -> None:
    (rootfs / "made").mkdir()
    assert go([*prelude(rootfs, REAL), op("FILE_LABEL", "/made", "u:r:t:s0"), *sh("true")]).good() == ""
    assert os.getxattr(rootfs / "made", "security.selinux").rstrip(b"\0") == b"u:r:t:s0"


def test_only_a_directory_inside_the_root_is_labelled(go: Go, rootfs: Path, tmp_path: Path) -> None:
    (rootfs / "link").symlink_to(tmp_path)
    os.mkfifo(rootfs / "fifo")
    for path, error in (("/link", errno.ENOENT), ("/fifo", errno.ENOTDIR), ("/etc/passwd", errno.ENOTDIR)):
        ops = [*prelude(rootfs, REAL), op("FILE_LABEL", path, "u:r:t:s0"), *sh("true")]
        go(ops).bad(ops, "FILE_LABEL", "RESOLVE", error)
    assert "security.selinux" not in os.listxattr(tmp_path)
    ops = [*prelude(rootfs), PROC, op("FILE_LABEL", "/proc", "u:r:t:s0"), *sh("true")]
    assert go(ops).status == 1


def test_masks_take_their_options_from_the_plan(go: Go, rootfs: Path) -> None:
    """As a context= would be; here one that every kernel knows."""
    mask = op("MASK_PATH", "/var", ["nr_blocks=1", "nr_inodes=1", "mode=710"])
    modes = go([*prelude(rootfs, REAL), tmpfs("/tmp"), mask, op("MASK_PATH", "/run"), *sh("stat -c %a /var /run")]).good()
    assert modes.split() == ["710", "710"], "the first mask's file system serves all"
    assert stat.S_IMODE((rootfs / "var").stat().st_mode) == 0o755
    ops = [*prelude(rootfs, REAL), op("MASK_PATH", "/var", ["context=u:r:t:s0"]), *sh("true")]
    if not os.path.exists("/sys/fs/selinux"):
        assert "context" in go(ops).bad(ops, "MASK_PATH", "FSCONFIG", errno.EINVAL).detail
