"""Bad input: one line that names the place in config.json, exit status 1 (exec: 255), and no trace of it anywhere."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TAG, Bundle, Cli, cgroups, children, mounts
from tests.lifecycle.box import Box, one_line

Config = dict[str, Any]

DELETED = object()


def put(path: str, value: object) -> Callable[[Config], None]:
    """Sets (or, with DELETED, removes) what a dotted path names; a number is an index, ``+`` appends."""

    def change(config: Config) -> None:
        *way, last = path.split(".")
        at: Any = config
        for name in way:
            at = at[int(name)] if name.isdigit() else at.setdefault(name, {})
        if value is DELETED:
            del at[last]
        elif last == "+":
            at.append(value)
        else:
            at[int(last) if last.isdigit() else last] = value

    return change


def mount(destination: str, kind: str = "tmpfs", source: str = "x", options: list[str] | None = None) -> Callable[[Config], None]:
    entry = {"destination": destination, "type": kind, "source": source, "options": options or []}
    return put("mounts.+", entry)


def namespace(kind: str, path: str | None = None) -> Callable[[Config], None]:
    return put("linux.namespaces.+", {"type": kind} if path is None else {"type": kind, "path": path})


def both(*changes: Callable[[Config], None]) -> Callable[[Config], None]:
    def change(config: Config) -> None:
        for one in changes:
            one(config)

    return change


ARG = {"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}


def profile(**changes: object) -> dict[str, object]:
    """A seccomp profile of one rule, with these properties of it or of the whole."""
    rule = {name: changes.pop(name) for name in ("names", "action", "errnoRet", "args") if name in changes}
    syscalls = [{"names": ["mkdir"], "action": "SCMP_ACT_LOG", **rule}]
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": syscalls, **changes}


def without(kind: str) -> Callable[[Config], None]:
    def change(config: Config) -> None:
        config["linux"]["namespaces"] = [entry for entry in config["linux"]["namespaces"] if entry["type"] != kind]

    return change


USERNS = both(
    namespace("user"),
    put("linux.uidMappings", [{"containerID": 0, "hostID": 200000, "size": 1000}]),
    put("linux.gidMappings", [{"containerID": 0, "hostID": 200000, "size": 1000}]),
)
DEVICE = {"type": "c", "path": "/dev/x", "major": 1, "minor": 3}
HOOK = {"path": "/bin/true"}

# name -> (what is wrong with the config, where the message must say it is, a part of what it must say)
BAD: dict[str, tuple[Callable[[Config], None], str, str]] = {
    "version-missing": (put("ociVersion", DELETED), "ociVersion", ""),
    "version-none": (put("ociVersion", "new"), "ociVersion", '"new"'),
    "version-two": (put("ociVersion", "2.0.0"), "ociVersion", "2.0.0"),
    "root-missing": (put("root", DELETED), "root", ""),
    "root-path-empty": (put("root.path", ""), "root.path", ""),
    "root-absent": (put("root.path", "nowhere"), "root.path", "no such file or directory"),
    "root-is-a-file": (put("root.path", "config.json"), "root.path", "not a directory"),
    "root-readonly-text": (put("root.readonly", "yes"), "root.readonly", ""),
    "process-missing": (put("process", DELETED), "process", "must not be empty"),
    "args-missing": (put("process.args", DELETED), "process.args", ""),
    "args-empty": (put("process.args", []), "process.args", ""),
    "args-text": (put("process.args", "sh"), "process.args", ""),
    "args-nul": (put("process.args", ["a\0b"]), "process.args[0]", "NUL"),
    "program-missing": (put("process.args", ["no-such"]), 'exec: "no-such"', "executable file not found in $PATH"),
    "program-path-missing": (put("process.args", ["/no/such"]), 'exec: "/no/such"', "no such file or directory"),
    "program-is-a-directory": (put("process.args", ["/etc"]), 'exec: "/etc"', "permission denied"),
    "program-not-executable": (put("process.args", ["/etc/passwd"]), 'exec: "/etc/passwd"', "permission denied"),
    "cwd-missing": (put("process.cwd", DELETED), "process.cwd", ""),
    "cwd-relative": (put("process.cwd", "tmp"), "process.cwd", "absolute"),
    "cwd-is-a-file": (put("process.cwd", "/etc/passwd"), "process.cwd", "not a directory"),
    "env-without-equals": (put("process.env", ["PATH"]), "process.env[0]", "NAME=value"),
    "env-without-name": (put("process.env", ["=x"]), "process.env[0]", "NAME=value"),
    "env-nul": (put("process.env", ["A=\0"]), "process.env[0]", "NUL"),
    "uid-negative": (put("process.user.uid", -1), "process.user.uid", "-1"),
    "uid-too-large": (put("process.user.uid", 2**32), "process.user.uid", ""),
    "uid-unmapped": (both(USERNS, put("process.user.uid", 1000)), "process.user.uid", "not mapped"),
    "gid-unmapped": (both(USERNS, put("process.user.gid", 1000)), "process.user.gid", "not mapped"),
    "group-unmapped": (both(USERNS, put("process.user.additionalGids", [1, 1000])), "user.additionalGids[1]", "not mapped"),
    "umask-too-large": (put("process.user.umask", 0o1000), "process.user.umask", ""),
    "rlimit-unknown": (put("process.rlimits.0.type", "RLIMIT_FOO"), "process.rlimits[0].type", "RLIMIT_FOO"),
    "rlimit-twice": (
        put("process.rlimits", [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}] * 2), "process.rlimits[1].type", "duplicate",
    ),
    "rlimit-soft-above-hard": (
        put("process.rlimits", [{"type": "RLIMIT_CORE", "soft": 1, "hard": 0}]), "process.rlimits[0]", "above",
    ),
    "oom-score": (put("process.oomScoreAdj", 1001), "process.oomScoreAdj", "-1000..1000"),
    "terminal-detached": (put("process.terminal", True), "process.terminal", "console socket"),
    "apparmor": (put("process.apparmorProfile", "no-such"), "process.apparmorProfile (exec no-such): ", "`/proc/self/attr/"),
    "apparmor-newline": (put("process.apparmorProfile", "a\nb"), "process.apparmorProfile", "newline"),
    "selinux": (put("process.selinuxLabel", "l"), "process.selinuxLabel", "selinux is disabled or not supported"),
    "selinux-too-long": (put("process.selinuxLabel", "l" * 4001), "process.selinuxLabel", "4000"),
    "hostname-too-long": (put("hostname", "n" * 65), "hostname", "64"),
    "hostname-without-uts": (without("uts"), "hostname", "uts"),
    "mount-destination-missing": (put("mounts.+", {"type": "tmpfs"}), "mounts[", "destination"),
    "mount-on-root": (mount("/"), "mounts[", "root"),
    "mount-on-root-dots": (mount("/a/.."), "mounts[", "root"),
    "mount-in-proc": (mount("/proc/sys"), "mounts[", "/proc"),
    "mount-of-tmpfs-on-proc": (mount("/proc"), "mounts[", "/proc"),
    "mount-of-unknown-type": (mount("/x", "nosuchfs"), "mounts[", "nosuchfs"),
    "mount-source-missing": (mount("/etc/passwd", "none", "/no/such/source", ["bind"]), "mounts[", "no such file or directory"),
    "mount-directory-on-file": (mount("/etc/passwd", "none", "/etc", ["bind"]), "mounts[", "not a directory"),
    "mount-file-on-directory": (mount("/tmp", "none", "/etc/passwd", ["bind"]), "mounts[", "a directory, the source is not"),
    "mount-bind-misspelt": (mount("/tmp", "none", "/tmp", ["bind", "nosiud"]), "mounts[", "filesystem-specific"),
    "mount-bad-data": (mount("/tmp", "tmpfs", "t", ["size=lots"]), "mounts[", "size"),
    "mount-unknown-data": (mount("/tmp", "tmpfs", "t", ["shiny"]), "mounts[", "shiny"),
    "mount-remount-of-nothing": (mount("/tmp", "tmpfs", "t", ["remount"]), "mounts[", "nothing is mounted there"),
    "mount-idmap-alone": (mount("/tmp", "none", "/tmp", ["bind", "idmap"]), "mounts[", "needs a user namespace"),
    "mount-idmap-of-proc": (both(USERNS, mount("/x", "proc", "proc", ["idmap"])), "mounts[", "cannot be ID-mapped"),
    "mount-copyup-of-proc": (mount("/x", "proc", "proc", ["tmpcopyup"]), "mounts[", "tmpcopyup"),
    "mount-options-text": (put("mounts.0.options", "ro"), "mounts[0].options", ""),
    "namespace-unknown": (namespace("disk"), "linux.namespaces[", "disk"),
    "namespace-twice": (namespace("pid"), "linux.namespaces[", "duplicate"),
    "namespace-relative": (namespace("cgroup", "proc/self/ns/cgroup"), "linux.namespaces[", "absolute"),
    "namespace-absent": (namespace("cgroup", "/no/such/ns"), "linux.namespaces[", "no such file or directory"),
    "namespace-is-a-file": (namespace("cgroup", "/etc/passwd"), "linux.namespaces[", "namespace"),
    "userns-without-maps": (namespace("user"), "linux.uidMappings", ""),
    "maps-without-userns": (put("linux.uidMappings", [{"containerID": 0, "hostID": 0, "size": 1}]), "linux.uidMappings", "user"),
    "maps-overlap": (
        both(USERNS, put("linux.uidMappings.+", {"containerID": 5, "hostID": 1, "size": 1})), "linux.uidMappings[1]", "overlap",
    ),
    "maps-size-zero": (both(USERNS, put("linux.uidMappings.0.size", 0)), "linux.uidMappings[0].size", ""),
    "time-offsets-without-namespace": (put("linux.timeOffsets", {"monotonic": {"secs": 1}}), "linux.timeOffsets", "time"),
    "device-type": (put("linux.devices", [{**DEVICE, "type": "x"}]), "linux.devices[0].type", "x"),
    "device-relative": (put("linux.devices", [{**DEVICE, "path": "dev/x"}]), "linux.devices[0].path", "absolute"),
    "device-without-number": (put("linux.devices", [{"type": "c", "path": "/dev/x"}]), "linux.devices[0].major", ""),
    "device-in-the-way": (put("linux.devices", [{**DEVICE, "path": "/dev/zero/x"}]), "linux.devices[0]", "not a directory"),
    "sysctl-of-the-host": (put("linux.sysctl", {"vm.swappiness": "1"}), "linux.sysctl", "separate kernel namespace"),
    "sysctl-hostname": (put("linux.sysctl", {"kernel.hostname": "x"}), "linux.sysctl", "hostname"),
    "sysctl-upwards": (put("linux.sysctl", {"net/../kernel/panic": "1"}), "linux.sysctl", ""),
    "sysctl-unknown": (put("linux.sysctl", {"net.no.such": "1"}), "linux.sysctl", "no such file or directory"),
    "masked-relative": (put("linux.maskedPaths.+", "proc"), "linux.maskedPaths[", "absolute"),
    "readonly-relative": (put("linux.readonlyPaths.+", "proc"), "linux.readonlyPaths[", "absolute"),
    "masked-without-mount-namespace": (without("mount"), "linux.maskedPaths", "mount namespace"),
    "propagation": (put("linux.rootfsPropagation", "public"), "linux.rootfsPropagation", "public"),
    "cgroup-upwards": (put("linux.cgroupsPath", "/a\nb"), "linux.cgroupsPath", "newline"),
    "resources-pids-text": (put("linux.resources.pids", {"limit": "x"}), "linux.resources.pids.limit", ""),
    "resources-swap": (put("linux.resources.memory", {"limit": 2, "swap": 1}), "linux.resources.memory.swap", ""),
    "resources-access": (put("linux.resources.devices.+", {"allow": True}), "linux.resources.devices[", "access"),
    "seccomp-action": (put("linux.seccomp", {"defaultAction": "SCMP_ACT_X"}), "linux.seccomp.defaultAction", "SCMP_ACT_X"),
    "seccomp-errno": (put("linux.seccomp", profile(action="SCMP_ACT_KILL", errnoRet=1)), "syscalls[0].errnoRet", "cannot carry"),
    "seccomp-default-errno": (put("linux.seccomp", profile(defaultErrnoRet=1)), "linux.seccomp.defaultErrnoRet", "cannot carry"),
    "seccomp-errno-too-large": (put("linux.seccomp", profile(action="SCMP_ACT_ERRNO", errnoRet=4095)), "[0].errnoRet", "4094"),
    "seccomp-operator": (put("linux.seccomp", profile(args=[{**ARG, "op": "SCMP_CMP_X"}])), "syscalls[0].args[0].op", "CMP_X"),
    "seccomp-index": (put("linux.seccomp", profile(args=[{**ARG, "index": 6}])), "syscalls[0].args[0].index", "0 to 5"),
    "seccomp-names": (put("linux.seccomp", profile(names=[])), "syscalls[0].names", ""),
    "seccomp-architecture": (put("linux.seccomp", profile(architectures=["SCMP_ARCH_Z80"])), "architectures[0]", "Z80"),
    "seccomp-flag": (put("linux.seccomp", profile(flags=["X"])), "linux.seccomp.flags[0]", "X"),
    "seccomp-metadata": (put("linux.seccomp", profile(listenerMetadata="x")), "seccomp.listenerMetadata", "without listenerPath"),
    "seccomp-listener-relative": (put("linux.seccomp", profile(listenerPath="x")), "seccomp.listenerPath", "absolute"),
    "seccomp-no-listener": (put("linux.seccomp", profile(action="SCMP_ACT_NOTIFY")), "syscalls[0].action", "listenerPath"),
    "seccomp-no-agent": (
        put("linux.seccomp", profile(action="SCMP_ACT_NOTIFY", listenerPath="/no/agent")), "seccomp.listenerPath", "no such file",
    ),
    "seccomp-notify-write": (
        put("linux.seccomp", profile(names=["write"], action="SCMP_ACT_NOTIFY", listenerPath="/x")), "syscalls[0].names", "write",
    ),
    "seccomp-notify-default": (put("linux.seccomp", {"defaultAction": "SCMP_ACT_NOTIFY"}), "seccomp.defaultAction", "default"),
    "rdma-nothing": (put("linux.resources.rdma", {"mlx5_0": {}}), "linux.resources.rdma.mlx5_0", "hcaHandles"),
    "time-offsets-range": (
        both(namespace("time"), put("linux.timeOffsets", {"monotonic": {"secs": 1 << 62}})), "linux.timeOffsets", "out of range",
    ),
    "time-offsets-past": (
        both(namespace("time"), put("linux.timeOffsets", {"boottime": {"secs": -(1 << 40)}})), "linux.timeOffsets", "of range",
    ),
    "intel-rdt": (put("linux.intelRdt", {"closID": "../x"}), "linux.intelRdt.closID", "cannot name a class"),
    "intel-rdt-line": (put("linux.intelRdt", {"schemata": ["a\nb"]}), "linux.intelRdt.schemata[0]", "is not one line"),
    "net-devices": (put("linux.netDevices", {"no-such-device": {}}), "linux.netDevices", "there is no such network device"),
    "net-devices-name": (put("linux.netDevices", {"lo": {"name": "a b"}}), "linux.netDevices.lo.name", "space"),
    "net-devices-host": (both(without("network"), put("linux.netDevices", {"lo": {}})), "linux.netDevices", "network namespace"),
    "personality": (put("linux.personality", {"domain": "LINUX64"}), "linux.personality.domain", "LINUX64"),
    "personality-flag": (put("linux.personality", {"domain": "LINUX", "flags": ["x"]}), "linux.personality.flags", "no flag"),
    "memory-policy": (put("linux.memoryPolicy", {"mode": "MPOL_LOCAL", "nodes": "0"}), "linux.memoryPolicy.nodes", "empty"),
    "memory-policy-nodes": (put("linux.memoryPolicy", {"mode": "MPOL_BIND", "nodes": "1-"}), "linux.memoryPolicy.nodes", '"1-"'),
    "memory-policy-mode": (put("linux.memoryPolicy", {"mode": "MPOL_MAGIC"}), "linux.memoryPolicy.mode", "MPOL_MAGIC"),
    "mount-label": (put("linux.mountLabel", "u:object_r:t:s0"), "linux.mountLabel", "selinux is disabled or not supported"),
    "mount-label-quote": (put("linux.mountLabel", 'l",size="1'), "linux.mountLabel", "quote"),
    "scheduler-policy": (put("process.scheduler", {"policy": "SCHED_X"}), "process.scheduler.policy", "SCHED_X"),
    "scheduler-flag": (put("process.scheduler", {"policy": "SCHED_IDLE", "flags": ["X"]}), "process.scheduler.flags[0]", '"X"'),
    "scheduler-nice": (put("process.scheduler", {"policy": "SCHED_OTHER", "nice": 20}), "process.scheduler.nice", "-20..19"),
    "scheduler-iso": (put("process.scheduler", {"policy": "SCHED_ISO"}), "process.scheduler", "invalid argument"),
    "io-priority": (put("process.ioPriority", {"class": "IOPRIO_CLASS_IDLE", "priority": 8}), "ioPriority.priority", "0..7"),
    "io-priority-class": (put("process.ioPriority", {"class": "IOPRIO_CLASS_NONE"}), "ioPriority.class", "IOPRIO_CLASS_NONE"),
    "affinity": (put("process.execCPUAffinity", {"initial": "1-0"}), "execCPUAffinity.initial", "wrong way round"),
    "private-without-pivot": (put("linux.rootfsPropagation", "private"), "linux.rootfsPropagation", "--no-pivot"),
    "hook-relative": (put("hooks", {"prestart": [{"path": "bin/true"}]}), "hooks.prestart[0].path", "absolute"),
    "hook-timeout": (put("hooks", {"poststop": [{**HOOK, "timeout": 0}]}), "hooks.poststop[0].timeout", ""),
    "hook-missing": (put("hooks", {"createRuntime": [{"path": "/no/such"}]}), "createRuntime hook #0", "no such file"),
    "hooks-list": (put("hooks", []), "hooks", ""),
    "annotations-number": (put("annotations", {"a": 1}), "annotations", ""),
}  # fmt: skip


def traces() -> tuple[object, ...]:
    mine = set(children(os.getpid()))
    return sorted(mounts()), cgroups(), mine, sorted(path for path in os.listdir("/run") if TAG in path)


@pytest.fixture(autouse=True)
def no_trace(cli: Cli, box: Box) -> Iterator[None]:
    """Whatever a test here does must leave the machine as it was, while it is looked at and not after a clean-up."""
    before = traces()
    yield
    assert traces() == before
    assert not cli.root.exists() or [path.name for path in cli.root.iterdir() if path.name != "@cache"] == []


def test_there_are_enough() -> None:
    assert len(BAD) >= 60


WITHOUT_SELINUX = {"selinux", "mount-label"}


@pytest.mark.parametrize("name", BAD)
def test_a_config_is_refused(box: Box, name: str) -> None:
    if name in WITHOUT_SELINUX and Path("/sys/fs/selinux/enforce").exists():
        pytest.skip("SELinux is on")
    change, where, what = BAD[name]
    box.writable()
    change(box.config)
    message = box.refused(*(["--no-pivot"] if "without-pivot" in name else []))
    assert where in message and what in message, message


@pytest.mark.parametrize("name", ["program-missing", "mount-source-missing", "uid-unmapped", "sysctl-unknown", "hook-missing"])
def test_run_refuses_the_same(box: Box, name: str) -> None:
    change, where, what = BAD[name]
    box.writable()
    change(box.config)
    message = box.refused(command="run")
    assert where in message and what in message, message


def test_all_faults_are_told_at_once(box: Box) -> None:
    """Those of the schema, and if it has none to tell, those of the rules beyond it."""
    of_schema, of_rules = ("args-text", "uid-negative", "propagation"), ("cwd-relative", "umask-too-large", "hostname-too-long")
    for names in (of_schema, of_rules):
        config = copy.deepcopy(box.config)
        for name in names:
            BAD[name][0](box.config)
        message = box.refused()
        for name in names:
            assert BAD[name][1] in message, name
        box.bundle.config = config


TEXTS = {
    "empty": (b"", "line 1, column 1"),
    "cut": (b'{"ociVersion": "1.0.2",\n "root": {"path"', "line 2, column 17"),
    "comma": (b'{"ociVersion": "1.0.2"\n "root": {}}', "line 2, column 2"),
    "control": (b'{"ociVersion": "1\x01"}', "line 1, column 18"),
    "trailing": (b'{"ociVersion": "1.0.2"} x', "line 1, column 25"),
    "list": (b"[]", "config.json"),
    "number": (b"7", "config.json"),
    "null": (b"null", ""),
    "deep": (b"[" * 100_000, "config.json"),
    "binary": (bytes(range(256)), "config.json"),
    "huge-number": (b'{"ociVersion": "1.0.2", "process": {"user": {"uid": ' + b"9" * 5000 + b"}}}", "config.json"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_not_json(box: Box, name: str) -> None:
    text, where = TEXTS[name]
    (box.bundle.path / "config.json").write_bytes(text)
    message = one_line(box.cli("create", "--bundle", box.bundle, box.id, check=1))
    assert where in message or "ociVersion" in message, message


def test_a_config_that_is_missing_or_no_file(box: Box) -> None:
    path = box.bundle.path / "config.json"
    path.unlink()
    message = one_line(box.cli("create", "--bundle", box.bundle, box.id, check=1))
    assert message.endswith("JSON specification file config.json not found")
    path.mkdir()
    assert "is a directory" in one_line(box.cli("create", "--bundle", box.bundle, box.id, check=1))


@pytest.mark.parametrize("id", ["../x", ".", "..", "a/b", "a b", "", "ä", "a\n", "x" * 256, "@cache"])
@pytest.mark.parametrize("command", ["create", "state", "delete"])
def test_a_bad_id(box: Box, id: str, command: str) -> None:
    box.bundle.write()
    flags = ["--bundle", str(box.bundle)] if command == "create" else []
    assert "invalid container ID format" in one_line(box.cli(command, *flags, id, check=1))


def test_an_id_that_is_taken(box: Box, bundle: Callable[..., Bundle]) -> None:
    box.create()
    message = one_line(box.cli("create", "--bundle", bundle(), box.id, check=1))
    assert message.endswith("container with given ID already exists")
    assert box.status == "created"
    box.down()


def test_a_root_that_is_a_link(box: Box) -> None:
    (box.bundle.path / "link").symlink_to("rootfs")
    box.config["root"]["path"] = "link"
    assert "root.path" in box.refused()


EXEC: dict[str, tuple[Callable[[Config], None], str, str]] = {
    name: (BAD[name][0], BAD[name][1], BAD[name][2])
    for name in BAD
    if name.split("-")[0] in ("args", "cwd", "env", "umask", "rlimit", "oom", "program", "apparmor", "selinux")
    or name.split("-")[0] in ("scheduler", "io", "affinity")
    or name in ("uid-negative", "uid-too-large")
}


@pytest.fixture
def up(box: Box) -> Iterator[Box]:
    box.up()
    yield box
    box.down()


def test_process_files_of_exec(up: Box, tmp_path: Path) -> None:
    """One container for all of them: each is refused, with the status 255, and the container lives on."""
    path = tmp_path / "process.json"
    for name, (change, where, what) in EXEC.items():
        if name in WITHOUT_SELINUX and Path("/sys/fs/selinux/enforce").exists():
            continue
        config = copy.deepcopy(up.config)
        change(config)
        path.write_text(json.dumps(config["process"]))
        message = one_line(up.exec("--process", path, up.id, check=255))
        assert message.startswith("exec failed: "), name
        assert (where in message or where.removeprefix("process.") in message) and what in message, f"{name}: {message}"
    for text in ("", "{", "[]", "null", '{"args": ["true"], "cwd": 1}'):
        path.write_text(text)
        assert one_line(up.exec("--process", path, up.id, check=255)).startswith("exec failed: ")
    assert "no such file or directory" in one_line(up.exec("--process", tmp_path / "none", up.id, check=255))
    assert up.status == "running"


@pytest.mark.parametrize(
    "words", ["create", "start a b", "nonsense", "run --nope x", "exec x", "kill x NOSUCH", "--nope", "exec --user=root x true"]
)
def test_usage_is_an_error_too(box: Box, words: str) -> None:
    """The help goes to stdout, the one line to stderr; a command that there is not is runc's exit status 3."""
    done = box.cli(*words.split())
    status = {"exec": 255, "nonsense": 3}.get(words.split()[0], 1)
    assert done.returncode == status and done.stderr.count("\n") == 1
