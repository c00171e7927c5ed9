"""What only podman does."""

from __future__ import annotations

import os
import signal

from conformance.callers.engines import Podman
from conformance.callers.scenarios.table import on

podman = on("podman")


@podman
def without_json_log(engine: Podman) -> None:
    """run: the same errors without a JSON log"""
    engine.json = False
    try:
        engine.run("/no/such/command", status=127).says("no such file or directory")
        engine.run("/etc", status=126).says("permission denied")
        engine.run("sh", "-c", "echo out; exit 7", status=7).prints("out")
        with engine.container("sleep", "100") as name:
            engine("exec", name, "/no/such", status=127).says("no such file or directory")
    finally:
        engine.json = True


@podman
def execute_missing(engine: Podman) -> None:
    """exec: a missing command is 127, a directory 126"""
    with engine.container("sleep", "100") as name:
        engine("exec", name, "/no/such", status=127).says("/no/such", "no such file or directory")
        engine("exec", name, "/etc", status=126).says("/etc", "permission denied")
        engine("exec", name, "echo", "alive").prints("alive")


@podman
def created_by_init(engine: Podman) -> None:
    """init without start, then rm: a container that waits"""
    name = engine.name()
    engine("create", "--name", name, *engine.COMMON, *engine.image(), "sleep", "100")
    engine("init", name)
    engine("inspect", "--format", "{{.State.Status}}", name).prints("initialized")
    engine(*engine.REMOVE, name)


@podman
def state_asked(engine: Podman) -> None:
    """kill when init has ended and conmon has not seen it: podman asks state"""
    with engine.container("sleep", "100") as name:
        conmon = int(engine("inspect", "--format", "{{.State.ConmonPid}}", name).out)
        os.kill(conmon, signal.SIGSTOP)
        try:
            os.kill(engine.pid(name), signal.SIGKILL)
            # podman 4.3.1 calls state without an environment, and with a stderr that nobody reads.
            engine("kill", name, status=125).says("container not running", "container state improper: stopped")
        finally:
            os.kill(conmon, signal.SIGCONT)
        engine("wait", name).prints("137")


@podman
def no_cgroups(engine: Podman) -> None:
    """run --cgroups=disabled: it stays where podman is"""
    common = [word for word in engine.COMMON if word not in ("--cgroup-parent", f"/{engine.sandbox.tag}")]
    result = engine("run", "--rm", "--cgroups=disabled", *common, *engine.image(), "cat", "/proc/self/cgroup")
    assert engine.sandbox.tag not in result.out and "libpod" not in result.out, result
