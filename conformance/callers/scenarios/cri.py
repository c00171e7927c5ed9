"""What a kubelet does: pods with containers, by the Container Runtime Interface."""

from __future__ import annotations

import os
from pathlib import Path

from conformance.callers.cri import Cri, await_
from conformance.callers.cri_client import CREATED, EXITED, NODE, NOT_READY, POD, READY, RUNNING, CallError
from conformance.callers.scenarios.table import LOOP, on

cri = on("cri")
SLEEP = ("/bin/sleep", "1000")


@cri
def ready(engine: Cri) -> None:
    """Version, Status: the runtime and the network are ready"""
    assert engine.call("Version")["runtime_name"] == "containerd"
    conditions = {entry["type"]: entry["status"] for entry in engine.call("Status")["status"]["conditions"]}
    assert conditions == {"RuntimeReady": 1, "NetworkReady": 1}


@cri
def handler(engine: Cri) -> None:
    """RunPodSandbox: the handler of a RuntimeClass; one that is unknown is refused"""
    with engine.pod() as pod:
        assert (pod.status()["state"], pod.status()["runtime_handler"]) == (READY, engine.handler)
        assert pod.id in engine.records()
    try:
        engine.call("RunPodSandbox", config=engine.pod_config("none"), runtime_handler="nosuch")
    except CallError as error:
        assert "nosuch" in str(error), error
    else:
        raise AssertionError("a pod of an unknown handler runs")


@cri
def two_containers(engine: Cri) -> None:
    """a pod of two containers: what they share, ExecSync, logs, stop, remove"""
    with engine.pod() as pod:
        a, b = pod.create("a", "/bin/sh", "-c", LOOP), pod.create("b", *SLEEP)
        assert pod.container(a)["state"] == CREATED
        for container in (a, b):
            engine.call("StartContainer", container_id=container)
            assert pod.container(container)["state"] == RUNNING
        for kind, same in (("net", True), ("ipc", True), ("uts", True), ("pid", False), ("mnt", False)):
            found = {pod.prints(container, f"readlink /proc/1/ns/{kind}") for container in (a, b)}
            assert (len(found) == 1) == same and os.readlink(f"/proc/self/ns/{kind}") not in found, kind
        assert pod.status()["network"]["ip"] in pod.prints(b, "ip -4 address show eth0")
        assert pod.prints(a, "hostname") == pod.config["hostname"]
        done = pod.exec(b, "/bin/sh", "-c", "echo out; echo err >&2; exit 5")
        assert done == {"stdout": "out\n", "stderr": "err\n", "exit_code": 5}
        await_(lambda: pod.log("a") == "up\n")
        engine.call("StopContainer", container_id=a, timeout=20)
        ended = pod.ended(a)
        assert (ended["exit_code"], ended["reason"], pod.log("a")) == (3, "Error", "up\nterm\n"), ended
        assert pod.container(b)["state"] == RUNNING
        engine.call("RemoveContainer", container_id=a)
        again = pod.start("a", "/bin/sh", "-c", "echo again")
        assert (pod.ended(again)["exit_code"], pod.log("a").splitlines()[-1]) == (0, "again")
        engine.call("RemoveContainer", container_id=again)
        engine.call("StopContainer", container_id=b, timeout=0)
        assert pod.ended(b)["exit_code"] == 137
        engine.call("StopPodSandbox", pod_sandbox_id=pod.id)
        assert pod.status()["state"] == NOT_READY and pod.container(b)["state"] == EXITED


@cri
def shared_processes(engine: Cri) -> None:
    """shareProcessNamespace: the containers see each other's processes"""
    with engine.pod(pid=POD) as pod:
        a, b = (pod.start(name, *SLEEP) for name in ("a", "b"))
        assert pod.prints(a, "readlink /proc/self/ns/pid") == pod.prints(b, "readlink /proc/self/ns/pid")
        assert pod.prints(a, "pidof sleep | wc -w") == "3"  # the sandbox's own is one of them


