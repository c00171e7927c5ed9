"""Docker Engine: alone and without a network, alone with one, and as a swarm of two."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from conformance.callers.engines import ENVIRONMENT, Cli, Containerd, await_socket, containers
from conformance.callers.material import IMAGE
from conformance.callers.process import Result, Sandbox


class Docker(Cli):
    """dockerd without networks, with a containerd of its own, in which the runtime is both a named one and the default."""

    NEEDS: tuple[str, ...] = ("dockerd", "/usr/bin/docker", *Containerd.NEEDS)
    NETWORK = False

    def __init__(self, runtime: Path, work: Path, tag: str) -> None:
        self.check_needs()
        self._containerd = Containerd(runtime, work, tag, network=self.NETWORK)
        self._daemon: subprocess.Popen[bytes] | None = None
        self.runtime, self.work, self.sandbox, self._number = runtime, work, self._containerd.sandbox, 0
        self.layer = self._containerd.layer
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def settings(self) -> dict[str, Any]:
        """The content of daemon.json."""
        return {
            "cgroup-parent": f"/{self.sandbox.tag}",
            "containerd": str(self._containerd.address),
            "containerd-namespace": self.sandbox.tag,
            "data-root": str(self.work / "data"),
            "default-runtime": self.runtime.name,
            "deprecated-key-path": str(self.work / "key.json"),
            "exec-root": str(self.work / "exec"),
            "hosts": [f"unix://{self.address}"],
            "pidfile": str(self.work / "docker.pid"),
            "runtimes": {} if self.runtime.name == "runc" else {self.runtime.name: {"path": str(self.runtime)}},
            "storage-driver": "vfs",
            **self.network_settings(),
        }

    def network_settings(self) -> dict[str, Any]:
        return {"bridge": "none", "ip-forward": False, "ip-masq": False, "iptables": False}

    def _start(self) -> None:
        self.address = self.work / "docker.sock"
        (self.work / "docker.json").write_text(json.dumps(self.settings()))
        log = self.work / "docker.log"
        self._daemon = self.sandbox.daemon("dockerd", "--config-file", self.work / "docker.json", env=ENVIRONMENT, log=log)
        await_socket(self.address, self._daemon, log)
        self("import", self.layer, IMAGE)

    def command(self) -> list[str]:
        return ["/usr/bin/docker", "--config", str(self.work / "client"), "--host", f"unix://{self.address}"]

    def image(self) -> list[str]:
        return [IMAGE]

    def load_image(self) -> None:
        """It is there from the start."""

    def records(self) -> list[str]:
        return containers(self.work / "exec/runtime-runc" / self.sandbox.tag)

    def close(self) -> list[str]:
        if self._daemon:
            self._daemon.terminate()
            self._daemon.wait()
        return self._containerd.close()


class DockerNetwork(Docker):
    """The same with its bridge, in a network namespace of its own, from which nothing leads outside."""

    NEEDS = (*Docker.NEEDS, "ip", "iptables", "docker-compose")
    NETWORK = True

    def network_settings(self) -> dict[str, Any]:
        return {"ip-masq": False}

    def compose(self, *words: object) -> Result:
        """docker-compose in `work`/project."""
        environment = {**ENVIRONMENT, "DOCKER_HOST": f"unix://{self.address}", "HOME": str(self.work)}
        argv = ("docker-compose", "--project-directory", self.work / "project", "-f", self.work / "project/compose.yml", *words)
        result = self.sandbox.run(*argv, env=environment)
        assert result.status == 0, result
        return result


class Swarm:
    """Two engines, each in its network namespace, with a cable between them: a manager and a worker."""

    NEEDS = (*Docker.NEEDS, "ip", "iptables")
    ADDRESSES = ("10.77.0.1", "10.77.0.2")

    def __init__(self, runtime: Path, work: Path, tag: str) -> None:
        self.nodes: list[DockerNetwork] = []
        try:
            for number in (1, 2):
                (work / str(number)).mkdir()
                self.nodes.append(DockerNetwork(runtime, work / str(number), f"{tag}-{number}"))
            self._connect(*(node.sandbox for node in self.nodes))
            self.manager, self.worker = self.nodes
            self.manager("swarm", "init", "--advertise-addr", self.ADDRESSES[0], "--listen-addr", self.ADDRESSES[0])
            token = self.manager("swarm", "join-token", "--quiet", "worker").out.strip()
            self.worker("swarm", "join", "--token", token, "--advertise-addr", self.ADDRESSES[1], f"{self.ADDRESSES[0]}:2377")
        except BaseException:
            self.close()
            raise

    def _connect(self, one: Sandbox, other: Sandbox) -> None:
        cable = ("ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", other.pid)
        subprocess.run(one.argv(*cable), check=True)
        for sandbox, address in zip((one, other), self.ADDRESSES, strict=True):
            subprocess.run(sandbox.argv("ip", "address", "add", f"{address}/24", "dev", "cable"), check=True)
            subprocess.run(sandbox.argv("ip", "link", "set", "cable", "up"), check=True)

    def leftovers(self) -> list[str]:
        return [left for node in self.nodes for left in node.leftovers()]

    def close(self) -> list[str]:
        return [left for node in reversed(self.nodes) for left in node.close()]
