"""linux.netDevices: devices of the host that become the container's.

"The host" is here a network namespace of the test's own: no device of this machine is touched.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PROJECT, until
from tests.lifecycle.box import Box, one_line
from tests.netns import LINK_SCOPE, NetNs

IPV6 = os.path.exists("/proc/net/if_inet6")


@pytest.fixture
def outside() -> Iterator[NetNs]:
    """What pyrunc takes for the host's network, with the device eth9 in it, whose other end is far."""
    with NetNs() as namespace:
        try:
            namespace.veth("eth9", "far")
        except OSError as error:
            pytest.skip(f"the kernel has no veth devices: {error}")
        yield namespace


def create(box: Box, outside: NetNs, **devices: Any) -> NetNs:
    """The network namespace of the container that was created with these devices."""
    box.linux["netDevices"] = devices
    box.args("sleep", "1000")
    return NetNs.of(box.create(preexec_fn=outside.enter))


def refused(box: Box, outside: NetNs, **devices: Any) -> str:
    box.linux["netDevices"] = devices
    return box.refused(preexec_fn=outside.enter)


def test_a_device_with_its_addresses_under_a_new_name(box: Box, outside: NetNs) -> None:
    """The permanent ones of global scope, up, whatever it was before; and the program sees it."""
    outside.address("eth9", "10.1.0.2/24")
    outside.address("eth9", "10.1.0.3/24")
    outside.address("eth9", "10.2.0.1/32")
    outside.address("eth9", "10.3.0.1/24", scope=LINK_SCOPE)
    outside.address("eth9", "10.4.0.1/24", seconds=10_000)
    kept = ["10.1.0.2/24", "10.2.0.1/32", "10.1.0.3/24"]
    if IPV6:
        outside.address("eth9", "fd00::2/64")
        kept.append("fd00::2/64")
    with create(box, outside, eth9={"name": "lan0"}) as inside:
        assert sorted(inside.links()) == ["lan0", "lo"] and "eth9" not in outside.links()
        assert inside.is_up("lan0") and inside.is_up("lo")
        assert sorted(inside.addresses("lan0")) == sorted(kept)
        box.start()
        assert "lan0" in box.ex("cat /proc/net/dev")
    box.down()


def test_the_name_is_kept_if_none_is_given(box: Box, outside: NetNs) -> None:
    outside.change("eth9", up=True)
    with create(box, outside, eth9={}) as inside:
        assert sorted(inside.links()) == ["eth9", "lo"] and inside.is_up("eth9")
    box.down()


def test_several(box: Box, outside: NetNs) -> None:
    outside.veth("eth8", "eth7")
    devices = {"eth9": {"name": "eth%d"}, "eth8": {"name": "eth%d"}, "eth7": {"name": None}, "far": {"name": "eth9"}}
    with create(box, outside, **devices) as inside:
        assert sorted(inside.links()) == ["eth0", "eth1", "eth7", "eth9", "lo"]
        assert list(outside.links()) == ["lo"]
    box.down()


def test_names_that_are_exchanged_on_the_way(box: Box, outside: NetNs) -> None:
    """Neither is in the way of the other, as they go one after the other into an empty namespace."""
    outside.address("eth9", "10.1.0.2/24")
    with create(box, outside, eth9={"name": "far"}, far={"name": "eth9"}) as inside:
        assert inside.addresses("far") == ["10.1.0.2/24"] and inside.addresses("eth9") == []
    box.down()


def test_into_a_user_namespace(box: Box, outside: NetNs) -> None:
    """Its root has no right over the host's devices; the runtime has."""
    box.map_ids()
    outside.address("eth9", "10.1.0.2/24")
    with create(box, outside, eth9={"name": "eth0"}) as inside:
        assert inside.addresses("eth0") == ["10.1.0.2/24"] and inside.is_up("eth0")
    box.down()


def test_it_is_not_moved_back(box: Box, outside: NetNs) -> None:
    """The container's namespace goes, and a virtual device with it."""
    with create(box, outside, eth9={}):
        pass
    box.down()
    until(lambda: "far" not in outside.links(), 30, "the container's end of the pair did not go with its namespace")
    assert "eth9" not in outside.links()


def test_what_is_in_a_joined_namespace_stays_there(box: Box, outside: NetNs) -> None:
    with NetNs() as pod:
        pod.veth("eth0", "eth1")
        holder = subprocess.Popen(["sleep", "1000"], preexec_fn=pod.enter)
        try:
            box.namespace("network", f"/proc/{holder.pid}/ns/net")
            with create(box, outside, eth9={"name": "eth%d"}) as inside:
                assert sorted(inside.links()) == ["eth0", "eth1", "eth2", "lo"]
            box.down()
            assert pod.is_up("eth2")
        finally:
            holder.kill()
            holder.wait()


