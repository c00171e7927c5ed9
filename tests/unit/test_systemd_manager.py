"""The systemd managers and their client, with a bus that is only played, and sockets at which nobody answers."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pyrunc import cgroups
from pyrunc.cgroups import bpf, files, systemd, systemd_client
from pyrunc.cgroups.hierarchies import Hierarchy, Layout
from pyrunc.cgroups.systemd_client import MANAGER, NAME, Client
from pyrunc.errors import CgroupError, ConfigError, PyruncError, StateError, SystemdError, UnsupportedError
from pyrunc.kernel import host, os as hot_os, sdbus
from pyrunc.kernel.sdbus import Bus, DBusError
from tests.unit.test_cgroup_fake import Kernel

OWN = "/user.slice/user-7.slice/user@7.service"


class FakeBus(Bus):
    """A systemd that makes a directory for a unit; `answers` replaces what a method does, by its name."""

    def __init__(self, make: Callable[[str, dict[str, Any]], None]) -> None:
        self.make = make
        self.calls: list[tuple[Any, ...]] = []
        self.answers: dict[str, Callable[..., tuple[Any, ...]]] = {}
        self.results: list[str] = []
        self.properties = {"Version": "252.39-1~deb12u2", "ControlGroup": OWN}
        self.closed = 0
        self._jobs: list[tuple[Any, ...]] = []

    def call(
        self, destination: str, path: str, interface: str, member: str, signature: str, values: tuple[Any, ...], deadline: float
    ) -> tuple[Any, ...]:
        assert (destination, path) == (NAME, "/org/freedesktop/systemd1") and deadline > time.monotonic()
        assert len(sdbus.split(signature)) == len(values)
        if member == "Get":
            return (("s", self.properties[values[1]]),)
        self.calls.append((member, *values))
        if member in self.answers:
            return self.answers[member](*values)
        if member not in ("StartTransientUnit", "StopUnit"):
            return ()
        if member == "StartTransientUnit":
            self.make(values[0], {name: value[1] for name, value in values[2]})
        job = f"/job/{len(self.calls)}"
        result = self.results.pop(0) if self.results else "done"
        self._jobs += [(1, "/job/other", "x.service", "failed"), (2, job, values[0], result)]
        return (job,)

    def subscribe(self, path: str, interface: str, member: str, deadline: float) -> None:
        assert (interface, member) == (MANAGER, "JobRemoved")

    def signal(self, interface: str, member: str, deadline: float) -> tuple[Any, ...]:
        if not self._jobs:
            raise DBusError("", errno.ETIMEDOUT, "")
        return self._jobs.pop(0)

    def close(self) -> None:
        self.closed += 1

    def names(self) -> list[str]:
        return [call[0] for call in self.calls]


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel(tmp_path)
    monkeypatch.setattr(hot_os, "mkdir", kernel.make)
    monkeypatch.setattr(files, "write", kernel.write)
    monkeypatch.setattr(host, "in_user_namespace", lambda: False)
    return kernel


@pytest.fixture
def attached(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was put in force as BPF: (directory, rules, options)."""
    found: list[Any] = []
    monkeypatch.setattr(bpf, "attach", lambda directory, rules, **options: found.append((directory, list(rules), options)))
    return found


@pytest.fixture
def bus(kernel: Kernel, attached: list[Any], monkeypatch: pytest.MonkeyPatch) -> FakeBus:
    def make(unit: str, properties: dict[str, Any]) -> None:
        path = kernel.top
        for name in (OWN if bus.user else "").split("/")[1:] + [properties.get("Slice", "system.slice"), unit]:
            path = path / name
            if not path.exists():
                kernel.make(path)
                (path / "cgroup.subtree_control").write_text("cpu io memory pids")
        if "PIDs" in properties:
            (path / "cgroup.procs").write_text(f"{properties['PIDs'][0]}\n")
            for name in ("cpu", "io", "memory", "pids"):
                kernel._offer(path, [name])

    bus = FakeBus(make)
    bus.user = False  # type: ignore[attr-defined]

    def connect(user: bool) -> Client:
        bus.user = user  # type: ignore[attr-defined]
        return Client(bus, user=user)

    monkeypatch.setattr(systemd_client, "connect", connect)
    return bus


def select(kernel: Kernel, *, rootless: bool = False, resources: Any = None, annotations: Any = None, path: str = "") -> Any:
    config = {"linux": {"cgroupsPath": path, "resources": resources}, "annotations": annotations}
    there = Layout([Hierarchy(str(kernel.top), ("",), "/")])
    return cgroups.select(config, "c1", manager="systemd", rootless=rootless, host=there)


