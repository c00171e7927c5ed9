"""SCMP_ACT_NOTIFY with a real agent: what it decides happens in the container, and what it is told is true."""

from __future__ import annotations

import errno
import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import until
from tests.lifecycle.agent import Agent
from tests.lifecycle.box import Box

if platform.machine() != "x86_64":
    pytest.skip("numbers of x86-64", allow_module_level=True)

CLOSE, EXECVE, MKDIR, SETRESUID = 3, 59, 83, 117


def notify(*names: str, **more: object) -> dict[str, Any]:
    rule = {"names": list(names), "action": "SCMP_ACT_NOTIFY"}
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule], **more}


def go_on(pid: int, number: int, arguments: tuple[int, ...]) -> int | None:
    return None


def no_medium(pid: int, number: int, arguments: tuple[int, ...]) -> int | None:
    return errno.ENOMEDIUM if number == MKDIR else None


@pytest.fixture
def socket_path(session_dir: Path, container_id: str) -> Path:
    return session_dir / f"{container_id}.agent"


@pytest.fixture
def noted(box: Box, socket_path: Path) -> Iterator[Box]:
    """A container whose mkdir(2) is the agent's to decide."""
    box.linux["seccomp"] = notify("mkdir", listenerPath=str(socket_path), listenerMetadata='of "this" \u00e9 container')
    box.config["annotations"] = {"org.example.a": "b"}
    yield box.writable()


@pytest.mark.parametrize("no_new_privs", [False, True])
@pytest.mark.parametrize("uid", [0, 1000])
def test_the_agent_decides(noted: Box, socket_path: Path, no_new_privs: bool, uid: int) -> None:
    noted.process["noNewPrivileges"] = no_new_privs
    noted.process["user"] = {"uid": uid, "gid": uid}
    with Agent(socket_path, no_medium) as agent:
        assert "No medium found" in noted.sh("mkdir /tmp/x 2>&1 || :; test ! -e /tmp/x")
    (message,) = agent.messages(1)
    state = message.pop("state")
    pid = message.pop("pid")
    assert message == {"ociVersion": state["ociVersion"], "fds": ["seccompFd"], "metadata": 'of "this" \u00e9 container'}
    assert state == {
        "ociVersion": noted.config["ociVersion"], "id": noted.id, "status": "creating", "pid": pid,
        "bundle": str(noted.bundle), "annotations": {"org.example.a": "b"},
    }  # fmt: skip
    assert {number for _, number in agent.calls} == {MKDIR}


def test_the_agent_lets_go_on(noted: Box, socket_path: Path) -> None:
    with Agent(socket_path, go_on):
        assert noted.lines("mkdir /tmp/x; test -d /tmp/x; echo made") == ["made"]


def test_an_agent_that_acts_for_the_process(noted: Box, socket_path: Path) -> None:
    """It reads the name from the process's memory and makes a directory of another in its root."""

    def elsewhere(pid: int, number: int, arguments: tuple[int, ...]) -> int | None:
        with open(f"/proc/{pid}/mem", "rb") as memory:
            memory.seek(arguments[0])
            name = memory.read(64).partition(b"\0")[0].decode()
        os.mkdir(f"/proc/{pid}/root{name}-by-the-agent")
        return errno.EREMOTE

    with Agent(socket_path, elsewhere):
        noted.sh("mkdir /tmp/x 2>/dev/null || :; test -d /tmp/x-by-the-agent; test ! -e /tmp/x")


def test_create_start_and_exec(noted: Box, socket_path: Path, tmp_path: Path) -> None:
    """Each process has a listener of its own; that of exec comes with its pid and with init's in the state."""
    with Agent(socket_path, no_medium) as agent:
        init = noted.up()
        (message,) = agent.messages(1)
        assert (message["pid"], message["state"]["pid"], message["state"]["status"]) == (init, init, "creating")
        pid_file = tmp_path / "pid"
        noted.exec("--detach", "--pid-file", pid_file, noted.id, "sleep", "1000", check=True)
        message, further = agent.messages(2)[1], int(pid_file.read_text())
        assert (message["pid"], message["state"]["pid"], message["state"]["status"]) == (further, init, "running")
        assert "No medium found" in noted.ex("mkdir /tmp/x 2>&1 || :")
        agent.messages(3)
        for pid in (init, further):
            assert not [fd for fd in os.listdir(f"/proc/{pid}/fd") if int(fd) > 2]
        noted.down()


def test_a_created_container_does_not_hold_its_listener(noted: Box, socket_path: Path) -> None:
    """Else calls would wait for ever after the agent's death."""
    for no_new_privs in (False, True):
        noted.process["noNewPrivileges"] = no_new_privs
        with Agent(socket_path, go_on):
            pid = noted.args("true").create()
            targets = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
            assert not [target for target in targets if "seccomp" in target]
            noted.down()


@pytest.mark.parametrize("no_new_privs", [False, True])
def test_every_call_of_the_setup_may_be_notified(noted: Box, socket_path: Path, no_new_privs: bool) -> None:
    """Also those by which pyrunc-init talks to the runtime, which runc could not: the agent sees them and lets them go on."""
    names = "read close sendmsg prctl setresuid setresgid setgroups capset capget chdir getcwd openat faccessat dup3 close_range"
    noted.linux["seccomp"]["syscalls"][0]["names"] = [*names.split(), "execve", "rt_sigaction", "open", "mkdir"]
    noted.process["noNewPrivileges"] = no_new_privs
    with Agent(socket_path, no_medium) as agent:
        assert "No medium found" in noted.sh("mkdir /tmp/x 2>&1 || :")
        noted.up()
        assert noted.ex("echo in") == "in\n"
        noted.down()
    seen = {number for _, number in agent.calls}
    assert {CLOSE, EXECVE} <= seen and (SETRESUID in seen) is not no_new_privs


