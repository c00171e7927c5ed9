"""The directories under --root, their lock, and their removal, also of what does not belong there."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrunc.errors import ContainerBusy, ContainerExists, ContainerMissing, InvalidId, KernelError, StateError
from pyrunc.kernel import os as hot_os
from pyrunc.state import store as store_module
from pyrunc.state.record import Record
from pyrunc.state.store import EXEC_REPLY, STATE_FILE, Container, Store

BAD_IDS = ["", ".", "..", "../x", "a/b", "/etc", "x" * 256, "a\nb", "a\0b", "a b", "ä", "x\udcff"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "root"))


@pytest.fixture
def box(store: Store) -> Iterator[Container]:
    """A container that has its record, and whose lock we hold."""
    container = store.create("box")
    container.save(Record("box", "/b"))
    yield container
    if container.fd >= 0:
        container.close()


# --- making and finding


@pytest.mark.parametrize("id", BAD_IDS, ids=lambda id: ascii(id)[:12])
def test_a_bad_id_touches_nothing(store: Store, id: str) -> None:
    for attempt in (lambda: store.create(id), lambda: store.open(id, lock=False), lambda: store.open(id, lock=True)):
        with pytest.raises(InvalidId, match="^invalid container ID format: "):
            attempt()
    assert not os.path.exists(store.root)


def test_create_makes_the_root_for_us_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    container = Store(str(tmp_path / "a/b/root")).create("box")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "a/b", "a/b/root", "a/b/root/box")]
    assert modes == [0o700, 0o700, 0o700, 0o711]
    assert not os.get_inheritable(container.fd)
    container.close()


def test_a_root_in_the_users_runtime_directory_is_spared_by_its_cleaner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    Store(str(tmp_path / "pyrunc")).create("box").close()
    assert stat.S_IMODE((tmp_path / "pyrunc").stat().st_mode) == 0o1700


def test_an_id_is_given_once(store: Store, box: Container) -> None:
    with pytest.raises(ContainerExists, match="^container with given ID already exists$") as caught:
        store.create("box")
    assert caught.value.hint is None
    (Path(box.path) / STATE_FILE).unlink()
    with pytest.raises(ContainerExists) as caught:
        store.create("box")
    assert caught.value.hint == "pyrunc delete --force box removes it"


@pytest.mark.parametrize("kind", ["file", "link to a directory", "dangling link"])
def test_an_id_that_is_taken_by_something_else(store: Store, tmp_path: Path, kind: str) -> None:
    store.create("other").close()
    path = Path(store.root) / "box"
    (tmp_path / "elsewhere").mkdir()
    if kind == "file":
        path.touch()
    else:
        path.symlink_to(tmp_path / "elsewhere" if kind == "link to a directory" else "absent")
    with pytest.raises(ContainerExists):
        store.create("box")
    for lock in (False, True):
        with pytest.raises(ContainerMissing, match="does not exist"):
            store.open("box", lock=lock)
    assert store.ids() == ["other"]
    assert os.listdir(tmp_path / "elsewhere") == []


@pytest.mark.parametrize("lock", [False, True])
def test_an_unknown_id(store: Store, lock: bool) -> None:
    for _ in range(2):
        with pytest.raises(ContainerMissing, match="^container does not exist$"):
            store.open("box", lock=lock)
        os.makedirs(store.root, exist_ok=True)


def test_a_root_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "root").touch()
    store = Store(str(tmp_path / "root"))
    with pytest.raises(KernelError, match="not a directory"):
        store.create("box")
    with pytest.raises(KernelError, match="not a directory"):
        store.ids()


def test_ids(store: Store) -> None:
    assert store.ids() == []
    assert not os.path.exists(store.root)
    for id in ("b", "a.1", "Z", ".hidden"):
        store.create(id).close()
    os.mkdir(store.root + "/no id")
    os.mkdir(store.root + "/cache@seccomp")
    assert store.ids() == [".hidden", "Z", "a.1", "b"]


# --- the record


def test_a_record_is_read_when_it_is_asked_for(store: Store, box: Container) -> None:
    other = store.open("box", lock=False)
    box.save(Record("box", "/changed"))
    assert other.record.bundle == "/changed"
    box.save(Record("box", "/again"))
    assert other.record.bundle == "/changed"
    assert box.record.bundle == "/again"
    assert stat.S_IMODE(os.stat(f"{box.path}/{STATE_FILE}").st_mode) == 0o600
    other.close()


def test_the_lock_brings_a_fresh_record(store: Store, box: Container) -> None:
    other = store.open("box", lock=False)
    assert other.record.bundle == "/b"
    box.save(Record("box", "/changed"))
    box.close()
    other.lock()
    assert other.record.bundle == "/changed"
    other.close()


def test_without_a_record_the_container_does_not_exist_but_can_be_removed(store: Store) -> None:
    store.create("box").close()
    container = store.open("box", lock=True)
    with pytest.raises(ContainerMissing, match="^container does not exist: .* holds no record$") as caught:
        assert container.record
    assert caught.value.hint == "pyrunc delete --force box removes it"
    container.remove()
    assert store.ids() == []
    container.close()


DAMAGED = {
    "empty": b"",
    "half": b'{"id":"box","init_pro',
    "no JSON": b"\x7fELF",
    "no UTF-8": b'{"id":"\xff"}',
    "no record": b"{}",
    "no object": b"[]",
    "another's": Record("other", "/b").to_json(),
    "two": Record("box", "/b").to_json() * 2,
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_record_is_told_and_can_be_removed(store: Store, box: Container, text: bytes) -> None:
    Path(box.path, STATE_FILE).write_bytes(text)
    other = store.open("box", lock=False)
    with pytest.raises(StateError, match=f"^{box.path}/state.json is damaged: ") as caught:
        assert other.record
    assert type(caught.value) is StateError
    assert caught.value.hint == "pyrunc delete --force box removes it"
    box.remove()
    assert store.ids() == []
    other.close()


def test_a_record_that_is_a_link_is_not_read(store: Store, box: Container, tmp_path: Path) -> None:
    (tmp_path / "forged").write_bytes(Record("box", "/forged").to_json())
    Path(box.path, STATE_FILE).unlink()
    Path(box.path, STATE_FILE).symlink_to(tmp_path / "forged")
    other = store.open("box", lock=False)
    with pytest.raises(KernelError, match="too many levels of symbolic links"):
        assert other.record
    other.close()


def test_a_write_that_was_cut_off_does_not_hide_the_record(store: Store, box: Container) -> None:
    for pid in (os.getpid(), 4_000_000):
        Path(box.path, f".{STATE_FILE}.{pid}").write_text('{"id":"bo')
    box.save(Record("box", "/new"))
    other = store.open("box", lock=False)
    assert other.record.bundle == "/new"
    box.remove()
    assert store.ids() == []
    other.close()


def test_what_is_prepared_is_no_record_yet(store: Store, box: Container) -> None:
    box.prepare(Record("box", "/next"))
    assert store.open("box", lock=False).record.bundle == "/b"
    box.commit(box.record)
    assert store.open("box", lock=False).record.bundle == "/next"
    with pytest.raises(KernelError, match="state.json: no such file"):
        box.commit(box.record)


def test_readers_always_find_a_whole_record(store: Store, box: Container) -> None:
    """A writer changes the record's size all the time; no reader may see a part."""
    stop = threading.Event()

    def write() -> None:
        size = 0
        while not stop.is_set():
            size = (size + 7919) % 50_000
            box.save(Record("box", "/b" + "x" * size))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(200):
            reader = store.open("box", lock=False)
            assert set(reader.record.bundle[2:]) <= {"x"}
            reader.close()
    finally:
        stop.set()
        writer.join()


