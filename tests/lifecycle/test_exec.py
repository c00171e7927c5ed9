"""exec with every flag: a further process, what it is given, where it lives and what it answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyrunc.config.names import CAPABILITIES
from tests.conftest import until
from tests.lifecycle.box import NAMESPACES, Box, namespace_of, one_line, status_of
from tests.lifecycle.sockets import Receiver


@pytest.fixture
def up(box: Box) -> Iterator[Box]:
    """A running container, without a read-only root."""
    box.writable().up()
    yield box
    if box.exists():
        box.down()


def process(box: Box, tmp: Path, **members: Any) -> Path:
    """A process file: the container's own process with these members changed."""
    path = tmp / "process.json"
    document = {**json.loads(json.dumps(box.process)), **members}
    path.write_text(json.dumps(document))
    return path


def mask(*names: str) -> str:
    return f"{sum(1 << CAPABILITIES[name] for name in names):016x}"


def test_it_is_in_the_containers_namespaces_root_and_cgroups(up: Box, tmp_path: Path) -> None:
    up.exec("--detach", "--pid-file", tmp_path / "pid", up.id, "sleep", "1000", check=True)
    pid = int((tmp_path / "pid").read_text())
    assert {kind: namespace_of(pid, kind) for kind in NAMESPACES} == {kind: namespace_of(up.pid, kind) for kind in NAMESPACES}
    assert os.path.samefile(f"/proc/{pid}/root/bin/busybox", up.rootfs / "bin/busybox")
    assert Path(f"/proc/{pid}/cgroup").read_text() == Path(f"/proc/{up.pid}/cgroup").read_text()
    fields = ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp")
    assert status_of(pid, *fields) == status_of(up.pid, *fields)


def test_the_pid_file_has_digits_alone(up: Box, tmp_path: Path) -> None:
    done = up.exec("--detach", "--pid-file", tmp_path / "pid", up.id, "sleep", "0.1", check=True)
    assert (done.stdout, done.stderr) == ("", "") and (tmp_path / "pid").read_text().isdigit()


def test_a_failed_exec_writes_no_pid_file(up: Box, tmp_path: Path) -> None:
    for argv in (["no-such-program"], ["/etc"], ["/etc/passwd"]):
        up.exec("--detach", "--pid-file", tmp_path / "pid", up.id, *argv, check=255)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 1", 1), ("exit 200", 200), ("kill -9 $$", 137), ("kill -TERM $$", 143)]
)
def test_the_exit_status(up: Box, script: str, status: int) -> None:
    assert up.exec(up.id, "sh", "-c", script).returncode == status


def test_stdio(up: Box) -> None:
    done = up.exec(up.id, "sh", "-c", "cat; echo err >&2", input="in\n", check=True)
    assert (done.stdout, done.stderr) == ("in\n", "err\n")


def test_options_after_the_id_are_the_commands(up: Box) -> None:
    assert up.exec(up.id, "echo", "--tty", "-d", "--", "--pid-file").stdout == "--tty -d -- --pid-file\n"


def test_cwd_env_and_user(up: Box) -> None:
    flags = ("--cwd", "/tmp", "--env", "A=1", "-e", "B=x=y", "--user", "1000:50")
    done = up.exec(*flags, up.id, "sh", "-c", "pwd; echo $A $B $HOME; id -u; id -g")
    assert done.stdout.splitlines() == ["/tmp", "1 x=y /home/user", "1000", "50"]
    done = up.exec("--user", "1000", up.id, "sh", "-c", "id -u; id -g; id -G")
    assert done.stdout.split() == ["1000", "0", "0"]
    done = up.exec("--additional-gids", "7", "-g", "50", up.id, "id", "-G", check=True)
    assert done.stdout.split() == ["0", "7", "50"]


def test_env_of_the_container_and_the_last_of_duplicates(box: Box) -> None:
    box.process["env"] += ["KEPT=1", "CHANGED=1"]
    box.up()
    assert box.exec("-e", "CHANGED=2", box.id, "sh", "-c", "echo $KEPT $CHANGED", env={"SECRET": "x"}).stdout == "1 2\n"
    assert "SECRET" not in box.exec(box.id, "env", env={"SECRET": "x"}).stdout
    box.down()


