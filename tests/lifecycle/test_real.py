"""Real input: what Docker, podman and containerd hand over, an init of its own, a Debian; and what it all costs in memory."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PROJECT, until
from tests.lifecycle.box import Box

KIB, MIB = 1 << 10, 1 << 20


@pytest.fixture
def cgroup_tops() -> Iterator[None]:
    """What the configs name above their own cgroup (/docker, /default) is removed if it was not there."""
    before = set(Path("/sys/fs/cgroup").glob("*/*"))
    yield
    for name in ("docker", "default", "libpod_parent"):
        for path in set(Path("/sys/fs/cgroup").glob(f"*/{name}")) - before:
            with contextlib.suppress(OSError):  # an engine may be using it by now
                path.rmdir()


@pytest.mark.parametrize("name", ["docker", "podman", "containerd"])
@pytest.mark.usefixtures("cgroup_tops")
def test_the_config_of_an_engine(box: Box, shared: Path, name: str) -> None:
    """Only the root, and the bind sources and hooks that do not exist here, are replaced."""
    config = json.loads((shared / f"configs/{name}.json").read_text())
    config["root"]["path"] = "rootfs"
    for mount in config["mounts"]:
        if "bind" in mount.get("options", ()) or "rbind" in mount.get("options", ()):
            source = box.bundle.path / f"source{mount['destination'].replace('/', '-')}"
            if mount["destination"] == "/dev/shm":
                source.mkdir()
            else:
                source.write_text(f"for {mount['destination']}\n")
            mount["source"] = str(source)
    for hooks in config.get("hooks", {}).values():
        for hook in hooks:
            hook["path"] = "/bin/true"
    config["process"]["args"] = ["/bin/sleep", "1000"]
    box.bundle.config = config
    pid = box.create()
    assert box.status == "created"
    box.start()
    assert box.status == "running" and Path(f"/proc/{pid}/comm").read_text() == "sleep\n"
    seen = box.ex("tr '\\0' ' ' </proc/1/cmdline; grep Seccomp: /proc/self/status; cat /etc/hostname 2>/dev/null || true")
    assert "/bin/sleep 1000" in seen and ("Seccomp:\t2" in seen) == ("seccomp" in config["linux"])
    if name == "docker":
        assert "for /etc/hostname" in seen
    box.kill("KILL")
    box.stopped()
    box.delete()


def test_a_container_with_an_init_of_its_own(box: Box) -> None:
    """busybox init as process 1: it starts its services, collects orphans, and is stopped cleanly."""
    (box.rootfs / "sbin").mkdir()
    (box.rootfs / "sbin/init").symlink_to("/bin/busybox")
    (box.rootfs / "etc/inittab").write_text(
        "::sysinit:/bin/sh -c 'echo began >/log'\n::respawn:/bin/sleep 1000\n::shutdown:/bin/sh -c 'echo ended >>/log'\n"
    )
    box.process["capabilities"]["bounding"].append("CAP_SYS_BOOT")
    box.writable().args("/sbin/init")
    pid = box.create()
    box.start()
    until(lambda: "sleep 1000" in box.ex("ps -o args"), 60, "init has not started its service")
    assert (box.rootfs / "log").read_text() == "began\n"
    box.exec(box.id, "sh", "-c", "(sleep 0.1 &)", check=True)
    until(lambda: "sleep 0.1" not in box.ex("ps -o args") and " Z " not in box.ex("ps -o stat,args"), 60, "an orphan has stayed")
    box.kill("USR2")  # busybox init: power off
    until(lambda: box.status == "stopped", 60, "init did not stop")
    assert (box.rootfs / "log").read_text() == "began\nended\n"
    assert os.waitpid(pid, 0)[0] == pid
    box.delete()


@pytest.fixture(scope="module")
def debian(session_dir: Path) -> Path:
    """A Debian minbase tree, made once."""
    if not shutil.which("debootstrap"):
        pytest.skip("debootstrap is missing")
    tree = session_dir / "debian"
    log = session_dir / "debootstrap.log"
    with open(log, "w") as out:
        try:
            done = subprocess.run(["debootstrap", "--variant=minbase", "stable", tree], stdout=out, stderr=out, timeout=240)
        except subprocess.TimeoutExpired:
            pytest.skip("debootstrap takes too long here")
    if done.returncode:
        pytest.skip(f"debootstrap failed: {log.read_text().splitlines()[-1]}")
    return tree


def test_a_debian(box: Box, debian: Path) -> None:
    box.config["root"] = {"path": str(debian), "readonly": False}
    box.up()
    assert box.exec(box.id, "bash", "-c", "echo $BASH_VERSION", check=True).stdout[0].isdigit()
    assert box.exec(box.id, "apt-get", "--version", check=True).stdout.startswith("apt ")
    script = "id -un; touch /root/x 2>&1; touch /tmp/mine && ls -l /tmp/mine"
    done = box.exec("--user", "65534:65534", box.id, "sh", "-c", script, check=True)
    assert done.stdout.startswith("nobody\n") and "Permission denied" in done.stdout and "nobody nogroup" in done.stdout
    box.exec(box.id, "rm", "/tmp/mine")
    box.exec(box.id, "perl", "-e", "exit 7", check=7)
    box.kill("TERM")
    until(lambda: box.status == "stopped", 60, "it did not stop")
    box.delete()


def test_a_debian_as_a_user_in_a_user_namespace(box: Box, debian: Path) -> None:
    box.config["root"] = {"path": str(debian), "readonly": False}
    box.map_ids()
    box.process["user"] = {"uid": 33, "gid": 33}
    assert box.sh("id -un; apt-get --version | head -1; ls -ld /etc | cut -d' ' -f3").split()[:2] == ["www-data", "apt"]


def limited(box: Box, bytes: int) -> None:
    if not Path("/sys/fs/cgroup/memory").is_dir():
        pytest.skip("this host has no v1 hierarchy of memory")
    box.linux["resources"]["memory"] = {"limit": bytes}


def test_a_program_under_a_limit_of_512_kib(box: Box) -> None:
    limited(box, 512 * KIB)
    box.sh("true")
    box.args("true")
    assert box.cli("run", "--bundle", box.bundle, box.id).returncode == 0
    box.create()
    box.start()
    box.stopped()
    box.delete()


def test_too_low_a_limit_is_told_as_what_it_is(box: Box) -> None:
    limited(box, 4 * KIB)
    box.args("true")
    done = box.cli("run", "--bundle", box.bundle, box.id)
    assert done.returncode == 1 and "container init was OOM-killed (memory limit too low?)" in done.stderr
    assert not box.exists()


def test_what_a_created_container_holds(box: Box) -> None:
    """At most a mebibyte of its own: its cgroup's charge, and what its process maps privately."""
    limited(box, 64 * MIB)
    pid = box.create()
    (usage,) = Path("/sys/fs/cgroup/memory").rglob(f"{box.id}/memory.usage_in_bytes")
    assert int(usage.read_text()) <= MIB
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    assert sum(int(n) for n in re.findall(r"^(?:Private_Clean|Private_Dirty|Swap): +(\d+) kB", rollup, re.MULTILINE)) <= 256
    box.down()


