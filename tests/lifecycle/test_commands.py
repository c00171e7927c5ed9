"""create, start, state, kill, delete, run, list, spec and plan with their flags: what they print, write and answer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _cffi_backend
import pytest

from tests.conftest import Cli, executed, until
from tests.lifecycle.box import Box, one_line
from tests.lifecycle.sockets import Receiver


def test_the_life_of_a_container(box: Box) -> None:
    box.args("sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.05; done")
    pid = box.create()
    state = box.state
    assert list(state) == ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "owner"]
    assert (state["id"], state["status"], state["pid"]) == (box.id, "created", pid)
    assert (state["bundle"], state["rootfs"]) == (str(box.bundle.path), str(box.rootfs))
    assert Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"pyrunc-init\0")
    box.start()
    assert box.status == "running" and box.pid == pid
    assert Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sh\0")
    message = one_line(box.cli("delete", box.id, check=1))
    assert message.endswith(f"cannot delete container {box.id} that is not stopped: running")
    assert one_line(box.cli("start", box.id, check=1)).endswith("cannot start an already running container")
    box.kill("TERM")
    box.stopped()
    assert box.pid == 0
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    assert one_line(box.cli("kill", box.id, "TERM", check=1)).endswith("container not running")
    assert one_line(box.cli("start", box.id, check=1)).endswith("cannot start a container that has stopped")
    assert one_line(box.exec(box.id, "true", check=255)).startswith("exec failed: cannot exec in a stopped container")
    box.delete()
    for command in ("state", "start", "kill", "delete"):
        assert one_line(box.cli(command, box.id, check=1)).endswith("container does not exist"), command
    assert "container does not exist" in one_line(box.exec(box.id, "true", check=255))
    box.delete("--force")


def test_start_returns_when_the_program_runs(box: Box) -> None:
    for _ in range(3):
        box.args("sleep", "100")
        pid = box.create()
        box.start()
        assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x00100\0"
        box.down()


def test_a_container_that_was_only_created_can_be_killed_and_deleted(box: Box) -> None:
    box.create()
    box.kill()
    box.stopped()
    box.delete()
    box.create()
    box.delete()
    assert not box.exists()


def test_the_config_is_read_at_create_and_never_again(box: Box) -> None:
    box.args("cat", "/etc/passwd")
    box.create()
    (box.bundle.path / "config.json").write_text("{")
    box.start()
    box.stopped()
    box.delete()


def test_another_config_file(box: Box) -> None:
    other = box.bundle.path / "other.json"
    box.args("echo", "other")
    other.write_text(json.dumps(box.config))
    (box.bundle.path / "config.json").unlink()
    assert box.cli("run", "--bundle", box.bundle, "--config", other, box.id, check=True).stdout == "other\n"


def test_the_bundle_is_the_working_directory_by_default(box: Box) -> None:
    box.args("echo", "here")
    assert box.cli("run", box.id, check=True, cwd=box.bundle.path).stdout == "here\n"


@pytest.mark.parametrize("command", ["create", "run"])
def test_the_pid_file(box: Box, command: str, session_dir: Path) -> None:
    """Digits alone, relative to the caller's directory, whatever was there before replaced."""
    (session_dir / f"{box.id}.pid").write_text("old and longer content")
    box.args("sleep", "100")
    flags = ["--detach"] if command == "run" else []
    box.cli(command, *flags, "--bundle", box.bundle, "--pid-file", f"{box.id}.pid", box.id, check=True, cwd=session_dir)
    assert (session_dir / f"{box.id}.pid").read_text() == str(box.pid)
    box.down()


def test_a_pid_file_that_cannot_be_written(box: Box) -> None:
    message = box.refused("--pid-file", "/no/such/directory/pid")
    assert "/no/such/directory/pid" in message and message.endswith("no such file or directory")
    assert not box.exists()


