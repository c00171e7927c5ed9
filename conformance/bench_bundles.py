"""The bench's bundles: the default config, one of the weight of Docker's, and the default with the seccomp profile of that, on
one root file system of busybox."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from pyrunc.config.default import default_spec

PROJECT = Path(__file__).resolve().parent.parent
SHARED = PROJECT.parent / "shared/configs/docker.json"
REFUSED = {"bpf", "clone3", "keyctl", "kexec_load", "mount", "move_mount", "open_tree", "pivot_root", "ptrace", "reboot", "setns"}
MASKED = ["acpi", "asound", "kcore", "keys", "latency_stats", "sched_debug", "scsi", "timer_list", "timer_stats"]


def make_bundles(work: Path) -> list[Path]:
    """For each config two bundles: `run` ends at once, `wait` sleeps."""
    rootfs = work / "rootfs"
    for name in ("bin", "dev", "etc", "proc", "sys"):
        (rootfs / name).mkdir(parents=True)
    busybox = shutil.which("busybox") or sys.exit("bench: busybox is missing: apt-get install busybox-static")
    shutil.copy(busybox, rootfs / "bin/busybox")
    for name in ("sh", "sleep", "true"):
        (rootfs / "bin" / name).symlink_to("busybox")
    heavy, filtered = heavy_config(), light_config()
    filtered["linux"]["seccomp"] = heavy["linux"]["seccomp"]
    bundles = {"default": light_config(), "docker": heavy, "filtered": filtered}
    for name, config in bundles.items():
        config.update(root={"path": str(rootfs)}, ociVersion="1.0.2")  # the newest that Debian 12's crun reads
        for variant, args in (("run", ["/bin/true"]), ("wait", ["/bin/sleep", "1000"])):
            config["process"].update(args=args, terminal=False)
            (work / name / variant).mkdir(parents=True)
            (work / name / variant / "config.json").write_text(json.dumps(config))
    return [work / name for name in bundles]


def light_config() -> dict[str, Any]:
    return default_spec(rootless=False, cgroup2=Path("/sys/fs/cgroup/cgroup.controllers").exists(), uid=0, gid=0)


def heavy_config() -> dict[str, Any]:
    """Docker's own config where it is at hand, else one of the same weight: filter, devices, masks, mounts, limits."""
    if SHARED.exists():
        config: dict[str, Any] = json.loads(SHARED.read_text())
    else:
        config = light_config()
        linux = config["linux"]
        linux["seccomp"] = {
            "defaultAction": "SCMP_ACT_ERRNO",
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "syscalls": [
                {"names": sorted(syscalls() - REFUSED), "action": "SCMP_ACT_ALLOW"},
                {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1 << 17, "op": "SCMP_CMP_NE"}]},
                {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
            ],
        }
        linux["maskedPaths"] = [f"/proc/{name}" for name in MASKED] + ["/sys/firmware"]
        linux["readonlyPaths"] = [f"/proc/{name}" for name in ("bus", "fs", "irq", "sys", "sysrq-trigger")]
        devices = [("c", 1, minor) for minor in (3, 5, 7, 8, 9)] + [("c", 5, minor) for minor in (0, 1, 2)]
        rules = [{"allow": True, "type": kind, "major": major, "minor": minor, "access": "rwm"} for kind, major, minor in devices]
        linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}, *rules], "memory": {"limit": 256 << 20}}
        linux["resources"].update(pids={"limit": 100}, cpu={"shares": 512})
        linux["sysctl"] = {"net.ipv4.ip_unprivileged_port_start": "0"}
    config.pop("hooks", None)
    config["linux"].pop("cgroupsPath", None)  # each runtime's own, which the container's ID names
    config["mounts"] = [mount for mount in config["mounts"] if mount.get("type") != "bind"]
    return config


def syscalls() -> set[str]:
    """The names of this machine's system calls, from the kernel's header that the build needs as well."""
    command = ["gcc", "-E", "-dM", "-include", "asm/unistd.h", "-xc", "/dev/null"]
    text = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return set(re.findall(r"#define __NR_(\w+) ", text))
