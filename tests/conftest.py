"""What every test may ask for: the program, a bundle, a place for state, and the check that nothing is left behind."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

try:
    from hypothesis import HealthCheck, settings
except ImportError:  # where only the life cycle is tested
    pass
else:
    # How long an example takes says how busy the machine is.
    settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("patient")

TESTS = Path(__file__).resolve().parent
PROJECT = TESTS.parent
TAG = f"pyrunc-test-{os.getpid()}"
"""Part of every container's ID and of every path of this session, so that leaks are told from what others do on this machine."""

BUSYBOX = shutil.which("busybox")


class Bundle:
    """A bundle directory. Change `config` or the files under `rootfs`, then `write()`."""

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        self.path = path
        self.rootfs = path / "rootfs"
        self.config = config

    def write(self) -> Bundle:
        (self.path / "config.json").write_text(json.dumps(self.config))
        (self.path / "config.json").chmod(0o644)
        return self

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)


class Cli:
    """Runs pyrunc. The output goes to files, not pipes: a container keeps its stdio open after `create` has returned."""

    def __init__(self, program: Path, root: Path) -> None:
        self.program = program
        self.root = root

    def __call__(
        self, *args: object, check: bool | int = False, input: str | None = None, timeout: float = 60, **kw: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run one command and wait. With `check`, an exit code other than that (True is 0) fails the test."""
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err, tempfile.TemporaryFile("w+") as given:
            given.write(input or "")
            given.seek(0)
            kw = {"stdin": given, "stdout": out, "stderr": err, "text": True, **kw}
            done = subprocess.run(self.argv(*args), timeout=timeout, **kw)
            out.seek(0), err.seek(0)
            done.stdout, done.stderr = out.read(), err.read()
        if check is not False:
            expected = 0 if check is True else check
            assert done.returncode == expected, f"{done.args}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def argv(self, *args: object) -> list[str]:
        """The command line, for those who start it themselves."""
        return [str(self.program), "--root", str(self.root), *map(str, args)]

    def popen(self, *args: object, **kw: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(self.argv(*args), text=True, **kw)

    def state(self, container: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self("state", container, check=True).stdout)
        return document

    def wait_for(self, container: str, status: str, seconds: float = 60) -> None:
        """Poll `state` until the container has this status."""
        until(lambda: self.state(container)["status"] == status, seconds, f"{container} did not become {status}")


def until(condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
    """Poll a condition; fail the test when it does not come true in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, otherwise
        time.sleep(0.01)


def pytest_sessionstart() -> None:
    """For what is made before the first test."""
    os.umask(0o022)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    without_root = pytest.mark.skip(reason="needs root")
    for item in items:
        if TESTS / "lifecycle" in item.path.parents:
            item.add_marker("needs_root")
        if item.get_closest_marker("needs_root") and os.geteuid() != 0:
            item.add_marker(without_root)


@pytest.hookimpl(hookwrapper=True)  # Debian 12's pytest has no wrappers of the newer kind
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    report: pytest.TestReport = (yield).get_result()
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed


FAILED = pytest.StashKey[bool]()


@pytest.fixture(autouse=True)
def same_umask() -> Iterator[None]:
    """Whatever the caller's is, and none is left to the next test: what other users must read would be out of their reach."""
    os.umask(0o022)
    yield
    assert os.umask(0o022) == 0o022, "the test has left another umask"


@pytest.fixture(scope="session")
def pyrunc() -> Path:
    """The program under test: $PYRUNC, else the one installed beside this interpreter, else the source tree's."""
    named = os.environ.get("PYRUNC")
    places = [Path(named)] if named else [Path(sys.executable).parent / "pyrunc", PROJECT / "build/pyrunc"]
    for place in places:
        if place.exists():
            return place
    pytest.fail(f"no pyrunc at {', '.join(map(str, places))}: run python3 setup.py build_inplace")


def executed(program: Path) -> Path:
    """What the kernel executes for a launcher: the interpreter of a script, else the program itself."""
    first = program.read_bytes().partition(b"\n")[0]
    return Path(os.path.realpath(first[2:].split()[0].decode() if first.startswith(b"#!") else program))


@pytest.fixture(scope="session")
def session_dir() -> Iterator[Path]:
    """A directory for bundles and state that other users may pass through: user namespaces need it, tmp_path forbids it."""
    path = Path(tempfile.mkdtemp(prefix=f"{TAG}-"))
    path.chmod(0o711)
    yield path
    for mount in reversed(mounts()):
        subprocess.run(["umount", "-l", mount], check=True)
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The reference material beside the project; the test is skipped without it."""
    path = PROJECT.parent / "shared"
    if not path.is_dir():
        pytest.skip("there is no ../shared beside the project")
    return path


@pytest.fixture(scope="session")
def busybox_rootfs(session_dir: Path) -> Path:
    """A root file system of busybox alone, from which every bundle has its copy."""
    if not BUSYBOX:
        pytest.skip("busybox is missing: apt-get install busybox-static")
    root = session_dir / "busybox"
    for name in ("bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "var"):
        (root / name).mkdir(parents=True)
        (root / name).chmod(0o755)
    root.chmod(0o755)
    (root / "tmp").chmod(0o1777)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nuser:x:1000:\nstaff:x:50:user\n")
    shutil.copy(BUSYBOX, root / "bin/busybox")
    for applet in subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    return root


_numbers = itertools.count(1)


@pytest.fixture
def container_id() -> str:
    """A new ID. It carries the session's tag, by which leaked cgroups are found: derive others from it."""
    return f"{TAG}-{next(_numbers)}"


@pytest.fixture
def bundle(busybox_rootfs: Path, session_dir: Path) -> Callable[..., Bundle]:
    """Makes bundles: ``bundle("sh", "-c", "...", uid=1000)`` runs these args in busybox, without a terminal."""

    def make(*args: str, uid: int = 0, gid: int = 0) -> Bundle:
        from pyrunc.config.default import default_spec

        path = session_dir / f"bundle-{next(_numbers)}"
        path.mkdir()
        path.chmod(0o755)
        shutil.copytree(busybox_rootfs, path / "rootfs", symlinks=True, copy_function=os.link)
        cgroup2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
        config = default_spec(rootless=False, cgroup2=cgroup2, uid=0, gid=0)
        config["process"].update(terminal=False, args=list(args) or ["true"], user={"uid": uid, "gid": gid})
        return Bundle(path, config).write()

    return make


@pytest.fixture
def runtime_root(session_dir: Path) -> Path:
    """An empty directory for ``--root``; pyrunc makes it."""
    return session_dir / f"root-{next(_numbers)}"


@pytest.fixture
def cli(pyrunc: Path, runtime_root: Path) -> Cli:
    return Cli(pyrunc, runtime_root)


def mounts() -> list[str]:
    """The mount points of this session's directories in our own mount namespace."""
    with open("/proc/self/mountinfo") as lines:
        return [line.split()[4] for line in lines if TAG in line]


def cgroups() -> list[str]:
    """The cgroups of this session's containers, in every hierarchy."""
    with open("/proc/self/mountinfo") as lines:
        tops = [line.split()[4] for line in lines if line.partition(" - ")[2].startswith("cgroup")]
    return sorted(path for top in tops for path, _, _ in os.walk(top) if TAG in path)


def children(of: int) -> list[int]:
    """The living descendants of a process, zombies left out. Any of them, and any thread, may end meanwhile."""
    found = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{of}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                for child in map(int, (task / "children").read_text().split()):
                    with open(f"/proc/{child}/stat") as stat:
                        alive = stat.read().rpartition(")")[2].split()[0] not in "ZX"
                    found += [child] * alive + children(child)
    return found


def containers(session: Path) -> list[Path]:
    """The records of containers under every ``--root`` of this session."""
    return sorted(session.glob("root-*/*/state.json"))


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """After a test of tests/lifecycle no process, mount, cgroup or record may be left; what is left is removed and fails it."""
    if TESTS / "lifecycle" not in request.path.parents or os.geteuid() != 0:
        yield
        return
    session: Path = request.getfixturevalue("session_dir")
    program: Path = request.getfixturevalue("pyrunc")
    # As a child subreaper (what conmon and containerd's shim are) we are given every orphan, and only our own.
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
    before = set(children(os.getpid()))
    yield
    faults = clean(session, program, before)
    if faults and not request.node.stash.get(FAILED, False):
        pytest.fail("left behind: " + "; ".join(faults))


def clean(session: Path, program: Path, before: set[int]) -> list[str]:
    """Remove what a test has left, and say what it was."""
    faults = [f"container {record.parent.name}" for record in containers(session)]
    # An exit is asynchronous: give what was killed by the test's last command the time to go.
    end = time.monotonic() + 1
    while set(children(os.getpid())) - before and not faults and time.monotonic() < end:
        time.sleep(0.01)
    for pid in set(children(os.getpid())) - before:
        faults.append(f"process {pid} ({Path(f'/proc/{pid}/cmdline').read_bytes()!r})")
    for record in containers(session):
        root, name = record.parent.parent, record.parent.name
        subprocess.run([program, "--root", root, "delete", "--force", name], capture_output=True, timeout=60)
    while left := set(children(os.getpid())) - before:
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        # The init of a pid namespace ends after its last process was collected, which may be for us to do.
        reap()
        time.sleep(0.01)
    reap()
    for mount in reversed(mounts()):
        faults.append(f"mount {mount}")
        subprocess.run(["umount", "-l", mount], check=True)
    for path in reversed(cgroups()):
        faults.append(f"cgroup {path}")
        os.rmdir(path)
    return faults


def reap() -> None:
    """Collect the orphans that have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
