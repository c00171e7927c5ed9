"""What only podman does."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess

from conformance.callers.engines import Podman
from conformance.callers.material import IMAGE
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
    """run --uidmap: podman's own files lie where the mapped root may not go; a volume with mapped ids, where there can be one"""
    maps = [word for kind in ("uid", "gid") for word in (f"--{kind}map", "0:200000:65536")]
    volume, rootfs = engine.work / "mapped-volume", engine.work / "mapped"
    volume.mkdir()
    (volume / "file").write_text("mapped")
    os.chown(volume / "file", 1000, 1000)
    kind = subprocess.run(["stat", "-f", "-c", "%T", volume], capture_output=True, text=True, check=True).stdout.strip()
    option, owner = (":idmap", 1000) if kind in ("ext2/ext3", "xfs", "btrfs") else ("", 65534)
    shutil.copytree(engine.rootfs, rootfs, symlinks=True)
    for directory, _, _ in os.walk(rootfs):
        os.chown(directory, 200000, 200000)  # as podman does with an image, so that mount points can be made
    script = "cat /proc/self/uid_map /v/file; stat -c %u:%g /v/file"
    try:
        where = ["-v", f"{volume}:/v{option}", *engine.COMMON, "--rootfs", rootfs]
        done = engine("run", "--rm", *maps, *where, "sh", "-ec", script)
    finally:
        shutil.rmtree(volume)
        shutil.rmtree(rootfs)
    assert done.out.split() == ["0", "200000", "65536", f"mapped{owner}:{owner}"], done


@podman
def mapped_ids(engine: Podman) -> None:
    """run --uidmap, --gidmap: a user namespace"""
    engine.load_image()
    maps = ["--uidmap", "0:200000:1000", "--gidmap", "0:200000:1000"]
    script = "cat /proc/self/uid_map; touch /root/x; stat -c %u /root/x"
    result = engine("run", "--rm", *maps, *engine.COMMON, IMAGE, "sh", "-c", script)
    assert result.out.split() == ["0", "200000", "1000", "0"], result


@podman
def without_conmons_cgroup(engine: Podman) -> None:
    """run --cgroups=no-conmon"""
    result = engine.run("cat", "/proc/self/cgroup", options=["--cgroups", "no-conmon"])
    assert f":/{engine.sandbox.tag}/libpod-" in result.out, result


@podman
def health(engine: Podman) -> None:
    """healthcheck run, of one that is well and one that is not"""
    options = ["--health-cmd", "test -e /tmp/ok", "--health-interval", "disable"]
    with engine.container("sleep", "100", options=options) as name:
        engine("healthcheck", "run", name, status=1)
        engine("exec", name, "touch", "/tmp/ok")
        engine("healthcheck", "run", name)


@podman
def pod(engine: Podman) -> None:
    """pod create, two containers in its namespaces, pod pause, stats, generate kube, pod rm, kube play, kube down"""
    engine.load_image()
    options = ["--infra-image", IMAGE, "--infra-command", "sleep 1000", "--cgroup-parent", f"/{engine.sandbox.tag}"]
    pods = [engine("pod", "create", "--name", "pp", "--network", "none", *options).out.strip()]
    try:
        engine("run", "-d", "--pod", "pp", "--name", "one", IMAGE, "sleep", "100")
        script = "hostname; for kind in net ipc uts pid; do readlink /proc/self/ns/$kind; done"
        one = engine("exec", "one", "sh", "-c", script).out.split()
        two = engine("run", "--rm", "--pod", "pp", IMAGE, "sh", "-c", script).out.split()
        assert one[:4] == two[:4] and one[0] == "pp" and one[4] != two[4], (one, two)
        engine("pod", "pause", "pp")
        engine("pod", "unpause", "pp")
        engine("pod", "stats", "--no-stream", "pp").says("one")
        kube = engine.work / "kube.yml"
        kube.write_text(engine("generate", "kube", "pp").out)
        engine("pod", "rm", "-f", "-t", "0", "pp")
        engine("kube", "play", "--network", "none", kube)
        pods += engine("pod", "ps", "--quiet", "--no-trunc").out.split()
        engine("exec", "pp-one", "echo", "played").prints("played")
        engine("kube", "down", kube)
        engine("ps", "-aq").prints("")
    finally:
        pods += engine("pod", "ps", "--quiet", "--no-trunc").out.split()
        engine.sandbox.run(*engine.command(), "pod", "rm", "-f", "-t", "0", "pp", env=engine.environment())
        engine.forget_pods(*pods)
