"""root, rootfsPropagation, pivot and --no-pivot, masked and read-only paths, devices, annotations."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.lifecycle.box import BASE, Box, mountinfo

OWN_NAMESPACE = ("unshare", "--mount", "--propagation", "private", "sh", "-ec", 'mount --make-rshared /; exec "$0" "$@"')
"""Runs a command in a mount namespace whose mounts are shared with each other and with nobody else."""


def test_a_root_outside_of_the_bundle(box: Box, session_dir: Path) -> None:
    elsewhere = session_dir / f"elsewhere-{box.id}"
    box.rootfs.rename(elsewhere)
    box.config["root"]["path"] = str(elsewhere)
    box.create()
    assert box.state["rootfs"] == str(elsewhere)
    box.down()


def test_a_read_only_root(box: Box) -> None:
    box.config["root"]["readonly"] = True
    script = "for at in /new /dev/shm/new; do touch $at 2>&1 && echo $at; done"
    assert box.lines(script) == ["touch: /new: Read-only file system", "/dev/shm/new"]
    assert "ro" in mountinfo(boxed(box))["/"]["options"]


def boxed(box: Box) -> str:
    return box.sh("cat /proc/self/mountinfo")


def test_a_writable_root(box: Box) -> None:
    box.writable().sh("echo written >/new")
    assert (box.rootfs / "new").read_text() == "written\n"


def test_the_hosts_mounts_are_not_there_after_pivot(box: Box) -> None:
    mounts = mountinfo(boxed(box))
    assert {path for path in mounts if path.count("/") == 1} == {"/", "/proc", "/dev", "/sys"}


def test_without_pivot(box: Box) -> None:
    box.writable()
    pid = box.up("--no-pivot")
    assert os.path.samefile(f"/proc/{pid}/root/bin/busybox", box.rootfs / "bin/busybox")
    assert box.ex("cat /etc/passwd").startswith("root:")
    # The host's own procfs and sysfs, which could be reached by a way around chroot(2), are gone or covered.
    namespace = mountinfo(Path(f"/proc/{pid}/mountinfo").read_text())
    assert "/proc" in namespace
    box.down()


def propagated(box: Box, kind: str | None, place: str, *, from_host: bool) -> bool:
    """Whether a mount that the host makes below the rootfs, or the container in itself, shows on the other side."""
    if kind:
        box.linux["rootfsPropagation"] = kind
    caps = box.process["capabilities"]
    for name in ("bounding", "effective", "permitted"):
        caps[name] = [*caps[name], "CAP_SYS_ADMIN"]
    (box.rootfs / "mnt").mkdir()
    box.writable().args("sleep", "100").bundle.write()
    run = [sys.executable, "-m", "tests.lifecycle.propagation", place, str(box.rootfs), str(int(from_host)), *box.cli.argv()]
    argv = [*OWN_NAMESPACE, *run, str(box.bundle), box.id]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, cwd=PROJECT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout in ("seen\n", "hidden\n")
    return done.stdout == "seen\n"


KINDS = [(None, True), ("slave", True), ("shared", False), ("private", False), ("unbindable", False)]


@pytest.mark.parametrize(("kind", "inwards"), KINDS)
def test_propagation_of_the_root(box: Box, kind: str | None, inwards: bool) -> None:
    """Nothing ever leaves the container; "shared" makes a peer group of its own (runtime-spec, rootfsPropagation)."""
    assert propagated(box, kind, "/mnt", from_host=True) == inwards
    (box.rootfs / "mnt").rmdir()
    assert not propagated(box, kind, "/mnt", from_host=False)


@pytest.mark.parametrize("kind", ["shared", "slave", "private", "unbindable", "rshared", "rslave", "rprivate", "runbindable"])
def test_the_tags_of_the_root(box: Box, kind: str) -> None:
    box.linux["rootfsPropagation"] = kind
    tags = mountinfo(boxed(box))["/"]["tags"]
    assert ("shared" in tags, "unbindable" in tags) == (kind.endswith("shared"), kind.endswith("unbindable"))


def test_masked_paths(box: Box) -> None:
    (box.rootfs / "secret").write_text("secret")
    (box.rootfs / "hidden").mkdir()
    (box.rootfs / "hidden/file").write_text("x")
    box.linux["maskedPaths"] += ["/secret", "/hidden", "/nothing/there"]
    script = (
        "cat /secret; ls -A /hidden; stat -c '%t:%T' /secret; touch /hidden/x 2>&1 || true;"
        "ls -A /proc/acpi | wc -l; cat /proc/keys"
    )
    assert box.writable().lines(script) == ["1:3", "touch: /hidden/x: Read-only file system", "0"]
    assert (box.rootfs / "secret").read_text() == "secret" and (box.rootfs / "hidden/file").exists()


def test_read_only_paths(box: Box, session_dir: Path) -> None:
    (box.rootfs / "fixed/below").mkdir(parents=True)
    (box.rootfs / "file").write_text("x")
    box.mount("/fixed/below", "tmpfs", "nosuid", "noexec")
    box.linux["readonlyPaths"] += ["/fixed", "/file", "/nothing/there"]
    mounts = box.writable().lines(
        "for at in /fixed/x /file /proc/sys/kernel/hostname; do (echo >$at) 2>&1 | cut -d: -f3; done; cat /proc/self/mountinfo"
    )
    assert mounts[:3] == [" Read-only file system"] * 3
    assert {"ro"} <= mountinfo("\n".join(mounts[3:]))["/fixed"]["options"]


DEFAULT_NODES = {
    "null": "1:3", "zero": "1:5", "full": "1:7", "random": "1:8", "urandom": "1:9", "tty": "5:0",
}  # fmt: skip


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_default_devices_and_links(box: Box, umask: int) -> None:
    names = " ".join(f"/dev/{name}" for name in DEFAULT_NODES)
    lines = box.lines(
        f"stat -c '%F %t:%T %a %u:%g' {names}; cd /dev; for at in fd stdin stdout stderr ptmx; do readlink $at; done;"
        "stat -c %a / /dev",
        umask=umask,
    )
    assert lines[:6] == [f"character special file {number} 666 0:0" for number in DEFAULT_NODES.values()]
    assert lines[6:11] == ["/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2", "pts/ptmx"]
    assert lines[12] == "755"


def test_the_default_devices_work_for_everybody(box: Box) -> None:
    box.process["user"] = {"uid": 1000, "gid": 1000}
    script = "echo gone >/dev/null; head -c4 /dev/zero | od -An -tx1; head -c2 /dev/urandom | wc -c; echo 2>&1 >/dev/full || true"
    lines = [line.strip() for line in box.lines(script)]
    assert lines == ["00 00 00 00", "2", "sh: write error: No space left on device"]


def test_devices(box: Box) -> None:
    box.linux["devices"] = [
        {"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 3, "gid": 4},
        {"type": "u", "path": "/dev/deep/down/u", "major": 1, "minor": 5},
        {"type": "b", "path": "/disk", "major": 4000, "minor": 700_000, "fileMode": 0o60600},
        {"type": "p", "path": "/dev/pipe", "fileMode": 0o622, "uid": 1000, "gid": 50},
        {"type": "c", "path": "/dev/null", "major": 1, "minor": 3, "fileMode": 0o600},
    ]
    box.writable()
    assert box.lines("stat -c '%F %t:%T %a %u:%g' /dev/fuse /dev/deep/down/u /disk /dev/pipe /dev/null") == [
        "character special file a:e5 640 3:4",
        "character special file 1:5 666 0:0",
        f"block special file {4000:x}:{700_000:x} 600 0:0",
        "fifo 0:0 622 1000:50",
        "character special file 1:3 600 0:0",
    ]


def test_devices_in_a_user_namespace_are_the_hosts(box: Box) -> None:
    box.map_ids()
    lines = box.lines("stat -c '%F %t:%T' /dev/null /dev/zero; echo >/dev/null; cat /proc/self/mountinfo")
    assert lines[:2] == ["character special file 1:3", "character special file 1:5"]
    host = mountinfo(Path("/proc/self/mountinfo").read_text())
    assert mountinfo("\n".join(lines[2:]))["/dev/null"]["type"] == host["/dev"]["type"]


@pytest.mark.parametrize("kind", ["c", "b", "p"])
def test_a_file_that_is_not_the_device_is_an_error(box: Box, kind: str) -> None:
    (box.rootfs / "node").write_text("in the way")
    box.linux["devices"] = [{"type": kind, "path": "/node", "major": 1, "minor": 3}]
    assert "linux.devices[0] (/node): " in box.writable().refused()
    assert (box.rootfs / "node").read_text() == "in the way"


def test_a_device_that_is_there_already_is_left_as_it_is(box: Box) -> None:
    os.mknod(box.rootfs / "node", 0o20600, os.makedev(1, 3))
    os.mkfifo(box.rootfs / "pipe", 0o600)
    box.linux["devices"] = [{"type": "c", "path": "/node", "major": 1, "minor": 3}, {"type": "p", "path": "/pipe"}]
    assert box.writable().lines("stat -c '%F %a' /node /pipe") == ["character special file 600", "fifo 600"]


def test_device_rules_of_the_cgroup(box: Box) -> None:
    """The default spec denies everything beyond the default devices."""
    box.linux["devices"] = [{"type": "c", "path": "/dev/none", "major": 251, "minor": 77}]
    assert "Operation not permitted" in box.sh("head -c1 /dev/none 2>&1 || true")
    box.linux["resources"]["devices"].append({"allow": True, "type": "c", "major": 251, "minor": 77, "access": "r"})
    assert "No such device or address" in box.sh("head -c1 /dev/none 2>&1 || true")


def test_devices_of_a_bound_dev_are_left_alone(box: Box) -> None:
    box.unmount("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
    box.linux["devices"] = []
    (box.bundle.path / "dev").mkdir()
    box.mount("/dev", "none", "rbind", source="dev")
    box.linux["maskedPaths"] = []
    assert box.lines("ls -A /dev | wc -l") == ["0"]


def test_annotations_are_in_the_state(box: Box) -> None:
    box.config["annotations"] = {"org.example.key": "välue\n\"2\"", "empty": ""}
    box.create()
    assert box.state["annotations"] == box.config["annotations"]
    box.down()


def test_unknown_properties_are_ignored(box: Box) -> None:
    for part in (box.config, box.process, box.linux, box.config["root"], box.config["mounts"][0], box.linux["resources"]):
        part["future"] = {"any": ["thing", None, 7]}
    box.linux["namespaces"][0]["future"] = None
    assert box.sh("echo ignored") == "ignored\n"


@pytest.mark.parametrize("version", ["1.0.0", "1.0.2-dev", "1.2.1", "1.99.0+later"])
def test_every_version_1_of_the_specification(box: Box, version: str) -> None:
    box.config["ociVersion"] = version
    box.create()
    assert box.state["ociVersion"] == version
    box.down()


def test_what_is_null_is_absent(box: Box) -> None:
    box.config.update(dict.fromkeys(("hooks", "annotations", "hostname")))
    box.linux.update(dict.fromkeys(("sysctl", "devices", "seccomp", "cgroupsPath")))
    box.process.update(dict.fromkeys(("rlimits", "oomScoreAdj", "consoleSize", "scheduler")))
    assert box.sh("echo ok") == "ok\n"


def test_sections_for_other_systems_and_for_exec_are_ignored(box: Box) -> None:
    box.config.update(windows={"layerFolders": ["c:"]}, solaris={"milestone": "x"}, vm={"kernel": {"path": "/k"}}, zos={})
    box.process.update(commandLine="dir", execCPUAffinity={"initial": "0", "final": "0"})
    box.process["user"]["username"] = "ContainerUser"
    box.linux["personality"] = {"domain": "LINUX"}
    assert box.sh("id -u") == "0\n"


def test_the_owner_of_the_root_maps_through_the_user_namespace(box: Box) -> None:
    box.map_ids()
    os.chown(box.rootfs, BASE, BASE)
    box.writable().sh("echo mine >/new")
    assert (box.rootfs / "new").stat().st_uid == BASE


@pytest.fixture(autouse=True)
def modes(box: Box) -> Iterator[None]:
    box.bundle.path.chmod(0o755)
    yield

