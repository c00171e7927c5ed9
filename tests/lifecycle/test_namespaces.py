"""linux.namespaces, id mappings, time offsets, hostname, domainname and sysctl, as seen from inside and from /proc."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import reap
from tests.lifecycle.box import BASE, NAMESPACES, Box, namespace_of, status_of


@pytest.fixture
def holder() -> Iterator[Callable[..., int]]:
    """Starts a process of its own namespaces, by unshare(1)'s options; its pid."""
    processes = []

    def hold(*options: str) -> int:
        process = subprocess.Popen(["unshare", *options, "sh", "-c", "echo; exec sleep 600 >/dev/null"], stdout=subprocess.PIPE)
        processes.append(process)
        assert process.stdout is not None and process.stdout.read(1) == b"\n"
        return process.pid

    yield hold
    for process in processes:
        process.kill()
        process.wait(timeout=10)
    # A pid namespace is not gone before its last process is collected, and a container's comes to us.
    reap()


@pytest.mark.parametrize("kind", NAMESPACES)
def test_a_new_namespace_is_not_the_hosts(box: Box, kind: str) -> None:
    if kind == "user":
        box.map_ids()
    else:
        box.namespace(kind)
    pid = box.create()
    assert namespace_of(pid, kind) != namespace_of("self", kind)
    others = set(NAMESPACES) - {entry["type"] for entry in box.linux["namespaces"]}
    assert [other for other in others if namespace_of(pid, other) != namespace_of("self", other)] == []
    box.down()


@pytest.mark.parametrize("kind", sorted(set(NAMESPACES) - {"mount"}))
def test_a_namespace_that_is_not_named_is_the_hosts(box: Box, kind: str) -> None:
    box.share(kind)
    if kind == "uts":
        del box.config["hostname"]
    if kind == "ipc":
        box.unmount("/dev/mqueue")
    pid = box.create()
    assert namespace_of(pid, kind) == namespace_of("self", kind)
    box.down()


def test_without_a_mount_namespace_the_root_is_changed_and_nothing_is_mounted(box: Box) -> None:
    box.share("mount")
    box.config["mounts"] = []
    box.config["root"]["readonly"] = False
    for name in ("maskedPaths", "readonlyPaths"):
        del box.linux[name]
    before = Path("/proc/self/mountinfo").read_text()
    pid = box.up()
    assert namespace_of(pid, "mount") == namespace_of("self", "mount")
    assert os.readlink(f"/proc/{pid}/root") == str(box.rootfs)
    for listed in (box.exec(box.id, "ls", "/", check=True).stdout, box.ex("ls /")):
        assert listed.split() == sorted(path.name for path in box.rootfs.iterdir())
    box.down()
    assert Path("/proc/self/mountinfo").read_text() == before


@pytest.mark.parametrize(
    ("kind", "option"),
    [("pid", "--pid"), ("network", "--net"), ("ipc", "--ipc"), ("uts", "--uts"), ("cgroup", "--cgroup"), ("time", "--time")],
)
def test_a_namespace_is_joined_by_its_path(box: Box, holder: Callable[..., int], kind: str, option: str) -> None:
    # unshare(1) itself stays outside of a pid or time namespace: its child is in it.
    other = holder(option, "--fork", "--kill-child") if kind in ("pid", "time") else holder(option)
    if kind in ("pid", "time"):
        other = int(Path(f"/proc/{other}/task/{other}/children").read_text())
    box.namespace(kind, f"/proc/{other}/ns/{NAMESPACES[kind]}")
    pid = box.up()
    assert namespace_of(pid, kind) == namespace_of(other, kind) != namespace_of("self", kind)
    assert box.ex(f"readlink /proc/self/ns/{NAMESPACES[kind]}").strip() == namespace_of(other, kind)
    box.down()
    assert Path(f"/proc/{other}").exists()


def test_a_mount_namespace_is_joined_by_its_path(box: Box, holder: Callable[..., int]) -> None:
    other = holder("--mount")
    box.namespace("mount", f"/proc/{other}/ns/mnt")
    pid = box.up()
    assert namespace_of(pid, "mount") == namespace_of(other, "mount")
    assert box.ex("ls /").split() == sorted(path.name for path in box.rootfs.iterdir())
    box.down()


def test_a_user_namespace_is_joined_by_its_path(box: Box, boxes: Callable[[], Box]) -> None:
    first = boxes()
    first.map_ids()
    pid = first.create()
    box.namespace("user", f"/proc/{pid}/ns/user")
    assert box.lines("id -u; cat /proc/self/uid_map; touch /tmp/x 2>/dev/null || echo read-only") == [
        "0",
        f"{0:>10} {BASE:>10} {65536:>10}",
        "read-only",
    ]
    first.down()


@pytest.mark.parametrize("kind", sorted(set(NAMESPACES) - {"user"}))
def test_a_path_of_another_type_is_an_error(box: Box, kind: str) -> None:
    wrong = "uts" if kind != "uts" else "ipc"
    box.namespace(kind, f"/proc/self/ns/{NAMESPACES[wrong]}")
    if kind in ("uts", "ipc"):
        box.unmount("/dev/mqueue")
    index = len(box.linux["namespaces"]) - 1
    assert f"linux.namespaces[{index}].path (/proc/self/ns/{NAMESPACES[wrong]}): " in box.refused()


