"""What podman and Docker must both do."""

from __future__ import annotations

import os
import time
from typing import Any

from conformance.callers.docker import Docker
from conformance.callers.engines import Cli
from conformance.callers.material import IMAGE
from conformance.callers.process import Turn
from conformance.callers.scenarios.table import LIMITS_V1, LOOP, READ, RESIZED, on, until

both = on("podman", "docker")

DOCKERFILE = f"""FROM {IMAGE}
RUN echo built > /built && id -u
USER 1000
RUN id -u > /tmp/user
CMD ["cat", "/built", "/tmp/user"]
"""
KINDS = ("pid", "ipc", "uts", "net")


@both
def output_and_status(engine: Cli) -> None:
    """run: stdout, stderr, exit status"""
    result = engine.run("sh", "-c", "echo out; echo err >&2; exit 7", status=7)
    assert result.out == "out\n" and "err\n" in result.err, result


@both
def killed(engine: Cli) -> None:
    """run: a process killed by a signal is 128 and its number"""
    engine.run("sh", "-c", "exec sh -c 'kill -s USR1 $$; sleep 9'", options=["--pid", "host"], status=138)


@both
def standard_input(engine: Cli) -> None:
    """run -i: standard input, to its end"""
    text = "".join(f"line {i}\n" for i in range(20000))
    assert engine.run("cat", options=["-i"], given=text).out == text


@both
def environment(engine: Cli) -> None:
    """run: environment, hostname, working directory, HOME"""
    options = ["-e", "A=b c", "--hostname", "hh", "-w", "/tmp"]
    engine.run("sh", "-c", "echo $A; hostname; pwd; echo $HOME", options=options).prints("b c\nhh\n/tmp\n/root")


@both
def first_process(engine: Cli) -> None:
    """run: the program is process 1 and sees no other"""
    engine.run("sh", "-c", "set -- /proc/[0-9]*; echo $# $$").prints("1 1")


@both
def terminal(engine: Cli) -> None:
    """run -it: a terminal, its size and its change, typing, status"""
    turns: list[Turn] = [("ready", (40, 100)), ("resized", "hello\n")]
    engine.run_tty("sh", "-c", RESIZED, turns=turns, status=9).says("/dev/pts/0", "got hello")


@both
def missing_command(engine: Cli) -> None:
    """run: a missing command is 127"""
    engine.run("/no/such/command", status=127).says("/no/such/command", "no such file or directory")
    engine.run("nosuch", status=127).says('"nosuch": executable file not found in $PATH')


@both
def directory_as_command(engine: Cli) -> None:
    """run: a directory or a plain file as command is 126"""
    engine.run("/etc", status=126).says("/etc", "permission denied")
    engine.run("/etc/passwd", status=126).says("/etc/passwd", "permission denied")


@both
def read_only(engine: Cli) -> None:
    """run --read-only"""
    engine.run("sh", "-c", "touch /x", options=["--read-only"], status=1).says("Read-only file system")


@both
def tmpfs(engine: Cli) -> None:
    """run --tmpfs, with options, on a read-only root"""
    options = ["--read-only", "--tmpfs", "/mnt:size=1m,mode=700"]
    result = engine.run("sh", "-c", "touch /mnt/x && stat -c %a /mnt && df -k /mnt | tail -1", options=options)
    assert result.out.split()[:3] == ["700", "tmpfs", "1024"] or "1024" in result.out.split(), result


@both
def user(engine: Cli) -> None:
    """run --user: ids, groups, no capability in effect"""
    script = "id -u; id -g; grep CapEff /proc/self/status; touch /etc/x"
    result = engine.run("sh", "-c", script, options=["--user", "1000:50"], status=1).says("Permission denied")
    assert result.out.split() == ["1000", "50", "CapEff:", "0" * 16], result


@both
def capabilities(engine: Cli) -> None:
    """run --cap-drop, --cap-add"""
    script = "grep -E 'Cap(Eff|Bnd)' /proc/self/status"
    none = "\n".join(f"{name}:\t{'0' * 16}" for name in ("CapEff", "CapBnd"))
    engine.run("sh", "-c", script, options=["--cap-drop", "all"]).prints(none)
    chown = "\n".join(f"{name}:\t{1:016x}" for name in ("CapEff", "CapBnd"))
    engine.run("sh", "-c", script, options=["--cap-drop", "all", "--cap-add", "CHOWN"]).prints(chown)


@both
def confined(engine: Cli) -> None:
    """run: seccomp, no new privileges, masked and read-only paths"""
    script = (
        "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status; cat /proc/keys | wc -c; ls /sys/firmware | wc -l;"
        "echo 1 > /proc/sys/kernel/domainname; mount -t tmpfs tmpfs /tmp"
    )
    result = engine.run("sh", "-c", script, options=["--security-opt", "no-new-privileges"], status=1)
    assert result.out.split() == ["NoNewPrivs:", "1", "Seccomp:", "2", "0", "0"], result
    result.says("Read-only file system", "permi")


