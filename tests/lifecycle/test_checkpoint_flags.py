"""What `checkpoint` and `restore` ask of CRIU, flag by flag, and what they make of its answers. Here it is tests/fake_criu.py."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PROJECT, mounts, until
from tests.lifecycle.box import Box, namespace_of, one_line
from tests.lifecycle.sockets import Receiver

QUIET: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
NUMBERS = {
    "images_dir_fd": 1, "pid": 2, "leave_running": 3, "ext_unix_sk": 4, "tcp_established": 5, "evasive_devices": 6,
    "shell_job": 7, "file_locks": 8, "log_level": 9, "log_file": 10, "ps": 11, "notify_scripts": 12, "root": 13,
    "parent_img": 14, "track_mem": 15, "auto_dedup": 16, "work_dir_fd": 17, "link_remap": 18, "ext_mnt": 23,
    "manage_cgroups": 24, "cg_root": 25, "rst_sibling": 26, "inherit_fd": 27, "manage_cgroups_mode": 34, "external": 37,
    "empty_ns": 38, "join_ns": 39, "freeze_cgroup": 44, "tcp_skip_in_flight": 46, "lazy_pages": 48, "status_fd": 49,
    "orphan_pts_master": 50, "config_file": 51, "tcp_close": 52, "lsm_profile": 53, "lsm_mount_context": 63,
}  # fmt: skip
"""The fields of criu_opts, by CRIU's rpc.proto."""


