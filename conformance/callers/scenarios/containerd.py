"""What ctr does."""

from __future__ import annotations

import os
import time

from conformance.callers.engines import Containerd
from conformance.callers.process import Turn
from conformance.callers.scenarios.shared import pids_of
from conformance.callers.scenarios.table import LOOP, READ, on

containerd = on("containerd")


@containerd
def run(engine: Containerd) -> None:
    """run --rootfs: output, exit status, its cgroup"""
    result = engine.run("/bin/sh", "-c", "echo hi; cat /proc/self/cgroup; exit 4", status=4)
    assert result.out.startswith("hi\n") and f"/{engine.sandbox.tag}/c" in result.out, result


@containerd
def run_image(engine: Containerd) -> None:
    """run of an imported image, with a memory limit"""
    engine.load_image()
    engine.run("/bin/sh", "-c", "cat /etc/group | head -1; exit 3", image=True, status=3).prints("root:x:0:")
    with engine.container("/bin/sleep", "100", options=["--memory-limit", str(32 << 20)]) as name:
        groups = [group for group in engine.sandbox.cgroups() if group.name == name]
        files = [group / file for group in groups for file in ("memory.limit_in_bytes", "memory.max")]
        assert [file.read_text().strip() for file in files if file.exists()] == [str(32 << 20)]


@containerd
def run_tty(engine: Containerd) -> None:
    """run -t: the terminal and its size"""
    name = engine.name()
    turns: list[Turn] = [("ready", "hello\n")]
    source = engine.from_rootfs()
    result = engine.tty("run", "--rm", "-t", *source, name, "/bin/sh", "-c", READ, turns=turns, status=9)
    result.says("/dev/pts/", "got hello")


@containerd
def run_missing(engine: Containerd) -> None:
    """run: a missing command, a directory, with the runtime's own words"""
    engine.run("/no/such", status=1).says('exec: "/no/such": stat /no/such: no such file or directory')
    engine.run("nosuch", status=1).says('exec: "nosuch": executable file not found in $PATH')
    engine.run("/etc", status=1).says('exec: "/etc"', "permission denied")
    engine("container", "list", "--quiet").prints("")


@containerd
def task(engine: Containerd) -> None:
    """run -d, tasks ls, ps, metrics, exec, exec -t, kill, delete"""
    with engine.container("/bin/sh", "-c", LOOP) as name:
        listed = engine("task", "list").out.splitlines()[1].split()
        assert (listed[0], listed[2], engine.records()) == (name, "RUNNING", [name]), listed
        groups = [group for group in engine.sandbox.cgroups() if group.name == name]
        assert groups and all(listed[1] in pids_of(group) for group in groups)
        engine("task", "metrics", name).says("pids.current")
        assert listed[1] in engine("task", "ps", name).out.split()
        engine("task", "exec", "--exec-id", "e1", name, "/bin/sh", "-c", "echo in; exit 6", status=6).prints("in")
        turns: list[Turn] = [("ready", "hello\n")]
        result = engine.tty("task", "exec", "-t", "--exec-id", "e2", name, "/bin/sh", "-c", READ, turns=turns, status=9)
        result.says("/dev/pts/", "got hello")
        engine("task", "exec", "--exec-id", "e3", name, "/no/such", status=1).says("no such file or directory")
        engine("task", "kill", "-s", "TERM", name)
        ends(engine, name)
        engine("task", "kill", "-s", "KILL", name, status=1).says("process already finished")
        engine("task", "delete", name).says("exit code 3")
        engine("run", "-d", *engine.from_rootfs(), other := engine.name(), "/bin/sleep", "100")
        engine("task", "delete", other, status=1)  # refused while it runs
        engine("task", "delete", "--force", other)
        engine("container", "delete", other)
        engine("task", "start", "-d", name)


@containerd
def paused(engine: Containerd) -> None:
    """tasks pause, resume: exec and kill of a paused one are refused"""
    with engine.container("/bin/sh", "-c", LOOP) as name:
        engine("task", "pause", name)
        assert engine("task", "list").out.splitlines()[1].split()[2] == "PAUSED"
        engine("task", "exec", "--exec-id", "e1", name, "/bin/true", status=1).says("paused")
        engine("task", "resume", name)
        assert engine("task", "list").out.splitlines()[1].split()[2] == "RUNNING"
        engine("task", "exec", "--exec-id", "e2", name, "/bin/echo", "on").prints("on")
        engine("task", "pause", name)
        engine("task", "kill", "-s", "KILL", name)
        engine("task", "resume", name, status=1)
        ends(engine, name)


def ends(engine: Containerd, name: str) -> None:
    end = time.monotonic() + 60
    while name + " " in (text := engine("task", "list").out) and "STOPPED" not in text:
        assert time.monotonic() < end, text
        time.sleep(0.05)


@containerd
def shim_killed(engine: Containerd) -> None:
    """a killed shim: containerd has the container deleted"""
    with engine.container("/bin/sleep", "100") as name:
        groups = [group for group in engine.sandbox.cgroups() if group.name == name]
        (pid,) = pids_of(groups[0])
        engine.kill_shim(name)
        end = time.monotonic() + 10
        while os.path.exists(f"/proc/{pid}") or engine.records():
            assert time.monotonic() < end, (pid, engine.records())
            time.sleep(0.05)