@both
def volumes(engine: Cli) -> None:
    """run -v: a directory, a file, read-only"""
    directory = engine.work / "volume"
    directory.mkdir(exist_ok=True)
    (directory / "file").write_text("data\n")
    options = ["-v", f"{directory}:/v", "-v", f"{directory}:/r:ro", "-v", f"{directory}/file:/etc/new/file"]
    script = "cat /etc/new/file; echo more >> /v/file; cat /r/file; touch /r/x"
    result = engine.run("sh", "-c", script, options=options, status=1).says("Read-only file system")
    assert result.out == "data\ndata\nmore\n", result
    assert (directory / "file").read_text() == "data\nmore\n"


@both
def limits(engine: Cli) -> None:
    """run --memory, --pids-limit, --cpus: as the container sees them"""
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        script, expected = "cd /sys/fs/cgroup; cat memory.max pids.max cpu.max", "67108864\n33\n50000 100000"
    else:
        script, expected = f"cd /sys/fs/cgroup; cat {' '.join(LIMITS_V1)}", "67108864\n33\n50000"
    options = ["--memory", "64m", "--pids-limit", "33", "--cpus", "0.5"]
    engine.run("sh", "-c", script, options=options).prints(expected)


@both
def out_of_memory(engine: Cli) -> None:
    """run --memory: too much is 137"""
    with engine.container("sh", "-c", "x=a; while :; do x=$x$x; done", options=["--memory", "16m"]) as name:
        engine("wait", name).prints("137")
        if isinstance(engine, Docker):  # conmon 2.1.6 does not notice on cgroup v1
            engine("inspect", "--format", "{{.State.OOMKilled}}", name).prints("true")


@both
def devices_and_sysctls(engine: Cli) -> None:
    """run --device, --sysctl, --shm-size"""
    options = ["--device", "/dev/null:/dev/nn", "--sysctl", "net.ipv4.ip_forward=1", "--shm-size", "1m"]
    script = "echo x > /dev/nn; stat -c %t,%T /dev/nn; cat /proc/sys/net/ipv4/ip_forward; df -k /dev/shm | tail -1"
    result = engine.run("sh", "-c", script, options=options)
    assert result.out.split()[:2] == ["1,3", "1"] and "1024" in result.out.split(), result


@both
def privileged(engine: Cli) -> None:
    """run --privileged: the host's devices and capabilities"""
    script = "test -e /dev/loop-control -o -e /dev/kmsg && grep -c 'CapEff:.0*$' /proc/self/status"
    engine.run("sh", "-c", script, options=["--privileged"], status=1).prints("0")


@both
def execute(engine: Cli) -> None:
    """exec: output, status, user, directory, input, same namespaces"""
    with engine.container("sh", "-c", LOOP, options=["--hostname", "hh"]) as name:
        engine("exec", name, "sh", "-c", "echo in; hostname; exit 5", status=5).prints("in\nhh")
        options = ["-e", "X=y", "--user", "1000", "-w", "/tmp"]
        engine("exec", *options, name, "sh", "-c", "echo $X; id -u; pwd").prints("y\n1000\n/tmp")
        assert engine("exec", "-i", name, "cat", given="given\n").out == "given\n"
        pid = engine.pid(name)
        for kind in ("pid", "mnt", "net", "ipc", "uts"):
            engine("exec", name, "readlink", f"/proc/self/ns/{kind}").prints(os.readlink(f"/proc/{pid}/ns/{kind}"))


@both
def execute_tty(engine: Cli) -> None:
    """exec -it: a terminal of its own"""
    with engine.container("sleep", "100") as name:
        result = engine.tty("exec", "-it", name, "sh", "-c", READ, turns=[("ready", "hello\n")], status=9)
        result.says("/dev/pts/", "got hello")


@both
def life(engine: Cli) -> None:
    """run -d, logs, kill -s, stop, wait, start again, kill, rm"""
    with engine.container("sh", "-c", LOOP) as name:
        logged(engine, name, "up")
        assert len(engine.records()) == 1
        engine("kill", "-s", "USR1", name)
        logged(engine, name, "up\nusr1")
        engine("stop", "-t", "10", name)
        engine("wait", name).prints("3")
        logged(engine, name, "up\nusr1\nterm")
        engine("start", name)
        engine("kill", name)
        engine("wait", name).prints("137")
        engine("rm", name)
        engine("ps", "-aq").prints("")
        engine("create", "--name", name, *engine.COMMON, *engine.image(), "true")


def logged(engine: Cli, name: str, text: str) -> None:
    end = time.monotonic() + 10
    while (result := engine("logs", name)).out.strip() != text and time.monotonic() < end:
        time.sleep(0.05)
    result.prints(text)


@both
def never_started(engine: Cli) -> None:
    """create, rm -f"""
    name = engine.name()
    engine("create", "--name", name, *engine.COMMON, *engine.image(), "sleep", "100")
    engine(*engine.REMOVE, name)


