"""The configuration that ``pyrunc spec`` writes: what ``runc spec`` of runc 1.5 writes, so that scripts may edit either."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OCI_VERSION = "1.3.0"
CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
MASKED_PATHS = [
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
]  # fmt: skip
READONLY_PATHS = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def default_spec(*, rootless: bool, cgroup2: bool, uid: int, gid: int) -> dict[str, Any]:
    """Make a config.json for a shell on a terminal in a read-only ``rootfs`` beside it, its keys in runc's order.

    `cgroup2`: the host has the unified hierarchy, so the container gets a cgroup namespace. `rootless`: a user namespace
    in which `uid` and `gid`, the caller's, are root; the host's network and /sys, since neither can be had without
    privilege, and no resources. Every call makes a new document that the caller may change.
    """
    return {
        "ociVersion": OCI_VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {kind: list(CAPABILITIES) for kind in ("bounding", "effective", "permitted")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "runc",
        "mounts": _mounts(rootless),
        "linux": _linux(rootless, cgroup2, uid, gid),
    }


def _mounts(rootless: bool) -> list[dict[str, Any]]:
    no_exec = ["nosuid", "noexec", "nodev"]
    # Group 5, tty, has no mapping in a user namespace with one group.
    pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", *([] if rootless else ["gid=5"])]
    sys = ("none", "/sys", ["rbind", *no_exec, "ro"]) if rootless else ("sysfs", "sysfs", [*no_exec, "ro"])
    return [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", "devpts", pts),
        _mount("/dev/shm", "tmpfs", "shm", [*no_exec, "mode=1777", "size=65536k"]),
        _mount("/dev/mqueue", "mqueue", "mqueue", no_exec),
        _mount("/sys", *sys),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", [*no_exec, "relatime", "ro"]),
    ]


def _mount(destination: str, kind: str, source: str, options: list[str]) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": options}


def _linux(rootless: bool, cgroup2: bool, uid: int, gid: int) -> dict[str, Any]:
    kinds = ["pid", *([] if rootless else ["network"]), "ipc", "uts", "mount"]
    kinds += ["cgroup"] if cgroup2 else []
    kinds += ["user"] if rootless else []
    linux: dict[str, Any] = {}
    if rootless:
        linux["uidMappings"] = [{"containerID": 0, "hostID": uid, "size": 1}]
        linux["gidMappings"] = [{"containerID": 0, "hostID": gid, "size": 1}]
    else:
        linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    linux["namespaces"] = [{"type": kind} for kind in kinds]
    linux["maskedPaths"] = list(MASKED_PATHS)
    linux["readonlyPaths"] = list(READONLY_PATHS)
    return linux
