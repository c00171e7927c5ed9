"""Containers of an ordinary user, with one id and with ranges, and containers inside a container of ours.

Nothing of this session's is the user's but a directory with a mode that is set here: what a umask or another test has done to
the others is of no account.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import subprocess
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from pyrunc import cgroups
from pyrunc.config.default import default_spec
from tests.lifecycle.agent import Agent
from tests.lifecycle.box import BASE, Box, mountinfo

UID, GID = 12345, 23456
RANGE = 400_000
"""The user, whom the host need not know, and the first of the ids that are lent to it."""

X86_64_MKDIR = 83
"""Of the calls by which a program may make a directory the one whose first argument is the name."""

CGROUP2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()


class User:
    """The user, with a directory of its own, in which there is a bundle; the runtime's root is the default one."""

    def __init__(self, home: Path, pyrunc: Path, id: str) -> None:
        self.home = home
        self.pyrunc = pyrunc
        self.id = id
        self.bundle = home / "bundle"
        self.rootfs = self.bundle / "rootfs"
        self.config = default_spec(rootless=True, cgroup2=CGROUP2, uid=UID, gid=GID)
        self.config["process"].update(terminal=False)
        self.files: dict[str, str] = {}

    @property
    def linux(self) -> dict[str, Any]:
        linux: dict[str, Any] = self.config["linux"]
        return linux

    def lend(self, size: int = 65536) -> None:
        """The user's own id is root, and there are others, which newuidmap(1) and newgidmap(1) must give."""
        for program in ("newuidmap", "newgidmap"):
            if not shutil.which(program):
                pytest.skip(f"{program} is missing: apt-get install uidmap")
        self.knows(f"{UID}:{RANGE}:{size}\n")
        for name, own in (("uidMappings", UID), ("gidMappings", GID)):
            self.linux[name] = [
                {"containerID": 0, "hostID": own, "size": 1}, {"containerID": 1, "hostID": RANGE, "size": size - 1},
            ]  # fmt: skip

    def knows(self, ranges: str) -> None:
        """What /etc says of the user; only for the commands that are run here."""
        passwd = Path("/etc/passwd").read_text() + f"lent:x:{UID}:{GID}::/:/bin/sh\n"
        self.files = {"passwd": passwd, "subuid": ranges, "subgid": ranges}
        probe = subprocess.run([*self.argv()[:7], "true"], capture_output=True, text=True)
        if probe.returncode:
            pytest.skip(f"no overlay can be mounted on /etc: {probe.stderr.strip()}")

    def argv(self, *args: object) -> list[str]:
        words = ["setpriv", f"--reuid={UID}", f"--regid={GID}", "--clear-groups", "env", f"XDG_RUNTIME_DIR={self.home}"]
        words += [str(self.pyrunc), *map(str, args)]
        if not self.files:
            return words
        etc = self.home / "etc"
        etc.mkdir(exist_ok=True)
        etc.chmod(0o755)
        for name, text in self.files.items():
            (etc / name).write_text(text)
            (etc / name).chmod(0o644)
        script = f"mount -t overlay -o lowerdir={etc}:/etc etc /etc && exec \"$@\""
        return ["unshare", "--mount", "--propagation", "slave", "sh", "-c", script, "sh", *words]

    def __call__(self, *args: object, check: int | None = 0, **kw: Any) -> subprocess.CompletedProcess[str]:
        kw = {"stdin": subprocess.DEVNULL, "text": True, "timeout": 60, "umask": 0o077, **kw}
        out, err = self.home / "out", self.home / "err"
        with out.open("w") as stdout, err.open("w") as stderr:
            done: subprocess.CompletedProcess[str] = subprocess.run(self.argv(*args), stdout=stdout, stderr=stderr, **kw)
        done.stdout, done.stderr = out.read_text(), err.read_text()
        assert check in (None, done.returncode), done
        return done

    def write(self, *args: str) -> None:
        self.config["process"]["args"] = list(args)
        (self.bundle / "config.json").write_text(json.dumps(self.config))
        (self.bundle / "config.json").chmod(0o644)

    def sh(self, script: str, **kw: Any) -> str:
        self.write("sh", "-ec", script)
        return self("run", "--bundle", self.bundle, self.id, **kw).stdout

    def lines(self, script: str, **kw: Any) -> list[str]:
        return self.sh(script, **kw).splitlines()

    def refused(self, **kw: Any) -> str:
        self.write("true")
        done = self("create", "--bundle", self.bundle, self.id, check=1, **kw)
        assert done.stdout == "" and done.stderr.count("\n") == 1, done
        assert not (self.home / "pyrunc" / self.id).exists()
        return done.stderr