@pytest.mark.parametrize("count", [0, 1, 4])
def test_preserve_fds(box: Box, count: int) -> None:
    """Of the fds 3, 5 and 6 those below 3 + count arrive as they are, and none of the runtime's own does."""
    box.args("sh", "-c", "ls -l /proc/self/fd/ | sed -n 's/.* \\([0-9]*\\) -> .*/\\1/p' | sort -n | tr '\\n' ' '")
    files = [os.open("/dev/null", os.O_RDONLY) for _ in range(12)]
    script = f'exec 3</dev/null 5</dev/null 6</dev/null; exec "$@" 4>&- {" ".join(f"{fd}>&-" for fd in files if fd > 6)}'
    argv = box.cli.argv("run", "--bundle", box.bundle, *(("--preserve-fds", count) if count else ()), box.id)
    done = subprocess.run(["bash", "-c", script, "bash", *argv], capture_output=True, text=True, check=True)
    for fd in files:
        os.close(fd)
    expected = {fd for fd in (3, 5, 6) if fd < 3 + count}
    listed = {int(word) for word in done.stdout.split()}
    assert listed == expected | {0, 1, 2}


def test_listen_fds(box: Box) -> None:
    """sd_listen_fds(3): passed on only when they are meant for this process, before those of --preserve-fds."""
    box.args("sh", "-c", "echo $LISTEN_FDS $LISTEN_PID; cat <&3; cat <&4")
    (box.bundle.path / "a").write_text("first ")
    (box.bundle.path / "b").write_text("second")
    argv = box.cli.argv("run", "--bundle", box.bundle, "--preserve-fds", "1", box.id)
    script = f'exec 3<{box.bundle.path}/a 4<{box.bundle.path}/b; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@"'
    done = subprocess.run(["bash", "-c", script, "bash", *argv], capture_output=True, text=True, check=True)
    assert done.stdout == "1 1\nfirst second"


def test_listen_fds_of_another_process(box: Box) -> None:
    box.args("sh", "-c", "echo .$LISTEN_FDS.$LISTEN_PID.; ls /proc/self/fd | wc -l")
    done = box.cli("run", "--bundle", box.bundle, box.id, check=True, env={"LISTEN_FDS": "3", "LISTEN_PID": "1"})
    assert done.stdout == "...\n4\n"


@pytest.mark.parametrize("command", ["create", "run"])
def test_the_pidfd_socket(box: Box, session_dir: Path, command: str) -> None:
    box.args("sleep", "100")
    receiver = Receiver(session_dir / f"{box.id}.sock")
    flags = ["--detach"] if command == "run" else []
    box.cli(command, *flags, "--bundle", box.bundle, "--pidfd-socket", receiver.path, box.id, check=True)
    payload, pidfd = receiver.receive()
    assert payload == b"standard"
    with open(f"/proc/self/fdinfo/{pidfd}") as info:
        assert f"Pid:\t{box.pid}\n" in info
    os.close(pidfd)
    receiver.close()
    box.down()


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 1", 1), ("exit 255", 255), ("exit 300", 44), ("sh -c 'kill $$'; exit $?", 143)]
)
def test_the_exit_status_of_run(box: Box, script: str, status: int) -> None:
    box.args("sh", "-c", script)
    assert box.cli("run", "--bundle", box.bundle, box.id).returncode == status
    assert not box.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_run_answers_with_128_and_the_signal(box: Box, number: int) -> None:
    box.share("pid")
    box.args("sleep", "100")
    run = box.cli.popen("run", "--bundle", box.bundle, box.id, stdin=subprocess.DEVNULL)
    box.runs()
    box.cli("kill", box.id, str(int(number)), check=True)
    assert run.wait(timeout=10) == 128 + number
    assert not box.exists()


def running(box: Box, script: str) -> subprocess.Popen[str]:
    """A `run` in the foreground whose program has printed "ready"."""
    box.args("sh", "-c", script)
    run = box.cli.popen("run", "--bundle", box.bundle, box.id, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert run.stdout is not None and run.stdout.readline() == "ready\n"
    return run


@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "ALRM", "CONT", "WINCH", "RTMIN+5"])
def test_run_passes_signals_on(box: Box, name: str) -> None:
    number = signal.SIGRTMIN + 5 if "RT" in name else signal.Signals[f"SIG{name}"]
    trapped = int(number) if "RT" in name else name
    run = running(box, f"trap 'echo caught; exit 66' {trapped}; echo ready; while :; do sleep 0.05; done")
    run.send_signal(number)
    assert run.communicate(timeout=10)[0] == "caught\n" and run.returncode == 66


