"""exec by its options: where the process goes, and what --process leaves of the others."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import until
from tests.lifecycle.box import Box, one_line
from tests.lifecycle.sockets import Receiver, Terminal


@pytest.fixture
def up(box: Box) -> Iterator[Box]:
    box.up()
    yield box
    box.down()


def cgroups(box: Box) -> dict[str, Path]:
    """The container's cgroups by controller, "" for cgroup2's."""
    record = json.loads((box.cli.root / box.id / "state.json").read_text())
    return {name: Path(path) for name, path in record["cgroup_paths"].items()}


def memberships(pid: int | str) -> dict[str, str]:
    rows = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    return {name.removeprefix("name="): path for _, names, path in rows for name in names.split(",")}


def process_file(box: Box, path: Path, **changes: Any) -> Path:
    path.write_text(json.dumps({**box.process, "args": ["sh", "-c", "pwd; id -u; tty; echo $A"], **changes}))
    return path


def test_a_cgroup_below(up: Box, tmp_path: Path) -> None:
    paths = cgroups(up)
    for path in set(paths.values()):
        (path / "below").mkdir()
        for name in ("cpuset.cpus", "cpuset.mems") if "cpuset" in paths and path == paths["cpuset"] else ():
            (path / "below" / name).write_text((path / name).read_text())  # cpuset(7): without, nobody can be there
    up.exec("--cgroup", "below", "--detach", "--pid-file", tmp_path / "pid", up.id, "sleep", "1000", check=True)
    found, init = memberships((tmp_path / "pid").read_text()), memberships(up.pid)
    names = {name.removeprefix("name=") for name in paths}
    assert {name: found[name] for name in names} == {name: f"{init[name]}/below" for name in names}


def test_a_cgroup_of_one_controller(up: Box, tmp_path: Path) -> None:
    paths = cgroups(up)
    if "cpu" not in paths:
        pytest.skip("there are controllers only on cgroup v1")
    (paths["cpu"] / "below").mkdir()
    up.exec("--cgroup", "cpu:/below", "--detach", "--pid-file", tmp_path / "pid", up.id, "sleep", "1000", check=True)
    found, init = memberships((tmp_path / "pid").read_text()), memberships(up.pid)
    assert found["cpu"] == f"{init['cpu']}/below" and found["pids"] == init["pids"] and found["freezer"] == init["freezer"]


@pytest.mark.parametrize("value", ["nowhere", "nonsense:below", ":below", "/a:"])
def test_a_cgroup_that_is_not_there(up: Box, value: str) -> None:
    message = one_line(up.exec("--cgroup", value, up.id, "true", check=255))
    assert message.startswith("exec failed: ") and value.strip("/:") in message


def test_a_label_where_there_are_none(up: Box) -> None:
    """Never without what was asked for."""
    if Path("/sys/fs/selinux/enforce").exists():
        pytest.skip("this machine has SELinux")
    message = one_line(up.exec("--process-label", "system_u:system_r:container_t:s0", up.id, "true", check=255))
    assert message.startswith("exec failed: process.selinuxLabel") and "selinux is disabled or not supported" in message


def test_a_process_file_leaves_nothing_of_the_words(up: Box, tmp_path: Path) -> None:
    """As with runc: whatever describes the process comes from the file alone."""
    words = ["--cwd", "/tmp", "--user", "5", "--env", "A=words", "--tty", "--cap", "CAP_NET_RAW", "--no-new-privs"]
    file = process_file(up, tmp_path / "process.json", env=["A=file"], cwd="/bin")
    done = up.exec(*words, "--process", file, up.id, check=True, input="")
    assert done.stdout == "/bin\n0\nnot a tty\nfile\n"


def test_a_process_file_and_what_is_not_of_the_process(up: Box, tmp_path: Path) -> None:
    words = ["sh", "-c", "echo $A >&3; exec sleep 1000"]
    file = process_file(up, tmp_path / "process.json", args=words, env=["A=x", "PATH=/bin"])
    read, write = os.pipe()
    argv = up.cli.argv("exec", "--process", file, "--detach", "--pid-file", "pid", "--preserve-fds", 1, up.id)
    script = f'exec "$@" 3>/dev/fd/{write}'
    devnull = subprocess.DEVNULL
    subprocess.run(["sh", "-c", script, "sh", *argv], cwd=tmp_path, pass_fds=[write], check=True, timeout=60, stdout=devnull)
    os.close(write)
    assert os.read(read, 100) == b"x\n"
    os.close(read)
    comm = Path(f"/proc/{(tmp_path / 'pid').read_text()}/comm")
    until(lambda: comm.read_text() == "sleep\n", 60, "the process does not come to its sleep")


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"args": ["true"]}', '{"args": [], "cwd": "/"}'])
def test_bad_process_files(up: Box, tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "process.json").write_text(text)
    message = one_line(up.exec("--process", tmp_path / "process.json", up.id, check=255))
    assert message.startswith("exec failed: ")


def test_a_terminal_by_a_process_file_to_a_socket_with_a_long_path(up: Box, session_dir: Path, tmp_path: Path) -> None:
    directory = session_dir / ("e" * 100)
    directory.mkdir(exist_ok=True)
    receiver = Receiver(directory / f"{up.id}.sock")
    script = "tty; stty size; exec sleep 1000"
    size = {"height": 33, "width": 77}
    file = process_file(up, tmp_path / "process.json", args=["sh", "-c", script], terminal=True, consoleSize=size)
    up.exec("--process", file, "--console-socket", receiver.path, "--detach", up.id, check=True)
    terminal = Terminal(receiver.receive()[1])
    receiver.close()
    terminal.expect(b"/dev/pts/0\n33 77\n")
    terminal.close()


def test_a_detached_process_is_the_only_one_that_has_its_stdio(up: Box) -> None:
    """The end of the output comes with the end of the process: exec has kept no copy, and neither has the container's init."""
    read, write = os.pipe()
    argv = up.cli.argv("exec", "--detach", up.id, "sh", "-c", "echo first; echo last")
    subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=write, stderr=write, check=True, timeout=60)
    os.close(write)
    with open(read, "rb") as output:
        assert output.read() == b"first\nlast\n"