# --- the lock


def test_a_second_command_waits(store: Store, box: Container) -> None:
    order: list[str] = []

    def second() -> None:
        other = store.open("box", lock=True)
        order.append("second")
        other.close()

    thread = threading.Thread(target=second)
    thread.start()
    time.sleep(0.1)
    order.append("first")
    box.close()
    thread.join(10)
    assert order == ["first", "second"]


def test_who_holds_the_lock_is_told(store: Store, box: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "LOCK_SECONDS", 0.05)
    # A second waiter's line in /proc/locks, the one with the arrow, must not be taken for the holder's.
    waiter = subprocess.Popen(["flock", box.path, "true"])
    time.sleep(0.1)
    began = time.monotonic()
    with pytest.raises(ContainerBusy) as caught:
        store.open("box", lock=True)
    assert 0.05 <= time.monotonic() - began < 5
    assert caught.value.message.startswith(f"container box is busy: process {os.getpid()} (")
    assert caught.value.message.endswith(") holds its lock")
    box.close()
    assert waiter.wait(10) == 0


def test_the_lock_goes_with_its_holder(store: Store) -> None:
    store.create("box").close()
    # A child that outlives the holder must not keep it: the descriptor is close-on-exec. It is left to us to collect.
    prctl, subreaper = ctypes.CDLL(None).prctl, 36
    prctl(subreaper, 1, 0, 0, 0)
    reader, writer = os.pipe()
    holder = os.fork()
    if holder == 0:
        store.open("box", lock=True)
        os.write(writer, b"%d" % subprocess.Popen(["sleep", "100"], close_fds=False).pid)
        os.kill(os.getpid(), signal.SIGKILL)
    child = int(os.read(reader, 20))
    os.waitpid(holder, 0)
    try:
        assert Path(f"/proc/{child}/comm").read_text() == "sleep\n"
        store.open("box", lock=True).close()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        prctl(subreaper, 0, 0, 0, 0)
        os.close(reader)
        os.close(writer)


