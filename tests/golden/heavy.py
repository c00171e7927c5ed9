"""A configuration of the size that container engines write: our own, and the same at every call."""

from __future__ import annotations

from typing import Any

from pyrunc.config.default import MASKED_PATHS, READONLY_PATHS

KEPT = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
    "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
)  # fmt: skip


def docker_like(*, binds: int = 3, variables: int = 12) -> dict[str, Any]:
    """What a long `docker run` becomes, without seccomp: a joined network, `binds` volumes, a hook, limits."""
    return {
        "ociVersion": "1.0.2",
        "process": _process(variables),
        "root": {"path": "/var/lib/engine/overlay/0123456789abcdef/merged"},
        "hostname": "0123456789ab",
        "mounts": _mounts() + [_volume(i) for i in range(binds)],
        "hooks": {"prestart": [{"path": "/proc/4321/exe", "args": ["set-network", "0123456789abcdef"]}]},
        "annotations": {"org.example.engine": "heavy"},
        "linux": _linux(),
    }


def _process(variables: int) -> dict[str, Any]:
    return {
        "user": {"uid": 999, "gid": 999, "additionalGids": [999, 27, 101]},
        "args": ["docker-entrypoint.sh", "postgres", "-c", "shared_buffers=128MB"],
        "env": [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOSTNAME=0123456789ab",
            *(f"SETTING_{i}=value {i}" for i in range(variables)),
        ],
        "cwd": "/var/lib/data",
        "capabilities": {kind: list(KEPT) for kind in ("bounding", "effective", "permitted")},
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 4096, "soft": 1024}],
        "oomScoreAdj": 100,
    }


def _mounts() -> list[dict[str, Any]]:
    private = ["nosuid", "noexec", "nodev"]
    return [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": private},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666", "gid=5"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*private, "ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro", *private]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": private},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": [*private, "mode=1777", "size=67108864"]},
        *(
            {"destination": f"/etc/{name}", "type": "bind", "source": f"/var/lib/engine/{name}", "options": ["rbind", "rprivate"]}
            for name in ("resolv.conf", "hostname", "hosts")
        ),
    ]


def _volume(number: int) -> dict[str, Any]:
    options = ["rbind", "rprivate"] if number % 2 else ["rbind", "ro", "rslave"]
    return {"destination": f"/volumes/{number}", "type": "bind", "source": f"/srv/volume-{number}", "options": options}


def _linux() -> dict[str, Any]:
    return {
        "sysctl": {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"},
        "resources": {
            "devices": [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "rwm"}],
            "memory": {"limit": 536870912, "swap": 1073741824},
            "cpu": {"shares": 512, "quota": 50000, "period": 100000},
            "pids": {"limit": 100},
        },
        "cgroupsPath": "/engine/0123456789abcdef",
        "namespaces": [
            *({"type": kind} for kind in ("mount", "uts", "pid", "ipc")),
            {"type": "network", "path": "/run/netns/0123456789ab"},
        ],
        "maskedPaths": list(MASKED_PATHS),
        "readonlyPaths": list(READONLY_PATHS),
    }
