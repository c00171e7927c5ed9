"""podman and containerd, and what every caller is.

Each has its files in one directory, its mounts in a Sandbox, its cgroups below one.
Their verbs are reduced to what the scenarios share; `options` are always the caller's own.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from conformance.callers.material import IMAGE, make_image, make_layer, make_rootfs
from conformance.callers.process import Result, Sandbox, Turn

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM": "xterm"}
ULIMITS = ["nofile=1024:1024", "nproc=1024:1024"]
"""podman's own defaults are higher than root without CAP_SYS_RESOURCE may set."""


class Engine:
    """A caller with one runtime. Raises FileNotFoundError when a program of NEEDS is missing."""

    NEEDS: tuple[str, ...] = ()
    OWN_RUN = True
    SECONDS = 60.0
    """For one command."""

    def __init__(self, runtime: Path, work: Path, tag: str, *, network: bool = False) -> None:
        """`work` is an empty directory with a short path, `tag` the name of the cgroup for all that it starts; with `network`
        the caller has a network namespace of its own."""
        self.check_needs()
        self.runtime = runtime
        self.work = work
        self.rootfs = make_rootfs(work / "rootfs")
        self.sandbox = Sandbox(tag, network=network, own_run=self.OWN_RUN)
        self._number = 0

    @classmethod
    def check_needs(cls) -> None:
        for program in ("busybox", *cls.NEEDS):
            if not shutil.which(program):
                raise FileNotFoundError(f"{program} is missing: tests/run --callers installs it")

    def command(self) -> list[str]:
        """What every command line begins with."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return ENVIRONMENT

    def __call__(self, *words: object, status: int = 0, given: str | None = None) -> Result:
        """One command of the caller's. Raises AssertionError if it ends with another status."""
        result = self.sandbox.run(*self.command(), *words, env=self.environment(), given=given, timeout=self.SECONDS)
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
        groups = [cgroup for cgroup in self.sandbox.cgroups() if cgroup.name not in (Path(self.sandbox.tag).name, "conmon")]
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

    def load_image(self) -> None:
        """Have IMAGE in the engine's own store; once is enough."""
        raise NotImplementedError

    def run(self, *program: str, options: Sequence[str] = (), status: int = 0, given: str | None = None) -> Result:
        return self("run", "--rm", *self.COMMON, *options, *self.image(), *program, status=status, given=given)

    def run_tty(self, *program: str, turns: Sequence[Turn] = (), status: int = 0) -> Result:
        return self.tty("run", "--rm", "-it", *self.COMMON, *self.image(), *program, turns=turns, status=status)

    @contextlib.contextmanager
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

    NEEDS: tuple[str, ...] = ("podman", "conmon")
    COMMON: tuple[str, ...] = ("--network", "none")
    REMOVE = ("rm", "-f", "-t", "0")
    MANAGER = "cgroupfs"
    """Who makes the cgroups."""

    def __init__(self, runtime: Path, work: Path, tag: str) -> None:
        super().__init__(runtime, work, tag)
        self.json = True
        self.COMMON = (*self.COMMON, "--cgroup-parent", self.parent())
        for name, supporting in (("with-json", [runtime.name]), ("without-json", [])):
            (work / name).write_text(
                f"[containers]\ndefault_ulimits = {json.dumps(ULIMITS)}\n"
                f'[engine]\ncgroup_manager = "{self.MANAGER}"\nevents_logger = "file"\n'
                f"runtime_supports_json = {json.dumps(supporting)}\n"
                f'runtime_supports_nocgroup = ["{runtime.name}"]\n'
                f"[engine.runtimes]\n{json.dumps(runtime.name)} = [{json.dumps(str(runtime))}]\n"
            )

    def parent(self) -> str:
        """Below which cgroup, in the manager's words."""
        return f"/{self.sandbox.tag}"

    def command(self) -> list[str]:
        places = [f"--{name}={self.work}/{name}" for name in ("root", "runroot", "tmpdir")]
        return ["podman", *places, "--storage-driver=vfs", f"--cgroup-manager={self.MANAGER}", f"--runtime={self.runtime.name}"]

    def environment(self) -> dict[str, str]:
        return {**ENVIRONMENT, "CONTAINERS_CONF": str(self.work / ("with-json" if self.json else "without-json"))}

    def image(self) -> list[str]:
        return ["--rootfs", str(self.rootfs)]

    def load_image(self) -> None:
        if not (layer := self.work / "layer.tar").exists():
            self("import", make_layer(self.rootfs, layer), IMAGE)

    def forget_pods(self, *pods: str) -> None:
        """podman 4.3.1 leaves a pod's cgroup in the hierarchies that it does not know (runc's and ours join them all), and has
        no option for where `kube play` puts its own."""
        for top in self.sandbox.tops:
            for parent in (top / self.sandbox.tag, top / "libpod_parent"):
                for directory in (*(parent / pod / "user" for pod in pods), *(parent / pod for pod in pods)):
                    with contextlib.suppress(OSError):
                        directory.rmdir()
            with contextlib.suppress(OSError):
                (top / "libpod_parent").rmdir()

    def records(self) -> list[str]:
        return containers(self.sandbox.root / "run" / self.runtime.name)

    def close(self) -> list[str]:
        self(*self.REMOVE, "--all")
        return super().close()