def test_removed_while_we_waited(store: Store, box: Container) -> None:
    """The lock we get is that of a directory which has no name any more, or whose name is another container's."""
    opened = store.open("box", lock=False)
    replaced = store.open("box", lock=False)
    box.remove()
    box.close()
    with pytest.raises(ContainerMissing):
        opened.lock()
    opened.close()
    second = store.create("box")
    with pytest.raises(ContainerMissing):
        replaced.lock()
    replaced.close()
    second.close()


def test_create_survives_a_delete_that_takes_it_for_a_remainder(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between mkdir and the lock `delete --force` finds a directory without a record, and removes it."""
    real = Store.open
    removed = []

    def open_late(self: Store, id: str, *, lock: bool) -> Container:
        if not removed:
            removed.append(real(self, id, lock=True))
            removed[0].remove()
        return real(self, id, lock=lock)

    monkeypatch.setattr(Store, "open", open_late)
    container = store.create("box")
    assert os.path.samestat(os.fstat(container.fd), os.stat(container.path))
    container.save(Record("box", "/b"))
    container.close()
    removed[0].close()


def _contender(root: str, rounds: int, inside: str, faults: multiprocessing.Queue[str]) -> None:
    """Create, or else open, and remove the one container; tell when another command does so at the same time."""
    store = Store(root)
    try:
        for _ in range(rounds):
            try:
                container = store.create("box")
                if os.listdir(container.fd):
                    faults.put("a new container is not empty")
            except ContainerExists:
                try:
                    container = store.open("box", lock=True)
                except ContainerMissing:
                    continue
            try:
                os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                faults.put("two commands were inside")
            container.save(Record("box", "/b"))
            # Before the removal: after it the ID is free, and the next one may be inside at once.
            os.unlink(inside)
            container.remove()
            container.close()
    except Exception as error:
        faults.put(repr(error))


def test_two_processes_never_have_one_container_at_once(store: Store, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    faults = context.Queue()
    contenders = [
        context.Process(target=_contender, args=(store.root, 300, str(tmp_path / "inside"), faults)) for _ in range(3)
    ]
    for process in contenders:
        process.start()
    for process in contenders:
        process.join(60)
        assert process.exitcode == 0
    assert faults.empty(), faults.get()
    assert store.ids() == []


# --- the fifos


def test_fifos(box: Container) -> None:
    go, reply = box.make_fifos()
    for name in ("exec.fifo", EXEC_REPLY):
        found = os.stat(f"{box.path}/{name}")
        assert stat.S_ISFIFO(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o600 and found.st_uid == os.geteuid()
    assert not os.get_inheritable(go) and not os.get_inheritable(reply)
    there, back = box.open_fifo("exec.fifo", os.O_WRONLY), box.open_fifo(EXEC_REPLY, os.O_RDONLY)
    os.write(there, b"g")
    os.write(reply, b"r")
    assert (os.read(go, 2), os.read(back, 2)) == (b"g", b"r")
    box.remove_fifos()
    box.remove_fifos()
    assert os.listdir(box.path) == [STATE_FILE]
    for fd in (go, reply, there, back):
        os.close(fd)


@pytest.mark.parametrize("planted", ["exec.fifo", EXEC_REPLY])
def test_fifos_are_not_made_over_what_is_there(box: Container, planted: str) -> None:
    os.symlink("/dev/null", f"{box.path}/{planted}")
    before = os.listdir("/proc/self/fd")
    with pytest.raises(KernelError, match="file exists"):
        box.make_fifos()
    assert os.listdir("/proc/self/fd") == before


def test_what_is_no_fifo_is_not_used(box: Container, tmp_path: Path) -> None:
    (tmp_path / "victim").touch()
    os.symlink(tmp_path / "victim", f"{box.path}/exec.fifo")
    Path(box.path, EXEC_REPLY).touch()
    with pytest.raises(KernelError, match="too many levels"):
        box.open_fifo("exec.fifo", os.O_WRONLY)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(StateError, match="is no fifo"):
        box.open_fifo(EXEC_REPLY, os.O_RDONLY)
    assert os.listdir("/proc/self/fd") == before
    with pytest.raises(KernelError, match="no such file"):
        box.open_fifo("absent", os.O_RDONLY)


# --- removal


def test_everything_of_a_container_is_removed_and_the_record_last(
    store: Store, box: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(box.path)
    for fd in box.make_fifos():
        os.close(fd)
    (path / "config.json").write_text("{}")
    (path / ".state.json.99").write_text("half")
    (path / "notify/deep").mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path / "notify/notify.sock"))
    (path / "notify/deep/file").touch()
    order: list[str] = []
    for name in ("unlink", "rmdir"):
        real = getattr(os, name)
        monkeypatch.setattr(hot_os, name, lambda name, real=real, **how: (order.append(name), real(name, **how)))
    box.remove()
    monkeypatch.undo()
    assert order[-2:] == [STATE_FILE, box.path]
    names = {"exec.fifo", EXEC_REPLY, "config.json", ".state.json.99", "notify", "deep", "notify.sock", "file"}
    assert sorted(order[:-2]) == sorted(names)
    assert os.listdir(store.root) == []


def test_removal_follows_no_link(store: Store, box: Container, tmp_path: Path) -> None:
    victims = tmp_path / "victims"
    victims.mkdir()
    (victims / "file").write_text("precious")
    path = Path(box.path)
    (path / "to-directory").symlink_to(victims)
    (path / "to-file").symlink_to(victims / "file")
    (path / "dangling").symlink_to("/nowhere")
    (path / "notify").mkdir()
    (path / "notify/to-directory").symlink_to(victims)
    os.link(victims / "file", path / "hard")
    box.remove()
    assert (victims / "file").read_text() == "precious"
    assert os.listdir(store.root) == []


@pytest.mark.needs_root
@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_removal_stops_at_a_mount(store: Store, box: Container, tmp_path: Path, kind: str) -> None:
    """A bind mount of the same file system has the device number of its surroundings, and must be told all the same."""
    victims = tmp_path / "victims"
    victims.mkdir()
    (victims / "file").touch()
    (Path(box.path) / "a/notify").mkdir(parents=True)
    there = f"{box.path}/a/notify"
    source = ["-t", "tmpfs", "none"] if kind == "tmpfs" else ["--bind", str(victims)]
    subprocess.run(["mount", *source, there], check=True)
    try:
        if kind == "tmpfs":
            Path(there, "file").touch()
        with pytest.raises(StateError, match=f"^{there} is a mount point$") as caught:
            box.remove()
        assert caught.value.hint == f"umount {there}"
        assert os.listdir(there) == ["file"]
        assert box.record.id == "box", "the record went although the container is still there"
    finally:
        subprocess.run(["umount", there], check=True)
    box.remove()
    assert os.listdir(store.root) == []
    assert os.listdir(victims) == ["file"]


def test_an_interrupted_removal_can_be_repeated(store: Store, box: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(box.path, "config.json").touch()

    def interrupted(path: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(hot_os, "rmdir", interrupted)
    with pytest.raises(KeyboardInterrupt):
        box.remove()
    monkeypatch.undo()
    box.close()
    again = store.open("box", lock=True)
    again.remove()
    again.close()
    assert store.ids() == []
