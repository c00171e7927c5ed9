"""What callers must see, each scenario a function of an engine that raises AssertionError; its docstring is its title."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from conformance.callers.engines import Cli, Containerd, Docker, Podman
from conformance.callers.process import Turn

Scenario = Callable[[Any], None]
SCENARIOS: dict[str, list[Scenario]] = {"podman": [], "containerd": [], "docker": []}

LOOP = "trap 'echo term; exit 3' TERM; trap 'echo usr1' USR1; echo up; while :; do sleep 0.05; done"
SIZE = 'until [ "$(stty size 2>/dev/null)" = "{} {}" ]; do sleep 0.05; done; '
LINE = "read line; echo got $line; exit 9"
READ = "tty; " + SIZE.format(33, 90) + "echo rea''dy; " + LINE
RESIZED = "tty; " + SIZE.format(33, 90) + "echo rea''dy; " + SIZE.format(40, 100) + "echo resi''zed; " + LINE
LIMITS_V1 = ("memory/memory.limit_in_bytes", "pids/pids.max", "cpu/cpu.cfs_quota_us")


def on(*engines: str) -> Callable[[Scenario], Scenario]:
    def add(scenario: Scenario) -> Scenario:
        for engine in engines:
            SCENARIOS[engine].append(scenario)
        return scenario

    return add


both = on("podman", "docker")
podman = on("podman")
containerd = on("containerd")
docker = on("docker")


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


@podman
def execute_missing(engine: Podman) -> None:
    """exec: a missing command is 127, a directory 126"""
    with engine.container("sleep", "100") as name:
        engine("exec", name, "/no/such", status=127).says("/no/such", "no such file or directory")
        engine("exec", name, "/etc", status=126).says("/etc", "permission denied")
        engine("exec", name, "echo", "alive").prints("alive")


@docker
def execute_missing_in_docker(engine: Docker) -> None:
    """exec: a missing command is told"""
    with engine.container("sleep", "100") as name:
        # 20.10 answers 126 to any failure to start an exec, later engines 127 to this one.
        result = engine.sandbox.run(*engine.command(), "exec", name, "/no/such", env=engine.environment())
        assert result.says("/no/such", "no such file or directory").status in (126, 127), result
        engine("exec", name, "echo", "alive").prints("alive")


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


@docker
def named_runtime(engine: Docker) -> None:
    """run --runtime, and as the default runtime"""
    engine.run("echo", "named", options=["--runtime", engine.runtime.name]).prints("named")
    engine("info", "--format", "{{.DefaultRuntime}}").prints(engine.runtime.name)
    with engine.container("sleep", "100") as name:
        engine("inspect", "--format", "{{.HostConfig.Runtime}}", name).prints(engine.runtime.name)


@docker
def mismatched_volume(engine: Docker) -> None:
    """run -v of a file onto a directory is told"""
    options = ["-v", f"{engine.work}/docker.json:/tmp"]
    result = engine.sandbox.run(*engine.command(), "run", "--rm", *options, *engine.image(), "true", env=engine.environment())
    assert result.says("/tmp", "directory").status in (125, 126, 127), result


@docker
def restart(engine: Docker) -> None:
    """restart, and stats of a running container"""
    with engine.container("sh", "-c", LOOP) as name:
        first = engine.pid(name)
        engine("restart", "-t", "5", name)
        assert engine.pid(name) != first
        engine("stats", "--no-stream", "--format", "{{.PIDs}}", name)


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
    """run -d, tasks ls, metrics, exec, exec -t, kill, delete"""
    with engine.container("/bin/sh", "-c", LOOP) as name:
        listed = engine("task", "list").out.splitlines()[1].split()
        assert (listed[0], listed[2], engine.records()) == (name, "RUNNING", [name]), listed
        groups = [group for group in engine.sandbox.cgroups() if group.name == name]
        assert groups and all(listed[1] in pids_of(group) for group in groups)
        engine("task", "metrics", name).says("pids.current")
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


def ends(engine: Containerd, name: str) -> None:
    end = time.monotonic() + 10
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
