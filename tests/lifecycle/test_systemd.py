"""``--systemd-cgroup``: the container is a unit of systemd's, on whichever hierarchies that has mounted."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyrunc import cgroups
from pyrunc.config.default import default_spec
from tests.conftest import Bundle, Cli, until
from tests.lifecycle.box import Box, one_line

BOOTED = Path("/run/systemd/system").is_dir()
VERSION = cgroups.layout().version
needs_systemd = pytest.mark.skipif(not BOOTED, reason="needs systemd as process 1 (/run/systemd/system)")
needs_v2 = pytest.mark.skipif(VERSION != 2, reason="needs cgroup v2 alone: a user's systemd has no controllers on v1")

MEBI = 1 << 20


class SystemdCli(Cli):
    """Says it when a container is made, and never again."""

    def argv(self, *args: object) -> list[str]:
        words = ["--systemd-cgroup", *args] if args[0] in ("create", "run") else [*args]
        return super().argv(*words)


@pytest.fixture
def box(bundle: Callable[..., Bundle], cli: Cli, container_id: str) -> Box:
    return Box(bundle(), SystemdCli(cli.program, cli.root), container_id)


def systemctl(*words: str, check: bool = True, **kw: Any) -> str:
    return subprocess.run(["systemctl", *words], text=True, stdout=subprocess.PIPE, check=check, timeout=60, **kw).stdout


def show(unit: str, *names: str, **identity: Any) -> dict[str, str]:
    """Properties of a unit of the system's manager, or of that of the user whose `identity` it is."""
    whose = ["--user"] if identity else []
    lines = systemctl("show", *whose, unit, *(f"--property={name}" for name in names), **identity).splitlines()
    return dict(line.split("=", 1) for line in lines)


def unit_of(box: Box) -> str:
    return f"pyrunc-{box.id}.scope"


def directory(box: Box, controller: str) -> Path:
    paths = json.loads((box.cli.root / box.id / "state.json").read_text())["cgroup_paths"]
    return Path(paths[""] if VERSION == 2 else paths[controller])


def limit(box: Box, controller: str, v1: str, v2: str) -> str:
    return (directory(box, controller) / (v2 if VERSION == 2 else v1)).read_text().strip()


def place(pid: int | str) -> str:
    """A process's cgroup, as systemd counts it."""
    name = "0::" if VERSION == 2 else "name=systemd:"
    return next(line.partition(name)[2] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines() if name in line)


def command_lines(cgroup: Path) -> list[bytes]:
    """Of a cgroup's processes; those of an exec on its way may be gone before they are read."""
    found = []
    for pid in (cgroup / "cgroup.procs").read_text().split():
        with contextlib.suppress(OSError):
            found.append(Path(f"/proc/{pid}/cmdline").read_bytes())
    return found


def gone(unit: str, **identity: Any) -> None:
    until(lambda: show(unit, "LoadState", **identity)["LoadState"] == "not-found", 60, f"systemd still has {unit}")


