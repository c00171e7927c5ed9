"""What a create that fails has begun is ended; what belongs to the host is left to it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import until
from tests.lifecycle.box import NAMESPACES, Box
from tests.lifecycle.sockets import Stuck


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


TAKEN_SECONDS = 10


def test_who_listens_but_takes_nothing(boxes: Callable[[], Box], session_dir: Path) -> None:
    """Each command waits for a while, and then takes everything back. All at once, as that takes long."""
    socket = Stuck(session_dir / f"{boxes().id}.sock")
    noted, with_terminal, plain, running = (boxes() for _ in range(4))
    rule = {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}
    noted.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule], "listenerPath": str(socket.path)}
    with_terminal.process["terminal"] = True
    agent = f"linux.seccomp.listenerPath: send the filter's listener to the agent at {socket.path}"
    console, pidfd = (f"send to {option} {socket.path}" for option in ("--console-socket", "--pidfd-socket"))
    running.up()
    inside = running.ex("ls -d /proc/[0-9]*/").count("\n")
    commands = []
    for box, said, words in (
        (noted, agent, ["create"]), (with_terminal, console, ["create", "--console-socket", socket.path]),
        (plain, pidfd, ["run", "--detach", "--pidfd-socket", socket.path]),
    ):  # fmt: skip
        box.args("sleep", "1000")
        commands.append((said, box.cli.argv(*words, "--bundle", box.bundle, box.id)))
    for option, said, flags in (("--console-socket", console, ["--tty"]), ("--pidfd-socket", pidfd, [])):
        words = ["exec", "--detach", *flags, option, socket.path, running.id, "sleep", "1000"]
        commands.append((f"exec failed: {said}", running.cli.argv(*words)))
    begun = time.monotonic()
    quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    made = [(said, subprocess.Popen(argv, **quiet)) for said, argv in commands]
    for said, process in made:
        error = process.communicate(timeout=60)[1]
        assert process.returncode and f'{said}: connection timed out"' in error, error
        assert "has not taken it for 10 s" in error.partition("hint=")[2]
        assert time.monotonic() - begun >= TAKEN_SECONDS
    assert not any(box.exists() for box in (noted, with_terminal, plain))
    assert running.ex("ls -d /proc/[0-9]*/").count("\n") == inside and running.status == "running"
    socket.close()
    running.down()


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
