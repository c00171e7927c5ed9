"""The v2 manager on a real cgroup2 tree, and device rules by BPF on real device nodes.

Where cgroup2 is mounted beside v1 it has no controllers to limit with, but everything that belongs to the core is there:
a cgroup of our own serves as the mount point, so that nothing above it is touched.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyrunc import cgroups
from pyrunc.cgroups import bpf
from pyrunc.cgroups.devices import rules_of
from pyrunc.cgroups.hierarchies import Hierarchy, Layout
from pyrunc.cgroups.manager import Manager
from pyrunc.errors import CgroupError, StateError, UnsupportedError

MOUNT = next((hierarchy.mount for hierarchy in cgroups.layout().hierarchies if hierarchy.unified), None)

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(MOUNT is None, reason="needs a mounted cgroup2"),
]


@pytest.fixture
def top(container_id: str) -> Iterator[Path]:
    path = Path(str(MOUNT), container_id)
    path.mkdir()
    yield path
    (path / "cgroup.kill").write_text("1")
    cgroups.reopen({"manager": "cgroupfs", "paths": {"": str(path)}}).destroy()


@pytest.fixture
def make(top: Path) -> Callable[..., Manager]:
    def manager(path: str = "/one", resources: dict[str, Any] | None = None) -> Manager:
        host = Layout([Hierarchy(str(top), ("",), "/")])
        return cgroups.select({"linux": {"cgroupsPath": path, "resources": resources}}, "id", rootless=False, host=host)

    return manager


@pytest.fixture
def spawn() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    processes: list[subprocess.Popen[bytes]] = []

    def start(*args: str, **kw: Any) -> subprocess.Popen[bytes]:
        processes.append(subprocess.Popen(args or ("sleep", "60"), **kw))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait(timeout=10)


def place(pid: int) -> str:
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return next(line[3:] for line in lines if line.startswith("0::"))


def test_life(make: Callable[..., Manager], spawn: Callable[..., Any]) -> None:
    manager = make("/a/b")
    manager.check()
    manager.create()
    process = spawn()
    manager.join(process.pid)
    assert place(process.pid).endswith("/a/b")
    manager = cgroups.reopen(manager.record())
    assert manager.pids() == [process.pid] and not manager.frozen()
    manager.freeze()
    assert manager.frozen()
    manager.kill_all()
    assert process.wait(timeout=10) == -signal.SIGKILL
    manager.destroy()
    assert not os.path.exists(manager.paths[""]) and os.path.exists(os.path.dirname(manager.paths[""]))
    assert not manager.frozen() and manager.oom_kills() == 0


def test_killing_without_cgroup_kill(
    make: Callable[..., Manager], spawn: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyrunc.cgroups.freezer.kill", lambda directory: False)
    manager = make()
    manager.create()
    Path(manager.paths[""], "sub").mkdir()
    processes = [spawn(), spawn()]
    for process in processes:
        manager.join(process.pid)
    manager.join(processes[1].pid, below={"": "/sub"})
    manager.kill_all()
    assert [process.wait(timeout=10) for process in processes] == [-signal.SIGKILL] * 2
    assert not manager.frozen()


def test_refusals(make: Callable[..., Manager], spawn: Callable[..., Any]) -> None:
    manager = make()
    manager.create()
    manager.freeze()
    with pytest.raises(StateError, match="^container's cgroup unexpectedly frozen$"):
        make().create()
    manager.thaw()
    manager.join(spawn().pid)
    with pytest.raises(StateError, match=r"^container's cgroup is not empty: 1 process\(es\) found$"):
        make().create()


def test_a_limit_without_its_controller(make: Callable[..., Manager], top: Path) -> None:
    if "memory" in (top / "cgroup.controllers").read_text():
        pytest.skip("memory can be limited here")
    resources = {"memory": {"limit": 1 << 20}}
    manager = make(resources=resources)
    manager.create()
    with pytest.raises(UnsupportedError, match="linux.resources.memory.limit: this kernel offers no memory.max in") as caught:
        manager.apply(resources)
    assert caught.value.hint == f"is the controller memory in {top}/cgroup.subtree_control?"


def test_below_a_threaded_cgroup(make: Callable[..., Manager], spawn: Callable[..., Any], top: Path) -> None:
    (top / "parent").mkdir()
    (top / "parent/cgroup.type").write_text("threaded")
    (top / "other").mkdir()
    resources = {"memory": {"limit": 1 << 20}}
    manager = make("/parent/one", resources)
    with pytest.raises(UnsupportedError, match="linux.cgroupsPath: .*/parent/one is 'domain invalid'"):
        manager.create()
    assert not (top / "parent/one").exists()
    manager = make("/parent/one", {"pids": {"limit": 5}})
    manager.create()
    assert (top / "parent/one/cgroup.type").read_text() == "threaded\n"
    assert manager.pids(all=True) == []


def test_exec_into_a_cgroup_that_has_children_with_controllers(
    make: Callable[..., Manager], spawn: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The container's init has moved below and enabled controllers: the top answers EBUSY, here by a stand-in for that."""
    manager = make()
    manager.create()
    leaf = Path(manager.paths[""], "init.scope")
    leaf.mkdir()
    init, process = spawn(), spawn()
    (leaf / "cgroup.procs").write_text(str(init.pid))
    from pyrunc.cgroups import files

    write = files.write

    def busy(path: str, value: str, at: int | None = None) -> None:
        if path == manager.paths[""] + "/cgroup.procs":
            raise OSError(16, os.strerror(16))
        write(path, value, at)

    monkeypatch.setattr(files, "write", busy)
    with pytest.raises(CgroupError, match="device or resource busy"):
        manager.join(process.pid)
    with pytest.raises(CgroupError, match="device or resource busy"):
        # exec --cgroup / insists.
        manager.join(process.pid, below={"*": ""}, init=init.pid)
    manager.join(process.pid, init=init.pid)
    assert place(process.pid) == place(init.pid)


