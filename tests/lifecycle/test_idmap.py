"""ID-mapped mounts, and what a container's user may not reach on the host: who owns what, seen from both sides."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lifecycle.box import BASE, Box
from tests.mappable import FIRST, linux, needs_linux, needs_mappable


def mapping(inside: int, outside: int, size: int = 1) -> list[dict[str, int]]:
    return [{"containerID": inside, "hostID": outside, "size": size}]


def in_a_user_namespace(box: Box) -> Box:
    """Its root may make mount points in the root file system."""
    box.map_ids()
    os.chown(box.rootfs, BASE, BASE)
    return box.writable()


def mapped(uids: list[dict[str, int]], gids: list[dict[str, int]] | None = None) -> dict[str, Any]:
    return {"uidMappings": uids, "gidMappings": gids or uids}


@pytest.fixture
def tree(session_dir: Path, container_id: str) -> Iterator[Path]:
    """A mount with a file of 5:6 and one of root's, and another one below, with the same file of 5:6."""
    path, other = (session_dir / f"{name}-{container_id}" for name in ("tree", "other"))
    for place in (path, path / "below", other):
        place.mkdir()
        place.chmod(0o755)
    of_tmpfs = linux() >= FIRST["tmpfs"]
    if not of_tmpfs:
        needs_mappable(session_dir)
    for place, source in ((path, path), (path / "below", other)):
        how = ["-t", "tmpfs", "-o", "mode=755", "tree"] if of_tmpfs else ["--bind", source]
        place.mkdir(exist_ok=True)
        subprocess.run(["mount", *how, place], check=True)
        (place / "five").touch()
        os.chown(place / "five", 5, 6)
    (path / "zero").touch()
    yield path
    subprocess.run(["umount", "--recursive", path], check=True)
    shutil.rmtree(path)
    shutil.rmtree(other)


def owners(path: str) -> str:
    return f"stat -c '%u:%g' {path}"


def test_a_bind_mount_with_mappings_of_its_own(box: Box, tree: Path) -> None:
    """And no user namespace: on the disk 5 and 0, in the mount 105 and 100."""
    box.mount("/m", "none", "bind", source=tree)
    box.mounted("/m").update(mapped(mapping(0, 100, 10), mapping(0, 200, 10)))
    box.process["user"] = {"uid": 105, "gid": 206}
    box.process["capabilities"] = {}
    assert box.writable().lines(f"{owners('/m/five /m/zero /m')}; echo x >/m/five; (>/m/zero) 2>&1 | cut -d: -f3") == [
        "105:206", "100:200", "100:200", " Permission denied",
    ]  # fmt: skip
    assert (tree / "five").read_text() == "x\n" and os.stat(tree / "five").st_uid == 5


def test_what_the_container_makes_there_is_owned_as_the_mapping_says(box: Box, tree: Path) -> None:
    in_a_user_namespace(box)
    box.mount("/m", "none", "bind", "idmap", source=tree)
    assert box.writable().lines(f">/m/new; {owners('/m/new /m/five /m')}") == ["0:0", "5:6", "0:0"]
    made = os.stat(tree / "new")
    assert (made.st_uid, made.st_gid) == (0, 0)


def test_without_a_mapping_the_same_files_are_nobodys(box: Box, tree: Path) -> None:
    in_a_user_namespace(box)
    box.mount("/m", "none", "bind", source=tree)
    assert box.writable().lines(owners("/m/five /m")) == ["65534:65534"] * 2


@pytest.mark.parametrize(("option", "below"), [("idmap", "65534:65534"), ("ridmap", "5:6")])
def test_a_mapping_of_what_lies_below(box: Box, tree: Path, option: str, below: str) -> None:
    in_a_user_namespace(box)
    box.mount("/m", "none", "rbind", option, source=tree)
    assert box.writable().lines(owners("/m/five /m/below/five")) == ["5:6", below]


