"""The six hooks: order, namespaces, state on stdin, environment, timeouts, and what follows when one fails."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from pyrunc.config.names import HOOKS
from tests.lifecycle.box import Box, namespace_of, one_line

ON_HOST = ("prestart", "createRuntime", "poststart", "poststop")
STATUS = {
    "prestart": "creating", "createRuntime": "creating", "createContainer": "creating",
    "startContainer": "created", "poststart": "running", "poststop": "stopped",
}  # fmt: skip


@pytest.fixture
def log(box: Box) -> Path:
    """A directory for what hooks write, the same path inside and outside: the bundle's root lies on the host's way."""
    path = box.rootfs / "log"
    path.mkdir()
    box.writable()
    return path


def hook(script: str, **more: Any) -> dict[str, Any]:
    return {"path": "/bin/sh", "args": ["sh", "-c", script], **more}


def record(box: Box, log: Path, name: str, index: int = 0) -> dict[str, Any]:
    """A hook that writes what it sees into files named after it."""
    inside = name in ("createContainer", "startContainer")
    # createContainer hooks are found on the host, but run from the container's root; startContainer hooks are inside.
    where = "log" if name == "createContainer" else "/log" if inside else str(log)
    script = (
        f"cat >{where}/{name}{index}.state; echo {name}{index} >>{where}/order; pwd >{where}/{name}{index}.cwd;"
        f"cat /proc/self/mountinfo >{where}/{name}{index}.mounts; readlink /proc/self/ns/mnt >{where}/{name}{index}.ns;"
        f"env >{where}/{name}{index}.env"
    )
    return hook(script)


def state(log: Path, name: str, index: int = 0) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((log / f"{name}{index}.state").read_text())
    return document


def test_all_hooks_in_their_order_with_their_state(box: Box, log: Path) -> None:
    box.config["annotations"] = {"a": "b"}
    box.config["hooks"] = {name: [record(box, log, name, 0), record(box, log, name, 1)] for name in HOOKS}
    box.args("sh", "-c", "echo program >>/log/order; sleep 100")
    pid = box.create()
    created = [f"{name}{i}" for name in HOOKS[:3] for i in (0, 1)]
    assert (log / "order").read_text().split() == created
    outside, inside = namespace_of("self", "mount"), namespace_of(pid, "mount")
    box.start()
    started = (log / "order").read_text().split()
    assert started[:8] == [*created, "startContainer0", "startContainer1"]
    assert sorted(started[8:]) == ["poststart0", "poststart1", "program"]
    box.kill()
    box.delete()
    assert (log / "order").read_text().split()[-2:] == ["poststop0", "poststop1"]
    for name in HOOKS:
        found = state(log, name)
        assert {key: found[key] for key in ("id", "status", "bundle", "annotations")} == {
            "id": box.id, "status": STATUS[name], "bundle": str(box.bundle.path), "annotations": {"a": "b"},
        }  # fmt: skip
        assert found["ociVersion"] == box.config["ociVersion"]
        assert found["pid"] == {"poststop": 0, "createContainer": 1, "startContainer": 1}.get(name, pid)
        expected = outside if name in ON_HOST else inside
        assert (log / f"{name}0.ns").read_text().strip() == expected, name
    assert (log / "createContainer0.cwd").read_text().strip() in (str(box.rootfs), "/")
    assert (log / "startContainer0.cwd").read_text() == "/\n"


def test_the_environment_of_hooks(box: Box, log: Path) -> None:
    """Their own, else the runtime's; startContainer hooks have the program's."""
    box.config["hooks"] = {name: [record(box, log, name), {**record(box, log, name, 1), "env": ["ONLY=this"]}] for name in HOOKS}
    box.process["env"] = ["PATH=/bin", "OF=program"]
    box.args("true")
    box.cli("run", "--bundle", box.bundle, box.id, check=True, env={"PATH": os.environ["PATH"], "OF": "runtime"})
    for name in HOOKS:
        lines = (log / f"{name}0.env").read_text().splitlines()
        assert f"OF={'program' if name == 'startContainer' else 'runtime'}" in lines, name
        assert not any(line.startswith(("LC_CTYPE=", "PYTHON")) for line in lines), name
        lines = (log / f"{name}1.env").read_text().splitlines()
        assert "ONLY=this" in lines and not any(line.startswith("OF=") for line in lines), name


@pytest.mark.parametrize("name", HOOKS)
def test_args_default_to_the_path_and_stdin_need_not_be_read(box: Box, log: Path, name: str) -> None:
    """The state is larger than a pipe holds, and `true` ends without having read any of it."""
    box.config["annotations"] = {"large": "x" * 200_000}
    box.config["hooks"] = {name: [{"path": "/bin/true"}]}
    box.sh("true")


@pytest.mark.parametrize("name", HOOKS[:4])
@pytest.mark.parametrize("command", ["create", "run"])
def test_a_hook_that_fails_ends_the_container(box: Box, log: Path, name: str, command: str) -> None:
    """Stopped, destroyed, and then the poststop hooks run (runtime-spec, lifecycle)."""
    failing = hook("cat >/dev/null; echo words; echo complaint >&2; exit 7")
    box.config["hooks"] = {name: [failing, hook("exit 0")], "poststop": [record(box, log, "poststop")]}
    box.args("sh", "-c", "echo >/log/program")
    if name == "startContainer" and command == "create":
        box.create()
        message = one_line(box.cli("start", box.id, check=1))
    else:
        message = box.refused(command=command)
    assert f"error running {name} hook #0" in message and "/bin/sh" in message
    assert "exit status 7, stdout: words" in message and "stderr: complaint" in message
    assert not (log / "program").exists() and not box.exists()
    assert state(log, "poststop")["status"] == "stopped"


@pytest.mark.parametrize("command", ["start", "run", "run --detach"])
def test_a_poststart_hook_that_fails_ends_the_container(box: Box, log: Path, command: str) -> None:
    box.config["hooks"] = {"poststart": [hook("exit 3")], "poststop": [record(box, log, "poststop")]}
    box.args("sleep", "100")
    if command == "start":
        box.create()
        message = one_line(box.cli("start", box.id, check=1))
    else:
        message = box.refused(*command.split()[1:], command="run")
    assert "error running poststart hook #0" in message and "exit status 3" in message
    assert not box.exists()
    assert state(log, "poststop")["pid"] == 0


@pytest.mark.parametrize("command", ["start", "run --detach"])
def test_a_poststart_hook_finds_the_program_executed(box: Box, log: Path, command: str) -> None:
    """Not that it has done anything yet: the suite's poststart test counts on that, and loses where the machine is busy."""
    script = r"""pid=$(sed 's/.*"pid": *\([0-9]*\).*/\1/'); tr '\0' ' ' </proc/$pid/cmdline"""
    box.config["hooks"] = {"poststart": [hook(f"{script} >{log}/cmdline")]}
    box.args("sleep", "100")
    if command == "start":
        box.create()
        box.start()
    else:
        box.cli("run", "--detach", "--bundle", box.bundle, box.id, check=True)
    assert (log / "cmdline").read_text() == "sleep 100 "
    box.down()