MEASURE = """
import os, sys
pid = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
usage = os.wait4(pid, 0)[2]
with open(sys.argv[1], "w") as out:
    out.write(str(usage.ru_maxrss))
"""


def test_the_peak_of_every_command(box: Box, tmp_path: Path) -> None:
    """20 MiB, with Docker's seccomp profile where there is one; the kernel counts the image before execve(2) too, so they are
    started by an interpreter that is smaller than what is measured."""
    config = PROJECT.parent / "shared/configs/docker.json"
    if config.exists():
        box.linux["seccomp"] = json.loads(config.read_text())["linux"]["seccomp"]
    box.args("sleep", "1000")
    bundle = ("--bundle", box.bundle)
    commands: list[tuple[object, ...]] = [
        ("create", *bundle, box.id), ("state", box.id), ("start", box.id), ("exec", box.id, "true"), ("list",),
        ("kill", box.id, "KILL"), ("delete", "--force", box.id), ("run", "--detach", *bundle, box.id),
        ("delete", "--force", box.id), ("plan", *bundle),
        ("spec", "--bundle", tmp_path), ("--version",), ("--help",), ("state", "none"),
    ]  # fmt: skip
    peaks: dict[object, int] = {}
    for words in commands:
        argv = [sys.executable, "-ISc", MEASURE, str(tmp_path / "peak"), *box.cli.argv(*words)]
        subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        peaks[words[0]] = max(int((tmp_path / "peak").read_text()), peaks.get(words[0], 0))
    assert {name: peak for name, peak in peaks.items() if peak > 20 * KIB} == {}
