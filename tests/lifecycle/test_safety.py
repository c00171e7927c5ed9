"""The ten rules of safety, each against a root file system or a container that tries to break it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import executed
from tests.lifecycle.box import Box, mountinfo, one_line
from tests.lifecycle.sockets import Receiver


@pytest.fixture
def outside(session_dir: Path, box: Box) -> Iterator[Path]:
    """A directory of the host's that no container may change, and what it holds."""
    path = session_dir / f"outside-{box.id}"
    path.mkdir()
    (path / "file").write_text("of the host")
    (path / "directory").mkdir()
    before = snapshot(path)
    yield path
    assert snapshot(path) == before, "the host was changed"


def snapshot(path: Path) -> list[tuple[str, int, int, bytes]]:
    found = []
    for place in sorted(path.rglob("*")):
        st = place.lstat()
        found.append((str(place), st.st_mode, st.st_uid, place.read_bytes() if place.is_file() else b""))
    return found


def replace(path: Path, target: object) -> None:
    """Make `path` a symbolic link."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(str(target))


# Rule 1: the root is opened once, every path in it is resolved inside.


@pytest.mark.parametrize("up", ["", "/../../../../../.."])
def test_a_mount_point_behind_a_link_to_the_host_is_made_inside(box: Box, outside: Path, up: str) -> None:
    replace(box.rootfs / "link", up + str(outside) if not up else f"{up}{outside}")
    for destination in ("/link/made", "/link/directory", "/link/a/b/c"):
        box.mount(destination, "tmpfs")
    mounts = mountinfo(box.writable().sh("cat /proc/self/mountinfo"))
    assert {str(outside / "made"), str(outside / "directory"), str(outside / "a/b/c")} <= set(mounts)
    assert (box.rootfs / str(outside)[1:] / "made").is_dir()


def test_a_bind_of_a_file_behind_links_creates_nothing_on_the_host(box: Box, outside: Path) -> None:
    """CVE-2024-45310: an empty file in a directory of the host's."""
    replace(box.rootfs / "loop/x", "../../../../../../.." + str(outside))
    box.mount("/loop/x/new-file", "none", "bind", source="config.json")
    assert box.writable().sh(f"test -s {outside}/new-file && echo inside") == "inside\n"


def test_links_that_go_in_circles(box: Box) -> None:
    replace(box.rootfs / "a", "b")
    replace(box.rootfs / "b", "a")
    box.mount("/a/x", "tmpfs")
    assert "too many levels of symbolic links" in box.writable().refused()