# --- devices

TRIES = """
import os, stat, sys
sys.stdin.readline()
node = sys.argv[1]
def tried(name, what):
    try:
        what()
        return f"{name} ok"
    except OSError as error:
        return f"{name} {error.errno}"
opened = lambda path, flags: os.close(os.open(path, flags | os.O_NONBLOCK))
print(tried("null", lambda: opened("/dev/null", os.O_RDWR)),
      tried("read", lambda: opened("/dev/kmsg", os.O_RDONLY)),
      tried("write", lambda: opened("/dev/kmsg", os.O_WRONLY)),
      tried("both", lambda: opened("/dev/kmsg", os.O_RDWR)),
      tried("mknod", lambda: os.mknod(node, stat.S_IFCHR | 0o600, os.makedev(1, 11))), sep=", ")
"""
KMSG = {"type": "c", "major": 1, "minor": 11}
NOTHING = {"allow": False, "access": "rwm"}


def attempts(manager: Manager, spawn: Callable[..., Any], node: Path) -> str:
    process = spawn("python3", "-c", TRIES, str(node), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    manager.join(process.pid)
    told: str = process.communicate(b"\n", timeout=20)[0].decode().strip()
    node.unlink(missing_ok=True)
    return told


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ([], "null ok, read 1, write 1, both 1, mknod ok"),
        ([NOTHING], "null ok, read 1, write 1, both 1, mknod ok"),
        ([{"allow": True, "access": "rwm"}], "null ok, read ok, write ok, both ok, mknod ok"),
        ([NOTHING, {"allow": True, "access": "r", **KMSG}], "null ok, read ok, write 1, both 1, mknod ok"),
        # Two rules grant one request together.
        (
            [NOTHING, {"allow": True, "access": "r", **KMSG}, {"allow": True, "type": "c", "access": "w"}],
            "null ok, read ok, write ok, both ok, mknod ok",
        ),
        (
            [{"allow": True, "access": "rwm"}, {"allow": False, "access": "w", **KMSG}],
            "null ok, read ok, write 1, both 1, mknod ok",
        ),
        ([{"allow": True, "type": "b", "access": "rwm"}], "null ok, read 1, write 1, both 1, mknod ok"),
    ],
)
def test_bpf_in_force(
    make: Callable[..., Manager], spawn: Callable[..., Any], tmp_path: Path, devices: list[dict[str, Any]], expected: str
) -> None:
    manager = make()
    manager.create()
    manager.apply({"devices": devices})
    assert attempts(manager, spawn, tmp_path / "node") == expected


def programs(directory: str) -> list[int]:
    from pyrunc._shim import ffi, lib

    fd = os.open(directory, os.O_RDONLY)
    ids = ffi.new("uint32_t[64]")
    count = lib.shim_bpf_query_device(fd, ids, 64)
    os.close(fd)
    assert count >= 0
    return list(ids[0:count])


def test_new_rules_replace_the_program(make: Callable[..., Manager], spawn: Callable[..., Any], tmp_path: Path) -> None:
    manager = make()
    manager.create()
    manager.apply({})
    (first,) = programs(manager.paths[""])
    manager.apply_devices({"devices": [{"allow": True, "access": "rwm"}]})
    (second,) = programs(manager.paths[""])
    assert first != second
    assert "both ok" in attempts(manager, spawn, tmp_path / "node")


class Watched:
    """The shim's library, noting what is called."""

    def __init__(self, lib: Any) -> None:
        self.lib = lib
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            self.calls.append((name, args))
            return getattr(self.lib, name)(*args)

        return call


def test_there_is_no_moment_with_two_programs_or_none(make: Callable[..., Manager], monkeypatch: pytest.MonkeyPatch) -> None:
    from pyrunc import _shim

    manager = make()
    manager.create()
    manager.apply({})
    watched = Watched(_shim.lib)
    monkeypatch.setattr(_shim, "lib", watched)
    manager.apply_devices({})
    attached = [args[2] for name, args in watched.calls if name == "shim_bpf_attach_device"]
    assert len(attached) == 1 and attached[0] >= 0
    assert "shim_bpf_detach_device" not in [name for name, _ in watched.calls]


