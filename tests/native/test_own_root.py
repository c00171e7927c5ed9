"""OWN_ROOT: a chrooted runtime's root becomes the root of a mount namespace, because that is where setns(2) leads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.native.plan_harness import NEWUSER, Outcome, c, host, op

pytestmark = pytest.mark.needs_root
Go = Callable[..., Outcome]


def test_a_root_that_is_the_namespaces_stays_as_it_is(go: Go) -> None:
    before = os.readlink("/proc/self/ns/mnt")
    out = go([op("OWN_ROOT"), *host("sh", "-c", "busybox readlink /proc/self/ns/mnt; cd /; pwd")]).good()
    assert out.split() == [before, "/"]


def test_without_the_privilege_nothing_happens(go: Go) -> None:
    user = [op("UNSHARE", v=[NEWUSER]), op("SYNC", v=[c.SYNC_MAPS])]
    assert go([*user, op("OWN_ROOT", ok="EPERM"), *host("true")]).good() == ""


CHROOTED = """
import os, sys
os.chroot(sys.argv[1])
os.chdir("/")
sys.path.insert(0, sys.argv[2])
from tests.native.plan_harness import NEWNS, NEWUSER, c, host, op, run
program = os.open(sys.argv[3], os.O_RDONLY)
plan = [op("OPEN_PROC"), *([op("OWN_ROOT")] if sys.argv[4] == "own" else []), op("UNSHARE", v=[NEWUSER | NEWNS])]
got = run(program, [*plan, op("SYNC", v=[c.SYNC_MAPS]), *host("sh", "-c", "busybox grep -c . /proc/self/mountinfo")])
print(got.status, got.out.strip(), [message.error for message in got.errors])
"""


@pytest.mark.parametrize(("own", "said"), [("own", "0 "), ("not", "1  [1]")])
def test_a_chroot_becomes_a_root(init: int, tmp_path: Path, own: str, said: str) -> None:
    """Seen by what the kernel refuses to the chrooted: a user namespace."""
    project = Path(__file__).parents[2]
    enter = 'mount --rbind / "$0" && exec "$@" "$0"'
    program = f"/proc/{os.getpid()}/fd/{init}"
    command = f"import sys; sys.argv[1:] = [sys.argv[1], {str(project)!r}, {program!r}, {own!r}]\n{CHROOTED}"
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", enter, str(tmp_path), sys.executable, "-c", command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith(said), done