def test_run_in_the_foreground_leaves_the_others_in(box: Box) -> None:
    """state, exec and kill work meanwhile; what was deleted under it is no error."""
    run = running(box, "echo ready; trap 'exit 4' TERM; while :; do sleep 0.05; done")
    assert box.status == "running" and box.ex("echo $$").strip().isdigit()
    box.cli("delete", "--force", box.id, check=True)
    assert run.wait(timeout=10) == 137
    assert run.stdout is not None
    run.stdout.close()


def test_run_keeps_the_container_if_asked(box: Box) -> None:
    box.args("sh", "-c", "exit 9")
    assert box.cli("run", "--keep", "--bundle", box.bundle, box.id).returncode == 9
    assert box.status == "stopped"
    box.delete()


def test_run_detached(box: Box) -> None:
    box.args("sh", "-c", "sleep 0.3; echo x >/dev/shm/x; sleep 100")
    done = box.cli("run", "--detach", "--bundle", box.bundle, box.id, check=True)
    assert (done.stdout, done.stderr) == ("", "") and box.status == "running"
    box.down()


def test_run_adopts_orphans_only_as_a_subreaper(box: Box) -> None:
    """Without a pid namespace of its own the container's orphans come to `run`, which ends with init all the same."""
    box.share("pid")
    box.args("sh", "-c", "(sleep 100 &) ; exit 7")
    for flags in ((), ("--no-subreaper",)):
        assert box.cli("run", *flags, "--bundle", box.bundle, box.id).returncode == 7
        assert not box.exists()


@pytest.mark.parametrize("name", ["9", "KILL", "SIGKILL", "kill", "sigkill"])
def test_spellings_of_a_signal(box: Box, name: str) -> None:
    pid = box.up()
    box.cli("kill", box.id, name, check=True)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == 9
    box.delete()


def test_kill_defaults_to_sigterm_and_zero_probes(box: Box) -> None:
    pid = box.up()
    box.cli("kill", box.id, "0", check=True)
    assert box.status == "running"
    box.cli("kill", box.id, check=True)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert "container not running" in one_line(box.cli("kill", box.id, "0", check=1))
    box.cli("kill", "--all", box.id, "KILL", check=True)
    box.delete()


def test_sigkill_takes_all_processes_where_init_does_not(box: Box) -> None:
    box.share("pid")
    box.args("sh", "-c", "sleep 1000 & sleep 1001 & wait")
    pid = box.create()
    box.start()
    until(lambda: len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()) == 2, 60, "it has no children")
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    box.kill("KILL")
    box.stopped()
    for child in children:
        os.waitpid(child, 0)
    box.delete()


def test_delete_removes_what_outlived_init(box: Box) -> None:
    box.share("pid")
    box.args("sh", "-c", "sleep 1000 & echo $! >/dev/shm/pid; exit 0")
    box.create()
    box.start()
    box.stopped()
    box.delete()


def test_list(cli: Cli, boxes: Callable[[], Box]) -> None:
    assert cli("list", "--quiet", check=1).returncode == 1  # a root that was named and is not there
    assert not cli.root.exists()
    first, second = boxes(), boxes()
    first.create()
    second.up()
    table = cli("list", check=True).stdout.splitlines()
    assert table[0].split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    rows = [line.split() for line in table[1:]]
    assert [row[:4] for row in rows] == [
        [first.id, str(first.pid), "created", str(first.bundle.path)],
        [second.id, str(second.pid), "running", str(second.bundle.path)],
    ]
    assert rows[0][-1] == "root"
    assert cli("list", "--quiet", check=True).stdout.split() == [first.id, second.id]
    document: list[dict[str, Any]] = json.loads(cli("list", "--format", "json", check=True).stdout)
    assert [(entry["id"], entry["status"], entry["owner"]) for entry in document] == [
        (first.id, "created", "root"), (second.id, "running", "root"),
    ]  # fmt: skip
    first.down()
    second.down()
    assert cli("list", "--format", "json", check=True).stdout.strip() == "null"