def test_host_hooks_find_it_inside(box: Box, outside: NetNs) -> None:
    """Of createRuntime the pid in the state leads to the namespace; and the program of `run` has it from the start."""
    seen = box.bundle.path / "seen"
    box.config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", f"""
        pid=$(sed -n 's/.*"pid":[ ]*\\([0-9]*\\).*/\\1/p')
        cat /proc/$pid/net/dev > {seen}"""]}]}  # fmt: skip
    box.linux["netDevices"] = {"eth9": {"name": "lan0"}}
    assert "lan0" in box.sh("cat /proc/net/dev", preexec_fn=outside.enter)
    assert "lan0" in seen.read_text()


# --- what goes wrong ---------------------------------------------------------------------------------------------------------


def test_a_device_that_is_not_there(box: Box, outside: NetNs) -> None:
    """Nothing is moved if one is missing."""
    message = refused(box, outside, eth9={}, nothing={})
    assert message.endswith("linux.netDevices.nothing: there is no such network device")
    assert "eth9" in outside.links()


def test_the_loopback_device(box: Box, outside: NetNs) -> None:
    assert refused(box, outside, lo={"name": "x"}).endswith("linux.netDevices.lo: a loopback device cannot be moved")


def test_a_device_that_may_not_leave_its_namespace(box: Box, outside: NetNs) -> None:
    """The kernel knows which: the error is its own, and the device is as it was."""
    outside.bridge("br0")
    outside.address("br0", "10.1.0.1/24")
    outside.change("br0", up=True)
    with NetNs() as other:
        try:
            outside.change("br0", move=other)
        except OSError:
            pass
        else:
            pytest.skip("this kernel lets a bridge go")
    message = refused(box, outside, br0={})
    assert "linux.netDevices.br0: move br0 into the container as br0: " in message
    assert outside.is_up("br0") and outside.addresses("br0") == ["10.1.0.1/24"]


def test_a_name_that_is_taken(box: Box, outside: NetNs) -> None:
    with NetNs() as pod:
        pod.veth("eth0", "eth1")
        holder = subprocess.Popen(["sleep", "1000"], preexec_fn=pod.enter)
        try:
            box.namespace("network", f"/proc/{holder.pid}/ns/net")
            message = refused(box, outside, far={}, eth9={"name": "eth0"})
            assert message.endswith("linux.netDevices.eth9: a network device called eth0 is in the container already")
            assert sorted(outside.links()) == ["eth9", "far", "lo"]
            assert sorted(pod.links()) == ["eth0", "eth1", "lo"]
        finally:
            holder.kill()
            holder.wait()


@pytest.mark.parametrize("late", ["a hook", "a program"])
def test_a_container_that_fails_later_gives_them_back(box: Box, outside: NetNs, late: str) -> None:
    """With their names, addresses and state: a create that fails must leave the host as it was."""
    outside.address("eth9", "10.1.0.2/24")
    outside.change("eth9", up=True)
    if late == "a hook":
        box.config["hooks"] = {"createRuntime": [{"path": "/bin/false"}]}
    else:
        box.process["args"] = ["no-such-program"]
    refused(box, outside, eth9={"name": "eth0"}, far={"name": "eth1"})
    assert sorted(outside.links()) == ["eth9", "far", "lo"]
    assert outside.is_up("eth9") and not outside.is_up("far")
    assert outside.addresses("eth9") == ["10.1.0.2/24"]


@pytest.mark.parametrize(
    ("devices", "where", "what"),
    [
        ({"": {}}, 'linux.netDevices[""]', "1 to 15 bytes"),
        ({"a" * 16: {}}, "linux.netDevices." + "a" * 16, "1 to 15 bytes"),
        ({"eth9": {"name": "a" * 16}}, "linux.netDevices.eth9.name", "1 to 15 bytes"),
        ({"eth9": {"name": "é" * 8}}, "linux.netDevices.eth9.name", "1 to 15 bytes"),
        ({"..": {}}, 'linux.netDevices[".."]', "neither . nor .."),
        ({"eth9": {"name": "."}}, "linux.netDevices.eth9.name", "neither . nor .."),
        ({"eth9": {"name": "a/b"}}, "linux.netDevices.eth9.name", "slash"),
        ({"eth9": {"name": "a:b"}}, "linux.netDevices.eth9.name", "colon"),
        ({"eth9": {"name": "a\tb"}}, "linux.netDevices.eth9.name", "space"),
        ({"eth%d": {}}, 'linux.netDevices["eth%d"]', "as %d"),
        ({"eth9": {"name": "e%s"}}, "linux.netDevices.eth9.name", "as %d"),
        ({"eth9": {"name": "e%d%d"}}, "linux.netDevices.eth9.name", "as %d"),
        ({"eth9": {"name": "far"}, "far": {}}, "linux.netDevices.far.name", "also the name of linux.netDevices.eth9"),
    ],
)
def test_names_that_no_device_can_have(box: Box, outside: NetNs, devices: dict[str, Any], where: str, what: str) -> None:
    message = refused(box, outside, **devices)
    assert f"{where}: " in message and what in message
    assert sorted(outside.links()) == ["eth9", "far", "lo"]


def test_it_needs_a_network_namespace(box: Box, outside: NetNs) -> None:
    """Of the container's own: neither none at all, nor the path of the runtime's."""
    box.share("network")
    assert "linux.netDevices: needs a network namespace" in refused(box, outside, eth9={})
    box.namespace("network", "/proc/self/ns/net")
    assert "linux.netDevices: needs a network namespace" in refused(box, outside, eth9={})
    assert "eth9" in outside.links()


def test_a_rootless_runtime_says_why_not(box: Box) -> None:
    box.map_ids()
    box.linux["netDevices"] = {"eth9": {}}
    box.bundle.write()
    box.bundle.path.chmod(0o755)
    done = box.cli("plan", "--bundle", box.bundle, check=1, preexec_fn=lambda: os.setuid(1000))
    assert "linux.netDevices: cannot be moved into a rootless container" in one_line(done)


# --- two hosts' worth of network -----------------------------------------------------------------------------------------------

HOOK = """
import json, os, sys
sys.path.insert(0, {project!r})
from tests.netns import NetNs