def test_a_life(kernel: Kernel, bus: FakeBus, attached: list[Any]) -> None:
    resources = {"memory": {"limit": 1 << 26}, "cpu": {"quota": 33_333}}
    manager = select(kernel, resources=resources, annotations={"org.systemd.property.TimeoutStopSec": "3"})
    directory = f"{kernel.top}/system.slice/pyrunc-c1.scope"
    assert manager.record() == {"manager": "systemd", "paths": {"": directory}, "unit": "pyrunc-c1.scope", "user": False}
    assert manager.wants_process and bus.calls == []
    manager.check()
    manager.create(77)
    (member, unit, mode, properties, aux), *rest = bus.calls
    assert (member, unit, mode, aux, rest) == ("StartTransientUnit", "pyrunc-c1.scope", "replace", [], [])
    names = [name for name, _ in properties]
    assert names.index("PIDs") < names.index("TimeoutStopUSec") < names.index("DevicePolicy") < names.index("MemoryMax")
    assert dict(properties)["PIDs"] == ("au", [77]) and dict(properties)["CPUQuotaPerSecUSec"] == ("t", 340_000)
    manager.apply(resources)
    manager.settle(resources)
    assert bus.names() == ["StartTransientUnit"], "systemd knows it all from the start"
    assert Path(directory, "memory.max").read_text() == str(1 << 26)
    assert Path(directory, "cpu.max").read_text() == "34000 100000", "as systemd keeps it"
    assert attached[0][0] == directory and attached[0][2] == {"tolerate_eperm": False, "beside": True}

    again = cgroups.reopen(manager.record())
    assert type(again) is type(manager) and again.record() == manager.record()
    closed = bus.closed
    assert not again.frozen() and again.pids() == [77] and bus.closed == closed, "nobody has asked systemd"
    (Path(directory, "cgroup.procs")).write_text("")
    for file in Path(directory).iterdir():
        file.unlink()
    again.destroy()
    assert bus.names()[1:] == ["StopUnit", "ResetFailedUnit"] and not Path(directory).exists()


def test_a_users_manager(kernel: Kernel, bus: FakeBus, attached: list[Any]) -> None:
    manager = select(kernel, rootless=True, path="a.slice:p:x")
    assert manager.paths == {"": f"{kernel.top}{OWN}/a.slice/p-x.scope"}
    assert manager.record() | {"paths": None} == {
        "manager": "systemd", "paths": None, "unit": "p-x.scope", "user": True, "rootless": True,
    }  # fmt: skip
    manager.create(5)
    assert "DevicePolicy" not in dict(bus.calls[0][3]), "a user's manager cannot set device rules"
    manager.apply({})
    assert attached[0][2]["tolerate_eperm"]