def test_a_poststop_hook_that_fails_is_a_warning(box: Box, log: Path) -> None:
    box.config["hooks"] = {"poststop": [hook("exit 5"), record(box, log, "poststop"), hook("exit 6")]}
    box.args("true")
    box.create()
    box.start()
    box.stopped()
    journal = box.bundle.path / "log.json"
    box.cli("--log", journal, "--log-format", "json", "--debug", "delete", box.id, check=True)
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    assert len([entry for entry in entries if entry["level"] == "warning" and "poststop hook" in entry["msg"]]) == 2
    assert (log / "poststop0.state").exists() and not box.exists()


def test_failing_poststop_hooks_do_not_stop_each_other_after_a_failed_create(box: Box, log: Path) -> None:
    box.config["hooks"] = {"createRuntime": [hook("exit 1")], "poststop": [hook("exit 2"), record(box, log, "poststop")]}
    assert "createRuntime hook #0" in box.refused()
    assert (log / "poststop0.state").exists()


@pytest.mark.parametrize("name", HOOKS[:4])
def test_a_timeout(box: Box, log: Path, name: str) -> None:
    box.config["hooks"] = {name: [hook("echo begun; exec sleep 50", timeout=1)]}
    before = time.monotonic()
    if name == "startContainer":
        box.args("true")
        box.create()
        message = one_line(box.cli("start", box.id, check=1))
    else:
        message = box.refused()
    assert 0.9 < time.monotonic() - before < 15
    assert f"error running {name} hook #0" in message and "hook ran past specified timeout of 1.0s" in message
    assert "stdout: begun" in message and not box.exists()


@pytest.mark.parametrize("name", HOOKS[:4])
@pytest.mark.parametrize(("path", "why"), [("/no/such/hook", "no such file or directory"), ("/etc", "permission denied")])
def test_a_hook_that_cannot_be_executed(box: Box, log: Path, name: str, path: str, why: str) -> None:
    box.config["hooks"] = {name: [{"path": path}]}
    if name == "startContainer":
        box.args("true")
        box.create()
        message = one_line(box.cli("start", box.id, check=1))
    else:
        message = box.refused()
    assert f"error running {name} hook #0: {path}" in message
    assert why in message or "exit status 127" in message


def test_a_hook_that_a_signal_ends(box: Box, log: Path) -> None:
    box.config["hooks"] = {"prestart": [hook("kill -9 $$")]}
    assert "error running prestart hook #0: /bin/sh: signal 9" in box.refused()


def test_the_limits_are_in_force_when_hooks_run(box: Box, log: Path) -> None:
    if not Path("/sys/fs/cgroup/pids").is_dir():
        pytest.skip("this host has no v1 hierarchy of pids")
    box.linux["resources"]["pids"] = {"limit": 31}
    box.config["hooks"] = {"prestart": [hook(f"cat /sys/fs/cgroup/pids/*{box.id}*/pids.max >{log}/max")]}
    box.create()
    assert (log / "max").read_text() == "31\n"
    box.down()


def test_a_prestart_hook_that_enters_the_network_namespace(box: Box, log: Path) -> None:
    """What Docker 20.10 does for all networking: libnetwork-setkey opens /proc/PID/ns/net."""
    if not shutil.which("nsenter") or not shutil.which("ip"):
        pytest.skip("nsenter or ip is missing")
    script = "pid=$(grep -o '\"pid\": *[0-9]*' | grep -o '[0-9]*$'); nsenter -t $pid -n ip link set lo mtu 1234"
    box.config["hooks"] = {"prestart": [hook(script)]}
    assert "mtu 1234" in box.sh("ip link show lo")


def test_a_hook_keeps_no_descriptor_of_ours(box: Box, log: Path) -> None:
    where = {name: "log" if name == "createContainer" else "/log" if name == "startContainer" else str(log) for name in HOOKS}
    box.config["hooks"] = {name: [hook(f"ls -l /proc/self/fd >{path}/{name}.fds")] for name, path in where.items()}
    box.sh("true")
    for name in HOOKS:
        numbers = [line.split()[-3] for line in (log / f"{name}.fds").read_text().splitlines() if "->" in line]
        assert set(numbers) <= {"0", "1", "2", "3"}, name  # 3 is the directory that ls reads
