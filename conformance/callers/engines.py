"""podman, containerd and Docker, each with its files in one directory, its mounts in a Sandbox, its cgroups below one.

Their verbs are reduced to what the scenarios share; `options` are always the caller's own.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from conformance.callers.material import IMAGE, make_image, make_layer, make_rootfs
from conformance.callers.process import Result, Sandbox, Turn

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM": "xterm"}
ULIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
"""podman's own defaults are higher than root without CAP_SYS_RESOURCE may set."""


class Engine:
    """A caller with one runtime. Raises FileNotFoundError when a program of NEEDS is missing."""

    NEEDS: tuple[str, ...] = ()

    def __init__(self, runtime: Path, work: Path, tag: str) -> None:
        for program in ("busybox", *self.NEEDS):
            if not shutil.which(program):
                raise FileNotFoundError(f"{program} is missing")
        self.runtime = runtime
        self.work = work
        self.rootfs = make_rootfs(work / "rootfs")
        self.sandbox = Sandbox(tag)
        self._number = 0

    def command(self) -> list[str]:
        """What every command line begins with."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return ENVIRONMENT

    def __call__(self, *words: object, status: int = 0, given: str | None = None) -> Result:
        """One command of the caller's. Raises AssertionError if it ends with another status."""
        result = self.sandbox.run(*self.command(), *words, env=self.environment(), given=given)
        assert result.status == status, f"not status {status}: {result}"
        return result

    def tty(self, *words: object, turns: Sequence[Turn] = (), status: int = 0) -> Result:
        result = self.sandbox.run_tty(*self.command(), *words, env=self.environment(), turns=turns)
        assert result.status == status, f"not status {status}: {result}"
        return result

    def name(self) -> str:
        self._number += 1
        return f"c{self._number}"

    def records(self) -> list[str]:
        """The containers that the runtime remembers."""
        raise NotImplementedError

    def leftovers(self) -> list[str]:
        """What no container may leave: records, and processes in its cgroups."""
        groups = [cgroup for cgroup in self.sandbox.cgroups() if cgroup.name not in (self.sandbox.tag, "conmon")]
        return [f"record {name}" for name in self.records()] + [f"cgroup {group}" for group in groups]

    def close(self) -> list[str]:
        """End it; what it has left behind and was removed."""
        return self.sandbox.close()


class Cli(Engine):
    """podman and Docker, which speak the same language."""

    COMMON: tuple[str, ...] = ()
    REMOVE: tuple[str, ...] = ("rm", "-f")

    def image(self) -> list[str]:
        raise NotImplementedError

    def run(self, *program: str, options: Sequence[str] = (), status: int = 0, given: str | None = None) -> Result:
        return self("run", "--rm", *self.COMMON, *options, *self.image(), *program, status=status, given=given)

    def run_tty(self, *program: str, turns: Sequence[Turn] = (), status: int = 0) -> Result:
        return self.tty("run", "--rm", "-it", *self.COMMON, *self.image(), *program, turns=turns, status=status)

    @contextmanager
    def container(self, *program: str, options: Sequence[str] = ()) -> Iterator[str]:
        """A running container's name; removed in the end, however it is then."""
        name = self.name()
        self("run", "-d", "--name", name, *self.COMMON, *options, *self.image(), *program)
        try:
            yield name
        finally:
            self(*self.REMOVE, name)

    def pid(self, name: str) -> int:
        return int(self("inspect", "--format", "{{.State.Pid}}", name).out)


class Podman(Cli):
    """podman with conmon; a container's root file system is a directory, so it needs no image and no network."""

    NEEDS = ("podman", "conmon")
    COMMON: tuple[str, ...] = ("--network", "none", *ULIMITS)
    REMOVE = ("rm", "-f", "-t", "0")

    def __init__(self, runtime: Path, work: Path, tag: str) -> None:
        super().__init__(runtime, work, tag)
        self.json = True
        self.COMMON = (*self.COMMON, "--cgroup-parent", f"/{tag}")
        for name, supporting in (("with-json", [runtime.name]), ("without-json", [])):
            (work / name).write_text(
                '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
                f"runtime_supports_json = {json.dumps(supporting)}\n"
                f'runtime_supports_nocgroup = ["{runtime.name}"]\n'
                f"[engine.runtimes]\n{json.dumps(runtime.name)} = [{json.dumps(str(runtime))}]\n"
            )

    def command(self) -> list[str]:
        places = [f"--{name}={self.work}/{name}" for name in ("root", "runroot", "tmpdir")]
        return ["podman", *places, "--storage-driver=vfs", "--cgroup-manager=cgroupfs", f"--runtime={self.runtime.name}"]

    def environment(self) -> dict[str, str]:
        return {**ENVIRONMENT, "CONTAINERS_CONF": str(self.work / ("with-json" if self.json else "without-json"))}

    def image(self) -> list[str]:
        return ["--rootfs", str(self.rootfs)]

    def records(self) -> list[str]:
        return containers(self.sandbox.root / "run" / self.runtime.name)

    def close(self) -> list[str]:
        self(*self.REMOVE, "--all")
        return super().close()