@pytest.mark.parametrize(("path", "reason"), [("/no/such", "no such file or directory"), ("/etc/passwd", "invalid argument")])
def test_a_path_that_is_no_namespace_is_an_error(box: Box, path: str, reason: str) -> None:
    box.namespace("network", path)
    message = box.refused()
    assert f"linux.namespaces[{len(box.linux['namespaces']) - 1}].path ({path}): " in message and message.endswith(reason)


def test_the_loopback_device_of_a_new_network_namespace_is_up(box: Box) -> None:
    assert "127.0.0.1" in box.sh("ip addr show lo; ping -c1 -w2 127.0.0.1 >/dev/null 2>&1 || true")
    assert "UP" in box.sh("ip link show lo")


def test_id_mappings(box: Box) -> None:
    box.map_ids()
    box.linux["gidMappings"] = [
        {"containerID": 0, "hostID": BASE, "size": 10},
        {"containerID": 10, "hostID": BASE + 100, "size": 1},
    ]
    box.process["user"] = {"uid": 5, "gid": 10}
    pid = box.up()
    assert Path(f"/proc/{pid}/uid_map").read_text().split() == ["0", str(BASE), "65536"]
    assert Path(f"/proc/{pid}/gid_map").read_text().split() == ["0", str(BASE), "10", "10", str(BASE + 100), "1"]
    assert status_of(pid, "Uid", "Gid") == ["\t".join([str(BASE + 5)] * 4), "\t".join([str(BASE + 100)] * 4)]
    assert box.ex("id -u; id -g").split() == ["5", "10"]
    assert box.ex("id -u; echo >/dev/null; ls -ln /dev/null", "--user", "0:0").split()[:2] == ["0", "crw-rw-rw-"]
    box.down()


def test_a_container_in_a_user_namespace_does_not_own_what_is_outside(box: Box) -> None:
    box.map_ids()
    box.writable()
    (box.rootfs / "etc/shadow").write_text("secret")
    (box.rootfs / "etc/shadow").chmod(0o600)
    assert box.lines("cat /etc/shadow 2>&1 || true; ls -ln /etc/shadow | cut -c-30; touch /x 2>&1 || true") == [
        "cat: can't open '/etc/shadow': Permission denied",
        "-rw-------    1 65534    65534",
        "touch: /x: Permission denied",
    ]
    assert (box.rootfs / "etc/shadow").stat().st_uid == 0


def test_time_offsets(box: Box) -> None:
    box.namespace("time")
    box.linux["timeOffsets"] = {"monotonic": {"secs": 1000, "nanosecs": 5}, "boottime": {"secs": 500_000}}
    pid = box.up()
    lines = [line.split() for line in Path(f"/proc/{pid}/timens_offsets").read_text().splitlines()]
    assert lines == [["monotonic", "1000", "5"], ["boottime", "500000", "0"]]
    host = float(Path("/proc/uptime").read_text().split()[0])
    assert 499_990 < float(box.ex("cat /proc/uptime").split()[0]) - host < 500_060
    box.down()


def test_host_and_domain_name(box: Box) -> None:
    box.config.update(hostname="a-name.with.dots", domainname="example.org")
    before = os.uname().nodename
    assert box.lines("hostname; cat /proc/sys/kernel/domainname") == ["a-name.with.dots", "example.org"]
    assert os.uname().nodename == before


def test_a_name_of_64_bytes(box: Box) -> None:
    box.config.update(hostname="n" * 64)
    assert box.sh("hostname") == "n" * 64 + "\n"


@pytest.mark.parametrize("separator", [".", "/"])
def test_sysctl(box: Box, separator: str) -> None:
    wanted = {"net.ipv4.ip_forward": "1", "kernel.shmmax": "12345678", "fs.mqueue.msg_max": "33", "kernel.domainname": "d"}
    box.linux["sysctl"] = {key.replace(".", separator): value for key, value in wanted.items()}
    host = {key: Path("/proc/sys", *key.split(".")).read_text() for key in wanted}
    assert box.lines("cd /proc/sys; cat " + " ".join(key.replace(".", "/") for key in wanted)) == list(wanted.values())
    assert {key: Path("/proc/sys", *key.split(".")).read_text() for key in wanted} == host


def test_a_sysctl_that_the_kernel_refuses(box: Box) -> None:
    box.linux["sysctl"] = {"net.ipv4.ip_forward": "many"}
    message = box.refused()
    assert 'linux.sysctl["net.ipv4.ip_forward"] (net/ipv4/ip_forward): write: invalid argument' in message


def test_a_joined_pid_namespace_does_not_end_with_the_container(box: Box, boxes: Callable[[], Box]) -> None:
    """What podman's pods do: further containers live in the first one's namespaces, and go without taking it along."""
    first = boxes()
    pid = first.up()
    for kind in ("pid", "network", "ipc", "uts"):
        box.namespace(kind, f"/proc/{pid}/ns/{NAMESPACES[kind]}")
    del box.config["hostname"]
    second = box.up()
    assert len(box.ex("ps -o comm").splitlines()) >= 3
    box.kill()
    box.stopped()
    box.delete()
    with contextlib.suppress(ChildProcessError):  # the check for leaks may have been quicker
        os.waitpid(second, 0)  # it has come to us; until it is collected its namespace cannot end
    assert first.status == "running"
    first.down()