def test_mappings_without_the_option_are_enough(box: Box, tree: Path) -> None:
    in_a_user_namespace(box)
    box.mount("/m", "none", "rbind", source=tree)
    box.mounted("/m").update(mapped(mapping(5, BASE + 50), mapping(6, BASE + 60)))
    assert box.writable().lines(owners("/m/five /m/zero")) == ["50:60", "65534:65534"]


def test_mappings_in_the_option(box: Box, tree: Path) -> None:
    """As crun has it; after an @ the ids are those of the container."""
    in_a_user_namespace(box)
    box.mount("/m", "none", "bind", f"idmap=uids=5-{BASE + 50}-1#0-{BASE + 70}-1;gids=@6-60-1", source=tree)
    assert box.writable().lines(owners("/m/five /m/zero")) == ["50:60", "70:65534"]


def test_a_file_is_mapped_like_a_directory(box: Box, tree: Path) -> None:
    in_a_user_namespace(box)
    box.mount("/f", "none", "bind", "ro", "idmap", source=tree / "five")
    assert box.writable().lines(f"{owners('/f')}; (>/f) 2>&1 | cut -d: -f3") == ["5:6", " Read-only file system"]


def test_a_new_tmpfs(box: Box) -> None:
    """It is the host's, whose ids its options are."""
    needs_linux((6, 3), "an ID-mapped tmpfs")
    in_a_user_namespace(box)
    box.mount("/t", "tmpfs", "idmap", "mode=1757", "uid=7", "gid=8")
    assert box.writable().lines(f"stat -c '%u:%g %a' /t; >/t/x; {owners('/t/x')}") == ["7:8 1757", "0:0"]


def test_a_new_tmpfs_with_the_mode_of_its_directory(box: Box) -> None:
    needs_linux((6, 3), "an ID-mapped tmpfs")
    in_a_user_namespace(box)
    (box.rootfs / "var").chmod(0o711)
    box.mount("/var", "tmpfs", "idmap")
    assert box.lines("stat -c '%u:%g %a' /var") == ["0:0 711"]


@pytest.fixture
def loop(session_dir: Path, container_id: str) -> Iterator[Path]:
    """A block device with an ext4 on it, in which a file belongs to 5:6."""
    if not shutil.which("mkfs.ext4") or not shutil.which("losetup"):
        pytest.skip("e2fsprogs or losetup is missing")
    image, contents = session_dir / f"ext4-{container_id}", session_dir / f"contents-{container_id}"
    contents.mkdir()
    (contents / "five").touch()
    os.chown(contents / "five", 5, 6)
    with image.open("wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-d", contents, image], check=True)
    shutil.rmtree(contents)
    found = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True)
    if found.returncode:
        image.unlink()
        pytest.skip(f"no loop device: {found.stderr.strip()}")
    yield Path(found.stdout.strip())
    subprocess.run(["losetup", "--detach", found.stdout.strip()], check=True)
    image.unlink()


def test_a_bind_of_an_ext4(box: Box, loop: Path, session_dir: Path) -> None:
    place = session_dir / f"mounted-{box.id}"
    place.mkdir()
    if subprocess.run(["mount", "-t", "ext4", loop, place], capture_output=True).returncode:
        place.rmdir()
        pytest.skip("ext4 cannot be mounted here")
    try:
        in_a_user_namespace(box)
        box.mount("/m", "none", "bind", "idmap", source=place)
        assert box.writable().lines(f">/m/new; {owners('/m/five /m/new')}") == ["5:6", "0:0"]
        assert os.stat(place / "new").st_uid == 0
    finally:
        subprocess.run(["umount", place], check=True)
        place.rmdir()


def test_a_new_mount_of_an_ext4(box: Box, loop: Path) -> None:
    """Root of a user namespace could not mount it: this is the host's mount, with the container's ids."""
    in_a_user_namespace(box)
    box.mount("/m", "ext4", "idmap", "nodev", source=loop)
    assert box.writable().lines(f">/m/new; {owners('/m/five /m/new')}; grep -c ' /m .*nodev.*ext4' /proc/self/mountinfo") == [
        "5:6", "0:0", "1",
    ]  # fmt: skip