@both
def stubborn(engine: Cli) -> None:
    """stop of a program that ignores SIGTERM: SIGKILL in the end"""
    with engine.container("sh", "-c", "trap '' TERM; while :; do sleep 0.05; done") as name:
        engine("stop", "-t", "1", name)
        engine("wait", name).prints("137")


@both
def host_pids(engine: Cli) -> None:
    """rm -f in the host's pid namespace: the children go too"""
    with engine.container("sh", "-c", "sleep 100 & sleep 100", options=["--pid", "host"]) as name:
        end = time.monotonic() + 10
        while len(pids := {pid for group in engine.sandbox.cgroups() if group.name != "conmon" for pid in pids_of(group)}) < 2:
            assert time.monotonic() < end, pids
            time.sleep(0.05)
        assert str(engine.pid(name)) in pids
    assert not {pid for pid in pids if os.path.exists(f"/proc/{pid}")}


def pids_of(group: Any) -> list[str]:
    return str((group / "cgroup.procs").read_text()).split()


@both
def paused(engine: Cli) -> None:
    """pause, exec refused, unpause"""
    with engine.container("sh", "-c", LOOP) as name:
        logged(engine, name, "up")
        engine("pause", name)
        engine("inspect", "--format", "{{.State.Status}}", name).prints("paused")
        refused = engine.sandbox.run(*engine.command(), "exec", name, "true", env=engine.environment())
        assert refused.says("paused" if isinstance(engine, Docker) else "running").status, refused
        engine("unpause", name)
        engine("kill", "-s", "USR1", name)
        logged(engine, name, "up\nusr1")


@both
def top_and_stats(engine: Cli) -> None:
    """top, stats"""
    with engine.container("sh", "-c", "sleep 1000 & sleep 2000") as name:
        engine("top", name).says("sleep 1000", "sleep 2000")
        until(lambda: int(engine("stats", "--no-stream", "--format", "{{.PIDs}}", name).out) >= 2)


@both
def updated(engine: Cli) -> None:
    """update --memory of a running container"""
    with engine.container("sleep", "100", options=["--memory", "32m", "--memory-swap", "128m"]) as name:
        engine("update", "--memory", "64m", "--memory-swap", "128m", name)
        file = "memory.max" if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else LIMITS_V1[0]
        engine("exec", name, "cat", f"/sys/fs/cgroup/{file}").prints(str(64 << 20))


@both
def attached(engine: Cli) -> None:
    """attach: standard input of a program that runs"""
    name = engine.name()
    engine("run", "-d", "-i", "--name", name, *engine.COMMON, *engine.image(), "sh", "-c", "read a; echo got $a; read b; exit 3")
    try:
        engine.sandbox.run(*engine.command(), "attach", name, env=engine.environment(), given="one\ntwo\n")
        engine("wait", name).prints("3")
        logged(engine, name, "got one")  # Docker's attach may lose what a program says last
    finally:
        engine(*engine.REMOVE, name)


@both
def with_an_init(engine: Cli) -> None:
    """run --init: the engine's own process 1"""
    init = "docker-init" if isinstance(engine, Docker) else "podman-init"
    engine.run("cat", "/proc/1/comm", options=["--init"]).prints(init)


@both
def host_namespaces(engine: Cli) -> None:
    """run in the host's pid, ipc, uts and network namespaces"""
    words = [word for kind in ("pid", "ipc", "uts", "network") for word in (f"--{kind}", "host")]
    script = "for kind in pid ipc uts net; do readlink /proc/self/ns/$kind; done"
    engine.COMMON, before = tuple(word for word in engine.COMMON if word not in ("--network", "none")), engine.COMMON
    try:
        engine.run("sh", "-c", script, options=words).prints("\n".join(os.readlink(f"/proc/self/ns/{kind}") for kind in KINDS))
    finally:
        engine.COMMON = before


@both
def named_volume(engine: Cli) -> None:
    """volume create, used twice, rm"""
    engine("volume", "create", "vol")
    engine.run("sh", "-c", "echo kept > /v/file", options=["-v", "vol:/v"])
    engine.run("cat", "/v/file", options=["-v", "vol:/v"]).prints("kept")
    engine("volume", "rm", "vol")


@both
def built(engine: Cli) -> None:
    """build of a Dockerfile, run of what was built"""
    engine.load_image()
    context = engine.work / "context"
    context.mkdir(exist_ok=True)
    (context / "Dockerfile").write_text(DOCKERFILE)
    # buildah takes it for the container's own cgroup, which must be a new one; Docker for the parent, which stays.
    parent = ["--cgroup-parent", f"/{engine.sandbox.tag}" + "/build" * (not isinstance(engine, Docker))]
    engine("build", "--network", "none", *parent, "-t", "localhost/built", context).says("0")
    engine("run", "--rm", *engine.COMMON, "localhost/built").prints("built\n1000")