class Containerd(Engine):
    """containerd and its shim, spoken to by `ctr`; also what Docker stands on."""

    NEEDS: tuple[str, ...] = ("containerd", "ctr", "containerd-shim-runc-v2")

    def __init__(self, runtime: Path, work: Path, tag: str, *, network: bool = False) -> None:
        super().__init__(runtime, work, tag, network=network)
        self.address = work / "containerd.sock"
        settings = work / "containerd.toml"
        settings.write_text(self.settings())
        self._daemon = self.sandbox.daemon("containerd", "--config", settings, env=ENVIRONMENT, log=work / "containerd.log")
        try:
            await_socket(self.address, self._daemon, work / "containerd.log")
            self.layer = make_layer(self.rootfs, work / "layer.tar")
        except BaseException:
            self.close()
            raise

    def settings(self) -> str:
        """What the daemon's configuration file says."""
        return (
            f'version = 2\nroot = "{self.work}/content"\nstate = "{self.work}/tasks"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]\n'
            f'[grpc]\naddress = "{self.address}"\n[ttrpc]\naddress = "{self.address}.ttrpc"\n'
        )

    def command(self) -> list[str]:
        # The namespace is the first part of every container's cgroup.
        return ["ctr", "--address", str(self.address), "--namespace", self.sandbox.tag]

    def load_image(self) -> None:
        self("image", "import", "--snapshotter", "native", make_image(self.layer, self.work / "image.tar"))

    def from_rootfs(self) -> list[str]:
        return ["--runc-binary", str(self.runtime), "--rootfs", str(self.rootfs)]

    def from_image(self) -> list[str]:
        return ["--runc-binary", str(self.runtime), "--snapshotter", "native", IMAGE]

    def placement(self, name: str) -> list[str]:
        """The options that say in which cgroup the container is, where it is not the namespace's one."""
        return []

    def run(self, *program: str, options: Sequence[str] = (), image: bool = False, status: int = 0) -> Result:
        source = self.from_image() if image else self.from_rootfs()
        return self("run", "--rm", *options, *source, self.name(), *program, status=status)

    @contextlib.contextmanager
    def container(self, *program: str, options: Sequence[str] = (), image: bool = False) -> Iterator[str]:
        """A running task's name; removed in the end, however it is then."""
        name = self.name()
        source = self.from_image() if image else self.from_rootfs()
        self("run", "-d", *options, *self.placement(name), *source, name, *program)
        try:
            yield name
        finally:
            self.end(name)
            self("container", "delete", name)

    def end(self, name: str) -> None:
        """Delete the task, whether it runs, has ended or is not there: the status is its program's, or 1."""
        self.sandbox.run(*self.command(), "task", "delete", "--force", name, env=self.environment(), timeout=self.SECONDS)

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


def await_socket(path: Path, daemon: subprocess.Popen[bytes], log: Path, seconds: float = 120) -> None:
    """Raises OSError when the daemon ends, or does not listen in time."""
    end = time.monotonic() + seconds
    while not path.is_socket():
        if daemon.poll() is not None or time.monotonic() > end:
            raise OSError(f"{daemon.args!r} did not come up: {log.read_text()[-2000:]}")
        time.sleep(0.02)


def containers(root: Path) -> list[str]:
    """The IDs below a runtime's root; what begins with an @ is pyrunc's cache."""
    return [name for name in os.listdir(root) if not name.startswith("@")] if root.is_dir() else []