@pytest.fixture
def user(session_dir: Path, busybox_rootfs: Path, pyrunc: Path, container_id: str) -> Iterator[User]:
    home = session_dir / f"user-{container_id}"
    for path in (home, home / "bundle"):
        path.mkdir()
        path.chmod(0o755)
        os.chown(path, UID, GID)
    found = User(home, pyrunc, container_id)
    shutil.copytree(busybox_rootfs, found.rootfs, symlinks=True)
    for directory, _, _ in os.walk(found.rootfs):
        os.chown(directory, UID, GID)
    for path in (found.rootfs, found.rootfs / "bin"):
        path.chmod(0o755)
    probe = subprocess.run(found.argv("--version"), capture_output=True, text=True)
    if probe.returncode:
        pytest.skip(f"an ordinary user cannot run {pyrunc}: {probe.stderr.strip()}")
    probe = subprocess.run([*found.argv()[:-1], "unshare", "--user", "true"], capture_output=True, text=True)
    if probe.returncode:
        pytest.skip(f"an ordinary user may make no user namespace: {probe.stderr.strip()}")
    yield found
    if (home / "pyrunc" / container_id).exists():
        found("delete", "--force", container_id, check=None)
    assert not (home / "pyrunc" / container_id).exists()
    shutil.rmtree(home)


def test_one_id(user: User) -> None:
    """What `spec --rootless` writes: the user is root, alone."""
    script = "id -u; id -g; cat /proc/self/uid_map /proc/self/setgroups; >/tmp/made; cat /sys/class/net/lo/mtu; echo x >/dev/null"
    user.config["root"]["readonly"] = False
    uid, gid, uid_map, setgroups, mtu = user.lines(script)
    assert (uid, gid, uid_map.split(), setgroups, int(mtu) > 0) == ("0", "0", ["0", str(UID), "1"], "deny", True)
    assert (user.rootfs / "tmp/made").stat().st_uid == UID
    root = (user.home / "pyrunc").stat()
    assert (root.st_mode & 0o7777, root.st_uid) == (0o1700, UID)


def test_ranges(user: User) -> None:
    """newuidmap and newgidmap lend them; files on the host are of whom they are lent from."""
    user.lend()
    user.config["root"]["readonly"] = False
    user.config["process"]["capabilities"] = {
        name: ["CAP_CHOWN", "CAP_SETUID", "CAP_SETGID"] for name in ("bounding", "effective", "permitted")
    }
    lines = user.lines(
        "cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups; >/tmp/made; chown 5:6 /tmp/made; stat -c %u:%g /tmp/made"
    )
    assert [line.split() for line in lines[:4]] == [
        ["0", str(UID), "1"], ["1", str(RANGE), "65535"], ["0", str(GID), "1"], ["1", str(RANGE), "65535"],
    ]  # fmt: skip
    assert lines[4:] == ["allow", "5:6"]
    made = (user.rootfs / "tmp/made").stat()
    assert (made.st_uid, made.st_gid) == (RANGE + 4, RANGE + 5)


def test_a_user_of_the_range(user: User) -> None:
    user.lend()
    user.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    assert user.lines("id -u; id -g; pwd") == ["1000", "1000", "/"]


def test_the_whole_life(user: User) -> None:
    """create, start, exec, kill, delete, by the user alone."""
    user.write("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 60 & wait; done")
    user("create", "--bundle", user.bundle, user.id)
    assert json.loads(user("state", user.id).stdout)["status"] == "created"
    user("start", user.id)
    assert user("exec", user.id, "sh", "-c", "id -u; hostname").stdout.split() == ["0", user.config["hostname"]]
    assert user.id in user("list", "-q").stdout
    user("kill", user.id, "KILL")
    user("delete", "--force", user.id)


class IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def by_another_name(pid: int, number: int, arguments: tuple[int, ...]) -> int:
    """Make the directory that was asked for, with the user's own rights over the process. Its mem in procfs is its own user's."""
    text = ctypes.create_string_buffer(64)
    here, there = (IoVec(at, 64) for at in (ctypes.addressof(text), arguments[number != X86_64_MKDIR]))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.process_vm_readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0) < 0:
        raise OSError(ctypes.get_errno(), "process_vm_readv")
    os.mkdir(f"/proc/{pid}/root{text.value.decode()}-by-the-agent")
    return errno.EREMOTE


class OwnAgent:
    """A seccomp agent that is a process of the user's, with a socket in its home."""

    def __init__(self, user: User) -> None:
        self.path = user.home / "agent"
        self._said = user.home / "agent.json"

    def __enter__(self) -> OwnAgent:
        end, self._end = os.pipe()
        ready, listens = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            os.close(self._end)
            self._be(end, listens)
        for fd in (end, listens):
            os.close(fd)
        os.read(ready, 1)
        os.close(ready)
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._end)
        assert os.waitpid(self._pid, 0)[1] == 0

    def _be(self, end: int, listens: int) -> NoReturn:
        try:
            os.setgroups([])
            os.setresgid(GID, GID, GID)
            os.setresuid(UID, UID, UID)
            with Agent(self.path, by_another_name) as agent:
                os.write(listens, b"\n")
                os.read(end, 1)
            self._said.write_text(json.dumps(agent.all))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    def messages(self) -> list[dict[str, Any]]:
        """What it was sent, when it has ended."""
        found: list[dict[str, Any]] = json.loads(self._said.read_text())
        return found


@pytest.fixture
def noted(user: User) -> User:
    """A user whose container's mkdir(2) is an agent's to decide."""
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}
    listener = {"listenerPath": str(user.home / "agent"), "listenerMetadata": "of a user"}
    user.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule], **listener}
    user.config["root"]["readonly"] = False
    (user.rootfs / "tmp").chmod(0o1777)
    return user


MAKE = "mkdir /tmp/x 2>/dev/null || :; test ! -e /tmp/x; ls /tmp"


@pytest.mark.parametrize("no_new_privs", [False, True])
@pytest.mark.parametrize("lent", [False, True], ids=["root of one id", "another of a range"])
def test_a_seccomp_agent_of_the_users(noted: User, no_new_privs: bool, lent: bool) -> None:
    """It is sent the listener, decides, and may act for the process: both are the user's, and so is the user namespace."""
    noted.config["process"]["noNewPrivileges"] = no_new_privs
    if lent:
        noted.lend()
        noted.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    with OwnAgent(noted) as agent:
        assert noted.lines(MAKE) == ["x-by-the-agent"]
    assert (noted.rootfs / "tmp/x-by-the-agent").stat().st_uid == UID
    (message,) = agent.messages()
    assert (message["metadata"], message["state"]["id"], message["state"]["status"]) == ("of a user", noted.id, "creating")
    assert message["pid"] == message["state"]["pid"] > 1


def test_a_seccomp_agent_of_the_users_for_exec(noted: User) -> None:
    with OwnAgent(noted) as agent:
        noted.write("sleep", "1000")
        noted("create", "--bundle", noted.bundle, noted.id)
        noted("start", noted.id)
        assert noted("exec", noted.id, "sh", "-ec", MAKE).stdout == "x-by-the-agent\n"
        noted("delete", "--force", noted.id)
    first, second = agent.messages()
    assert (first["state"]["status"], second["state"]["status"]) == ("creating", "running")
    assert first["pid"] == first["state"]["pid"] == second["state"]["pid"] != second["pid"]


def test_a_seccomp_agent_that_is_not_the_users(noted: User) -> None:
    """Its socket decides who may connect."""
    with Agent(noted.home / "agent", by_another_name) as agent:
        agent.path.chmod(0o600)
        said = noted.refused()
    assert f"send the filter's listener to the agent at {agent.path}: permission denied" in said


def test_devices_are_the_hosts(user: User) -> None:
    assert user.lines("stat -c %t:%T /dev/null /dev/full /dev/tty; head -c 3 /dev/zero | od -An -tx1") == [
        "1:3", "1:7", "5:0", " 00 00 00",
    ]  # fmt: skip