def test_several_programs_become_one(make: Callable[..., Manager], spawn: Callable[..., Any], tmp_path: Path) -> None:
    from pyrunc._shim import lib

    manager = make()
    manager.create()
    directory = os.open(manager.paths[""], os.O_RDONLY)
    for _ in range(3):
        program = bpf._load(bpf.assemble(rules_of({})))
        assert lib.shim_bpf_attach_device(directory, program, -1) == 0
        os.close(program)
    os.close(directory)
    assert len(programs(manager.paths[""])) == 3
    manager.apply_devices({"devices": [{"allow": True, "access": "rwm"}]})
    assert len(programs(manager.paths[""])) == 1
    assert "both ok" in attempts(manager, spawn, tmp_path / "node")


def test_a_parents_program_still_binds(make: Callable[..., Manager], spawn: Callable[..., Any], tmp_path: Path) -> None:
    outer, inner = make("/outer"), make("/outer/inner")
    outer.create()
    outer.apply({})
    inner.create()
    inner.apply({"devices": [{"allow": True, "access": "rwm"}]})
    assert "read 1" in attempts(inner, spawn, tmp_path / "node")


def test_programs_go_with_the_cgroup(make: Callable[..., Manager]) -> None:
    from pyrunc._shim import lib

    manager = make()
    manager.create()
    manager.apply({})
    (program,) = programs(manager.paths[""])
    manager.destroy()
    deadline = time.monotonic() + 5
    while (fd := lib.shim_bpf_open(program)) >= 0:
        os.close(fd)
        assert time.monotonic() < deadline, "the program outlives its cgroup"
        time.sleep(0.02)
    with pytest.raises(CgroupError, match="linux.resources.devices: open .*: no such file or directory"):
        manager.apply_devices({})


def test_a_program_for_many_rules_loads(make: Callable[..., Manager]) -> None:
    manager = make()
    manager.create()
    devices = [
        {"allow": bool(n % 2), "type": "cb"[n % 2], "major": n, "minor": n, "access": "rwm"[: n % 3 + 1]} for n in range(400)
    ]
    manager.apply({"devices": devices})
    assert len(programs(manager.paths[""])) == 1


def somebody_elses(code: bytes) -> int:
    """A device program without a name of ours, by bpf(2) itself: BPF_PROG_LOAD."""
    import ctypes
    import platform
    import struct

    number = {"x86_64": 321, "aarch64": 280}.get(platform.machine())
    if number is None:
        pytest.skip("the number of bpf(2) on this machine is not known here")
    insns, licence = ctypes.create_string_buffer(code), ctypes.create_string_buffer(b"GPL")
    addresses = ctypes.addressof(insns), ctypes.addressof(licence)
    attributes = struct.pack("=IIQQIIQII16sII", 15, len(code) // 8, *addresses, 0, 0, 0, 0, 0, b"others", 0, 6)
    fd: int = ctypes.CDLL(None, use_errno=True).syscall(number, 5, attributes, len(attributes))
    assert fd >= 0, os.strerror(ctypes.get_errno())
    return fd


def test_beside_somebody_elses_program(make: Callable[..., Manager], spawn: Callable[..., Any], tmp_path: Path) -> None:
    """As on a unit's cgroup, where systemd has its own: that one stays, and ours is replaced by ours."""
    from pyrunc._shim import lib

    manager = make()
    manager.create()
    everything = [{"allow": True, "access": "rwm"}]
    other = somebody_elses(bpf.assemble(rules_of({"devices": everything})))
    cgroup = os.open(manager.paths[""], os.O_RDONLY)
    try:
        assert lib.shim_bpf_attach_device(cgroup, other, -1) == 0 and lib.shim_bpf_is_ours(other) == 0
    finally:
        os.close(cgroup)
        os.close(other)
    (theirs,) = programs(manager.paths[""])
    bpf.attach(manager.paths[""], rules_of({}), tolerate_eperm=False, beside=True)
    (ours,) = set(programs(manager.paths[""])) - {theirs}
    assert "both ok" not in attempts(manager, spawn, tmp_path / "node")
    bpf.attach(manager.paths[""], rules_of({"devices": everything}), tolerate_eperm=False, beside=True)
    (again,) = set(programs(manager.paths[""])) - {theirs}
    assert again != ours and "both ok" in attempts(manager, spawn, tmp_path / "node")


def test_bpf_without_the_right_to_it(make: Callable[..., Manager]) -> None:
    """In a user namespace of its own bpf(2) answers EPERM: an error for root, let go for rootless."""
    manager = make()
    manager.create()
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pyrunc import cgroups, errors\n"
        "paths = {'': sys.argv[2]}\n"
        "cgroups.reopen({'manager': 'cgroupfs', 'paths': paths, 'rootless': True}).apply({})\n"
        "try:\n"
        "    cgroups.reopen({'manager': 'cgroupfs', 'paths': paths}).apply({})\n"
        "except errors.CgroupError as error:\n"
        "    print(error.message, '|', error.hint)\n"
    )
    project = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        ["unshare", "-Ur", sys.executable, "-c", script, project, manager.paths[""]], capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    assert done.stdout.startswith(
        "linux.resources.devices: load the BPF program: operation not permitted | bpf(2) for devices needs"
    )