def test_an_agent_that_refuses_the_setup_itself(noted: Box, socket_path: Path) -> None:
    noted.linux["seccomp"]["syscalls"][0]["names"] = ["setresuid"]
    noted.process["noNewPrivileges"] = False
    with Agent(socket_path, lambda pid, number, arguments: errno.EXDEV):
        message = noted.args("true").refused(command="run")
    assert "process.user" in message and "cross-device link" in message


def test_the_agent_dies(noted: Box, socket_path: Path) -> None:
    """From then on there is nobody to ask: ENOSYS, and no call that waits for ever."""
    script = "until test -e /tmp/gone; do sleep 0.02; done; mkdir /tmp/x 2>/tmp/said; mv /tmp/said /tmp/done; sleep 1000"
    with Agent(socket_path, go_on) as agent:
        noted.args("sh", "-c", script).create()
        noted.start()
        agent.end()
    inside = Path(f"/proc/{noted.pid}/root/tmp")
    (inside / "gone").touch()
    until((inside / "done").exists, 30, "mkdir waits for ever")
    assert "Function not implemented" in (inside / "done").read_text()
    noted.down()


@pytest.mark.parametrize("no_new_privs", [False, True])
@pytest.mark.parametrize("command", ["create", "run"])
def test_no_agent(noted: Box, socket_path: Path, command: str, no_new_privs: bool) -> None:
    noted.process["noNewPrivileges"] = no_new_privs
    for path, why in ((socket_path, "no such file or directory"), (noted.bundle.path / "config.json", "connection refused")):
        noted.linux["seccomp"]["listenerPath"] = str(path)
        message = noted.args("true").refused(command=command)
        assert f"linux.seccomp.listenerPath: send the filter's listener to the agent at {path}: {why}" in message
        assert not noted.exists()


def test_no_agent_for_exec(noted: Box, socket_path: Path) -> None:
    with Agent(socket_path, go_on):
        noted.up()
    done = noted.exec(noted.id, "true", check=255)
    assert "linux.seccomp.listenerPath" in done.stderr and done.stderr.count("\n") == 1
    assert noted.status == "running"
    noted.down()


def test_start_container_hooks_come_after_the_listener(noted: Box, socket_path: Path) -> None:
    """And hold nothing of it; with no_new_privs too, where the filter would otherwise be loaded after them."""
    for no_new_privs in (False, True):
        noted.process["noNewPrivileges"] = no_new_privs
        script = "mkdir /tmp/h 2>/hook; ls /proc/self/fd >>/hook; exit 0"
        noted.config["hooks"] = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}
        with Agent(socket_path, no_medium):
            first, *fds = noted.lines("cat /hook")
        assert "No medium found" in first and fds == ["0", "1", "2", "3"]


def test_a_start_container_hook_that_fails_is_named(noted: Box, socket_path: Path) -> None:
    noted.process["noNewPrivileges"] = True
    noted.config["hooks"] = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "exit 3"]}]}
    with Agent(socket_path, go_on):
        noted.args("true").create()
        done = noted.cli("start", noted.id, check=1)
    assert "startContainer hook #0" in done.stderr and "exit status 3" in done.stderr


def test_a_path_without_notify_is_nobodys(box: Box) -> None:
    box.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/no/such", "listenerMetadata": "m"}
    assert box.sh("echo fine") == "fine\n"


def test_a_path_longer_than_a_socket_address(noted: Box, session_dir: Path) -> None:
    path = session_dir / ("long-" * 20) / "agent"
    path.parent.mkdir()
    noted.linux["seccomp"]["listenerPath"] = str(path)
    with Agent(path, no_medium):
        assert "No medium found" in noted.sh("mkdir /tmp/x 2>&1 || :")
    path.parent.rmdir()


def test_containers_that_differ_in_their_agent_share_a_filter(noted: Box, session_dir: Path) -> None:
    for number in range(3):
        path = session_dir / f"{noted.id}.{number}"
        noted.linux["seccomp"].update(listenerPath=str(path), listenerMetadata=str(number))
        with Agent(path, go_on) as agent:
            noted.sh("true")
            assert agent.messages(1)[0]["metadata"] == str(number)
    assert len(list((noted.cli.root / "@cache").iterdir())) == 1


@pytest.mark.parametrize("flag", ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", "SECCOMP_FILTER_FLAG_TSYNC"])
def test_flags_beside_the_listener(noted: Box, socket_path: Path, flag: str) -> None:
    noted.linux["seccomp"]["flags"] = [flag]
    with Agent(socket_path, no_medium):
        assert "No medium found" in noted.sh("mkdir /tmp/x 2>&1 || :")
        plan = json.loads(noted.cli("plan", "--bundle", noted.bundle, "--format", "json", check=True).stdout)
    (loads,) = [entry["describe"] for entry in plan if entry["op"] == "seccomp"]
    assert loads.endswith(("0x28" if "KILLABLE" in flag else "0x8") + ", whose listener the runtime takes")