@pytest.fixture
def layers(session_dir: Path, container_id: str) -> Iterator[Path]:
    """Directories for an overlay on a tmpfs; the lower ones hold files of 5:6 and of 7:8."""
    path = session_dir / f"layers-{container_id}"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "layers", path], check=True)
    for name in ("lower:1", "lower2", "upper", "work", "merged"):
        (path / name).mkdir()
    for name, uid, gid in (("lower:1/five", 5, 6), ("lower2/seven", 7, 8)):
        (path / name).touch()
        (path / name).chmod(0o666)
        os.chown(path / name, uid, gid)
    yield path
    subprocess.run(["umount", path], check=True)
    path.rmdir()


def test_a_new_overlay(box: Box, layers: Path) -> None:
    """Its layers are mapped, because it cannot be so itself."""
    needs_linux((6, 15), "an overlay of detached layers")
    in_a_user_namespace(box)
    lower = f"{layers}/lower\\:1:{layers}/lower2"
    box.mount("/o", "overlay", "idmap", f"lowerdir={lower}", f"upperdir={layers}/upper", f"workdir={layers}/work")
    assert box.writable().lines(f">/o/new; echo x >/o/five; {owners('/o/new /o/five /o/seven /o')}") == [
        "0:0", "5:6", "7:8", "0:0",
    ]  # fmt: skip
    assert {path.name: (path.stat().st_uid, path.stat().st_gid) for path in (layers / "upper").iterdir()} == {
        "new": (0, 0), "five": (5, 6),
    }  # fmt: skip
    assert (layers / "lower:1/five").read_text() == ""


def test_an_overlay_that_could_only_be_read_is_refused(box: Box, layers: Path) -> None:
    needs_linux((6, 15), "an overlay of detached layers")
    in_a_user_namespace(box)
    box.mount("/o", "overlay", "idmap", f"lowerdir={layers}/lower2", f"upperdir={layers}/upper")
    box.args("true")
    said = box.refused()
    assert "(overlay)" in said and "upperdir without workdir" in said


@pytest.mark.parametrize("source", ["overlay", "proc"])
def test_a_file_system_that_cannot_be_mapped_is_named(box: Box, layers: Path, source: str) -> None:
    place: Path | str = "/proc" if source == "proc" else layers / "merged"
    if source == "overlay":
        options = f"lowerdir={layers}/lower2,upperdir={layers}/upper,workdir={layers}/work"
        subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", place], check=True)
    try:
        in_a_user_namespace(box)
        box.mount("/m", "none", "bind", "idmap", source=place)
        said = box.args("true").refused()
    finally:
        if source == "overlay":
            subprocess.run(["umount", place], check=True)
    index = len(box.config["mounts"]) - 1
    assert f"mounts[{index}] ({place}): map the ids of a file system of type {source}: invalid argument" in said


def test_a_source_that_is_mapped_already(box: Box, boxes: Any, tree: Path) -> None:
    """The id-mapped mount of one container is a source for another."""
    box.mount("/m", "none", "bind", source=tree)
    box.mounted("/m").update(mapped(mapping(0, 100, 10)))
    pid = box.writable().up()
    other = boxes()
    other.mount("/n", "none", "bind", source=f"/proc/{pid}/root/m")
    said = ""
    try:
        other.mounted("/n").update(mapped(mapping(0, 100, 10)))
        said = other.writable().args("true").refused()
    finally:
        box.down()
    assert f"(/proc/{pid}/root/m): " in said


# --- user namespaces that exist ---------------------------------------------------------------------------------------------