class Containerd(Engine):
    """containerd and its shim, spoken to by `ctr`; also what Docker stands on."""

    NEEDS = ("containerd", "ctr", "containerd-shim-runc-v2")

    def __init__(self, runtime: Path, work: Path, tag: str) -> None:
        super().__init__(runtime, work, tag)
        self.address = work / "containerd.sock"
        settings = work / "containerd.toml"
        settings.write_text(
            f'version = 2\nroot = "{work}/content"\nstate = "{work}/tasks"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]\n'
            f'[grpc]\naddress = "{self.address}"\n[ttrpc]\naddress = "{self.address}.ttrpc"\n'
        )
        self._daemon = self.sandbox.daemon("containerd", "--config", settings, env=ENVIRONMENT, log=work / "containerd.log")
        try:
            await_socket(self.address, self._daemon, work / "containerd.log")
            self.layer = make_layer(self.rootfs, work / "layer.tar")
        except BaseException:
            self.close()
            raise

    def command(self) -> list[str]:
        # The namespace is the first part of every container's cgroup.
        return ["ctr", "--address", str(self.address), "--namespace", self.sandbox.tag]

    def load_image(self) -> None:
        self("image", "import", "--snapshotter", "native", make_image(self.layer, self.work / "image.tar"))

    def from_rootfs(self) -> list[str]:
        return ["--runc-binary", str(self.runtime), "--rootfs", str(self.rootfs)]

    def from_image(self) -> list[str]:
        return ["--runc-binary", str(self.runtime), "--snapshotter", "native", IMAGE]

    def run(self, *program: str, options: Sequence[str] = (), image: bool = False, status: int = 0) -> Result:
        source = self.from_image() if image else self.from_rootfs()
        return self("run", "--rm", *options, *source, self.name(), *program, status=status)

    @contextmanager
    def container(self, *program: str, options: Sequence[str] = ()) -> Iterator[str]:
        """A running task's name; removed in the end, however it is then."""
        name = self.name()
        self("run", "-d", *options, *self.from_rootfs(), name, *program)
        try:
            yield name
        finally:
            # The status tells nothing: it is that of the task's program, or 1 where there is no task any more.
            self.sandbox.run(*self.command(), "task", "delete", "--force", name, env=self.environment())
            self("container", "delete", name)

    def kill_shim(self, name: str) -> None:
        """SIGKILL for the shim of a task."""
        for pid in self.sandbox.processes():
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            if "shim" in words[0] and name in words:
                os.kill(pid, signal.SIGKILL)
                return
        raise AssertionError(f"no shim of {name}")

    def records(self) -> list[str]:
        return containers(self.sandbox.root / "run/containerd/runc" / self.sandbox.tag)

    def close(self) -> list[str]:
        self._daemon.terminate()
        self._daemon.wait()
        return super().close()


class Docker(Cli):
    """dockerd without networks, with a containerd of its own, in which the runtime is both a named one and the default."""

    NEEDS = ("dockerd", "/usr/bin/docker", *Containerd.NEEDS)

    def __init__(self, runtime: Path, work: Path, tag: str) -> None:
        for program in self.NEEDS:
            if not shutil.which(program):
                raise FileNotFoundError(f"{program} is missing")
        self._containerd = Containerd(runtime, work, tag)
        self._daemon: subprocess.Popen[bytes] | None = None
        self.runtime, self.work, self.sandbox, self._number = runtime, work, self._containerd.sandbox, 0
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        self.address = self.work / "docker.sock"
        settings = {
            "bridge": "none",
            "cgroup-parent": f"/{self.sandbox.tag}",
            "containerd": str(self._containerd.address),
            "containerd-namespace": self.sandbox.tag,
            "data-root": str(self.work / "data"),
            "default-runtime": self.runtime.name,
            "deprecated-key-path": str(self.work / "key.json"),
            "exec-root": str(self.work / "exec"),
            "hosts": [f"unix://{self.address}"],
            "ip-forward": False,
            "ip-masq": False,
            "iptables": False,
            "pidfile": str(self.work / "docker.pid"),
            "runtimes": {} if self.runtime.name == "runc" else {self.runtime.name: {"path": str(self.runtime)}},
            "storage-driver": "vfs",
        }
        (self.work / "docker.json").write_text(json.dumps(settings))
        log = self.work / "docker.log"
        self._daemon = self.sandbox.daemon("dockerd", "--config-file", self.work / "docker.json", env=ENVIRONMENT, log=log)
        await_socket(self.address, self._daemon, log)
        self("import", self._containerd.layer, IMAGE)

    def command(self) -> list[str]:
        return ["/usr/bin/docker", "--config", str(self.work / "client"), "--host", f"unix://{self.address}"]

    def image(self) -> list[str]:
        return [IMAGE]

    def records(self) -> list[str]:
        return containers(self.work / "exec/runtime-runc" / self.sandbox.tag)

    def close(self) -> list[str]:
        if self._daemon:
            self._daemon.terminate()
            self._daemon.wait()
        return self._containerd.close()


def await_socket(path: Path, daemon: subprocess.Popen[bytes], log: Path, seconds: float = 30) -> None:
    """Raises OSError when the daemon ends, or does not listen in time."""
    end = time.monotonic() + seconds
    while not path.is_socket():
        if daemon.poll() is not None or time.monotonic() > end:
            raise OSError(f"{daemon.args!r} did not come up: {log.read_text()[-2000:]}")
        time.sleep(0.02)


def containers(root: Path) -> list[str]:
    """The IDs below a runtime's root; what begins with an @ is pyrunc's cache."""
    return [name for name in os.listdir(root) if not name.startswith("@")] if root.is_dir() else []


def gone(engine: Engine) -> list[str]:
    """What containers have left when it had the time to go."""
    end = time.monotonic() + 5
    while (found := engine.leftovers()) and time.monotonic() < end:
        time.sleep(0.02)
    return found


ENGINES: dict[str, type[Engine]] = {"podman": Podman, "containerd": Containerd, "docker": Docker}