@cri
def host_network(engine: Cri) -> None:
    """hostNetwork, hostPID, hostIPC: the node's namespaces"""
    with engine.pod(network=NODE, pid=NODE, ipc=NODE) as pod:
        a = pod.start("a", *SLEEP)
        node = engine.sandbox.run("readlink", "/proc/self/ns/net", env=engine.environment()).out.strip()
        assert pod.prints(a, "readlink /proc/self/ns/net") == node
        for kind in ("pid", "ipc"):
            assert pod.prints(a, f"readlink /proc/self/ns/{kind}") == os.readlink(f"/proc/self/ns/{kind}")


@cri
def resources(engine: Cri) -> None:
    """limits, UpdateContainerResources, ContainerStats, OOMKilled"""
    with engine.pod() as pod:
        limits = {"memory_limit_in_bytes": 64 << 20, "cpu_quota": 50000, "cpu_period": 100000, "cpu_shares": 512}
        a = pod.start("a", *SLEEP, resources=limits)
        (group,) = {group for group in engine.sandbox.cgroups() if group.name == a and (group / "memory.stat").exists()}
        file = next(path for name in ("memory.max", "memory.limit_in_bytes") if (path := group / name).exists())
        assert file.read_text().strip() == str(64 << 20)
        engine.call("UpdateContainerResources", container_id=a, linux={**limits, "memory_limit_in_bytes": 32 << 20})
        assert file.read_text().strip() == str(32 << 20)
        stats = engine.call("ContainerStats", container_id=a)["stats"]
        assert stats["cpu"]["usage_core_nano_seconds"]["value"] > 0, stats
        assert 0 < stats["memory"]["working_set_bytes"]["value"] < 32 << 20, stats
        b = pod.start("b", "/bin/sh", "-c", "x=a; while :; do x=$x$x; done", resources={"memory_limit_in_bytes": 16 << 20})
        ended = pod.ended(b)
        assert ended["exit_code"] == 137 and ended["reason"] in ("OOMKilled", "Error"), ended


@cri
def security(engine: Cri) -> None:
    """securityContext: user, read-only root, capabilities, seccomp, no_new_privs; volumes and env"""
    volume = engine.work / "pod-volume"
    volume.mkdir()
    (volume / "file").write_text("data\n")
    context = {
        "run_as_user": {"value": 1000}, "readonly_rootfs": True, "capabilities": {"drop_capabilities": ["ALL"]},
        "seccomp": {"profile_type": 0}, "no_new_privs": True,
    }  # fmt: skip
    mounts = [{"container_path": "/v", "host_path": str(volume), "readonly": True}]
    with engine.pod() as pod:
        a = pod.start("a", *SLEEP, security=context, mounts=mounts, envs=[{"key": "K", "value": "v"}], working_dir="/tmp")
        for script, expected in (
            ("id -u; pwd; echo $K; cat /v/file", "1000\n/tmp\nv\ndata"),
            ("touch /tmp/x /v/x 2>&1 | grep -c 'Read-only'", "2"),
            ("grep -E '^(CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | cut -f2 | tr '\\n' ' '", "0000000000000000 1 2"),
        ):
            assert pod.prints(a, script) == expected, script


@cri
def what_cannot_start(engine: Cri) -> None:
    """StartContainer: a missing command is told; ExecSync too, and its time-out"""
    with engine.pod() as pod:
        for command, text in (("/no/such", "no such file or directory"), ("nosuch", "executable file not found in $PATH")):
            try:
                pod.start(Path(command).name, command)
            except CallError as error:
                assert text in str(error), error
            else:
                raise AssertionError(f"{command} has started")
        a = pod.start("a", *SLEEP)
        for words, seconds, text in ((("/no/such",), 30, "no such file"), (SLEEP, 1, "timeout")):
            try:
                done = pod.exec(a, *words, seconds=seconds)
            except CallError as error:
                assert text in str(error), error
            else:
                raise AssertionError(done)
        assert pod.prints(a, "echo alive") == "alive"


@cri
def removed_by_force(engine: Cri) -> None:
    """RemovePodSandbox of a pod whose containers run"""
    with engine.pod() as pod:
        pod.start("a", "/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.05; done")
        pod.create("b", *SLEEP)