@needs_systemd
def test_a_life(box: Box) -> None:
    box.linux["resources"] |= {"memory": {"limit": 64 * MEBI}, "pids": {"limit": 30}, "cpu": {"quota": 33_333, "shares": 1024}}
    box.config["annotations"] = {"org.systemd.property.TimeoutStopSec": "7"}
    pid = box.up()
    unit = unit_of(box)
    found = show(unit, "ControlGroup", "Slice", "Delegate", "DevicePolicy", "TasksMax", "TimeoutStopUSec", "CPUQuotaPerSecUSec")
    assert found == {
        "ControlGroup": f"/system.slice/{unit}", "Slice": "system.slice", "Delegate": "yes", "DevicePolicy": "strict",
        "TasksMax": "30", "TimeoutStopUSec": "7s", "CPUQuotaPerSecUSec": "340ms",
    }  # fmt: skip
    assert place(pid) == found["ControlGroup"]
    assert limit(box, "memory", "memory.limit_in_bytes", "memory.max") == str(64 * MEBI)
    assert limit(box, "pids", "pids.max", "pids.max") == "30"
    assert limit(box, "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0] == "34000"
    systemctl("daemon-reload")
    assert limit(box, "memory", "memory.limit_in_bytes", "memory.max") == str(64 * MEBI)
    assert limit(box, "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0] == "34000", "what systemd writes is what we have written"

    sleeper = box.cli.popen("exec", box.id, "sleep", "100")
    until(lambda: b"sleep\x00100\x00" in command_lines(directory(box, "pids")), 60, "no exec")
    box.cli("pause", box.id, check=True)
    assert box.status == "paused"
    box.cli("resume", box.id, check=True)
    box.kill()
    assert sleeper.wait(timeout=60) == 137
    box.cli.wait_for(box.id, "stopped", 60)
    box.delete()
    gone(unit)


@needs_systemd
def test_update(box: Box) -> None:
    box.linux["resources"] |= {"memory": {"limit": 64 * MEBI}, "pids": {"limit": 30}}
    box.up()
    box.cli("update", "--memory", str(80 * MEBI), "--pids-limit", "40", box.id, check=True)
    name = "MemoryMax" if VERSION == 2 else "MemoryLimit"
    expected = {name: str(80 * MEBI), "TasksMax": "40"}
    assert show(unit_of(box), *expected) == expected
    assert limit(box, "memory", "memory.limit_in_bytes", "memory.max") == str(80 * MEBI)
    box.cli("update", "--memory", str(90 * MEBI), box.id, check=1, env={"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nowhere"})
    assert limit(box, "memory", "memory.limit_in_bytes", "memory.max") == str(80 * MEBI), "all or nothing"
    assert show(unit_of(box), *expected) == expected
    box.down()
    gone(unit_of(box))


@needs_systemd
def test_device_rules_hold_after_a_daemon_reload(box: Box) -> None:
    """Rules that systemd can be told; and on v2 one that it cannot: all but one. Nobody has devices of major number 240, so
    that to open one is refused with EPERM by the rules, and with ENXIO after them."""
    seven = {"type": "c", "major": 240, "minor": 7, "access": "rwm"}
    box.linux["resources"]["devices"] = [{"allow": VERSION == 2, "access": "rwm"}, {"allow": VERSION != 2, **seven}]
    for name in ("bounding", "effective", "permitted"):
        box.process["capabilities"][name].append("CAP_MKNOD")
    box.writable().up()
    script = """
        for minor in 7 8; do
            mknod /tmp/$minor c 240 $minor 2>/tmp/error || continue
            (exec </tmp/$minor) 2>/tmp/error || true
            grep -q "not permitted" /tmp/error || echo $minor
            rm /tmp/$minor
        done"""
    allowed = "8" if VERSION == 2 else "7"
    assert box.ex(script).split() == [allowed]
    systemctl("daemon-reload")
    assert box.ex(script).split() == [allowed]
    box.down()


@needs_systemd
def test_a_limit_of_one_process(box: Box) -> None:
    box.linux["resources"]["pids"] = {"limit": 1}
    box.args("sh", "-c", "read x; true & wait; echo forked")
    box.create()
    assert limit(box, "pids", "pids.max", "pids.max") == "1" and show(unit_of(box), "TasksMax") == {"TasksMax": "1"}
    box.down()


@needs_systemd
def test_a_slice_that_is_named(box: Box) -> None:
    top = box.id.replace("-", "_")
    box.linux["cgroupsPath"] = f"{top}-inner.slice:some:name"
    try:
        assert place(box.up()) == f"/{top}.slice/{top}-inner.slice/some-name.scope"
        box.down()
        gone("some-name.scope")
    finally:
        systemctl("stop", f"{top}-inner.slice", f"{top}.slice")


@needs_systemd
def test_a_slice_of_its_own(box: Box) -> None:
    """A slice is started without a process, which then goes in by itself."""
    top = box.id.replace("-", "_")
    box.linux["cgroupsPath"] = f"{top}.slice::{top}-own.slice"
    try:
        assert place(box.up()) == f"/{top}.slice/{top}-own.slice"
        assert box.ex("echo in") == "in\n"
        box.down()
        # systemd loads a slice of any name that is asked for.
        assert show(f"{top}-own.slice", "ActiveState") == {"ActiveState": "inactive"}
    finally:
        systemctl("stop", f"{top}-own.slice", f"{top}.slice", check=False)


@needs_systemd
def test_a_unit_that_has_failed_is_not_in_the_way(box: Box) -> None:
    """What the OOM killer has struck is remembered by systemd until it is reset, which delete does."""
    box.linux["resources"]["memory"] = {"limit": 20 * MEBI, "swap": 20 * MEBI}
    box.args("sh", "-c", "dd if=/dev/zero of=/dev/null bs=64M count=1; exit 0")
    box.create()
    box.start()
    box.cli.wait_for(box.id, "stopped", 60)
    box.delete()
    gone(unit_of(box))
    assert box.sh("echo again") == "again\n"
    gone(unit_of(box))


@needs_systemd
def test_without_a_pid_namespace(box: Box) -> None:
    box.share("pid")
    pid = box.up()
    assert place(pid) == f"/system.slice/{unit_of(box)}"
    box.down()
    gone(unit_of(box))


@needs_systemd
@pytest.mark.parametrize("command", ["create", "run"])
def test_a_bus_that_is_not_there(box: Box, command: str) -> None:
    message = box.refused(command=command, env={"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nowhere"})
    assert message == f"pyrunc {command} failed: systemd cannot be reached: /nowhere: nobody is there"
    assert not box.exists()


@needs_systemd
def test_a_container_that_fails_leaves_no_unit(box: Box) -> None:
    box.args("no-such-program")
    assert "executable file not found" in box.refused()
    gone(unit_of(box))


@needs_systemd
@pytest.mark.skipif(not shutil.which("runc"), reason="needs runc: apt-get install runc")
def test_the_same_unit_as_runcs(box: Box, session_dir: Path) -> None:
    box.linux["resources"] |= {"memory": {"limit": 64 * MEBI, "reservation": 32 * MEBI}, "pids": {"limit": 30}}
    box.linux["resources"]["cpu"] = {"shares": 1024, "quota": 50_000, "period": 100_000, "cpus": "0", "mems": "0"}
    box.linux["cgroupsPath"] = ":both:" + box.id
    names = [
        *("Slice", "Delegate", "DefaultDependencies", "MemoryAccounting", "CPUAccounting", "IOAccounting", "BlockIOAccounting"),
        *("TasksAccounting", "MemoryMax", "MemoryLow", "MemoryLimit", "MemorySwapMax", "TasksMax", "CPUQuotaPerSecUSec"),
        *("CPUQuotaPeriodUSec", "AllowedCPUs", "AllowedMemoryNodes", "DevicePolicy", "CPUShares", "OOMPolicy", "KillMode"),
    ]
    unit = f"both-{box.id}.scope"
    box.up()
    ours = show(unit, *names)
    box.down()
    gone(unit)
    runc = ["runc", "--root", str(session_dir / "runc"), "--systemd-cgroup"]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "timeout": 120}
    try:
        subprocess.run([*runc, "create", "--bundle", box.bundle, box.id], check=True, **quiet)  # type: ignore[call-overload]
        assert show(unit, *names) == ours
    finally:
        subprocess.run([*runc, "delete", "--force", box.id], check=True, **quiet)  # type: ignore[call-overload]
    gone(unit)


class UserCli(SystemdCli):
    """An ordinary user whose systemd runs; not logged in, as one whom su has made."""

    def __init__(self, cli: Cli, uid: int) -> None:
        super().__init__(cli.program, cli.root)
        self.uid = uid

    @property
    def identity(self) -> dict[str, Any]:
        env = {"XDG_RUNTIME_DIR": f"/run/user/{self.uid}", "PATH": os.environ["PATH"]}
        return {"user": self.uid, "group": pwd.getpwuid(self.uid).pw_gid, "extra_groups": [], "env": env}

    def __call__(self, *args: object, **kw: Any) -> subprocess.CompletedProcess[str]:
        return super().__call__(*args, **{**self.identity, **kw})


@pytest.fixture
def user_box(bundle: Callable[..., Bundle], cli: Cli, container_id: str) -> Box:
    found = [path for path in Path("/run/user").glob("[1-9]*") if (path / "systemd/private").exists()]
    uids = [int(path.name) for path in found]
    if not uids:
        pytest.skip("needs a user whose systemd runs (loginctl enable-linger)")
    group = pwd.getpwuid(uids[0]).pw_gid
    cli.root.mkdir()
    os.chown(cli.root, uids[0], group)
    box = Box(bundle(), UserCli(cli, uids[0]), container_id)
    box.bundle.config = default_spec(rootless=True, cgroup2=True, uid=uids[0], gid=group)
    box.process["terminal"] = False
    return box


@needs_systemd
@needs_v2
def test_a_user(user_box: Box) -> None:
    box, unit = user_box, unit_of(user_box)
    assert isinstance(box.cli, UserCli)
    box.linux["resources"] = {"memory": {"limit": 64 * MEBI}, "pids": {"limit": 30}}
    pid = box.up()
    manager = f"/user.slice/user-{box.cli.uid}.slice/user@{box.cli.uid}.service"
    assert place(pid) == f"{manager}/user.slice/{unit}"
    ask = box.cli.identity
    assert show(unit, "MemoryMax", "TasksMax", **ask) == {"MemoryMax": str(64 * MEBI), "TasksMax": "30"}
    assert limit(box, "memory", "", "memory.max") == str(64 * MEBI)
    assert box.ex("grep ^0: /proc/self/cgroup") == "0::/\n", "moved by the user's systemd: the kernel would not let us"
    box.cli("update", "--pids-limit", "40", box.id, check=True)
    assert show(unit, "TasksMax", **ask) == {"TasksMax": "40"} and limit(box, "pids", "", "pids.max") == "40"
    box.cli("delete", "--force", box.id, check=True)
    gone(unit, **ask)


class NamespacedCli(UserCli):
    """The same user as root of a user namespace of their own, as podman starts a runtime."""

    def argv(self, *args: object) -> list[str]:
        return ["unshare", "--user", "--map-root-user", "--map-auto", *super().argv(*args)]


@needs_systemd
@needs_v2
@pytest.mark.skipif(not shutil.which("newuidmap"), reason="needs newuidmap: apt-get install uidmap")
def test_root_of_a_users_namespace(user_box: Box) -> None:
    box, unit = user_box, unit_of(user_box)
    assert isinstance(box.cli, UserCli)
    if pwd.getpwuid(box.cli.uid).pw_name not in Path("/etc/subuid").read_text():
        pytest.skip("the user has no ids in /etc/subuid")
    box.cli = NamespacedCli(box.cli, box.cli.uid)
    box.share("user")
    for name in ("uidMappings", "gidMappings"):
        del box.linux[name]
    box.linux["resources"] = {"pids": {"limit": 30}}
    pid = box.up()
    assert place(pid).endswith(f"/user@{box.cli.uid}.service/user.slice/{unit}") and limit(box, "pids", "", "pids.max") == "30"
    # Each command is root of a namespace of its own, so there is no exec; the ids outside are the same.
    box.cli("delete", "--force", box.id, check=True)
    gone(unit, **box.cli.identity)


@needs_systemd
@needs_v2
def test_a_user_without_a_session(user_box: Box) -> None:
    user_box.bundle.write()
    for env, words in (
        ({}, "neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set"),
        ({"DBUS_SESSION_BUS_ADDRESS": "unix:path=/nowhere"}, "the user's systemd cannot be reached: /nowhere: nobody is there"),
    ):
        done = user_box.cli("create", "--bundle", user_box.bundle, user_box.id, check=1, env={"PATH": os.environ["PATH"], **env})
        assert words in done.stderr and done.stdout == "" and not user_box.exists()


@pytest.mark.skipif(BOOTED, reason="there is a systemd")
def test_no_systemd(box: Box) -> None:
    message = box.refused()
    assert "systemd" in message and "no such file" not in message and not box.exists()


def test_paths_and_annotations_that_cannot_be(box: Box) -> None:
    box.linux["cgroupsPath"] = "/a/b"
    wanted = 'linux.cgroupsPath: expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got "/a/b" instead'
    assert box.refused() == f"pyrunc create failed: {wanted}"
    box.linux["cgroupsPath"] = "a.slice/..:x:y"
    assert box.refused() == "pyrunc create failed: linux.cgroupsPath: invalid slice name: a.slice/.."
    if BOOTED:
        del box.linux["cgroupsPath"]
        box.config["annotations"] = {"org.systemd.property.TasksMax": "many"}
        assert "annotations[org.systemd.property.TasksMax]: many value parse error" in box.refused()
    box.bundle.write()
    one_line(box.cli("state", box.id, check=1))