def test_the_mappings_of_a_joined_namespace(box: Box, boxes: Any, tree: Path) -> None:
    """Those of the namespace may be repeated in the config, in any order, but not contradicted."""
    in_a_user_namespace(box)
    for name in ("uidMappings", "gidMappings"):
        box.linux[name] = mapping(0, BASE, 1000) + mapping(1000, BASE + 5000, 10)
    pid = box.up()
    other = boxes()
    os.chown(other.rootfs, BASE, BASE)
    other.namespace("user", f"/proc/{pid}/ns/user")
    other.linux.update({name: list(reversed(box.linux[name])) for name in ("uidMappings", "gidMappings")})
    other.mount("/m", "none", "bind", "idmap", source=tree)
    try:
        assert other.writable().lines(owners("/m/five /m/zero")) == ["5:6", "0:0"]
        other.linux["gidMappings"] = mapping(0, BASE, 999)
        said = other.args("true").refused()
    finally:
        box.down()
    assert "linux.uidMappings: find the mappings of the config in the namespace" in said
    assert f"(it has 0 {BASE} 1000, 1000 {BASE + 5000} 10): invalid argument" in said


# --- what the container's root may not reach ----------------------------------------------------------------------------------


@pytest.fixture
def hidden(session_dir: Path, container_id: str) -> Iterator[Path]:
    """A directory that only the host's root may pass through."""
    path = session_dir / f"hidden-{container_id}"
    path.mkdir(mode=0o700)
    path.chmod(0o700)
    (path / "open").mkdir()
    (path / "open").chmod(0o755)
    (path / "open/file").write_text("seen")
    (path / "open/file").chmod(0o644)
    yield path
    shutil.rmtree(path)


def test_sources_in_a_directory_that_is_roots_alone(box: Box, hidden: Path) -> None:
    in_a_user_namespace(box)
    box.mount("/d", "none", "rbind", "ro", source=hidden / "open")
    box.mount("/f", "none", "bind", source=hidden / "open/file")
    assert box.writable().sh("cat /d/file /f; (>/d/x) 2>&1 | cut -d: -f3") == "seenseen Read-only file system\n"


def test_a_root_file_system_in_a_directory_that_is_roots_alone(box: Box, hidden: Path) -> None:
    in_a_user_namespace(box)
    os.rename(box.rootfs, hidden / "rootfs")
    box.config["root"]["path"] = str(hidden / "rootfs")
    try:
        assert box.writable().lines("pwd; ls / | grep -c bin")[:2] == ["/", "1"]
    finally:
        os.rename(hidden / "rootfs", box.rootfs)


def test_a_device_in_a_directory_that_is_roots_alone(box: Box, hidden: Path) -> None:
    """/dev itself is for everybody, so a whole one is bound here whose nodes are behind such a directory."""
    in_a_user_namespace(box)
    os.mknod(hidden / "null", 0o020666, os.makedev(1, 3))
    (hidden / "null").chmod(0o666)
    box.mount("/null", "none", "bind", source=hidden / "null")
    assert box.writable().lines("echo x >/null; stat -c %t:%T /null") == ["1:3"]


def test_what_is_mounted_on_a_source_later_is_seen_only_if_asked(box: Box, tree: Path) -> None:
    """The copy that is opened on the host is a slave of it, like everything in the container, and no peer."""
    in_a_user_namespace(box)
    subprocess.run(["mount", "--make-shared", tree], check=True)
    (tree / "later").mkdir()
    box.mount("/m", "none", "rbind", source=tree)
    box.writable().up()
    tags = box.ex("grep ' /m ' /proc/self/mountinfo")
    assert "master:" in tags and "shared:" not in tags
    subprocess.run(["mount", "-t", "tmpfs", "later", tree / "later"], check=True)
    assert box.ex("grep -c ' /m/later ' /proc/self/mountinfo").strip() == "1"
    box.down()


def test_what_lies_under_a_mount_below_stays_out_of_sight(box: Box, tree: Path) -> None:
    """A source that the namespace can reach by itself is copied there, and the kernel locks what is mounted in it."""
    subprocess.run(["umount", tree / "below"], check=True)
    (tree / "below/secret").touch()
    subprocess.run(["mount", "-t", "tmpfs", "over", tree / "below"], check=True)
    in_a_user_namespace(box)
    box.process["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), ["CAP_SYS_ADMIN"])
    box.mount("/m", "none", "rbind", source=tree)
    assert box.lines("umount /m/below 2>/dev/null || echo locked; ls /m/below") == ["locked"]