with NetNs(os.open("/proc/self/ns/net", os.O_RDONLY)) as here, NetNs.of(json.load(sys.stdin)["pid"]) as inside:
    here.change("hooked", move=inside)
    inside.address("hooked", "10.55.0.3/24")
    inside.change("hooked", up=True)
"""


class Server:
    """Tells whoever connects where it sees him come from."""

    def __init__(self, namespace: NetNs, address: str) -> None:
        self.listening = namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.listening.bind((address, 0))
        self.listening.listen()
        self.port = self.listening.getsockname()[1]
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, (address, _) = self.listening.accept()
            except OSError:
                return
            with client:
                client.sendall(f"hello {address}\n".encode())

    def close(self) -> None:
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        self.thread.join()


def test_two_containers_and_a_server_over_a_bridge(boxes: Callable[[], Box], outside: NetNs, tmp_path: Path) -> None:
    """One has its end of a cable by netDevices, the other by a createRuntime hook, as before there were netDevices; both
    reach the server, which is on another machine as far as the kernel can tell."""
    with NetNs() as far:
        outside.bridge("br0")
        outside.veth("given", "port0")
        outside.veth("hooked", "port1")
        outside.veth("port2", "eth0", far)
        for name in ("port0", "port1", "port2"):
            outside.change(name, up=True, master="br0")
        outside.change("br0", up=True)
        outside.address("given", "10.55.0.2/24")
        far.address("eth0", "10.55.0.1/24")
        far.change("eth0", up=True)
        server = Server(far, "10.55.0.1")
        try:
            ask = f"nc -w 30 10.55.0.1 {server.port} </dev/null"
            first, second = boxes(), boxes()
            first.linux["netDevices"] = {"given": {"name": "eth0"}}
            (tmp_path / "hook.py").write_text(HOOK.format(project=str(PROJECT)))
            second.config["hooks"] = {"createRuntime": [{"path": sys.executable, "args": ["python", str(tmp_path / "hook.py")]}]}
            assert first.sh(ask, preexec_fn=outside.enter) == "hello 10.55.0.2\n"
            assert second.sh(ask, preexec_fn=outside.enter) == "hello 10.55.0.3\n"
        finally:
            server.close()
        until(lambda: not {"port0", "port1"} & outside.links().keys(), 30, "the cables did not go with the containers")


def test_a_plan_names_what_will_be_moved(box: Box) -> None:
    box.linux["netDevices"] = {"eth9": {"name": "eth%d"}}
    box.bundle.write()
    plan = json.loads(box.cli("plan", "--format", "json", "--bundle", box.bundle, check=True).stdout)
    assert "eth9 as eth%d" in next(op["describe"] for op in plan if op["op"] == "net_devices")
