"""What is only seen where systemd is process 1: scopes and their limits, users' containers, CRIU."""

from __future__ import annotations

from pathlib import Path

from conformance.callers.scenarios.containerd import ends
from conformance.callers.scenarios.table import LOOP, on, until
from conformance.callers.systemd import ContainerdSystemd, PodmanRootless, PodmanSystemd, Units

podman = on("podman-systemd", "podman-rootless")
podman_root = on("podman-systemd")
podman_user = on("podman-rootless")
ctr = on("containerd-systemd")

COUNT = "i=0; while :; do i=$((i+1)); echo $i >>/count; sleep 0.05; done"
LIMITS = "cd /sys/fs/cgroup; cat memory.max pids.max cpu.max"
MEBI = 1 << 20
CHECKPOINT = "localhost/checkpoint:test"


@podman
def scope(engine: PodmanSystemd) -> None:
    """run -d with limits, update, exec, pause, stop: a scope of systemd's for as long as it runs"""
    options = ["--memory", "64m", "--pids-limit", "33", "--cpus", "0.5"]
    with engine.container("sh", "-c", LOOP, options=options) as name:
        unit = engine.unit(name)
        shows(engine, unit, ActiveState="active", Slice=engine.slice, ControlGroup=f"/{engine.sandbox.tag}/{unit}")
        shows(engine, unit, MemoryMax=str(64 * MEBI), TasksMax="33", CPUQuotaPerSecUSec="500ms")
        engine("exec", name, "sh", "-c", LIMITS).prints(f"{64 * MEBI}\n33\n50000 100000")
        engine("update", "--memory", "80m", name)
        shows(engine, unit, MemoryMax=str(80 * MEBI))
        engine("exec", name, "sh", "-c", LIMITS + "; exit 5", status=5).prints(f"{80 * MEBI}\n33\n50000 100000")
        engine("pause", name)
        engine("inspect", "--format", "{{.State.Status}}", name).prints("paused")
        engine("unpause", name)
        engine("stop", "-t", "300", name)
        engine("wait", name).prints("3")
        forgotten(engine, unit)


@podman_user
def output(engine: PodmanRootless) -> None:
    """run as a user: output, status, root in a user namespace of the lent ids; --userns keep-id"""
    script = "id -u; cat /proc/self/uid_map; exit 7"
    ids = engine.run("sh", "-c", script, status=7).out.split()
    assert ids[:5] == ["0", "0", str(engine.user.pw_uid), "1", "1"] and int(ids[6]) > 1000, ids
    own = str(engine.user.pw_uid)
    engine.run("id", "-u", options=["--userns", "keep-id"]).prints(own)


@podman_root
def checkpoint(engine: PodmanSystemd) -> None:
    """container checkpoint, container restore: a counter goes on"""
    count = engine.rootfs / "count"
    try:
        with engine.container("sh", "-c", COUNT) as name:
            unit = engine.unit(name)
            await_more(count, 0)
            engine("container", "checkpoint", name)
            engine("inspect", "--format", "{{.State.Status}}", name).prints("exited")
            forgotten(engine, unit)
            before = last(count)
            engine("container", "restore", name)
            await_more(count, before)
            shows(engine, unit, ActiveState="active")
            engine("exec", name, "sh", "-c", "exit 6", status=6)
        assert consecutive(count), count.read_text()
    finally:
        count.unlink(missing_ok=True)


@ctr
def task(engine: ContainerdSystemd) -> None:
    """run -d --runc-systemd-cgroup, metrics, exec, pause, resume, kill, delete: a scope for as long as it runs"""
    with engine.container("/bin/sh", "-c", LOOP, options=["--memory-limit", str(64 * MEBI)]) as name:
        unit = engine.unit(name)
        shows(engine, unit, ActiveState="active", Slice=engine.slice, MemoryMax=str(64 * MEBI))
        metrics = {line.split()[0]: line.split()[1:] for line in engine("task", "metrics", name).out.splitlines() if line.strip()}
        assert metrics["memory.usage_limit"] == [str(64 * MEBI)] and int(metrics["pids.current"][0]) > 0, metrics
        engine("task", "exec", "--exec-id", "e1", name, "/bin/sh", "-c", "echo in; exit 6", status=6).prints("in")
        engine("task", "pause", name)
        assert engine("task", "list").out.splitlines()[1].split()[2] == "PAUSED"
        engine("task", "resume", name)
        engine("task", "kill", "-s", "TERM", name)
        ends(engine, name)
        engine("task", "delete", name).says("exit code 3")
        forgotten(engine, unit)


@ctr
def restored(engine: ContainerdSystemd) -> None:
    """containers checkpoint --task, containers restore --live: a counter goes on"""
    engine.load_image()
    with engine.container("/bin/sh", "-c", COUNT, image=True) as name:
        await_more(count := counted(engine, name), 0)
        engine("container", "checkpoint", "--task", name, CHECKPOINT)
        await_more(count, before := last(count))  # it was only paused
        engine.end(name)
        forgotten(engine, engine.unit(name))
    other = engine.name()
    try:
        engine("container", "restore", "--live", other, CHECKPOINT)
        await_more(count := counted(engine, other), before)
        first = int(count.read_text().split()[0])
        assert 1 < first and consecutive(count), "a new root file system, and a program that is not"
    finally:
        engine.end(other)
        engine("container", "delete", other)
        engine("image", "remove", CHECKPOINT)


@ctr
def dumped(engine: ContainerdSystemd) -> None:
    """tasks checkpoint --exit --image-path: CRIU's images, and the task has ended"""
    images = engine.work / "images"
    with engine.container("/bin/sh", "-c", LOOP) as name:
        engine("task", "checkpoint", "--exit", "--image-path", images, name)
        assert (images / "inventory.img").stat().st_size
        ends(engine, name)
        forgotten(engine, engine.unit(name))


def shows(engine: Units, unit: str, **expected: str) -> None:
    """What systemd says of it."""
    assert (shown := engine.show(unit, *expected)) == expected, f"{unit}: {shown} is not {expected}"


def forgotten(engine: Units, unit: str) -> None:
    """systemd has it no more."""
    until(lambda: engine.show(unit, "LoadState") == {"LoadState": "not-found"})


def counted(engine: ContainerdSystemd, name: str) -> Path:
    """The file that the program of a task counts in."""
    (pid,) = (words[1] for line in engine("task", "list").out.splitlines() if (words := line.split())[0] == name)
    return Path(f"/proc/{pid}/root/count")


def last(count: Path) -> int:
    """0 when there is none yet; the line that is just being written does not count."""
    lines = count.read_text().split("\n")[:-1] if count.exists() else []
    return int(lines[-1]) if lines else 0


def await_more(count: Path, than: int) -> None:
    until(lambda: last(count) > than, 300)


def consecutive(count: Path) -> bool:
    numbers = [int(line) for line in count.read_text().split("\n")[:-1]]
    return numbers == list(range(numbers[0], numbers[0] + len(numbers)))