def test_capabilities_are_added_never_to_the_inheritable(up: Box) -> None:
    own = up.process["capabilities"]["effective"]
    done = up.exec("--cap", "CAP_NET_RAW", "-c", "CAP_SYS_TIME", up.id, "grep", "Cap", "/proc/self/status", check=True)
    found = dict(line.split(":\t") for line in done.stdout.splitlines())
    wanted = mask(*own, "CAP_NET_RAW", "CAP_SYS_TIME")
    assert found == {"CapInh": mask(), "CapPrm": wanted, "CapEff": wanted, "CapBnd": wanted, "CapAmb": mask()}


def test_ambient_ones_only_where_the_config_has_inheritable_ones(box: Box) -> None:
    box.process["capabilities"]["inheritable"] = ["CAP_KILL", "CAP_NET_RAW"]
    box.up()
    words = ("grep", "-E", "Cap(Amb|Eff)", "/proc/self/status")
    done = box.exec("--user", "1000", "--cap", "CAP_NET_RAW", box.id, *words, check=True)
    assert {line.split()[1] for line in done.stdout.splitlines()} == {mask("CAP_NET_RAW")}
    box.down()


@pytest.mark.parametrize(("flags", "value"), [((), "1"), (("--no-new-privs",), "1"), (("--no-new-privs=false",), "0")])
def test_no_new_privileges(box: Box, flags: tuple[str, ...], value: str) -> None:
    box.process["noNewPrivileges"] = True
    box.up()
    assert box.ex("grep NoNewPrivs /proc/self/status | cut -f2", *flags).strip() == value
    box.down()


def test_a_process_file(up: Box, tmp_path: Path) -> None:
    path = process(
        up, tmp_path, args=["sh", "-c", "id -u; id -G; pwd; echo $X; ulimit -n; umask; cat /proc/self/oom_score_adj"], cwd="/var",
        env=["PATH=/bin", "X=y"], user={"uid": 5, "gid": 6, "additionalGids": [9], "umask": 0o27}, oomScoreAdj=500,
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 60, "hard": 70}],
    )  # fmt: skip
    assert up.exec("--process", path, up.id, check=True).stdout.split() == ["5", "6", "9", "/var", "y", "60", "0027", "500"]


def test_the_process_file_wins_over_words(up: Box, tmp_path: Path) -> None:
    assert up.exec("--process", process(up, tmp_path, args=["echo", "file"]), up.id, "echo", "words").stdout == "file\n"


def test_the_umask_is_the_callers_unless_told(up: Box) -> None:
    assert up.ex("umask", umask=0o031).strip() == "0031"


def test_a_cwd_that_is_not_there(up: Box) -> None:
    message = one_line(up.exec("--cwd", "/no/such", up.id, "true", check=255))
    assert message.startswith("exec failed: ") and "/no/such" in message and message.endswith("no such file or directory")


@pytest.mark.parametrize(
    ("argv", "phrase"),
    [
        (["no-such-program"], 'exec: "no-such-program": executable file not found in $PATH'),
        (["/no/such/program"], 'exec: "/no/such/program": stat /no/such/program: no such file or directory'),
        (["/etc"], "permission denied"),
        (["/etc/passwd"], "permission denied"),
        (["/etc/passwd/x"], "not a directory"),
        (["/tmp/script"], "no such file or directory"),
        (["/tmp/garbage"], "exec format error"),
    ],
)
def test_what_cannot_be_executed(up: Box, argv: list[str], phrase: str) -> None:
    for name, text in (("script", "#!/no/interpreter\n"), ("garbage", "\x7fELF garbage")):
        (up.rootfs / "tmp" / name).write_text(text)
        (up.rootfs / "tmp" / name).chmod(0o755)
    message = one_line(up.exec(up.id, *argv, check=255))
    assert message.startswith("exec failed: ") and phrase in message and argv[0] in message


def test_preserve_fds(up: Box) -> None:
    (up.bundle.path / "data").write_text("handed over")
    argv = up.cli.argv("exec", "--preserve-fds", "3", up.id, "sh", "-c", "cat <&5; ls /proc/self/fd | tr '\\n' ' '")
    words = ["bash", "-c", 'exec 5<"$0"; exec "$@"', str(up.bundle.path / "data"), *argv]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("handed over0 1 2 ") and "5" in done.stdout.split()


