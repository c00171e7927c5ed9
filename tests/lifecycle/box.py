"""A container from the outside: one bundle, one ID, and the commands on it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from tests.conftest import Bundle, Cli, until

NAMESPACES = {
    **{kind: kind for kind in ("pid", "ipc", "uts", "user", "cgroup", "time")}, "network": "net", "mount": "mnt",
}  # fmt: skip
"""Type in the config -> name in /proc/PID/ns."""

BASE = 200_000
"""First host id of the maps that `Box.map_ids` writes."""


class Box:
    def __init__(self, bundle: Bundle, cli: Cli, id: str) -> None:
        self.bundle = bundle
        self.cli = cli
        self.id = id

    @property
    def config(self) -> dict[str, Any]:
        return self.bundle.config

    @property
    def process(self) -> dict[str, Any]:
        process: dict[str, Any] = self.config["process"]
        return process

    @property
    def linux(self) -> dict[str, Any]:
        linux: dict[str, Any] = self.config["linux"]
        return linux

    @property
    def rootfs(self) -> Path:
        return self.bundle.rootfs

    def writable(self) -> Box:
        self.config["root"]["readonly"] = False
        return self

    def namespace(self, kind: str, path: object = None) -> None:
        """Add a namespace to the config, or give the one of this type another path."""
        self.share(kind)
        entry = {"type": kind} if path is None else {"type": kind, "path": str(path)}
        self.linux["namespaces"].append(entry)

    def share(self, kind: str) -> None:
        """Leave the namespace of this type to the host."""
        self.linux["namespaces"] = [entry for entry in self.linux["namespaces"] if entry["type"] != kind]

    def map_ids(self, size: int = 65536) -> None:
        """A user namespace whose id 0 is BASE outside; the root file system becomes passable for it."""
        self.namespace("user")
        for name in ("uidMappings", "gidMappings"):
            self.linux[name] = [{"containerID": 0, "hostID": BASE, "size": size}]

    def mount(self, destination: str, kind: str, *options: str, source: object = None) -> None:
        """Add a mount as the last one."""
        entry: dict[str, Any] = {"destination": destination, "type": kind, "options": list(options)}
        self.config["mounts"].append({**entry, "source": str(kind if source is None else source)})

    def mounted(self, destination: str) -> dict[str, Any]:
        """The entry of `mounts` for this destination."""
        found: dict[str, Any] = next(entry for entry in self.config["mounts"] if entry["destination"] == destination)
        return found

    def unmount(self, *destinations: str) -> None:
        """Leave entries of `mounts` away."""
        self.config["mounts"] = [entry for entry in self.config["mounts"] if entry["destination"] not in destinations]

    def args(self, *args: str) -> Box:
        """What the container executes; writes config.json."""
        self.process["args"] = list(args)
        self.bundle.write()
        return self

    def sh(self, script: str, *flags: object, **kw: Any) -> str:
        """Run a shell script as the container; what it prints. Fails the test unless it exits with 0."""
        self.args("sh", "-ec", script)
        kw.setdefault("check", True)
        return self.cli("run", "--bundle", self.bundle, *flags, self.id, **kw).stdout

    def lines(self, script: str, *flags: object, **kw: Any) -> list[str]:
        return self.sh(script, *flags, **kw).splitlines()

    def refused(self, *flags: object, command: str = "create", **kw: Any) -> str:
        """What the command that must fail says: one line on stderr, and the exit status 1."""
        self.bundle.write()
        return one_line(self.cli(command, "--bundle", self.bundle, *flags, self.id, check=1, **kw))

    def create(self, *flags: object, **kw: Any) -> int:
        """The pid of the created container."""
        self.bundle.write()
        done = self.cli("create", "--bundle", self.bundle, *flags, self.id, check=True, **kw)
        assert (done.stdout, done.stderr) == ("", "")
        return self.pid

    def start(self, **kw: Any) -> None:
        done = self.cli("start", self.id, check=True, **kw)
        assert (done.stdout, done.stderr) == ("", "")

    def up(self, *flags: object, **kw: Any) -> int:
        """Create and start a container that sleeps until it is killed; its pid."""
        self.args("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 60 & wait; done")
        pid = self.create(*flags, **kw)
        self.start()
        return pid

    def exec(self, *args: object, **kw: Any) -> subprocess.CompletedProcess[str]:
        return self.cli("exec", *args, **kw)

    def ex(self, script: str, *flags: object, check: bool | int = True, **kw: Any) -> str:
        """What a script prints that is executed in the running container."""
        return self.cli("exec", *flags, self.id, "sh", "-ec", script, check=check, **kw).stdout

    def kill(self, signal: str = "KILL") -> None:
        self.cli("kill", self.id, signal, check=True)

    def delete(self, *flags: str) -> None:
        """Delete it, and meanwhile do what a shim does: a pid namespace is not gone before its orphans are collected."""
        process = self.cli.popen("delete", *flags, self.id, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)) and found.si_pid != process.pid:
            os.waitpid(found.si_pid, 0)
        assert process.communicate(timeout=60)[0] == "" and process.returncode == 0

    def down(self) -> None:
        self.delete("--force")
        assert not self.exists()

    def exists(self) -> bool:
        return (self.cli.root / self.id).exists()

    @property
    def state(self) -> dict[str, Any]:
        return self.cli.state(self.id)

    @property
    def status(self) -> str:
        status: str = self.state["status"]
        return status

    @property
    def pid(self) -> int:
        pid: int = self.state["pid"]
        return pid

    def runs(self, seconds: float = 60) -> None:
        """Wait until it runs, which a command sees to that is on its way: it may not have made a record yet."""

        def running() -> bool:
            done = self.cli("state", self.id)
            return done.returncode == 0 and json.loads(done.stdout)["status"] == "running"

        until(running, seconds, "it does not run")

    def stopped(self) -> None:
        """Wait until the container has ended."""
        self.cli.wait_for(self.id, "stopped")


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The message of the error: stderr must be that one line, and stdout empty."""
    assert done.stdout == ""
    assert done.stderr.endswith("\n") and done.stderr.count("\n") == 1, done.stderr
    found = re.fullmatch(r'time="[^"]+" level=error msg=("(?:[^"\\]|\\.)*")(?: hint="[^"]*")?\n', done.stderr)
    assert found, done.stderr
    message: str = json.loads(found[1])
    return message


def status_of(pid: int | str, *names: str) -> list[str]:
    """Fields of /proc/PID/status."""
    found = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return [found[name].strip() for name in names]


def namespace_of(pid: int | str, kind: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{NAMESPACES[kind]}")


def mountinfo(text: str) -> dict[str, dict[str, Any]]:
    """/proc/PID/mountinfo by mount point, of several the topmost: proc_pid_mountinfo(5)."""
    found = {}
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields, (kind, source, *superblock) = left.split(" "), right.split(" ")
        found[fields[4]] = {
            "root": fields[3],
            "options": set(fields[5].split(",")),
            "tags": {tag.split(":")[0] for tag in fields[6:]},
            "type": kind,
            "source": source,
            "superblock": set(superblock[0].split(",")),
        }
    return found