def test_root_of_somebodys_user_namespace_has_that_users_manager(
    kernel: Kernel, bus: FakeBus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(host, "in_user_namespace", lambda: True)
    socket = tmp_path / "private"
    monkeypatch.setattr(systemd_client, "PRIVATE_SOCKET", str(socket))
    assert select(kernel).user, "no system's manager to be seen"
    socket.touch()
    assert not select(kernel).user, "the system's manager is ours"
    monkeypatch.setattr(hot_os, "geteuid", lambda: os.geteuid() + 1)
    assert select(kernel).user, "the system's manager is somebody else's"


def test_a_limit_of_one_process_comes_into_force_when_the_first_one_has_gone(kernel: Kernel, bus: FakeBus) -> None:
    resources = {"pids": {"limit": 0}, "memory": {"limit": 5}}
    manager = select(kernel, resources=resources)
    manager.create(77)
    assert "TasksMax" not in dict(bus.calls[0][3]) and dict(bus.calls[0][3])["MemoryMax"] == ("t", 5)
    manager.apply(resources)
    limit = Path(manager.paths[""], "pids.max")
    assert limit.read_text() == ""
    manager.settle(resources)
    assert bus.calls[1:] == [("SetUnitProperties", "pyrunc-c1.scope", True, [("TasksMax", ("t", 1))])]
    assert limit.read_text() == "1"


def test_a_failed_unit_of_the_same_name_is_forgotten_once(kernel: Kernel, bus: FakeBus) -> None:
    def taken(*_: Any) -> Any:
        if bus.names().count("StartTransientUnit") == times:
            del bus.answers["StartTransientUnit"]
        raise DBusError(NAME + ".UnitExists", errno.EEXIST, "Unit pyrunc-c1.scope already exists.")

    times = 1
    bus.answers["StartTransientUnit"] = taken
    select(kernel).create(77)
    assert bus.names() == ["StartTransientUnit", "ResetFailedUnit", "StartTransientUnit"]
    bus.calls, times = [], 2
    bus.answers["StartTransientUnit"] = taken
    with pytest.raises(SystemdError, match=r"start the unit pyrunc-c1\.scope: systemd answers: Unit .* already exists$"):
        select(kernel).create(77)
    assert bus.names() == ["StartTransientUnit", "ResetFailedUnit", "StartTransientUnit"], "what is there is not ours to stop"


@pytest.mark.parametrize("result", ["failed", "canceled", "timeout", "dependency", "skipped"])
def test_a_job_that_does_not_end_well(kernel: Kernel, bus: FakeBus, result: str) -> None:
    bus.results = [result]
    with pytest.raises(SystemdError, match=f'start the unit pyrunc-c1.scope: systemd ended the job with "{result}"'):
        select(kernel).create(77)
    assert bus.names() == ["StartTransientUnit", "ResetFailedUnit"]


def test_a_job_that_does_not_end(kernel: Kernel, bus: FakeBus) -> None:
    bus.answers["StartTransientUnit"] = lambda *_: ("/job/nobody",)
    with pytest.raises(SystemdError, match="start the unit pyrunc-c1.scope: systemd has not answered within 30 s"):
        select(kernel).create(77)


def test_a_unit_without_its_cgroup(kernel: Kernel, bus: FakeBus) -> None:
    bus.make = lambda *_: None
    with pytest.raises(SystemdError, match="has started, but its cgroup .*/system.slice/pyrunc-c1.scope is not there"):
        select(kernel).create(77)
    assert bus.names() == ["StartTransientUnit", "StopUnit", "ResetFailedUnit"], "nothing is left"


def test_a_unit_is_started_with_a_process(kernel: Kernel, bus: FakeBus) -> None:
    with pytest.raises(StateError):
        select(kernel).create()
    with pytest.raises(StateError):
        cgroups.reopen(select(kernel).record()).create(77)
    assert bus.calls == []


def test_wrong_annotations_are_told_before_anything_is_done(kernel: Kernel, bus: FakeBus) -> None:
    with pytest.raises(ConfigError, match="value parse error"):
        select(kernel, annotations={"org.systemd.property.TasksMax": "many"}).check()


def test_a_controller_that_a_user_was_not_given(kernel: Kernel, bus: FakeBus) -> None:
    manager = select(kernel, rootless=True, resources={"unified": {"hugetlb.2MB.max": "5"}})
    manager.create(77)
    with pytest.raises(UnsupportedError, match="this kernel offers no hugetlb.2MB.max") as caught:
        manager.apply({"unified": {"hugetlb.2MB.max": "5"}})
    assert "/etc/systemd/system/user@.service.d/delegate.conf" in (caught.value.hint or "")


def test_update(kernel: Kernel, bus: FakeBus, attached: list[Any]) -> None:
    saved = {"memory": {"limit": 100}, "devices": [{"allow": False, "access": "rwm"}]}
    manager = select(kernel, resources=saved)
    manager.create(77)
    manager.apply(saved)
    again = cgroups.reopen(manager.record())
    bus.calls.clear()
    journal = again.update({"memory": {"limit": 200}, "pids": {"limit": 1}}, saved)
    assert bus.calls == [
        ("SetUnitProperties", "pyrunc-c1.scope", True, [("TasksMax", ("t", 1)), ("MemoryMax", ("t", 200))])
    ], "device rules that do not change are nobody's business"
    limit = Path(again.paths[""], "memory.max")
    assert limit.read_text() == "200" and len(attached) == 1
    journal.undo()
    assert bus.calls[1][3] == [("TasksMax", ("t", (1 << 64) - 1)), ("MemoryMax", ("t", 100))] and limit.read_text() == "100"
    again.update({"devices": [{"allow": True, "access": "rwm"}]}, saved)
    assert bus.calls[2][3] == [("DevicePolicy", ("s", "auto")), ("DeviceAllow", ("a(ss)", []))] and len(attached) == 2


def test_an_update_that_systemd_refuses_is_undone(kernel: Kernel, bus: FakeBus) -> None:
    manager = select(kernel, resources={"memory": {"limit": 100}})
    manager.create(77)
    manager.apply({"memory": {"limit": 100}})

    def refuse(*_: Any) -> Any:
        raise DBusError(NAME + ".Whatever", errno.EINVAL, "Not today.")

    bus.answers["SetUnitProperties"] = refuse
    again = cgroups.reopen(manager.record())
    with pytest.raises(SystemdError, match=r"set properties of the unit pyrunc-c1.scope: systemd answers: Not today$"):
        again.update({"memory": {"limit": 200}}, {"memory": {"limit": 100}})
    assert Path(again.paths[""], "memory.max").read_text() == "100"


def test_a_process_that_a_user_may_not_move_is_moved_by_their_systemd(
    kernel: Kernel, bus: FakeBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = select(kernel, rootless=True)
    manager.create(77)
    write = kernel.write

    def refuse(path: str, value: str, at: int | None = None) -> None:
        if path.endswith("cgroup.procs"):
            raise PermissionError(errno.EACCES, "")
        write(path, value, at)

    monkeypatch.setattr(files, "write", refuse)
    manager.join(78)
    manager.join(79, below={"*": "/sub"})
    assert bus.calls[1:] == [
        ("AttachProcessesToUnit", "pyrunc-c1.scope", "", [78]), ("AttachProcessesToUnit", "pyrunc-c1.scope", "/sub", [79]),
    ]  # fmt: skip
    manager.user = False
    with pytest.raises(CgroupError, match="permission denied"):
        manager.join(80)


def test_deleting_without_systemd_removes_the_cgroup_and_tells(
    kernel: Kernel, bus: FakeBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = select(kernel)
    manager.create(77)
    directory = Path(manager.paths[""])
    for file in directory.iterdir():
        file.unlink()

    def nobody(user: bool) -> Client:
        raise SystemdError("systemd cannot be reached")

    monkeypatch.setattr(systemd_client, "connect", nobody)
    with pytest.raises(SystemdError):
        cgroups.reopen(manager.record()).destroy()
    assert not directory.exists()


def test_a_unit_that_is_gone_is_no_fault(kernel: Kernel, bus: FakeBus) -> None:
    def gone(*_: Any) -> Any:
        raise DBusError(NAME + ".NoSuchUnit", errno.ENOENT, "Unit x not loaded.")

    bus.answers = {"StopUnit": gone, "ResetFailedUnit": gone}
    with Client(bus) as client:
        client.stop("x.scope")
    assert bus.closed == 1


@pytest.mark.parametrize(
    "text, version",
    [("252.39-1~deb12u2", 252), ("v245.4-4ubuntu3", 245), ("systemd 256~rc3", 256), ("249", 249), ("", 0), ("x", 0)],
)
def test_versions(bus: FakeBus, text: str, version: int) -> None:
    bus.properties["Version"] = text
    assert Client(bus).version() == version


V1_HOST = [("systemd", ("name=systemd",)), ("cpu,cpuacct", ("cpu", "cpuacct")), ("memory", ("memory",))]


def v1_layout(top: Path, *more: tuple[str, tuple[str, ...]]) -> Layout:
    return Layout([Hierarchy(str(top / name), names, "/") for name, names in (*V1_HOST, *more)])


def test_v1(tmp_path: Path, bus: FakeBus, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, _ in V1_HOST:
        (tmp_path / name).mkdir(exist_ok=True)
    monkeypatch.setattr(hot_os, "mkdir", os.mkdir)
    bus.make = lambda unit, properties: (tmp_path / "systemd/system.slice" / unit).mkdir(parents=True)
    manager = cgroups.select({}, "c1", manager="systemd", host=v1_layout(tmp_path))
    assert manager.paths["cpuacct"] == manager.paths["cpu"] == f"{tmp_path}/cpu,cpuacct/system.slice/pyrunc-c1.scope"
    manager.create(77)
    assert all(os.path.isdir(path) for path in manager.directories()), "the others are ours to make"
    assert "BlockIOAccounting" in dict(bus.calls[0][3])
    manager.destroy()
    assert not any(os.path.isdir(path) for path in manager.directories())


def test_v1_and_rules_that_systemd_cannot_be_told(tmp_path: Path, attached: list[Any], bus: FakeBus) -> None:
    """It writes v1's lists anew when it likes, so something else must keep them: the hybrid's cgroup2, or nothing can."""
    rules = {"devices": [{"allow": True, "access": "rwm"}, {"allow": False, "type": "c", "major": 1, "access": "rwm"}]}
    with pytest.raises(UnsupportedError, match="systemd can only be told what is allowed"):
        cgroups.select({}, "c1", manager="systemd", host=v1_layout(tmp_path)).apply_devices(rules)
    hybrid = cgroups.select({}, "c1", manager="systemd", host=v1_layout(tmp_path, ("unified", ("",))))
    hybrid.apply_devices(rules)
    assert attached[0][0] == hybrid.paths[""]
    with pytest.raises(UnsupportedError, match="rules that systemd can be told cannot take the place"):
        hybrid.update({"devices": [{"allow": False, "access": "rwm"}]}, rules)


@pytest.mark.parametrize(
    "layout, words",
    [
        (Layout([]), "no cgroup hierarchy is mounted"),
        (Layout([Hierarchy("/c/cpu", ("cpu",), "/")]), "systemd's own hierarchy, name=systemd, is not mounted"),
    ],
)
def test_hosts_without_what_is_needed(layout: Layout, words: str, kernel: Kernel) -> None:
    with pytest.raises(UnsupportedError, match=words):
        cgroups.select({}, "c1", manager="systemd", host=layout)


def test_no_user_manager_on_v1(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="cannot use rootless systemd cgroups manager on cgroup v1"):
        cgroups.select({}, "c1", manager="systemd", rootless=True, host=v1_layout(tmp_path))


@pytest.mark.parametrize(
    "change", [{"unit": None}, {"unit": ""}, {"unit": 5}, {"user": None}, {"user": "no"}, {"paths": {"": "/"}}]
)
def test_damaged_records(change: dict[str, Any]) -> None:
    whole = {"manager": "systemd", "paths": {"": "/sys/fs/cgroup/a/b"}, "unit": "x.scope", "user": False}
    assert isinstance(cgroups.reopen(whole), systemd.SystemdV2)
    with pytest.raises(StateError, match="damaged"):
        cgroups.reopen({**whole, **change})


# --- the real library, without anybody who answers


@pytest.fixture
def library() -> None:
    try:
        sdbus._load()
    except UnsupportedError as error:
        pytest.skip(str(error))


@pytest.fixture
def deaf(tmp_path: Path) -> Iterator[Path]:
    """A socket that takes connections and says nothing."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "bus"))
        listener.listen()
        yield tmp_path / "bus"


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("user", [True, False])
def test_nobody_answers(deaf: Path, user: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd_client, "SECONDS", 0.3)
    monkeypatch.setattr(systemd_client, "BOOTED", str(tmp_path))
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS" if user else "DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={deaf}")
    start = time.monotonic()
    with pytest.raises(SystemdError, match="systemd cannot be reached: .*/bus: Connection timed out"):
        systemd_client.connect(user)
    assert 0.3 <= time.monotonic() - start


@pytest.mark.usefixtures("library")
def test_a_full_queue_is_waited_for(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as other:
        listener.bind(str(tmp_path / "bus"))
        listener.listen(0)
        other.connect(str(tmp_path / "bus"))
        with pytest.raises(DBusError) as caught:
            Bus(f"unix:path={tmp_path}/bus", broker=False, deadline=time.monotonic() + 0.25)
    assert caught.value.errno in (errno.EAGAIN, errno.ETIMEDOUT)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("listens", [False, True])
def test_nobody_is_there(tmp_path: Path, listens: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    runtime = tmp_path / "with space"
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    if listens:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(runtime / "bus"))
    with pytest.raises(SystemdError) as caught:
        systemd_client.connect(True)
    assert "with%20space/bus: nobody is there" in caught.value.message
    assert "/systemd/private: nobody is there" in caught.value.message, "the second place is asked as well"
    assert "no such file" not in caught.value.message, "engines take that for a missing program"
    assert "dbus-user-session" in (caught.value.hint or "")


def test_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemdError, match="neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set"):
        systemd_client.connect(True)


def test_no_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd_client, "BOOTED", str(tmp_path / "none"))
    with pytest.raises(UnsupportedError, match="there is no systemd here"):
        systemd_client.connect(False)


@pytest.mark.parametrize("error, words", [(errno.ENOENT, "is missing"), (errno.ENOSYS, "is too old")])
def test_no_libsystemd(error: int, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdbus, "lib", SimpleNamespace(shim_sdbus_load=lambda api: -error))
    with pytest.raises(UnsupportedError, match=f"libsystemd.so.0 {words}: install the package libsystemd0") as caught:
        Bus("unix:path=/nowhere", broker=False, deadline=time.monotonic())
    assert isinstance(caught.value, PyruncError)


@pytest.mark.parametrize(
    "signature, parts",
    [
        ("", []),
        ("s", ["s"]),
        ("ssa(sv)a(sa(sv))", ["s", "s", "a(sv)", "a(sa(sv))"]),
        ("aasa{s(iu)}v", ["aas", "a{s(iu)}", "v"]),
    ],
)
def test_signatures(signature: str, parts: list[str]) -> None:
    assert sdbus.split(signature) == parts
