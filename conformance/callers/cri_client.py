"""The Container Runtime Interface as a kubelet speaks it: gRPC on a unix socket, by curl, which knows HTTP/2.

A call is one request and one answer, each a byte 0, the length and a message, so neither grpcio nor generated code is
needed: what stands between is this page's table of the fields that the scenarios use (k8s.io/cri-api, runtime/v1).
"""

from __future__ import annotations

import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Any

Field = tuple[int, str]
"""A field's number, and what it holds: a message's name below, or "" for a number, "s" for text, "*" before it for a list."""

NODE, CONTAINER, POD = 2, 1, 0
READY, NOT_READY = 0, 1
CREATED, RUNNING, EXITED = 0, 1, 2

_ID: dict[str, dict[str, Field]] = {
    name: {"container_id": (1, "s")}
    for name in ("StartContainerRequest", "RemoveContainerRequest", "ContainerStatusRequest", "ContainerStatsRequest")
}
_POD_ID: dict[str, dict[str, Field]] = {
    name: {"pod_sandbox_id": (1, "s")}
    for name in ("StopPodSandboxRequest", "RemovePodSandboxRequest", "PodSandboxStatusRequest", "RunPodSandboxResponse")
}
_EMPTY: dict[str, dict[str, Field]] = {
    name: {}
    for name in (
        "ListContainersRequest", "ListPodSandboxRequest", "RemoveContainerResponse", "RemovePodSandboxResponse",
        "StartContainerResponse", "StatusRequest", "StopContainerResponse", "StopPodSandboxResponse",
        "UpdateContainerResourcesResponse", "VersionRequest",
    )
}  # fmt: skip
MESSAGES: dict[str, dict[str, Field]] = {
    **_ID,
    **_POD_ID,
    **_EMPTY,
    "Capability": {"add_capabilities": (1, "*s"), "drop_capabilities": (2, "*s")},
    "ContainerConfig": {
        "metadata": (1, "ContainerMetadata"), "image": (2, "ImageSpec"), "command": (3, "*s"), "args": (4, "*s"),
        "working_dir": (5, "s"), "envs": (6, "*KeyValue"), "mounts": (7, "*Mount"), "log_path": (11, "s"),
        "linux": (15, "LinuxContainerConfig"),
    },
    "ContainerMetadata": {"name": (1, "s"), "attempt": (2, "")},
    "ContainerStats": {"cpu": (2, "CpuUsage"), "memory": (3, "MemoryUsage")},
    "ContainerStatsResponse": {"stats": (1, "ContainerStats")},
    "ContainerStatus": {"id": (1, "s"), "state": (3, ""), "exit_code": (7, ""), "reason": (10, "s"), "message": (11, "s")},
    "ContainerStatusResponse": {"status": (1, "ContainerStatus")},
    "CpuUsage": {"timestamp": (1, ""), "usage_core_nano_seconds": (2, "UInt64Value")},
    "CreateContainerRequest": {
        "pod_sandbox_id": (1, "s"), "config": (2, "ContainerConfig"), "sandbox_config": (3, "PodSandboxConfig"),
    },
    "CreateContainerResponse": {"container_id": (1, "s")},
    "ExecSyncRequest": {"container_id": (1, "s"), "cmd": (2, "*s"), "timeout": (3, "")},
    "ExecSyncResponse": {"stdout": (1, "s"), "stderr": (2, "s"), "exit_code": (3, "")},
    "Image": {"id": (1, "s"), "repo_tags": (2, "*s")},
    "ImageSpec": {"image": (1, "s")},
    "ImageStatusRequest": {"image": (1, "ImageSpec")},
    "ImageStatusResponse": {"image": (1, "Image")},
    "Int64Value": {"value": (1, "")},
    "KeyValue": {"key": (1, "s"), "value": (2, "s")},
    "LinuxContainerConfig": {
        "resources": (1, "LinuxContainerResources"), "security_context": (2, "LinuxContainerSecurityContext"),
    },
    "LinuxContainerResources": {
        "cpu_period": (1, ""), "cpu_quota": (2, ""), "cpu_shares": (3, ""), "memory_limit_in_bytes": (4, ""),
    },
    "LinuxContainerSecurityContext": {
        "capabilities": (1, "Capability"), "namespace_options": (3, "NamespaceOption"), "run_as_user": (5, "Int64Value"),
        "readonly_rootfs": (7, ""), "no_new_privs": (11, ""), "seccomp": (15, "SecurityProfile"),
    },
    "LinuxPodSandboxConfig": {
        "cgroup_parent": (1, "s"), "security_context": (2, "LinuxSandboxSecurityContext"), "sysctls": (3, "*KeyValue"),
    },
    "LinuxSandboxSecurityContext": {"namespace_options": (1, "NamespaceOption")},
    "ListContainersResponse": {"containers": (1, "*ContainerStatus")},
    "ListPodSandboxResponse": {"items": (1, "*PodSandboxStatus")},
    "MemoryUsage": {"timestamp": (1, ""), "working_set_bytes": (2, "UInt64Value")},
    "Mount": {"container_path": (1, "s"), "host_path": (2, "s"), "readonly": (3, "")},
    "NamespaceOption": {"network": (1, ""), "pid": (2, ""), "ipc": (3, ""), "target_id": (4, "s")},
    "PodSandboxConfig": {
        "metadata": (1, "PodSandboxMetadata"), "hostname": (2, "s"), "log_directory": (3, "s"),
        "linux": (8, "LinuxPodSandboxConfig"),
    },
    "PodSandboxMetadata": {"name": (1, "s"), "uid": (2, "s"), "namespace": (3, "s"), "attempt": (4, "")},
    "PodSandboxNetworkStatus": {"ip": (1, "s")},
    "PodSandboxStatus": {
        "id": (1, "s"), "state": (3, ""), "network": (5, "PodSandboxNetworkStatus"), "runtime_handler": (9, "s"),
    },
    "PodSandboxStatusResponse": {"status": (1, "PodSandboxStatus")},
    "RunPodSandboxRequest": {"config": (1, "PodSandboxConfig"), "runtime_handler": (2, "s")},
    "RuntimeCondition": {"type": (1, "s"), "status": (2, ""), "reason": (3, "s"), "message": (4, "s")},
    "RuntimeStatus": {"conditions": (1, "*RuntimeCondition")},
    "SecurityProfile": {"profile_type": (1, ""), "localhost_ref": (2, "s")},
    "StatusResponse": {"status": (1, "RuntimeStatus")},
    "StopContainerRequest": {"container_id": (1, "s"), "timeout": (2, "")},
    "UInt64Value": {"value": (1, "")},
    "UpdateContainerResourcesRequest": {"container_id": (1, "s"), "linux": (2, "LinuxContainerResources")},
    "VersionResponse": {"runtime_name": (2, "s"), "runtime_version": (3, "s"), "runtime_api_version": (4, "s")},
}  # fmt: skip