def test_listen_fds(up: Box) -> None:
    (up.bundle.path / "data").write_text("listened")
    argv = up.cli.argv("exec", up.id, "sh", "-c", "echo $LISTEN_FDS; cat <&3")
    script = 'exec 3<"$0"; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@"'
    done = subprocess.run(["bash", "-c", script, up.bundle.path / "data", *argv], capture_output=True, text=True, check=True)
    assert done.stdout == "1\nlistened"


def test_the_pidfd_socket(up: Box, session_dir: Path, tmp_path: Path) -> None:
    receiver = Receiver(session_dir / f"{up.id}.sock")
    up.exec("--detach", "--pidfd-socket", receiver.path, "--pid-file", tmp_path / "pid", up.id, "sleep", "1000", check=True)
    payload, pidfd = receiver.receive()
    assert payload == b"setns"
    with open(f"/proc/self/fdinfo/{pidfd}") as info:
        assert f"Pid:\t{(tmp_path / 'pid').read_text()}\n" in info
    os.close(pidfd)
    receiver.close()


@pytest.mark.parametrize("name", ["INT", "TERM", "USR1"])
def test_signals_are_passed_on(up: Box, name: str) -> None:
    argv = up.cli.argv("exec", up.id, "sh", "-c", f"trap 'echo caught; exit 66' {name}; echo ready; while :; do sleep 0.05; done")
    run = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None and run.stdout.readline() == "ready\n"
    run.send_signal(signal.Signals[f"SIG{name}"])
    assert run.communicate(timeout=10)[0] == "caught\n" and run.returncode == 66


def test_the_end_of_the_container_ends_it(up: Box) -> None:
    argv = up.cli.argv("exec", up.id, "sh", "-c", "echo ready; exec sleep 1000")
    run = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None and run.stdout.readline() == "ready\n"
    up.kill()
    assert run.wait(timeout=10) == 137
    run.stdout.close()
    up.stopped()
    up.delete()


def test_in_a_created_container(box: Box) -> None:
    box.create()
    assert box.ex("echo in").strip() == "in"
    box.down()


def test_in_a_container_that_shares_everything(box: Box) -> None:
    box.linux["namespaces"] = [{"type": "mount"}]
    del box.config["hostname"]
    box.unmount("/dev/mqueue")
    box.up()
    assert box.ex("ls /bin/busybox; cat /proc/self/comm").split() == ["/bin/busybox", "cat"]
    box.down()


@pytest.mark.parametrize(
    "words", [("--user", "x"), ("--user", "1:"), ("--user", "-1"), ("--user", "1:2:3"), ("-g", "a"), ("--user", "4294967296")]
)
def test_a_user_that_is_no_number(up: Box, words: tuple[str, ...]) -> None:
    done = up.exec(*words, up.id, "true")
    assert done.returncode != 0 and "invalid value" in done.stderr


def test_it_cannot_be_traced_by_the_container_on_its_way_in(box: Box) -> None:
    """CVE-2016-9962: what enters is not dumpable, and holds nothing of the host's that /proc/PID/fd would show."""
    for name in ("bounding", "effective", "permitted"):
        box.process["capabilities"][name].append("CAP_SYS_PTRACE")
    box.writable()
    hunter = (
        "while :; do for p in /proc/[0-9]*; do c=; read -r c 2>/dev/null <$p/comm;"
        " case $c in *pyrunc*) ls -l $p/fd 2>/dev/null | grep ' -> ' >>/seen;; esac; done; done"
    )
    box.args("sh", "-c", hunter)
    box.create()
    box.start()
    seen = box.rootfs / "seen"

    def entered() -> bool:
        box.exec(box.id, "true", check=True)
        return seen.exists() and " 0 -> " in seen.read_text()

    until(entered, 60, "its descriptors were never seen")
    held = [line.partition(" -> ") for line in seen.read_text().splitlines()]
    beyond = {target for left, _, target in held if left.split()[-1] not in ("0", "1", "2")}
    assert not {target for target in beyond if target.startswith("/") and not target.startswith("/memfd:")} - {"/"}
    box.down()


def test_many_at_once(up: Box) -> None:
    runs = [up.cli.popen("exec", up.id, "sh", "-c", f"exit {number}", stdin=subprocess.DEVNULL) for number in range(8)]
    assert [run.wait(timeout=60) for run in runs] == list(range(8))
    until(lambda: up.ex("ls /proc | grep -c '^[0-9]'").strip() in ("4", "5"), 60, "processes have stayed")
