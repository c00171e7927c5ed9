"""The verbs kill, state and list on records of real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pyrunc.cgroups
from pyrunc.errors import CgroupError, ContainerMissing, InvalidId, KernelError, StateError, WrongStatus
from pyrunc.kernel import proc
from pyrunc.log import WARNING, Context, Log
from pyrunc.runtime import kill as kill_module, listing
from pyrunc.runtime.kill import kill
from pyrunc.runtime.listing import containers
from pyrunc.runtime.state import state
from pyrunc.state import record as record_module
from pyrunc.state.record import Record
from pyrunc.state.store import EXEC_REPLY, Store

from ..conftest import TAG

DISABLED = {"manager": "disabled", "paths": {}}
NOT_RUNNING = "^container not running$"


class FakeManager:
    """Cgroups that hold `processes`; `calls` tells what was asked of them, in order."""

    def __init__(self, processes: tuple[int, ...] = (), *, frozen: bool = False, refuse: bool = False) -> None:
        self.processes = processes
        self.is_frozen = frozen
        self.refuse = refuse
        self.calls: list[str] = []

    def frozen(self) -> bool:
        return self.is_frozen

    def thaw(self) -> None:
        self.calls.append("thaw")

    def kill_all(self) -> None:
        self.calls.append("kill_all")
        if self.refuse:
            raise CgroupError("open cgroup", 13)
        for pid in self.processes:
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    return Context(str(tmp_path / "root"), Log())


@pytest.fixture
def spawn() -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(["sleep", "100"]))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def init(spawn: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    return spawn()


@pytest.fixture
def cgroups(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeManager]:
    """Puts a FakeManager, made of the arguments, in the place of the container's cgroups."""

    def use(*processes: int, **how: Any) -> FakeManager:
        manager = FakeManager(processes, **how)
        monkeypatch.setattr(pyrunc.cgroups, "reopen", lambda record: manager)
        monkeypatch.setattr(pyrunc.cgroups, "frozen", lambda record: manager.frozen())
        return manager

    return use


def make(ctx: Context, init: subprocess.Popen[bytes], id: str = "box", **members: Any) -> Record:
    """A container that has started, with this process for its init; keyword arguments change the record."""
    members = {
        "rootfs": "/b/rootfs", "oci_version": "1.2.0", "cgroup": DISABLED, "namespaces": {"pid": ""}, "stage": "created",
        "pid": init.pid, "start": proc.start_time(init.pid), "created": "2026-01-02T03:04:05.000000006Z",
        **members,
    }
    container = Store(ctx.root).create(id)
    record = Record(id, "/b", **members)
    container.save(record)
    container.close()
    return record


def add(ctx: Context, name: str, id: str = "box") -> Path:
    path = Path(ctx.root, id, name)
    os.mkfifo(path)
    return path


# --- kill


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGRTMIN + 3])
@pytest.mark.parametrize("all", [False, True])
def test_init_gets_the_signal(ctx: Context, init: subprocess.Popen[bytes], number: int, all: bool) -> None:
    make(ctx, init)
    before = os.listdir("/proc/self/fd")
    kill(ctx, "box", number, all=all)
    assert init.wait(10) == -number
    assert os.listdir("/proc/self/fd") == before


def test_a_container_that_waits_for_start_gets_it_too(ctx: Context, init: subprocess.Popen[bytes]) -> None:
    make(ctx, init)
    add(ctx, "exec.fifo")
    kill(ctx, "box", signal.SIGUSR1, all=False)
    assert init.wait(10) == -signal.SIGUSR1


def test_signal_zero_only_probes(ctx: Context, init: subprocess.Popen[bytes]) -> None:
    make(ctx, init)
    kill(ctx, "box", 0, all=False)
    assert init.poll() is None
    init.kill()
    init.wait()
    with pytest.raises(WrongStatus, match=NOT_RUNNING):
        kill(ctx, "box", 0, all=False)


@pytest.mark.parametrize("collected", [False, True])
def test_a_stopped_container_is_not_running(ctx: Context, init: subprocess.Popen[bytes], collected: bool) -> None:
    make(ctx, init)
    init.kill()
    os.waitid(os.P_PID, init.pid, os.WEXITED | os.WNOWAIT)
    if collected:
        init.wait()
    for number in (signal.SIGTERM, signal.SIGKILL):
        with pytest.raises(WrongStatus, match=NOT_RUNNING) as caught:
            kill(ctx, "box", number, all=False)
        assert caught.value.status == "stopped"
        kill(ctx, "box", number, all=True)


