"""containerd's CRI plugin, which a kubelet drives: a pod's sandbox, its network by CNI, and the containers in it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conformance.callers.cri_client import CONTAINER, EXITED, Client
from conformance.callers.engines import Containerd, containers
from conformance.callers.material import IMAGE, make_image
from conformance.callers.pages import PROJECT, file_of

PAUSE = "localhost/pause:test"
PLUGINS = Path("/usr/lib/cni")
"""Where Debian's containernetworking-plugins puts them."""
SUBNET = "10.88.77.0/24"


class Cri(Containerd):
    """A kubelet's view of containerd with one runtime handler, named as the runtime; in a network namespace of its own."""

    NEEDS = (*Containerd.NEEDS, "curl", "ip")

    def __init__(self, runtime: Path, work: Path, tag: str) -> None:
        for plugin in ("bridge", "host-local", "loopback"):
            if not (PLUGINS / plugin).exists():
                raise FileNotFoundError(f"{PLUGINS / plugin} is missing: tests/run --callers installs it")
        network = work / "cni"
        network.mkdir()
        ipam = {"type": "host-local", "subnet": SUBNET, "dataDir": str(work / "addresses")}
        bridge = {"type": "bridge", "bridge": "pods", "isGateway": True, "ipam": ipam}
        (network / "pods.conflist").write_text(json.dumps({"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge]}))
        super().__init__(runtime, work, tag, network=True)
        self.call = Client(self.address)
        try:
            for name, command in ((IMAGE, ["/bin/sh"]), (PAUSE, ["/bin/sleep", "1000000"])):
                archive = make_image(self.layer, work / "image.tar", name=name, command=command)
                self("image", "import", "--snapshotter", "native", archive)
            # What ctr has imported, the plugin learns from an event.
            await_(lambda: all(self.call("ImageStatus", image={"image": name})["image"] for name in (IMAGE, PAUSE)))
        except BaseException:
            self.close()
            raise

    def settings(self) -> str:
        cri = 'plugins."io.containerd.grpc.v1.cri"'
        return (
            super().settings().replace('"io.containerd.grpc.v1.cri", ', "")
            + f'[{cri}]\nsandbox_image = "{PAUSE}"\nrestrict_oom_score_adj = true\n'
            f'stream_server_address = "127.0.0.1"\nstream_server_port = "0"\n'
            f'[{cri}.cni]\nbin_dir = "{PLUGINS}"\nconf_dir = "{self.work}/cni"\n'
            + self._documented().replace(f"[{cri}.containerd]\n", f'[{cri}.containerd]\n  snapshotter = "native"\n')
        )

    def _documented(self) -> str:
        """What the page tells a user to write, for the runtime that is tested; without the version, which is there already."""
        text = file_of(PROJECT / "docs/callers/containerd.md", "/etc/containerd/config.toml").replace("version = 2\n", "")
        text = text.replace("/usr/local/bin/pyrunc", str(self.runtime))
        return text.replace("runtimes.pyrunc", f"runtimes.{self.handler}").replace('"pyrunc"', f'"{self.handler}"')

    @property
    def handler(self) -> str:
        return self.runtime.name

    def command(self) -> list[str]:
        return ["ctr", "--address", str(self.address), "--namespace", "k8s.io"]

    def pod_config(self, name: str, **namespaces: int) -> dict[str, Any]:
        """What a kubelet says of a pod, with the namespaces' modes that are not POD."""
        options = {"pid": CONTAINER, **namespaces}
        return {
            "metadata": {"name": name, "uid": f"{self.sandbox.tag}-{name}", "namespace": "default"},
            "hostname": "" if "network" in namespaces else name,
            "log_directory": str(self.work / "logs" / name),
            "linux": {"cgroup_parent": f"/{self.sandbox.tag}/{name}", "security_context": {"namespace_options": options}},
        }

    @contextmanager
    def pod(self, **namespaces: int) -> Iterator[Pod]:
        """A pod that is ready; stopped and removed in the end, however it is then."""
        config = self.pod_config(self.name(), **namespaces)
        sandbox = self.call("RunPodSandbox", config=config, runtime_handler=self.handler)["pod_sandbox_id"]
        try:
            yield Pod(self.call, sandbox, config)
        finally:
            self.call("StopPodSandbox", pod_sandbox_id=sandbox)
            self.call("RemovePodSandbox", pod_sandbox_id=sandbox)
            self._remove_cgroups(config)

    def _remove_cgroups(self, config: dict[str, Any]) -> None:
        """The pod's own cgroup is the kubelet's."""
        name = config["metadata"]["name"]
        for cgroup in self.sandbox.cgroups():
            if cgroup.name == name:
                with contextlib.suppress(OSError):
                    cgroup.rmdir()

    def records(self) -> list[str]:
        return containers(self.sandbox.root / "run/containerd/runc/k8s.io")

    def leftovers(self) -> list[str]:
        left = self.call("ListPodSandbox")["items"] + self.call("ListContainers")["containers"]
        addresses = [path.name for path in (self.work / "addresses/pods").glob("10.*")]
        return super().leftovers() + [f"in the CRI {entry['id']}" for entry in left] + [f"address {ip}" for ip in addresses]


class Pod:
    """A sandbox and what is asked of it."""

    def __init__(self, call: Client, sandbox: str, config: dict[str, Any]) -> None:
        self.call = call
        self.id = sandbox
        self.config = config

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.call("PodSandboxStatus", pod_sandbox_id=self.id)["status"]
        return status

    def create(self, name: str, *command: str, security: dict[str, Any] | None = None, **fields: Any) -> str:
        """The ID of a created container; its modes of namespaces are the pod's."""
        own = {"namespace_options": self.config["linux"]["security_context"]["namespace_options"], **(security or {})}
        linux = {"security_context": own, "resources": fields.pop("resources", {})}
        image = {"image": IMAGE}
        config = {"metadata": {"name": name}, "image": image, "command": command, "log_path": f"{name}.log", "linux": linux}
        config.update(fields)
        made = self.call("CreateContainer", pod_sandbox_id=self.id, config=config, sandbox_config=self.config)
        return str(made["container_id"])

    def start(self, name: str, *command: str, **fields: Any) -> str:
        container = self.create(name, *command, **fields)
        self.call("StartContainer", container_id=container)
        return container

    def container(self, container: str) -> dict[str, Any]:
        status: dict[str, Any] = self.call("ContainerStatus", container_id=container)["status"]
        return status

    def ended(self, container: str) -> dict[str, Any]:
        """Its status when it has exited."""
        await_(lambda: self.container(container)["state"] == EXITED)
        return self.container(container)

    def exec(self, container: str, *command: str, seconds: int = 30) -> dict[str, Any]:
        return self.call("ExecSync", container_id=container, cmd=command, timeout=seconds)

    def prints(self, container: str, script: str) -> str:
        done = self.exec(container, "/bin/sh", "-c", script)
        assert (done["exit_code"], done["stderr"]) == (0, ""), done
        return str(done["stdout"]).strip()

    def log(self, name: str) -> str:
        """What a container has written, as the log file on the node has it."""
        lines = (Path(self.config["log_directory"]) / f"{name}.log").read_text().splitlines()
        return "".join(line.split(" ", 3)[3] + "\n" for line in lines)


def await_(what: Callable[[], object], seconds: float = 30) -> None:
    """Raises AssertionError when it does not come true in time."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.05)
