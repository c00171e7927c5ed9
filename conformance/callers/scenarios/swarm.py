"""Two engines as a swarm: a service is scaled, drained from a node and rolled to another image."""

from __future__ import annotations

from conformance.callers.docker import Swarm
from conformance.callers.material import IMAGE
from conformance.callers.scenarios.table import on, until

swarm = on("swarm")

REPLICAS = 6
SECONDS = 120.0


@swarm
def nodes(engine: Swarm) -> None:
    """two nodes, ready, each with the runtime as its default"""
    engine.manager("node", "ls", "--format", "{{.Status}} {{.Availability}}").prints("Ready Active\nReady Active")
    for node in engine.nodes:
        node("info", "--format", "{{.DefaultRuntime}}").prints(node.runtime.name)


@swarm
def service(engine: Swarm) -> None:
    """a service of six: created, scaled down and up, drained from a node, rolled to a new image, removed; nothing is lost"""
    for node in engine.nodes:
        node("import", "--change", "LABEL next=yes", node.layer, NEXT)
    engine.manager(
        "service", "create", "--detach", "--name", "svc", "--replicas", REPLICAS, "--endpoint-mode", "dnsrr",
        "--no-resolve-image", "--stop-grace-period", "1s", "--limit-memory", "32m", IMAGE, "sleep", "10000",
    )  # fmt: skip
    try:
        until(lambda: replicas(engine) == [3, 3], SECONDS)
        engine.manager("service", "scale", "--detach", "svc=2")
        until(lambda: sum(replicas(engine)) == 2, SECONDS)
        engine.manager("service", "scale", "--detach", f"svc={REPLICAS}")
        until(lambda: replicas(engine) == [3, 3], SECONDS)
        engine.manager("node", "update", "--availability", "drain", worker(engine))
        until(lambda: replicas(engine) == [REPLICAS, 0], SECONDS)
        engine.manager("node", "update", "--availability", "active", worker(engine))
        options = ("--update-parallelism", "2", "--update-delay", "0s", "--update-order", "start-first")
        engine.manager("service", "update", "--detach", "--no-resolve-image", *options, "--image", NEXT, "svc")
        state = ("service", "inspect", "--format", "{{.UpdateStatus.State}}", "svc")
        until(lambda: engine.manager(*state).out.strip() == "completed", SECONDS)
        until(lambda: sum(replicas(engine)) == sum(replicas(engine, NEXT)) == REPLICAS, SECONDS)
    finally:
        engine.manager("service", "rm", "svc")
        until(lambda: not any(node("ps", "-aq").out.strip() for node in engine.nodes), SECONDS)


NEXT = "localhost/busybox:next"


def worker(engine: Swarm) -> str:
    return engine.worker("info", "--format", "{{.Swarm.NodeID}}").out.strip()


def replicas(engine: Swarm, image: str | None = None) -> list[int]:
    """How many tasks of the service run on the manager and on the worker, as the nodes themselves see them."""
    chosen = ["--filter", f"ancestor={image}"] if image else []
    return [len(node("ps", "-q", "--filter", "status=running", *chosen).out.split()) for node in engine.nodes]