STRANGERS: dict[str, Callable[[Record], None]] = {
    "started later": lambda record: setattr(record, "start", record.start - 1),
    "of another boot": lambda record: setattr(record, "boot", "the last one"),
    "of an unfinished creation": lambda record: setattr(record, "stage", "creating"),
    "not yet known": lambda record: setattr(record, "pid", 0),
}


@pytest.mark.parametrize("change", STRANGERS.values(), ids=STRANGERS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_process_that_is_not_the_containers_is_left_alone(
    ctx: Context, init: subprocess.Popen[bytes], change: Callable[[Record], None], number: int
) -> None:
    record = make(ctx, init)
    change(record)
    container = Store(ctx.root).open("box", lock=True)
    container.save(record)
    container.close()
    with pytest.raises(WrongStatus, match=NOT_RUNNING):
        kill(ctx, "box", number, all=False)
    kill(ctx, "box", number, all=True)
    assert init.poll() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_end_between_look_and_signal(
    ctx: Context, init: subprocess.Popen[bytes], number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(ctx, init)
    real = proc.open_pidfd

    def late(pid: int, start: int) -> int | None:
        fd = real(pid, start)
        init.kill()
        init.wait()
        return fd

    monkeypatch.setattr(kill_module, "open_pidfd", late)
    with pytest.raises(WrongStatus, match=NOT_RUNNING):
        kill(ctx, "box", number, all=False)


def test_sigkill_takes_the_whole_cgroup_where_init_does_not_take_them_along(
    ctx: Context, spawn: Callable[[], subprocess.Popen[bytes]], cgroups: Callable[..., FakeManager]
) -> None:
    init, other = spawn(), spawn()
    make(ctx, init, namespaces={})
    manager = cgroups(init.pid, other.pid)
    kill(ctx, "box", signal.SIGTERM, all=False)
    assert init.wait(10) == -signal.SIGTERM
    assert manager.calls == []
    # What init has left behind is out of reach for a plain kill: the specification wants an error without an effect.
    with pytest.raises(WrongStatus, match=NOT_RUNNING):
        kill(ctx, "box", signal.SIGKILL, all=False)
    assert manager.calls == [] and other.poll() is None
    manager.processes = (other.pid,)
    kill(ctx, "box", signal.SIGTERM, all=True)
    assert manager.calls == [] and other.poll() is None
    kill(ctx, "box", signal.SIGKILL, all=True)
    assert manager.calls == ["kill_all"]
    assert other.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize(
    "namespaces, expected", [({"pid": ""}, []), ({"pid": "/proc/1/ns/pid"}, ["kill_all"]), ({}, ["kill_all"])]
)
def test_only_a_pid_namespace_of_its_own_makes_the_cgroup_needless(
    ctx: Context,
    init: subprocess.Popen[bytes],
    cgroups: Callable[..., FakeManager],
    namespaces: dict[str, str],
    expected: list[str],
) -> None:
    make(ctx, init, namespaces=namespaces)
    manager = cgroups(init.pid)
    kill(ctx, "box", signal.SIGKILL, all=False)
    assert manager.calls == expected
    assert init.wait(10) == -signal.SIGKILL


def test_leftovers_are_killed_under_the_lock(
    ctx: Context, spawn: Callable[[], subprocess.Popen[bytes]], cgroups: Callable[..., FakeManager]
) -> None:
    """Else a new container of the same ID, and so of the same cgroups, could be what is killed."""
    init, other = spawn(), spawn()
    make(ctx, init, namespaces={})
    manager = cgroups(other.pid)
    init.kill()
    init.wait()
    opened = Store(ctx.root).open("box", lock=False)
    opened.remove()

    real = Store.open

    def stale(self: Store, id: str, *, lock: bool) -> object:
        return opened if id == "box" else real(self, id, lock=lock)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "open", stale)
        opened._record = Record("box", "/b", stage="created", pid=init.pid, start=1, cgroup=DISABLED)
        with pytest.raises(ContainerMissing):
            kill(ctx, "box", signal.SIGKILL, all=True)
    assert manager.calls == [] and other.poll() is None


def test_a_paused_container_is_thawed_by_sigkill_only(
    ctx: Context, init: subprocess.Popen[bytes], cgroups: Callable[..., FakeManager]
) -> None:
    make(ctx, init)
    manager = cgroups(frozen=True)
    kill(ctx, "box", signal.SIGCONT, all=False)
    assert manager.calls == []
    kill(ctx, "box", signal.SIGKILL, all=False)
    assert manager.calls == ["thaw"]


def test_nothing_is_killed_by_a_damaged_record_of_cgroups(ctx: Context, init: subprocess.Popen[bytes]) -> None:
    make(ctx, init, cgroup={"manager": "cgroupfs", "paths": {"": "/sys/fs/cgroup/../box"}})
    with pytest.raises(StateError, match="the record of the container's cgroups is damaged"):
        kill(ctx, "box", signal.SIGKILL, all=False)
    assert init.poll() is None


def test_cgroups_out_of_reach(
    ctx: Context, init: subprocess.Popen[bytes], cgroups: Callable[..., FakeManager], capfd: pytest.CaptureFixture[str]
) -> None:
    ctx.log.configure(level=WARNING)
    make(ctx, init, namespaces={})
    cgroups(refuse=True)
    with pytest.raises(KernelError, match="^unable to signal init: open cgroup: permission denied$"):
        kill(ctx, "box", signal.SIGKILL, all=False)
    assert init.poll() is None and capfd.readouterr().err == ""


def test_rootless_without_cgroups_init_is_killed_alone(
    ctx: Context, init: subprocess.Popen[bytes], cgroups: Callable[..., FakeManager], capfd: pytest.CaptureFixture[str]
) -> None:
    ctx.log.configure(level=WARNING)
    make(ctx, init, namespaces={}, rootless=True)
    cgroups(refuse=True)
    kill(ctx, "box", signal.SIGKILL, all=False)
    assert init.wait(10) == -signal.SIGKILL
    assert "box: only init is killed, its other processes may remain: open cgroup: permission denied" in capfd.readouterr().err


def test_a_signal_that_the_kernel_refuses(ctx: Context, init: subprocess.Popen[bytes]) -> None:
    make(ctx, init)
    with pytest.raises(KernelError, match="^unable to signal init: .*invalid argument$"):
        kill(ctx, "box", 4096, all=False)


@pytest.mark.parametrize("all", [False, True])
def test_a_container_that_is_not_there(ctx: Context, all: bool) -> None:
    with pytest.raises(ContainerMissing, match="does not exist"):
        kill(ctx, "box", signal.SIGKILL, all=all)
    with pytest.raises(InvalidId):
        kill(ctx, "../box", signal.SIGKILL, all=all)


@pytest.mark.needs_root
def test_a_container_that_is_really_paused(ctx: Context, init: subprocess.Popen[bytes]) -> None:
    if pyrunc.cgroups.layout().version == 0:
        pytest.skip("no cgroup hierarchy is mounted")
    manager = pyrunc.cgroups.select({"linux": {"cgroupsPath": f"/{TAG}-paused"}}, "box")
    manager.create()
    try:
        manager.join(init.pid)
        make(ctx, init, cgroup=manager.record())
        assert state(ctx, "box")["status"] == "running"
        manager.freeze()
        assert state(ctx, "box")["status"] == "paused"
        kill(ctx, "box", signal.SIGTERM, all=False)
        kill(ctx, "box", signal.SIGKILL, all=False)
        assert init.wait(10) in (-signal.SIGKILL, -signal.SIGTERM)
        assert state(ctx, "box")["status"] == "stopped"
    finally:
        manager.thaw()
        init.kill()
        init.wait()
        manager.destroy()


# --- state


def test_state_in_order(ctx: Context, init: subprocess.Popen[bytes]) -> None:
    make(ctx, init, annotations={"key": "value"}, owner=1000)
    assert list(state(ctx, "box").items()) == [
        ("ociVersion", "1.2.0"),
        ("id", "box"),
        ("pid", init.pid),
        ("status", "running"),
        ("bundle", "/b"),
        ("rootfs", "/b/rootfs"),
        ("created", "2026-01-02T03:04:05.000000006Z"),
        ("annotations", {"key": "value"}),
        ("owner", ""),
    ]


def test_state_through_a_life(ctx: Context, init: subprocess.Popen[bytes]) -> None:
    make(ctx, init)
    waiting = [add(ctx, name) for name in ("exec.fifo", EXEC_REPLY)]
    now = state(ctx, "box")
    assert (now["status"], now["pid"], "annotations" in now) == ("created", init.pid, False)
    for fifo in waiting:
        fifo.unlink()
    assert state(ctx, "box")["status"] == "running"
    init.kill()
    init.wait()
    now = state(ctx, "box")
    assert (now["status"], now["pid"]) == ("stopped", 0)


def test_state_asks_no_lock(ctx: Context, init: subprocess.Popen[bytes]) -> None:
    """A hook of create, which holds the lock, may ask for the state."""
    make(ctx, init, stage="creating", creator_pid=os.getpid(), creator_start=proc.start_time(os.getpid()))
    holder = Store(ctx.root).open("box", lock=True)
    assert state(ctx, "box")["status"] == "creating"
    holder.close()


def test_state_of_what_is_not_there(ctx: Context) -> None:
    with pytest.raises(ContainerMissing, match="^container does not exist$"):
        state(ctx, "box")
    Store(ctx.root).create("box").close()
    with pytest.raises(ContainerMissing, match="container does not exist"):
        state(ctx, "box")
    with pytest.raises(InvalidId):
        state(ctx, "..")


def test_damaged_cgroups_are_told(ctx: Context, init: subprocess.Popen[bytes]) -> None:
    make(ctx, init, cgroup={"manager": "cgroupfs", "paths": {"memory": "/"}})
    with pytest.raises(StateError, match="cgroups"):
        state(ctx, "box")


# --- list


def test_list(ctx: Context, init: subprocess.Popen[bytes], capfd: pytest.CaptureFixture[str]) -> None:
    assert containers(ctx) == []
    assert not os.path.exists(ctx.root)
    make(ctx, init, "b")
    make(ctx, init, "a", owner=0x7FFFFFF0)
    assert [(row["id"], row["status"], row["owner"]) for row in containers(ctx)] == [
        ("a", "running", "#2147483632"),
        ("b", "running", "root"),
    ]
    assert containers(ctx)[1] == {**state(ctx, "b"), "owner": "root"}
    assert capfd.readouterr().err == ""


def test_list_goes_on_after_a_broken_one(ctx: Context, init: subprocess.Popen[bytes], capfd: pytest.CaptureFixture[str]) -> None:
    for id in ("a", "b", "c", "d"):
        make(ctx, init, id)
    Path(ctx.root, "b", "state.json").write_text("{")
    Path(ctx.root, "c", "state.json").unlink()
    Path(ctx.root, "stray file").touch()
    before = os.listdir("/proc/self/fd")
    assert [row["id"] for row in containers(ctx)] == ["a", "d"]
    assert os.listdir("/proc/self/fd") == before
    lines = capfd.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["b", "c"]
    assert all(line.endswith(f"(pyrunc delete --force {id} removes it)") for id, line in zip("bc", lines, strict=True))


def test_list_passes_over_what_vanishes(ctx: Context, init: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    make(ctx, init, "a")
    monkeypatch.setattr(Store, "ids", lambda self: ["a", "gone"])
    assert [row["id"] for row in containers(ctx)] == ["a"]


def test_an_owner_beyond_any_uid_is_a_number(ctx: Context, init: subprocess.Popen[bytes]) -> None:
    make(ctx, init, owner=2**40)
    container = Store(ctx.root).open("box", lock=False)
    assert listing.owner_of(container) == f"#{2**40}"
    container.close()


# --- the hot path


def test_no_banned_module_is_loaded(ctx: Context, init: subprocess.Popen[bytes]) -> None:
    from .test_imports import BANNED

    make(ctx, init)
    program = f"""
import sys
sys.path.append({str(Path(__file__).resolve().parents[2])!r})
from pyrunc.log import Context, Log
from pyrunc.runtime.kill import kill
from pyrunc.runtime.state import state
ctx = Context({ctx.root!r}, Log())
assert state(ctx, "box")["status"] == "running"
kill(ctx, "box", 9, all=False)
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-ISXutf8", "-c", program], capture_output=True, text=True, check=True)
    names = {name.split(".")[0] for name in done.stdout.split()}
    assert "pyrunc" in names
    assert names & BANNED == set()


def test_another_boot_makes_no_difference_where_it_cannot_be_told(
    ctx: Context, init: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    make(ctx, init)
    monkeypatch.setattr(record_module, "boot_id", lambda: "")
    kill(ctx, "box", signal.SIGKILL, all=False)
    assert init.wait(10) == -signal.SIGKILL