class Asked:
    """A CRIU in PATH that does as it is told, and what it was asked for."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "criu").symlink_to(PROJECT / "tests/fake_criu.py")
        self.env = {**os.environ, "PATH": f"{directory}:{os.environ['PATH']}"}
        self.script()

    def script(self, **script: object) -> None:
        (self.directory / "script").write_text(json.dumps(script))
        (self.directory / "log").unlink(missing_ok=True)

    @property
    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.directory / "log").read_text().splitlines()]

    def options(self) -> dict[str, list[Any]]:
        """Those of the one request, by name."""
        names = {number: name for name, number in NUMBERS.items()}
        found: dict[str, list[Any]] = {}
        for number, value in self.log[0]["opts"]:
            found.setdefault(names[number], []).append(value)
        return found


@pytest.fixture
def criu(session_dir: Path, container_id: str) -> Iterator[Asked]:
    path = session_dir / f"criu-{container_id}"
    path.mkdir()
    yield Asked(path)
    shutil.rmtree(path)


@pytest.fixture
def images(session_dir: Path, container_id: str) -> Iterator[Path]:
    path = session_dir / f"images-{container_id}"
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def running(box: Box) -> Iterator[Box]:
    box.up()
    yield box
    box.down()


def checkpoint(box: Box, criu: Asked, images: Path, *flags: object, **kw: Any) -> dict[str, list[Any]]:
    done = box.cli("checkpoint", "--image-path", images, "--leave-running", *flags, box.id, check=True, env=criu.env, **kw)
    assert (done.stdout, done.stderr) == ("", "")
    return criu.options()


def test_what_every_checkpoint_asks_for(running: Box, criu: Asked, images: Path) -> None:
    asked = checkpoint(running, criu, images)
    assert criu.log[0]["type"] == 1 and criu.log[0]["directories"] == [str(images), str(images)]
    assert images.stat().st_mode & 0o7777 == 0o700
    for name, value in {
        "pid": running.pid, "log_file": "dump.log", "root": str(running.rootfs), "leave_running": 1, "notify_scripts": 1,
        "orphan_pts_master": 1, "empty_ns": 0x40000000, "manage_cgroups": 1, "manage_cgroups_mode": 6, "log_level": 4,
    }.items():  # fmt: skip
        assert asked.pop(name) == [value], name
    (freezer,) = asked.pop("freeze_cgroup")
    assert freezer.startswith("/sys/fs/cgroup/") and freezer.endswith(running.id) and Path(freezer).is_dir()
    masked = asked.pop("ext_mnt")
    assert any("/proc/keys" in entry for entry in masked) and not any("/sys/firmware" in entry for entry in masked)
    asked.pop("config_file", None)
    assert set(asked) == {"images_dir_fd", "work_dir_fd"}
    record = json.loads((running.cli.root / running.id / "state.json").read_text())
    assert json.loads((images / "descriptors.json").read_text()) == record["external_descriptors"] != []


PLAIN = ("tcp-established", "ext-unix-sk", "shell-job", "file-locks", "auto-dedup", "lazy-pages")
CHECKPOINT = {
    **{f"--{name}": {name.replace("-", "_"): [1]} for name in (*PLAIN, "tcp-skip-in-flight", "link-remap")},
    "--page-server=127.0.0.1:1234": {"ps": ["\x0a\x09127.0.0.1\x10\xd2\x09"]},
    "--page-server=[::1]:1": {"ps": ["\x0a\x03::1\x10\x01"]},
    "--manage-cgroups-mode=soft": {"manage_cgroups_mode": [3]},
    "--manage-cgroups-mode=full": {"manage_cgroups_mode": [4]},
    "--manage-cgroups-mode=strict": {"manage_cgroups_mode": [5]},
    "--manage-cgroups-mode=ignore": {"manage_cgroups_mode": [0]},
    "--empty-ns=network": {"empty_ns": [0x40000000]},
    "--parent-path=../before": {"parent_img": ["../before"], "track_mem": [1]},
}
RESTORE = {
    **{f"--{name}": {name.replace("-", "_"): [1]} for name in (*PLAIN, "tcp-close")},
    "--manage-cgroups-mode=ignore": {"manage_cgroups_mode": [0]},
    "--lsm-profile=apparmor:other": {"lsm_profile": ["apparmor:other"]},
    "--lsm-mount-context=a:b:c": {"lsm_mount_context": ["a:b:c"]},
    "-no-subreaper": {},
    "--no-pivot": {},
    "--empty-ns=network": {"empty_ns": [0x40000000]},
}


def test_flags_of_checkpoint(running: Box, criu: Asked, images: Path) -> None:
    for flag, expected in CHECKPOINT.items():
        criu.script()
        asked = checkpoint(running, criu, images, flag)
        assert {name: asked.get(name) for name in expected} == expected, flag


def test_a_work_path(running: Box, criu: Asked, images: Path) -> None:
    checkpoint(running, criu, images / "a/b", "--work-path", images / "c/d")
    assert criu.log[0]["directories"] == [f"{images}/a/b", f"{images}/c/d"]


def test_the_default_path_is_relative_to_the_caller(running: Box, criu: Asked, images: Path) -> None:
    images.mkdir()
    running.cli("checkpoint", "--leave-running", running.id, check=True, env=criu.env, cwd=images)
    assert criu.log[0]["directories"] == [f"{images}/checkpoint"] * 2


def test_a_pre_dump(running: Box, criu: Asked, images: Path) -> None:
    running.cli("checkpoint", "--image-path", images, "--pre-dump", running.id, check=True, env=criu.env)
    assert criu.log[0]["type"] == 4 and "ext_mnt" not in criu.options()
    assert not (images / "descriptors.json").exists()
    assert running.status == "running"


def test_the_status_fd(running: Box, criu: Asked, images: Path) -> None:
    criu.script(notify=["pre-dump", "status-ready"])
    reader, writer = os.pipe()
    checkpoint(running, criu, images, "--lazy-pages", "--status-fd", writer, pass_fds=[writer])
    os.close(writer)
    assert os.read(reader, 9) == b"\0" and os.read(reader, 9) == b""
    done = running.cli("checkpoint", "--status-fd", reader, running.id, check=1, env=criu.env, pass_fds=[reader])
    assert one_line(done) == f"--status-fd {reader} is not open for writing"
    os.close(reader)
    done = running.cli("checkpoint", "--status-fd", 99, running.id, check=1, env=criu.env)
    assert one_line(done) == "--status-fd 99: bad file descriptor"


def test_a_status_fd_that_nobody_reads(running: Box, criu: Asked, images: Path) -> None:
    criu.script(notify=["status-ready"])
    reader, writer = os.pipe()
    os.close(reader)
    flags = ("--image-path", images, "--lazy-pages", "--status-fd", writer)
    done = running.cli("checkpoint", *flags, running.id, check=1, env=criu.env, pass_fds=[writer])
    os.close(writer)
    assert one_line(done) == f"--status-fd {writer}: broken pipe"
    assert running.status == "running"


def test_a_remount_comes_from_nowhere(box: Box, criu: Asked, images: Path) -> None:
    box.config["mounts"].append({"destination": "/dev/shm", "options": ["bind", "remount", "ro"]})
    box.up()
    assert not any("/dev/shm" in entry for entry in checkpoint(box, criu, images)["ext_mnt"])
    box.down()


def test_the_socket_of_a_service_manager_is_refused(box: Box, criu: Asked, images: Path) -> None:
    box.args("sleep", "600").create(env={**os.environ, "NOTIFY_SOCKET": str(images)})
    box.start()
    done = box.cli("checkpoint", "--image-path", images, box.id, check=1, env=criu.env)
    assert "/run/notify, which CRIU cannot save" in one_line(done) and not images.exists()
    assert box.status == "running"
    box.down()


def test_the_annotation(box: Box, criu: Asked, images: Path) -> None:
    box.config["annotations"] = {"org.criu.config": "/no/such/file"}
    box.up()
    assert checkpoint(box, criu, images)["config_file"] == ["/no/such/file"]
    box.down()
    box.config["annotations"] = {"org.criu.config": ""}
    box.up()
    criu.script()
    assert "config_file" not in checkpoint(box, criu, images)
    box.down()


def test_a_container_is_gone_after_its_checkpoint(box: Box, criu: Asked, images: Path) -> None:
    log = box.bundle.path / "log"
    box.config["hooks"] = {"poststop": [{"path": "/bin/sh", "args": ["sh", "-c", f"echo poststop >{log}"]}]}
    box.up()
    box.cli("checkpoint", "--image-path", images, box.id, check=True, env=criu.env)
    assert not box.exists() and log.read_text() == "poststop\n"


def test_criu_fails(running: Box, criu: Asked, images: Path) -> None:
    criu.script(fail=1, text="(00.0) nothing\n(00.1) Error (criu/x.c:7): no way\n")
    done = running.cli("checkpoint", "--image-path", images, running.id, check=1, env=criu.env)
    assert one_line(done) == f"criu failed: (criu/x.c:7): no way ({images}/dump.log)"
    assert running.status == "running"
    criu.script(version=[3, 14])
    done = running.cli("checkpoint", "--image-path", images, running.id, check=1, env=criu.env)
    assert one_line(done).startswith("pyrunc needs criu 3.15 or newer, ")
    criu.script(features=0)
    for flag in ("--lazy-pages", "--pre-dump"):
        done = running.cli("checkpoint", "--image-path", images, flag, running.id, check=1, env=criu.env)
        assert one_line(done).startswith(f"{flag}: criu says that this kernel cannot do it")


def test_without_criu(running: Box) -> None:
    env = {**os.environ, "PATH": "/nonexistent"}
    done = running.cli("checkpoint", running.id, check=1, env=env)
    assert one_line(done) == "criu is not in PATH: checkpoint and restore need it"
    for command in ("checkpoint", "restore"):
        done = running.cli(command, "--help", check=1, env=env)
        assert one_line(done) == "criu is not in PATH: checkpoint and restore need it"


def test_help_with_criu(box: Box, criu: Asked) -> None:
    """podman's probe."""
    done = subprocess.run([box.cli.program, "checkpoint", "--help"], env=criu.env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "--leave-running" in done.stdout and done.stderr == ""


def test_rootless(running: Box, criu: Asked) -> None:
    text = "checkpoint and restore need the host's root: CRIU cannot do it for rootless containers"
    argv = [running.cli.program, "--rootless=true", "--root", running.cli.root, "checkpoint", running.id]
    done = subprocess.run(argv, env=criu.env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and one_line(done) == text


BAD = {
    "--parent-path=/absolute": "--parent-path must be relative, to --image-path",
    "--page-server=nowhere": "use --page-server ADDRESS:PORT to specify the page server",
    "--page-server=:1": "use --page-server ADDRESS:PORT to specify the page server",
    "--page-server=a:0": "use --page-server ADDRESS:PORT to specify the page server",
    "--page-server=a:65536": "use --page-server ADDRESS:PORT to specify the page server",
    "--manage-cgroups-mode=all": 'invalid value "all" for --manage-cgroups-mode (known: soft, full, strict, ignore)',
    "--empty-ns=mount": 'namespace "mount" is not supported by --empty-ns: only network is',
}


@pytest.mark.parametrize("flag", BAD)
def test_a_bad_flag(box: Box, flag: str) -> None:
    assert one_line(box.cli("checkpoint", flag, box.id, check=1)) == BAD[flag]


# --- restore


@pytest.fixture
def saved(box: Box, criu: Asked, images: Path) -> Box:
    """A container that can be restored, as far as the false CRIU cares."""
    images.mkdir()
    (images / "descriptors.json").write_text('["/dev/null", "pipe:[4711]", "pipe:[4712]"]')
    criu.script(sleep="600", notify=["setup-namespaces", "post-restore"])
    box.args("sleep", "600")
    return box


def restore(box: Box, criu: Asked, images: Path, *flags: object) -> dict[str, list[Any]]:
    argv = ("restore", "--image-path", images, "--bundle", box.bundle, "--detach", *flags, box.id)
    box.cli(*argv, check=True, env=criu.env, **QUIET)
    return criu.options()


def test_what_every_restore_asks_for(saved: Box, criu: Asked, images: Path) -> None:
    asked = restore(saved, criu, images, "--pid-file", images / "pid")
    first = criu.log[0]
    assert first["type"] == 2 and first["directories"] == [str(images)] * 2
    assert first["mounts"] != os.readlink("/proc/self/ns/mnt"), "its mounts are seen outside"
    assert first["keyring"] == f"_ses.{saved.id}"
    assert saved.id in first["cgroup"], "the processes are not born in the container's cgroups"
    for name, value in {
        "log_file": "restore.log", "root": str(saved.rootfs), "rst_sibling": 1, "evasive_devices": 1, "notify_scripts": 1,
        "orphan_pts_master": 1, "empty_ns": 0x40000000, "manage_cgroups": 1, "manage_cgroups_mode": 6,
    }.items():  # fmt: skip
        assert asked[name] == [value], name
    assert asked["inherit_fd"] == ["\x0a\x0bpipe:[4711]\x10\x01", "\x0a\x0bpipe:[4712]\x10\x02"]
    assert "\x0a\x0b/proc/kcore\x12\x09/dev/null" in asked["ext_mnt"]
    assert any(saved.id in root for root in asked["cg_root"])
    state = saved.state
    assert state["status"] == "running" and (images / "pid").read_text() == str(state["pid"])
    record = json.loads((saved.cli.root / saved.id / "state.json").read_text())
    assert record["external_descriptors"] == ["/dev/null", "pipe:[4711]", "pipe:[4712]"]
    saved.kill()
    saved.stopped()
    saved.delete()


def test_flags_of_restore(saved: Box, criu: Asked, images: Path) -> None:
    for flag, expected in RESTORE.items():
        criu.script(sleep="600", notify=["post-restore"])
        asked = restore(saved, criu, images, flag)
        assert {name: asked.get(name) for name in expected} == expected, flag
        saved.down()


def test_mount_points_are_made_and_mounts_are_not_left(saved: Box, criu: Asked, images: Path) -> None:
    saved.mount("/not/there/yet", "bind", "bind", source=images)
    saved.bundle.write()
    asked = restore(saved, criu, images)
    assert (saved.rootfs / "not/there/yet").is_dir() and list((saved.rootfs / "not/there/yet").iterdir()) == []
    assert f"\x0a\x0e/not/there/yet\x12{chr(len(str(images)))}{images}" in asked["ext_mnt"]
    saved.down()


def test_namespaces_from_outside(saved: Box, boxes: Callable[[], Box], criu: Asked, images: Path) -> None:
    other = boxes()
    pid = other.up()
    for kind in ("network", "ipc"):
        saved.namespace(kind, f"/proc/{pid}/ns/{'net' if kind == 'network' else kind}")
    saved.bundle.write()
    asked = restore(saved, criu, images)
    assert asked["inherit_fd"][-1] == "\x0a\x0cextRootNetNS\x10\x04"
    place = f"/proc/{pid}/ns/ipc"
    assert asked["join_ns"] == [f"\x0a\x03ipc\x12{chr(len(place))}{place}"]
    saved.down()
    # The other way round: what is joined is named when it is saved.
    saved.up()
    criu.script()
    asked = checkpoint(saved, criu, images)
    inode = namespace_of(pid, "network").removeprefix("net:")
    assert asked["external"] == [f"net{inode}:extRootNetNS"]
    saved.down()
    other.down()


def test_the_terminal(saved: Box, criu: Asked, images: Path, session_dir: Path) -> None:
    saved.process["terminal"] = True
    saved.bundle.write()
    receiver = Receiver(session_dir / f"console-{saved.id}")
    criu.script(sleep="600", notify=["setup-namespaces", "orphan-pts-master", "post-restore"])
    restore(saved, criu, images, "--console-socket", receiver.path)
    data, fd = receiver.receive()
    assert os.isatty(fd)
    os.close(fd)
    receiver.close()
    saved.down()


def test_a_restore_that_fails_leaves_nothing(saved: Box, criu: Asked, images: Path) -> None:
    criu.script(notify=["setup-namespaces"], fail=17, text="(00.1) Error (criu/r.c:1): exists\n")
    done = saved.cli("restore", "--image-path", images, "--bundle", saved.bundle, saved.id, check=1, env=criu.env)
    assert one_line(done) == f"pyrunc restore failed: criu failed: (criu/r.c:1): exists ({images}/restore.log)"
    assert not saved.exists()
    criu.script(sleep="600", notify=["setup-namespaces", "post-restore"])
    saved.config["hooks"] = {"createRuntime": [{"path": "/bin/false"}]}
    saved.bundle.write()
    done = saved.cli("restore", "--image-path", images, "--bundle", saved.bundle, "-d", saved.id, check=1, env=criu.env)
    assert one_line(done).startswith("pyrunc restore failed: error running createRuntime hook #0: /bin/false: exit status 1")
    assert {"notify": "setup-namespaces", "success": False} in criu.log or len(criu.log) == 1
    assert not saved.exists()


def command_lines() -> Iterator[bytes]:
    """Of all processes, as far as they still are there."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes()
        except OSError:
            continue


def test_a_restore_that_fails_at_its_end_leaves_no_process(saved: Box, criu: Asked, images: Path) -> None:
    """Not even where there are no cgroups to find it by."""
    command = f"sleep\0600.{os.getpid()}\0".encode()
    criu.script(sleep=f"600.{os.getpid()}", notify=["setup-namespaces", "post-restore"])
    flags = ("--image-path", images, "--bundle", saved.bundle, "--detach", "--pid-file", images / "none/pid")
    done = saved.cli("--cgroup-manager", "disabled", "restore", *flags, saved.id, check=1, env=criu.env)
    assert not saved.exists()
    assert one_line(done) == f"pyrunc restore failed: write {images}/none/pid: no such file or directory"
    until(lambda: command not in command_lines(), 60, "the restored process lives on")


@pytest.mark.parametrize("name, value", [
    ("netDevices", {"nosuch0": {}}),
    ("seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/no/such", "syscalls": [
        {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]}),
])  # fmt: skip
def test_what_criu_cannot_make_again_is_refused(saved: Box, criu: Asked, images: Path, name: str, value: object) -> None:
    saved.linux[name] = value
    saved.bundle.write()
    done = saved.cli("restore", "--image-path", images, "--bundle", saved.bundle, "-d", saved.id, check=1, env=criu.env)
    assert one_line(done).startswith(f"pyrunc restore failed: linux.{name}: CRIU cannot save and restore ")
    assert not saved.exists()


def test_mounts_of_the_hosts_are_refused(saved: Box, criu: Asked, images: Path) -> None:
    """CRIU would take them for its own surroundings, and a restore would make them anew on the host."""
    saved.writable().share("mount")
    for name in ("maskedPaths", "readonlyPaths"):
        saved.linux.pop(name, None)
    saved.up()
    refused = "mounts: CRIU cannot save and restore mounts in the runtime's mount namespace"
    done = saved.cli("checkpoint", "--image-path", images, saved.id, check=1, env=criu.env)
    assert refused in one_line(done) and saved.status == "running"
    saved.down()
    before = mounts()
    done = saved.cli("restore", "--image-path", images, "--bundle", saved.bundle, "-d", saved.id, check=1, env=criu.env)
    assert refused in one_line(done) and not saved.exists() and mounts() == before


@pytest.mark.parametrize("text", ["", "{}", "[1]", "[", '"x"'])
def test_bad_descriptors(saved: Box, criu: Asked, images: Path, text: str) -> None:
    (images / "descriptors.json").write_text(text)
    done = saved.cli("restore", "--image-path", images, "--bundle", saved.bundle, saved.id, check=1, env=criu.env)
    assert f"{images}/descriptors.json" in one_line(done)
    assert not saved.exists()


def test_an_id_in_use(running: Box, criu: Asked, images: Path) -> None:
    images.mkdir()
    (images / "descriptors.json").write_text("[]")
    done = running.cli("restore", "--image-path", images, "--bundle", running.bundle, running.id, check=1, env=criu.env)
    assert one_line(done) == "pyrunc restore failed: container with given ID already exists"


def test_a_terminal_needs_a_console_socket(saved: Box, criu: Asked, images: Path) -> None:
    saved.process["terminal"] = True
    saved.bundle.write()
    done = saved.cli("restore", "--image-path", images, "--bundle", saved.bundle, "-d", saved.id, check=1, env=criu.env)
    assert "cannot allocate tty if pyrunc will detach without setting console socket" in one_line(done)


def test_a_restore_that_is_killed(saved: Box, criu: Asked, images: Path) -> None:
    """CRIU ends with it, and what there is by then is in the container's cgroups."""
    criu.script(sleep="600", hang=600)
    argv = ("restore", "--image-path", images, "--bundle", saved.bundle, "--detach", saved.id)
    process = saved.cli.popen(*argv, env=criu.env, **QUIET)

    def in_the_cgroup() -> list[str]:
        record = json.loads((saved.cli.root / saved.id / "state.json").read_text())
        return Path(next(iter(record["cgroup_paths"].values())), "cgroup.procs").read_text().split()

    until(lambda: (criu.directory / "log").exists() and len(in_the_cgroup()) == 2, 60, "criu has not begun")
    process.kill()
    process.wait(60)
    until(lambda: len(in_the_cgroup()) == 1, 60, "criu has not ended")
    assert saved.status == "stopped"
    saved.down()