def test_a_network_of_its_own_has_a_sys_of_its_own(user: User) -> None:
    user.linux["namespaces"].append({"type": "network"})
    user.config["mounts"] = [entry for entry in user.config["mounts"] if not entry["destination"].startswith("/sys")]
    user.config["mounts"].append({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]})
    assert user.lines("ls /sys/class/net; ls /sys/fs/cgroup | wc -l") == ["lo", "0"]


def test_a_sys_in_the_hosts_network(user: User) -> None:
    """It may not be had: the host's is bound, read-only with all below (CVE-2023-25809)."""
    user.config["mounts"] = [entry for entry in user.config["mounts"] if not entry["destination"].startswith("/sys")]
    user.config["mounts"].append({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid"]})
    mounts = mountinfo(user.sh("cat /proc/self/mountinfo"))
    found = {place: mount["options"] for place, mount in mounts.items() if f"{place}/".startswith("/sys/")}
    assert len(found) > 1 and not [place for place, options in found.items() if not {"ro", "nosuid"} <= options], found


def test_what_a_rootless_container_cannot_have(user: User) -> None:
    user.config["process"]["user"]["additionalGids"] = [0]
    user.config["mounts"][1]["options"] += ["idmap", "uid=7"]
    said = user.refused()
    assert "process.user.additionalGids: cannot be set in a rootless container" in said
    assert "mounts[1]: ID-mapped mounts cannot be made by a rootless runtime" in said
    assert 'mounts[1].options: \\"uid=7\\": the id is not mapped by linux.uidMappings' in said
    user.linux["namespaces"] = [entry for entry in user.linux["namespaces"] if entry["type"] != "user"]
    assert "a rootless container needs a user namespace" in user.refused()


@pytest.fixture
def locked(session_dir: Path, container_id: str) -> Iterator[Path]:
    """A mount that its owner has made nosuid, nodev and noexec."""
    path = session_dir / f"locked-{container_id}"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nosuid,nodev,noexec,mode=755", "locked", path], check=True)
    yield path
    subprocess.run(["umount", path], check=True)
    path.rmdir()


def test_locked_flags_of_a_source_stay(user: User, locked: Path) -> None:
    """They are kept when others are asked for, and to take one away is an error."""
    bind = {"destination": "/tmp", "source": str(locked), "options": ["bind", "ro", "rnosymfollow"]}
    user.config["mounts"].append(bind)
    options = mountinfo(user.sh("cat /proc/self/mountinfo"))["/tmp"]["options"]
    assert {"ro", "nosuid", "nodev", "noexec", "nosymfollow"} <= options
    bind["options"] = ["bind", "exec"]
    said = user.refused()
    assert "set mount attributes (the mount is nosuid nodev noexec): operation not permitted" in said and "(locked, " in said


def test_a_path_of_cgroups_that_may_not_be_made(user: User) -> None:
    user.linux["cgroupsPath"] = f"/{user.id}"
    said = user.refused()
    assert "create cgroup" in said and "permission denied" in said


def test_limits_without_a_cgroup(user: User) -> None:
    """Without permission for cgroups there are none; what nobody can enforce is an error."""
    user.linux["resources"] = {"pids": {"limit": 5}}
    said = user.refused()
    words = "rootless needs no limits + no cgrouppath when no permission is granted for cgroups"
    assert f"linux.resources.pids.limit: {words}" in said


@pytest.fixture
def delegated(container_id: str) -> Iterator[Path]:
    """A cgroup that is the user's, of the unified hierarchy or of v1's pids; the user is to be in its child `session`."""
    top = Path("/sys/fs/cgroup") if CGROUP2 else Path("/sys/fs/cgroup/pids")
    place = top / f"{container_id}-delegated"
    try:
        (place / "session").mkdir(parents=True)
    except OSError as error:
        pytest.skip(f"no cgroup can be made in {top}: {error}")
    try:
        if CGROUP2 and "pids" not in (place / "cgroup.controllers").read_text().split():
            pytest.skip(f"{top}/cgroup.subtree_control has no pids")
        for path in (place, place / "session"):
            for name in ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads", "tasks"):
                if (path / name).exists():
                    os.chown(path / name, UID, GID)
        yield place
    finally:
        (place / "session").rmdir()
        place.rmdir()


def test_limits_in_a_cgroup_that_is_the_users(user: User, delegated: Path) -> None:
    """What was delegated is enough: below its own cgroup on v1, beside it on v2."""
    user.linux["resources"] = {"pids": {"limit": 4}}
    script = "sh -c 'sleep 60 & sleep 60 & sleep 60 & sleep 60 & sleep 60' 2>&1 || echo ended with $?"

    def enter() -> None:
        (delegated / "session/cgroup.procs").write_text("0")

    lines = user.lines(script, preexec_fn=enter)
    assert any("can't fork" in line for line in lines) and "ended with 2" in lines, lines
    assert [path.name for path in delegated.iterdir() if path.is_dir()] == ["session"]
    assert not [path for path in (delegated / "session").iterdir() if path.is_dir()]


def test_without_a_cgroup_and_a_pid_namespace_there_is_a_warning(user: User) -> None:
    user.linux["namespaces"] = [entry for entry in user.linux["namespaces"] if entry["type"] != "pid"]
    user.config["mounts"] = [entry for entry in user.config["mounts"] if entry["destination"] != "/proc"]
    user.config["mounts"].append({"destination": "/proc", "source": "/proc", "options": ["rbind"]})
    user.write("true")
    done = user("--log-level", "warning", "run", "--bundle", user.bundle, user.id)
    assert "level=warning" in done.stderr and "what outlives init cannot be killed" in done.stderr


def test_ranges_that_are_nobodys(user: User) -> None:
    user.lend()
    user.knows("")
    said = user.refused()
    assert "linux.uidMappings: newuidmap: " in said and "not allowed" in said
    assert "usermod --add-subuids 100000-165535 lent" in said


def test_ranges_that_are_others(user: User) -> None:
    user.lend()
    user.linux["gidMappings"][1]["hostID"] += 2
    said = user.refused()
    assert "linux.gidMappings: newgidmap: " in said
    assert f"/etc/subgid gives lent the ids {RANGE} to {RANGE + 65535}" in said


def test_without_the_helpers(user: User) -> None:
    user.lend()
    user.write("true")
    command = user.argv("create", "--bundle", user.bundle, user.id)
    command.insert(command.index("env") + 1, f"PATH={user.home}")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "linux.uidMappings: cannot run newuidmap" in done.stderr and "install the package uidmap" in done.stderr


def test_no_user_namespaces_left(user: User) -> None:
    """The sysctl that says so, of a user namespace in which there may be no further one."""
    user.write("true")
    limit = "echo 0 >/proc/sys/user/max_user_namespaces; exec \"$@\""
    words = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", limit, "sh"]
    command = user.argv("run", "--bundle", user.bundle, user.id)
    at = command.index("env")
    done = subprocess.run([*command[:at], *words, *command[at:]], capture_output=True, text=True)
    assert done.returncode == 1
    assert "create namespaces: no space left on device" in done.stderr and "user.max_user_namespaces, which is 0" in done.stderr


# --- cgroup2 that a user namespace does not own ------------------------------------------------------------------------------


def with_cgroup2_alone(argv: list[str]) -> list[str]:
    """The command in a mount namespace in which cgroup2 is all that there is of cgroups, whatever the host has."""
    script = "umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec \"$@\""
    return ["unshare", "--mount", "--propagation", "slave", "sh", "-c", script, "sh", *argv]


def test_a_cgroup2_of_nobodys_is_not_to_be_seen(user: User) -> None:
    """The user may make no cgroup and the container has no cgroup namespace: the host's must not show (CVE-2023-25809)."""
    user.linux["namespaces"] = [entry for entry in user.linux["namespaces"] if entry["type"] != "cgroup"]
    user.write("sh", "-ec", "ls /sys/fs/cgroup | wc -l; (>/sys/fs/cgroup/x) 2>&1 | cut -d: -f3")
    done = subprocess.run(with_cgroup2_alone(user.argv("run", "--bundle", user.bundle, user.id)), capture_output=True, text=True)
    assert done.stdout.splitlines() == ["0", " Read-only file system"], done


@pytest.fixture
def same_controllers() -> Iterator[None]:
    """The root of cgroup2 is one for all of its mounts: what a test has its children given is taken back."""
    mount = next((hierarchy.mount for hierarchy in cgroups.layout().hierarchies if hierarchy.unified), None)
    control = Path(mount, "cgroup.subtree_control") if mount else None
    before = control.read_text().split() if control else []
    yield
    for name in set(control.read_text().split()) - set(before) if control else ():
        control.write_text(f"-{name}")


@pytest.mark.usefixtures("same_controllers")
def test_a_cgroup2_without_a_namespace_of_it_is_the_containers_own(box: Box) -> None:
    box.map_ids()
    box.share("cgroup")
    box.linux["resources"] = {}
    box.mounted("/sys/fs/cgroup")["options"].remove("ro")
    box.args("sh", "-ec", "cat /sys/fs/cgroup/cgroup.procs | head -1; grep -c ' /sys/fs/cgroup .*cgroup2' /proc/self/mountinfo")
    argv = with_cgroup2_alone(box.cli.argv("run", "--bundle", box.bundle, box.id))
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.stdout.split() == ["1", "1"], done


# --- inside a container of ours ----------------------------------------------------------------------------------------------


@pytest.fixture
def nest(box: Box, session_dir: Path) -> Box:
    """A container with the host's programs in it, whose root may do everything that its user namespace allows."""
    command = ["setpriv", f"--reuid={BASE}", f"--regid={BASE}", "--clear-groups", str(box.cli.program), "--version"]
    probe = subprocess.run(command, capture_output=True, text=True)
    if probe.returncode:
        pytest.skip(f"only root can run {box.cli.program}: {probe.stderr.strip()}")
    box.map_ids()
    os.chown(box.rootfs, BASE, BASE)
    box.writable()
    for entry in sorted(os.scandir("/"), key=lambda entry: entry.name):
        if entry.is_symlink():
            place = box.rootfs / entry.name
            if place.exists() and not place.is_symlink():
                shutil.rmtree(place)
            place.symlink_to(os.readlink(entry.path))
        elif entry.is_dir() and entry.name not in ("proc", "sys", "dev", "run"):
            box.mount(f"/{entry.name}", "none", "rbind", source=entry.path)
    everything = [f"CAP_{name}" for name in (
        "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "NET_ADMIN", "SYS_CHROOT",
        "SYS_ADMIN", "SYS_PTRACE", "MKNOD", "SETFCAP", "NET_BIND_SERVICE", "AUDIT_WRITE",
    )]  # fmt: skip
    box.process["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted", "inheritable"), everything)
    box.process["noNewPrivileges"] = False
    box.linux["maskedPaths"] = box.linux["readonlyPaths"] = []
    return box


@pytest.fixture
def inner(box: Box, session_dir: Path, busybox_rootfs: Path) -> Iterator[Path]:
    """A bundle of the outer container's root, as it would make one for itself."""
    path = session_dir / f"inner-{box.id}"
    path.mkdir()
    path.chmod(0o755)
    shutil.copytree(busybox_rootfs, path / "rootfs", symlinks=True)
    for directory, _, files in os.walk(path):
        for name in (".", *files):
            if not os.path.islink(os.path.join(directory, name)):
                os.chown(os.path.join(directory, name), BASE, BASE)
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize("userns", [False, True], ids=["as root there", "in a user namespace of its own"])
def test_inside_a_container_of_ours(nest: Box, inner: Path, userns: bool) -> None:
    config = default_spec(rootless=userns, cgroup2=CGROUP2, uid=0, gid=0)
    config["process"].update(terminal=False, args=["sh", "-c", "hostname; cat /proc/self/uid_map; ls /proc | grep -cx 1"])
    config["process"]["rlimits"] = []
    config["hostname"] = "inner"
    (inner / "config.json").write_text(json.dumps(config))
    (inner / "config.json").chmod(0o644)
    script = f"cd {inner} && {nest.cli.program} --root /tmp/{nest.id} run --bundle {inner} inner; rmdir /tmp/{nest.id}"
    said = nest.lines(script)
    size = "1" if userns else "65536"
    assert [said[0], said[1].split()[0], said[1].split()[2], said[2]] == ["inner", "0", size, "1"]