def test_devices_and_links_behind_a_dev_that_is_a_link(box: Box, outside: Path) -> None:
    """CVE-2026-41579: the image's /dev leads out, and the runtime makes and removes links there."""
    (outside / "ptmx").write_text("of the host")
    box.unmount("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
    box.linux["maskedPaths"] = []
    replace(box.rootfs / "dev", "/../../../../../.." + str(outside))
    box.linux["devices"] = [{"type": "c", "path": "/dev/deep/null", "major": 1, "minor": 3}]
    listed = box.writable().sh("ls /dev/").split()
    assert {"null", "ptmx", "deep", "fd"} <= set(listed)
    assert sorted(path.name for path in outside.iterdir()) == ["directory", "file", "ptmx"]
    (outside / "ptmx").unlink()


def test_a_cwd_behind_a_link_is_made_inside(box: Box, outside: Path) -> None:
    replace(box.rootfs / "home", outside)
    box.process["cwd"] = "/home/new"
    assert box.writable().sh("pwd -P") == f"{outside}/new\n"
    assert not (outside / "new").exists()


@pytest.mark.parametrize("kind", ["maskedPaths", "readonlyPaths"])
def test_masks_behind_links_cover_what_is_inside(box: Box, outside: Path, kind: str) -> None:
    inside = box.rootfs / str(outside)[1:] / "file"
    inside.parent.mkdir(parents=True)
    inside.write_text("inside")
    replace(box.rootfs / "secret", "/../../../.." + str(outside / "file"))
    box.linux[kind] = ["/secret"]
    assert box.writable().lines("cat /secret; (echo x >/secret) 2>&1 | cut -d: -f3") == {
        "maskedPaths": [], "readonlyPaths": ["inside Read-only file system"],
    }[kind]  # fmt: skip


def test_a_passwd_that_leads_out(box: Box, outside: Path) -> None:
    (outside / "file").write_text("root:x:0:0::/from/the/host:\n")
    replace(box.rootfs / "etc/passwd", "/../../../../../.." + str(outside / "file"))
    box.process["env"] = ["PATH=/bin"]
    assert box.sh("echo $HOME") == "/\n"
    (outside / "file").write_text("of the host")


# Rule 2: proc and sysfs only onto real directories; nothing is hidden inside /proc.


@pytest.mark.parametrize("name", ["proc", "sys"])
@pytest.mark.parametrize("target", ["/tmp", "/../../tmp", "etc", "/proc/self"])
def test_a_proc_or_sys_that_is_a_link(box: Box, name: str, target: str) -> None:
    """CVE-2019-19921, CVE-2023-28642."""
    replace(box.rootfs / name, target)
    index = next(i for i, entry in enumerate(box.config["mounts"]) if entry["destination"] == f"/{name}")
    message = box.refused()
    assert f"mounts[{index}] (/{name}): " in message and "symbolic link" in message


def test_a_link_that_leads_a_mount_into_proc(box: Box) -> None:
    """CVE-2019-16884: a volume over what the runtime and the security modules write to."""
    for number, target in enumerate(("/proc", "/proc/self/attr", "/proc/sys/kernel")):
        replace(box.rootfs / f"to{number}", target)
        box.config["mounts"] = box.config["mounts"][:7]
        box.mount(f"/to{number}", "tmpfs")
        assert "mounts[7]" in box.refused()


# Rule 3: writes to procfs go to a procfs that was opened before anything of the container's was there.


def test_a_sysctl_does_not_go_where_the_container_says(box: Box, outside: Path) -> None:
    """CVE-2025-52881: /proc/sys of the container is something else, or not there at all."""
    box.unmount("/proc")
    box.linux.update(maskedPaths=[], readonlyPaths=[], sysctl={"net.ipv4.ip_forward": "1"})
    target = box.rootfs / "proc/sys/net/ipv4"
    target.mkdir(parents=True)
    replace(target / "ip_forward", outside / "file")
    box.config["mounts"].append({"destination": "/late", "type": "proc", "source": "proc"})
    assert box.writable().lines("cat /late/sys/net/ipv4/ip_forward; id -u") == ["1", "0"]


def test_an_oom_score_is_written_to_the_real_procfs(box: Box, outside: Path) -> None:
    box.unmount("/proc")
    box.linux.update(maskedPaths=[], readonlyPaths=[])
    (box.rootfs / "proc/self").mkdir()
    replace(box.rootfs / "proc/self/oom_score_adj", outside / "file")
    box.process["oomScoreAdj"] = 444
    pid = box.up()
    assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "444\n"
    box.down()


def test_a_label_is_not_written_where_the_container_says(box: Box, outside: Path) -> None:
    """CVE-2025-52881, CVE-2019-16884: with a file in place of the attribute the process would run unconfined, and nobody know."""
    box.unmount("/proc")
    box.linux.update(maskedPaths=[], readonlyPaths=[])
    for name in ("exec", "apparmor/exec"):
        attribute = box.rootfs / "proc/self/attr" / name
        attribute.parent.mkdir(parents=True, exist_ok=True)
        replace(attribute, outside / "file")
    before = (outside / "file").read_bytes()
    box.process["apparmorProfile"] = "no-such-profile"
    assert "`/proc/self/attr/" in box.refused()
    del box.process["apparmorProfile"]
    box.up()
    done = box.exec("--apparmor", "no-such-profile", box.id, "true", check=255)
    assert "`/proc/self/attr/" in done.stderr
    box.down()
    assert (outside / "file").read_bytes() == before


# Rule 4: /dev/null, ptmx and the pty are believed for what they are.


@pytest.mark.parametrize("fake", ["link", "file", "other-device", "directory"])
def test_a_false_dev_null_masks_nothing(box: Box, outside: Path, fake: str) -> None:
    """CVE-2025-31133: the mask is a bind mount of /dev/null, so that would be made writable in place of it."""
    box.unmount("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
    (box.rootfs / "secret").write_text("x")
    box.linux["maskedPaths"] = ["/secret"]
    null = box.rootfs / "dev/null"
    if fake == "link":
        replace(null, outside / "file")
    elif fake == "file":
        null.write_text("x")
    elif fake == "directory":
        null.mkdir()
    else:
        os.mknod(null, 0o20666, os.makedev(1, 5))
    message = box.writable().refused()
    assert "/dev/null" in message


@pytest.mark.parametrize("fake", ["link", "file", "missing", "other-device"])
def test_a_false_ptmx(box: Box, outside: Path, session_dir: Path, fake: str) -> None:
    """CVE-2025-52565 and before: what is opened there becomes the caller's end of the terminal."""
    box.unmount("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
    box.linux["maskedPaths"] = []
    box.process["terminal"] = True
    ptmx = box.rootfs / "dev/pts/ptmx"
    ptmx.parent.mkdir(parents=True)
    if fake == "link":
        replace(ptmx, "/dev/ptmx")
    elif fake == "file":
        ptmx.write_text("x")
    elif fake == "other-device":
        os.mknod(ptmx, 0o20666, os.makedev(5, 2))
    receiver = Receiver(session_dir / f"{box.id}.sock")
    message = box.writable().refused("--console-socket", receiver.path)
    receiver.close()
    assert "process.terminal" in message


def test_a_dev_console_that_is_a_link(box: Box, outside: Path, session_dir: Path) -> None:
    """The pty is mounted on it: a link would let it be mounted over a file of the container's choice, such as in /proc."""
    box.unmount("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
    box.mount("/dev/pts", "devpts", "newinstance", "ptmxmode=0666")
    box.linux["maskedPaths"] = []
    box.process["terminal"] = True
    replace(box.rootfs / "dev/console", "/proc/self/attr/exec")
    receiver = Receiver(session_dir / f"{box.id}.sock")
    message = box.writable().refused("--console-socket", receiver.path)
    receiver.close()
    assert "/dev/console" in message


# Rule 5: descriptors.


@pytest.mark.parametrize("number", range(3, 16))
def test_a_cwd_that_is_a_descriptor_of_the_runtimes(box: Box, number: int) -> None:
    """CVE-2024-21626: a leaked directory of the host's as the working directory."""
    box.process["cwd"] = f"/proc/self/fd/{number}"
    done = box.cli("run", "--bundle", box.bundle.write(), box.id)
    assert done.returncode == 1 and "process.cwd" in one_line(done)


def test_a_cwd_that_is_a_preserved_directory_of_the_hosts(box: Box, outside: Path) -> None:
    box.process["cwd"] = "/proc/self/fd/3"
    box.args("cat", "file")
    argv = box.cli.argv("run", "--preserve-fds", "1", "--bundle", box.bundle, box.id)
    done = subprocess.run(["bash", "-c", 'exec 3<"$0"; exec "$@"', outside, *argv], capture_output=True, text=True)
    assert done.returncode == 1 and "process.cwd" in done.stderr and "of the host" not in done.stdout


def test_the_same_with_exec(box: Box) -> None:
    """At most the container's own root is found there."""
    box.writable().up()
    inside = {".", "..", *(path.name for path in box.rootfs.iterdir()), "cwd"}
    for number in range(3, 12):
        replace(box.rootfs / "cwd", f"/proc/self/fd/{number}")
        for cwd in (f"/proc/self/fd/{number}", "/cwd", f"/proc/self/fd/{number}/.."):
            done = box.exec("--cwd", cwd, box.id, "ls", "-a", "../../..")
            assert (done.returncode == 255 and done.stdout == "") or set(done.stdout.split()) == inside, cwd
    box.down()


def test_the_program_holds_nothing_but_its_stdio(box: Box) -> None:
    """Also not what the caller had open without close-on-exec."""
    pid = None
    box.args("sleep", "1000").bundle.write()
    leaked = os.open("/etc/hostname", os.O_RDONLY)
    os.set_inheritable(leaked, True)
    subprocess.run(box.cli.argv("create", "--bundle", box.bundle, box.id), stdin=subprocess.DEVNULL, close_fds=False, check=True)
    pid = box.pid
    waiting = {fd: os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    assert sorted(Path(target).name for fd, target in waiting.items() if int(fd) > 2) == ["exec.fifo", "exec.reply"]
    box.start()
    assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]
    os.close(leaked)
    box.down()


# Rule 6: no host executable is within reach for writing.


def test_overwriting_what_a_container_was_started_by(box: Box, pyrunc: Path) -> None:
    """CVE-2019-5736: the program is a script whose interpreter is /proc/self/exe, so that the runtime's own is executed in
    its place; and exec into a container whose programs are such scripts."""
    programs = [pyrunc, pyrunc.resolve(), executed(pyrunc)]
    init = next(path for path in (Path(__file__).resolve().parents[2] / "pyrunc").glob("pyrunc-init"))
    before = {path: path.read_bytes() for path in (*programs, init)}
    for name in ("bash", "evil"):
        (box.rootfs / name).write_text("#!/proc/self/exe\n")
        (box.rootfs / name).chmod(0o755)
    box.writable().args("/evil").bundle.write()
    box.cli("run", "--bundle", box.bundle, box.id, timeout=20)
    box.up()
    hunter = (
        "while :; do for p in /proc/[0-9]*; do c=; read -r c 2>/dev/null <$p/comm; case $c in *pyrunc*)"
        " (echo pwned >$p/exe) 2>>/dev/null && echo $p >>/written;; esac; done; done"
    )
    box.exec("--detach", box.id, "sh", "-c", hunter, check=True)
    for argv in (["/bash"], ["true"], ["/evil"], ["true"]):
        box.exec(box.id, *argv, timeout=20)
    box.down()
    assert {path: path.read_bytes() for path in before} == before
    assert not (box.rootfs / "written").exists()


# Rule 7: nothing of Python's and no dynamic loader in the container's mount namespace.


def test_only_static_code_runs_in_the_containers_mount_namespace(box: Box) -> None:
    pid = box.create()
    maps = Path(f"/proc/{pid}/maps").read_text()
    files = {line.split(maxsplit=5)[5] for line in maps.splitlines() if len(line.split(maxsplit=5)) > 5}
    assert {name for name in files if not name.startswith("[")} <= {name for name in files if "memfd:" in name}
    assert "python" not in maps and ".so" not in maps
    box.down()


def test_libraries_and_modules_in_the_root_are_not_loaded(box: Box) -> None:
    """A ld.so.preload, a libc and Python modules of the container's: nothing but the program may ever look at them."""
    (box.rootfs / "etc/ld.so.preload").write_text("/lib/evil.so\n")
    for place in ("lib", "lib64", "usr/lib/python3.11"):
        (box.rootfs / place).mkdir(parents=True, exist_ok=True)
    for name in ("lib/evil.so", "usr/lib/python3.11/os.py", "usr/lib/python3.11/encodings.py"):
        (box.rootfs / name).write_text("raise SystemExit(99)\n")
    assert box.writable().sh("echo fine") == "fine\n"
    box.up()
    assert box.ex("echo fine") == "fine\n"
    box.down()


# Rule 8 is of strings: test_refusals.py. What the kernel splits on:


def test_strings_that_the_kernel_would_split(box: Box) -> None:
    box.linux["cgroupsPath"] = "/../../../escape"
    before = set(Path("/sys/fs/cgroup").glob("*/escape"))
    pid = box.create()
    lines = Path(f"/proc/{pid}/cgroup").read_text()
    assert "/.." not in lines
    box.down()
    assert set(Path("/sys/fs/cgroup").glob("*/escape")) == before


# Rules 9 and 10 are of processes and of failures: test_races.py.


def test_a_root_swapped_for_a_link_while_it_is_used(box: Box, outside: Path) -> None:
    """The root is opened once: what its name means afterwards does not matter."""
    pid = box.args("sleep", "1000").create()
    moved = box.bundle.path / "moved"
    box.rootfs.rename(moved)
    box.rootfs.symlink_to(outside)
    box.start()
    assert os.path.samefile(f"/proc/{pid}/root/bin/busybox", moved / "bin/busybox")
    assert "bin" in box.ex("ls /").split()
    box.down()
    box.rootfs.unlink()
    moved.rename(box.rootfs)


SWAPPER = """
import ctypes, os, sys
exchange = ctypes.CDLL(None).renameat2
os.chdir(sys.argv[1])
while True:
    exchange(-100, b"a", -100, b"b", 2)  # AT_FDCWD, RENAME_EXCHANGE
"""


def test_links_that_are_swapped_while_mounts_are_made(box: Box, outside: Path) -> None:
    """CVE-2021-30465: a volume shared with a container that swaps a directory of it for a link, over and over."""
    shared = box.bundle.path / "shared"
    (shared / "a").mkdir(parents=True)
    (shared / "b").symlink_to("/../../../../../.." + str(outside))
    box.mount("/volume", "none", "bind", source=shared)
    for number in range(5):
        box.mount(f"/volume/a/made{number}", "tmpfs")
    swapper = subprocess.Popen([sys.executable, "-c", SWAPPER, shared])
    try:
        for _ in range(25):
            done = box.cli("run", "--bundle", box.writable().args("true").bundle, box.id)
            assert done.returncode in (0, 1) and "internal" not in done.stderr
            assert not [path for path in outside.iterdir() if path.name.startswith("made")]
    finally:
        swapper.kill()
        swapper.wait()
