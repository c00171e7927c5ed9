"""A runtime in a chroot: its containers are as far from the host as any."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lifecycle.box import Box


@pytest.fixture
def chrooted(box: Box, tmp_path: Path) -> Callable[..., str]:
    """Run the runtime below a copy of the mount tree, from where the same paths lead to the same files."""

    def call(*args: object) -> str:
        enter = 'mount --rbind / "$0" && exec chroot "$0" "$@"'
        unshare = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", enter, str(tmp_path)]
        # Not a pipe: a created container holds what it was given.
        with tempfile.TemporaryFile("w+") as out:
            done = subprocess.run([*unshare, *box.cli.argv(*args)], stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=60)
            out.seek(0)
            said = out.read()
        assert done.returncode == 0, said
        return said

    return call


@pytest.mark.parametrize("user_namespace", [False, True])
def test_exec_finds_the_containers_root_and_not_the_hosts(
    box: Box, chrooted: Callable[..., str], user_namespace: bool
) -> None:
    """pivot_root(2) in a chroot leaves the namespace's own root outside, and setns(2) of exec leads there."""
    if user_namespace:
        box.map_ids()
    (box.rootfs / "marker").touch()
    box.args("sleep", "100")
    chrooted("create", "--bundle", box.bundle, box.id)
    chrooted("start", box.id)
    assert "marker" in chrooted("exec", box.id, "ls", "/").split()
    assert "marker" in box.cli("exec", box.id, "ls", "/", check=True).stdout.split()
    box.kill()
    box.stopped()
    box.delete()