@pytest.mark.parametrize("words", [("run",), ("exec",)])
def test_a_user_may_open_the_stdio_that_it_is_given(box: Box, words: tuple[str, ...]) -> None:
    """Pipes of the caller's, which is root, through /dev/stdout: they are given to the process's user."""
    script = "echo out >/dev/stdout; echo err >/dev/stderr"
    read, write = os.pipe()
    if words == ("exec",):
        box.up()
        argv = box.cli.argv("exec", "--user", "1000:1000", box.id, "sh", "-ec", script)
    else:
        box.process["user"] = {"uid": 1000, "gid": 1000}
        box.args("sh", "-ec", script)
        argv = box.cli.argv("run", "--bundle", box.bundle, box.id)
    subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=write, stderr=write, check=True, timeout=60)
    os.close(write)
    with open(read, "rb") as output:
        assert output.read() == b"out\nerr\n"
    if words == ("exec",):
        box.down()


def test_a_config_that_is_not_in_normal_form(box: Box) -> None:
    """What is copied is the bundle's text, so exec has to see through it as create did."""
    box.args("sleep", "1000")
    text = (box.bundle.path / "config.json").read_text()
    (box.bundle.path / "config.json").write_text(text.replace('"process"', '"Process"').replace('"cwd"', '"CWD"'))
    box.cli("create", "--bundle", box.bundle, box.id, check=True)
    box.start()
    assert box.ex("pwd") == "/\n"
    box.down()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"process"', '"procedure"', "config.json: process: must be specified"),
        ('"cwd": "/"', '"cwd": 1', 'config.json: process.cwd: expected a string, got 1'),
        ("{", "", "config.json: line 1, column "),
    ],
)
def test_a_damaged_copy_of_the_config(up: Box, old: str, new: str, words: str) -> None:
    copy = up.cli.root / up.id / "config.json"
    text = json.dumps(json.loads(copy.read_text()))
    copy.write_text(text.replace(old, new))
    assert words in one_line(up.exec(up.id, "true", check=255))
    copy.unlink()
    assert "JSON specification file config.json not found" in one_line(up.exec(up.id, "true", check=255))


def test_a_copy_of_the_config_that_was_changed(up: Box) -> None:
    """It is judged once more, and then is what counts."""
    copy = up.cli.root / up.id / "config.json"
    document = json.loads(copy.read_text())
    document["Process"] = {**document.pop("process"), "CWD": "/tmp"}
    document["Process"].pop("cwd")
    copy.write_text(json.dumps(document))
    assert up.ex("pwd") == "/tmp\n"
