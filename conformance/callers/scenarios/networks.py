"""Docker's bridge networks and docker-compose."""

from __future__ import annotations

import json
import re

from conformance.callers.docker import DockerNetwork
from conformance.callers.material import IMAGE
from conformance.callers.scenarios.table import on, until

network = on("docker-network")

SERVE = ("sh", "-c", "mkdir -p /srv && hostname > /srv/name && exec httpd -f -p 80 -h /srv")
ASK = "wget -qO- http://{}/name"


@network
def bridge(engine: DockerNetwork) -> None:
    """a bridge: an address each, one container reaches the other, the host a published port"""
    with engine.container(*SERVE, options=["--hostname", "served", "-p", "127.0.0.1:8080:80"]) as name:
        address = engine("inspect", "--format", "{{.NetworkSettings.IPAddress}}", name).out.strip()
        assert re.fullmatch(r"172\.\d+\.\d+\.\d+", address), address
        until(lambda: engine.run("sh", "-c", ASK.format(address) + "; true").out == "served\n")
        engine.sandbox.run("busybox", *ASK.format("127.0.0.1:8080").split(), env=engine.environment()).prints("served")


@network
def named_network(engine: DockerNetwork) -> None:
    """network create: containers find each other by name; connect and disconnect while they run"""
    engine("network", "create", "net1")
    try:
        with engine.container(*SERVE, options=["--network", "net1", "--network-alias", "server", "--hostname", "served"]) as name:
            with engine.container("sleep", "1000") as client:
                ask = ("exec", client, "sh", "-c", ASK.format("server") + "; true")
                engine(*ask).says("bad address")
                engine("network", "connect", "net1", client)
                until(lambda: engine(*ask).out == "served\n")
                engine("network", "disconnect", "net1", client)
                engine(*ask).says("bad address")
            engine("exec", name, "hostname").prints("served")
    finally:
        engine("network", "rm", "net1")


@network
def compose(engine: DockerNetwork) -> None:
    """docker-compose up, exec, scale, down"""
    project = engine.work / "project"
    project.mkdir(exist_ok=True)
    services = {
        "web": {"image": IMAGE, "command": SERVE},
        "client": {"image": IMAGE, "command": ["sleep", "1000"], "depends_on": ["web"]},
    }
    (project / "compose.yml").write_text(json.dumps({"version": "3.8", "services": services}))  # JSON is YAML
    try:
        engine.compose("up", "-d", "--scale", "web=2")
        assert len(engine.compose("ps", "-q").out.split()) == 3
        until(lambda: bool(engine.compose("exec", "-T", "client", "sh", "-c", ASK.format("web") + "; true").out))
    finally:
        engine.compose("down", "-t", "0")
    engine("ps", "-aq").prints("")