def test_spec_makes_a_bundle_that_runs(box: Box, cli: Cli) -> None:
    (box.bundle.path / "config.json").unlink()
    cli("spec", "--bundle", box.bundle, check=True)
    assert "config.json exists" in one_line(cli("spec", "--bundle", box.bundle, check=1))
    config = json.loads((box.bundle.path / "config.json").read_text())
    assert config["process"]["terminal"] is True and config["process"]["args"] == ["sh"]
    done = cli("run", "--bundle", box.bundle, box.id, input="hostname; exit 6\n")
    assert done.returncode == 6 and config["hostname"] in done.stdout


@pytest.mark.parametrize("signal", ["TERM", "INT", "HUP"])
def test_a_signal_that_ends_a_process_ends_a_created_container(box: Box, signal: str) -> None:
    """As runc's waiting init does, although process 1 of a namespace is spared what it does not catch."""
    box.args("sleep", "60")
    box.create()
    box.kill(signal)
    box.stopped()
    box.delete()


def test_plan_prints_and_does_nothing(box: Box, cli: Cli) -> None:
    box.bundle.write()
    text = cli("plan", "--bundle", box.bundle, check=True).stdout
    assert "pivot into the root" in text and "mounts[0]" in text
    entries = json.loads(cli("plan", "--bundle", box.bundle, "--format", "json", check=True).stdout)
    assert entries[-1]["op"] == "exec" and len(entries) == len(text.splitlines())
    assert not cli.root.exists()


def test_plan_needs_no_privilege(box: Box, pyrunc: Path, session_dir: Path) -> None:
    """Nobody, without any capability, on a bundle that may be read."""
    box.map_ids()
    box.bundle.write()
    argv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
    for path in (executed(pyrunc), pyrunc, _cffi_backend.__file__):
        if subprocess.run([*argv, "test", "-r", path]).returncode:
            pytest.skip(f"only root may read {path}")
    command = [*argv, str(pyrunc), "--root", str(session_dir / "none"), "plan", "--bundle", str(box.bundle)]
    done = subprocess.run(command, capture_output=True)
    assert done.returncode == 0 and b"execute" in done.stdout, done.stderr


def test_the_log_has_one_object_for_a_failure_and_none_for_success(box: Box) -> None:
    log = box.bundle.path / "log.json"
    options = ("--log", log, "--log-format", "json")
    box.args("true")
    box.cli(*options, "run", "--bundle", box.bundle, box.id, check=True)
    assert log.read_text() == ""
    box.args("no-such-program")
    done = box.cli(*options, "run", "--bundle", box.bundle, box.id, check=1)
    entry = json.loads(log.read_text())
    assert entry["level"] == "error" and set(entry) >= {"msg", "time", "code", "config_path"}
    assert "executable file not found in $PATH" in entry["msg"] and entry["config_path"] == "process.args[0]"
    assert entry["msg"] in done.stderr and done.stderr.count("\n") == 1


def test_stdio_is_handed_on_as_it_is(box: Box) -> None:
    """create gives the container its own fds, and keeps none of them open."""
    box.args("sh", "-c", "cat; echo to-stderr >&2")
    box.bundle.write()
    given, write_end = os.pipe()
    read_end, out = os.pipe()
    subprocess.run(box.cli.argv("create", "--bundle", box.bundle, box.id), stdin=given, stdout=out, stderr=out, check=True)
    os.close(given)
    os.close(out)
    os.write(write_end, b"through the pipe\n")
    os.close(write_end)
    box.start()
    with open(read_end, "rb") as output:
        assert output.read() == b"through the pipe\nto-stderr\n"  # the end comes: nobody else has it
    box.stopped()
    box.delete()


def test_closed_stdio(box: Box) -> None:
    """fds that the caller has closed do not become the container's sockets or logs."""
    box.args("sh", "-c", "for fd in 0 1 2; do at=$(readlink /proc/1/fd/$fd); echo $at >>/out; done")
    box.writable().bundle.write()
    argv = box.cli.argv("--log", box.bundle.path / "log", "create", "--bundle", box.bundle, box.id)
    subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *argv], check=True)
    box.start()
    box.stopped()
    assert (box.rootfs / "out").read_text().split() == ["/dev/null"] * 3
    box.delete()