class CallError(AssertionError):
    """What the other side says went wrong, or curl."""


class Client:
    """Calls to the services of one socket."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket

    def __call__(self, method: str, seconds: float = 120, **fields: Any) -> dict[str, Any]:
        """``call("StopContainer", container_id="x")``: the answer's fields. Raises CallError."""
        message = encode(f"{method}Request", fields)
        service = "runtime.v1.ImageService" if method.startswith("Image") else "runtime.v1.RuntimeService"
        with tempfile.NamedTemporaryFile() as headers:
            words = ["curl", "--silent", "--show-error", "--http2-prior-knowledge", "--unix-socket", str(self.socket)]
            words += ["--max-time", str(seconds), "--header", "content-type: application/grpc", "--header", "te: trailers"]
            words += ["--data-binary", "@-", "--dump-header", headers.name, f"http://localhost/{service}/{method}"]
            done = subprocess.run(words, input=struct.pack(">BI", 0, len(message)) + message, capture_output=True)
            told = dict(line.split(": ", 1) for line in headers.read().decode().splitlines() if ": " in line)
        if done.returncode or told.get("grpc-status") != "0":
            raise CallError(f"{method}: {told.get('grpc-message') or done.stderr.decode().strip() or told}")
        compressed, size = struct.unpack_from(">BI", done.stdout)
        assert not compressed and len(done.stdout) == 5 + size, f"{method}: not one message: {done.stdout!r}"
        return decode(f"{method}Response", done.stdout[5:])


def encode(name: str, fields: dict[str, Any]) -> bytes:
    """A message of the table, in the protocol buffers' encoding. Raises KeyError for a field that it has not."""
    text = b""
    for key, value in fields.items():
        number, kind = MESSAGES[name][key]
        for item in value if kind.startswith("*") else [value]:
            if kind == "":
                text += _varint(number << 3) + _varint(int(item) & (1 << 64) - 1)
            else:
                data = item.encode() if kind.endswith("s") and isinstance(item, str) else encode(kind.lstrip("*"), item)
                text += _varint(number << 3 | 2) + _varint(len(data)) + data
    return text


def decode(name: str, text: bytes) -> dict[str, Any]:
    """The fields of the table; what is not there has its kind's default: 0, "", [] or {}."""
    known = {number: (key, kind) for key, (number, kind) in MESSAGES[name].items()}
    found: dict[str, Any] = {key: [] if kind[:1] == "*" else _default(kind) for key, (_, kind) in MESSAGES[name].items()}
    at = 0
    while at < len(text):
        tag, at = _read_varint(text, at)
        key, kind = known.get(tag >> 3, ("", ""))
        value: Any
        if tag & 7 == 0:
            value, at = _read_varint(text, at)
        elif tag & 7 == 2:
            size, at = _read_varint(text, at)
            data, at = text[at : at + size], at + size
            word = kind.lstrip("*")
            value = data.decode(errors="replace") if word in ("", "s") else decode(word, data)
        else:
            raise CallError(f"{name}: wire type {tag & 7} in {text!r}")
        if kind.startswith("*"):
            found[key].append(value)
        elif key:
            found[key] = value
    return found


def _default(kind: str) -> Any:
    return {"": 0, "s": ""}.get(kind, {})


def _varint(value: int) -> bytes:
    text = b""
    while value > 127:
        text += bytes([value & 127 | 128])
        value >>= 7
    return text + bytes([value])


def _read_varint(text: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = text[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at
