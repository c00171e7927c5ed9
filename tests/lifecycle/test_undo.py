"""What a create that fails has begun is ended; what belongs to the host is left to it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import until
from tests.lifecycle.box import NAMESPACES, Box


def alone(word: str) -> bool:
    """Whether no process is left with this word on its command line."""
    wanted = f"sleep\0{word}\0".encode()
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if file.read_bytes().endswith(wanted):
                return False
    return True


def test_what_a_hook_has_left_behind_ends_with_a_create_that_fails(box: Box) -> None:
    """Without a pid namespace nothing else would end it, and its cgroup could not be removed."""
    box.share("pid")
    daemon = {"path": "/bin/sh", "args": ["sh", "-c", "sleep 7717 >/dev/null 2>&1 & exit 0"]}
    box.config["hooks"] = {"createContainer": [daemon, {"path": "/bin/false"}]}
    assert "createContainer hook #1" in box.refused()
    until(lambda: alone("7717"), 60, "the hook's process lives on")


@pytest.mark.parametrize(
    ("kind", "members", "word"),
    [
        ("mount", {}, "needs a mount namespace"),
        ("uts", {}, "hostname: needs a namespace of type uts"),
        ("network", {"sysctl": {"net.ipv4.ip_forward": "1"}}, "needs a namespace of type network"),
        ("ipc", {"sysctl": {"kernel.msgmax": "8192"}}, "needs a namespace of type ipc"),
    ],
)
def test_the_runtimes_own_namespace_is_not_the_containers(
    box: Box, tmp_path: Path, kind: str, members: dict[str, object], word: str
) -> None:
    """Its root must not be pivoted away, nor its hostname or sysctls changed. Tried apart from the host's."""
    box.namespace(kind, f"/proc/self/ns/{NAMESPACES[kind]}")
    box.linux.update(members)
    box.bundle.write()
    script = 'exec 3>&1 >/dev/null; "$@" 3>&-; status=$?; ls -di / >&3; exit $status'
    create = box.cli.argv("run", "--detach", "--bundle", box.bundle, box.id)
    isolated = ["unshare", *("--mount", "--propagation", "private", "--net", "--uts", "--ipc")]
    with open(tmp_path / "err", "w+") as err:
        argv = [*isolated, "sh", "-c", script, "sh", *create]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err, text=True, timeout=60)
    assert done.returncode == 1 and word in (tmp_path / "err").read_text()
    assert done.stdout.split() == [str(os.stat("/").st_ino), "/"]
