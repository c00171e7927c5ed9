"""What only podman does."""

from __future__ import annotations

import os
import shutil
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


@podman
def user_namespace(engine: Podman) -> None:
    """run --uidmap: podman's own files lie where the mapped root may not go; a volume with mapped ids"""
    maps = [word for kind in ("uid", "gid") for word in (f"--{kind}map", "0:200000:65536")]
    volume, rootfs = engine.work / "volume", engine.work / "mapped"
    volume.mkdir()
    (volume / "file").write_text("mapped")
    os.chown(volume / "file", 1000, 1000)
    shutil.copytree(engine.rootfs, rootfs, symlinks=True)
    for directory, _, _ in os.walk(rootfs):
        os.chown(directory, 200000, 200000)  # as podman does with an image, so that mount points can be made
    script = "cat /proc/self/uid_map /v/file; stat -c %u:%g /v/file"
    try:
        where = ["-v", f"{volume}:/v:idmap", *engine.COMMON, "--rootfs", rootfs]
        done = engine("run", "--rm", *maps, *where, "sh", "-ec", script)
    finally:
        shutil.rmtree(volume)
        shutil.rmtree(rootfs)
    assert done.out.split() == ["0", "200000", "65536", "mapped1000:1000"], done
