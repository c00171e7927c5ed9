"""Rules beyond the schema: a good and a bad case for each, in tables."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pyrunc.config.default import default_spec
from pyrunc.config.rules.container import check
from pyrunc.config.rules.mounts import BIND_WITH_DATA, PROC_OVERMOUNTS
from pyrunc.config.rules.process import check_process, unknown_capabilities
from pyrunc.errors import ConfigError

Change = dict[str, Any]
GONE = object()


def config(change: Change | None = None) -> dict[str, Any]:
    """The default configuration with some properties changed: path with dots -> new value, GONE to remove it."""
    document = default_spec(rootless=False, cgroup2=False, uid=0, gid=0)
    for path, value in (change or {}).items():
        *parents, last = path.split(".")
        place = document
        for parent in parents:
            place = place.setdefault(parent, {})
        if value is GONE:
            place.pop(last, None)
        else:
            place[last] = copy.deepcopy(value)
    return document


def faults(document: dict[str, Any], **kw: Any) -> list[tuple[str, str]]:
    try:
        check(document, **kw)
    except ConfigError as error:
        assert error.faults
        return error.faults
    return []


def namespaces(*kinds: str, **joined: str) -> list[dict[str, str]]:
    return [{"type": kind} for kind in kinds] + [{"type": kind, "path": path} for kind, path in joined.items()]


def mapping(container: int, host: int, size: int) -> dict[str, int]:
    return {"containerID": container, "hostID": host, "size": size}


def user_namespace(uids: list[dict[str, int]], gids: list[dict[str, int]]) -> Change:
    return {
        "linux.namespaces": namespaces("pid", "ipc", "uts", "mount", "network", "user"),
        "linux.uidMappings": uids,
        "linux.gidMappings": gids,
    }


ALL = namespaces("pid", "network", "ipc", "uts", "mount", "user", "cgroup", "time")
ONE = [mapping(0, 1000, 1)]
MANY = [mapping(0, 100000, 65536)]
MAPPED = user_namespace(MANY, MANY)
TIME = {"linux.namespaces": namespaces("uts", "mount", "time")}
DEVICE = {"type": "c", "path": "/dev/x", "major": 1, "minor": 3}


def mount(**changed: Any) -> Change:
    return {"mounts": [{"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", **changed}]}


def bind(*options: str, **changed: Any) -> Change:
    return mount(**{"type": "none", "source": "/src", "options": list(options), **changed})


def hook(**changed: Any) -> Change:
    return {"hooks": {"createRuntime": [{"path": "/bin/true"}, {"path": "/bin/true", **changed}]}}


def rlimits(*triples: tuple[str, int, int]) -> Change:
    return {"process.rlimits": [{"type": kind, "soft": soft, "hard": hard} for kind, soft, hard in triples]}


GOOD: dict[str, Change] = {
    "default": {},
    "version-0-rc": {"ociVersion": "1.0.0-rc5"},
    "version-dev": {"ociVersion": "1.0.2-dev"},
    "version-later": {"ociVersion": "1.97.0+build.5"},
    "nulls": {
        "mounts": None, "hooks": None, "annotations": None, "hostname": None, "process.rlimits": None, "process.user": None,
        "process.capabilities": None, "process.consoleSize": None, "process.oomScoreAdj": None, "linux.resources": None,
        "linux.devices": None, "linux.sysctl": None, "linux.seccomp": None, "linux.timeOffsets": None,
        "linux.uidMappings": None, "linux.cgroupsPath": None, "linux.rootfsPropagation": None, "linux.intelRdt": None,
        "linux.personality": None, "process.scheduler": None, "linux.maskedPaths": None, "linux.readonlyPaths": None,
    },
    "no-linux": {"linux": None, "hostname": GONE},
    "bytes-that-are-no-text": {"process.args": ["sh", "\udc80\udcff"], "process.env": ["A=\udcfe"]},
    "empty-argument": {"process.args": ["sh", ""]},
    "env-value-empty": {"process.env": ["A=", "B==", "C=a\nb"]},
    "score-lowest": {"process.oomScoreAdj": -1000},
    "score-highest": {"process.oomScoreAdj": 1000},
    "console-size": {"process.consoleSize": {"height": 65535, "width": 0}},
    "console-size-without-terminal": {"process.consoleSize": {"height": 1 << 40, "width": 1}, "process.terminal": False},
    "rlimits": rlimits(("RLIMIT_CPU", 1, 1), ("RLIMIT_RTTIME", 0, (1 << 64) - 1)),
    "unknown-capability": {"process.capabilities": {"bounding": ["CAP_FLY"]}},
    "umask": {"process.user": {"uid": 0, "gid": 0, "umask": 0o777}},
    "umask-0": {"process.user": {"umask": 0}},
    "user": {"process.user": {"uid": 4294967294, "gid": 1, "additionalGids": [0, 0, 5]}},
    "exec-affinity-is-not-for-init": {"process.execCPUAffinity": {"initial": "0"}},
    "host-name-64": {"hostname": "h" * 64, "domainname": "é" * 32},
    "joined-uts": {"linux.namespaces": namespaces("mount", uts="/proc/1/ns/uts")},
    "all-namespaces": {"linux.namespaces": ALL, "linux.uidMappings": ONE, "linux.gidMappings": ONE},
    "user-namespace-joined": {"linux.namespaces": namespaces("mount", "uts", user="/proc/1/ns/user")},
    "user-namespace-joined-with-maps": {**MAPPED, "linux.namespaces": namespaces("mount", "uts", user="/proc/1/ns/user")},
    "id-mapped": {**MAPPED, "process.user": {"uid": 65535, "gid": 65535, "additionalGids": [1]}},
    "ranges-touch": user_namespace([mapping(0, 10, 5), mapping(5, 15, 5), mapping(10, 0, 10)], ONE),
    "range-to-the-highest": user_namespace([mapping(0, 4294967294, 1), mapping(4294967294, 0, 1)], ONE),
    "340-mappings": user_namespace([mapping(i, i, 1) for i in range(340)], ONE),
    "time-offsets": {**TIME, "linux.timeOffsets": {"monotonic": {"secs": -5, "nanosecs": 999999999}, "boottime": None}},
    "no-time-offsets": {"linux.timeOffsets": {}},
    "propagation": {"linux.rootfsPropagation": "rslave"},
    "no-propagation": {"linux.rootfsPropagation": ""},
    "cgroups-path": {"linux.cgroupsPath": "system.slice:pyrunc:x"},
    "sysctl-ipc": {"linux.sysctl": {"kernel.shmmax": "1", "fs.mqueue.msg_max": "1", "kernel/sem": "1 2 3 4"}},
    "sysctl-net": {"linux.sysctl": {"net.ipv4.conf.eth0/1.rp_filter": "0", "net/ipv4/ip_forward": "1"}},
    "sysctl-uts": {"linux.sysctl": {"kernel.domainname": "x"}},
    "sysctl-user": {**MAPPED, "linux.sysctl": {"user.max_user_namespaces": "1"}},
    "devices": {"linux.devices": [DEVICE, {"type": "p", "path": "/p"}]},
    "device-numbers": {"linux.devices": [{"type": "b", "path": "/b", "major": 0xFFF, "minor": 0xFFFFF}]},
    "device-numbers-0": {"linux.devices": [{**DEVICE, "major": 0, "minor": 0}]},
    "device-twice-the-same": {"linux.devices": [DEVICE, {**DEVICE, "type": "u", "path": "/dev//x"}]},
    "device-rules": {
        "linux.resources": {
            "devices": [
                {"allow": False, "access": "rwm"},
                {"allow": True, "type": "b", "major": -1, "minor": -1, "access": "m"},
                {"allow": True, "type": "a", "major": None, "access": "wr"},
                {"allow": True, "type": "", "access": "r"},
            ]
        }
    },
    "memory": {"linux.resources": {"memory": {"limit": 5, "swap": 5, "swappiness": 100, "reservation": 9}}},
    "memory-unlimited-swap": {"linux.resources": {"memory": {"limit": 5, "swap": -1}}},
    "memory-swap-unset": {"linux.resources": {"memory": {"limit": 5, "swap": 0}}},
    "cpu": {"linux.resources": {"cpu": {"quota": 5, "burst": 5}}},
    "cpu-quota-unset": {"linux.resources": {"cpu": {"quota": 0, "burst": 5}}},
    "cpu-no-quota": {"linux.resources": {"cpu": {"quota": -1, "burst": 5}}},
    "mount-relative": mount(destination="mnt"),
    "mount-no-source": mount(source=None),
    "mount-data": mount(options=["size=5", "mode=700", "nosuid"]),
    "mount-copy-up": mount(options=["tmpcopyup"]),
    "bind": bind("rbind", "rro", "rprivate", "nosuid", ""),
    "bind-typed-bind": bind("bind", type="bind"),
    "bind-untyped": bind("bind", type=None),
    "bind-relative-source": bind("bind", source="data"),
    "bind-settings": bind("bind", "mode=755,size=1k", "uid=1"),
    "remount": mount(type=None, options=["remount", "ro"]),
    "proc": mount(destination="/proc/", type="proc"),
    "proc-bound": bind("rbind", source="/proc", destination="/proc"),
    "beside-proc": mount(destination="/proc/../procfs"),
    "over-proc": {
        "mounts": [{"destination": path, "type": "bind", "source": "/x", "options": ["bind"]} for path in sorted(PROC_OVERMOUNTS)]
    },
    "hook": hook(args=["true", ""], env=["A=b"], timeout=1),
    "other-platforms-hook": {"hooks": {"preflight": [{"path": "x"}]}},
    "annotations": {"annotations": {"a": "", "b\n": "\0"}},
    "no-labels": {"process.apparmorProfile": "", "process.selinuxLabel": "", "linux.mountLabel": "", "linux.netDevices": {}},
    "personality": {"linux.personality": {"domain": "LINUX", "flags": []}},
    "seccomp": {
        "linux.seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["x"], "action": "SCMP_ACT_ERRNO"}]},
    },
    "unknown-properties": {"linux.flux": {"a": 1}, "process.commandLine": "x", "windows": {}},
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_good(name: str) -> None:
    assert faults(config(GOOD[name])) == []


NUL, HALF = "must not contain NUL", "must be encodable as UTF-8"

# name -> change, path and text of the only fault
BAD: dict[str, tuple[Change, str, str]] = {
    "version-missing": ({"ociVersion": GONE}, "ociVersion", '"" is not a version'),
    "version-2": ({"ociVersion": "2.0.0"}, "ociVersion", '"2.0.0" is not a version 1'),
    "version-0": ({"ociVersion": "0.9.9"}, "ociVersion", "is not a version 1"),
    "version-10": ({"ociVersion": "10.0.0"}, "ociVersion", "is not a version 1"),
    "version-short": ({"ociVersion": "1.0"}, "ociVersion", "form 1.2.3"),
    "version-words": ({"ociVersion": "1.x.0"}, "ociVersion", "form 1.2.3"),
    "version-digits": ({"ociVersion": "1.²\n.0"}, "ociVersion", '"1.\\u00b2\\n.0" is not'),
    "root-missing": ({"root": GONE}, "root", "must be specified"),
    "root-path-empty": ({"root.path": ""}, "root.path", "must not be empty"),
    "root-path-nul": ({"root.path": "a\0"}, "root.path", NUL),
    "process-missing": ({"process": GONE}, "process", "process property must not be empty"),
    "process-null": ({"process": None}, "process", "process property must not be empty"),
    "args-missing": ({"process.args": GONE}, "process.args", "must hold at least the program"),
    "args-empty": ({"process.args": []}, "process.args", "must hold at least the program"),
    "args-first-empty": ({"process.args": ["", "a"]}, "process.args[0]", 'exec: "": executable file not found in $PATH'),
    "args-nul": ({"process.args": ["sh", "a\0b"]}, "process.args[1]", NUL),
    "args-half": ({"process.args": ["sh", "-c", "\ud800"]}, "process.args[2]", HALF),
    "cwd-missing": ({"process.cwd": GONE}, "process.cwd", "must not be empty"),
    "cwd-relative": ({"process.cwd": "tmp"}, "process.cwd", 'must be an absolute path, is "tmp"'),
    "cwd-nul": ({"process.cwd": "/\0"}, "process.cwd", NUL),
    "env-no-equals": ({"process.env": ["A=b", "SECRET"]}, "process.env[1]", "must be NAME=value"),
    "env-no-name": ({"process.env": ["=b"]}, "process.env[0]", "must be NAME=value"),
    "env-empty": ({"process.env": [""]}, "process.env[0]", "must be NAME=value"),
    "env-nul": ({"process.env": ["A=b", "C=\0"]}, "process.env[1]", NUL),
    "score-low": ({"process.oomScoreAdj": -1001}, "process.oomScoreAdj", "-1000..1000, is -1001"),
    "score-high": ({"process.oomScoreAdj": 1001}, "process.oomScoreAdj", "-1000..1000, is 1001"),
    "console-size": ({"process.consoleSize": {"height": 1, "width": 65536}}, "process.consoleSize.width", "at most 65535"),
    "rlimit-unknown": (rlimits(("RLIMIT_X", 1, 1)), "process.rlimits[0].type", 'unknown rlimit type "RLIMIT_X"'),
    "rlimit-twice": (
        rlimits(("RLIMIT_AS", 1, 1), ("RLIMIT_CPU", 1, 1), ("RLIMIT_AS", 2, 2)),
        "process.rlimits[2].type",
        'duplicate rlimit type "RLIMIT_AS"',
    ),
    "rlimit-soft": (rlimits(("RLIMIT_AS", 2, 1)), "process.rlimits[0]", "soft limit 2 is above the hard limit 1"),
    "umask": ({"process.user": {"umask": 0o1000}}, "process.user.umask", "0o777"),
    "host-name-no-uts": ({"linux.namespaces": namespaces("mount")}, "hostname", "namespace of type uts"),
    "host-name-long": ({"hostname": "h" * 65}, "hostname", "at most 64 bytes"),
    "host-name-nul": ({"hostname": "a\0"}, "hostname", NUL),
    "domain-name-long": ({"domainname": "é" * 33}, "domainname", "at most 64 bytes"),
    "domain-name-no-uts": (
        {"linux.namespaces": namespaces("mount"), "hostname": GONE, "domainname": "d"}, "domainname", "namespace of type uts",
    ),
    "namespace-twice": (
        {"linux.namespaces": namespaces("uts", "mount", "uts")}, "linux.namespaces[2].type", 'duplicate namespace type "uts"',
    ),
    "namespace-twice-joined": (
        {"linux.namespaces": namespaces("uts", "mount", uts="/x")}, "linux.namespaces[2].type", 'duplicate namespace type "uts"',
    ),
    "namespace-unknown": (
        {"linux.namespaces": namespaces("uts", "mount", "moon")}, "linux.namespaces[2].type", 'unknown namespace type "moon"',
    ),
    "namespace-relative": ({"linux.namespaces": namespaces("mount", uts="ns")}, "linux.namespaces[1].path", "absolute path"),
    "namespace-nul": ({"linux.namespaces": namespaces("mount", uts="/\0")}, "linux.namespaces[1].path", NUL),
    "maps-without-user": ({"linux.gidMappings": ONE}, "linux.gidMappings", "needs a user namespace"),
    "user-without-uids": (user_namespace([], MANY), "linux.uidMappings", "at least one mapping"),
    "user-without-gids": (user_namespace(MANY, []), "linux.gidMappings", "at least one mapping"),
    "map-size": (user_namespace([*MANY, mapping(99999, 5, 0)], ONE), "linux.uidMappings[1].size", "at least 1"),
    "map-overlap-container": (
        user_namespace([mapping(0, 0, 9), mapping(8, 100, 1)], ONE),
        "linux.uidMappings[1].containerID",
        "overlaps linux.uidMappings[0]",
    ),
    "map-overlap-host": (
        user_namespace(ONE, [mapping(0, 50, 9), mapping(20, 0, 1), mapping(30, 40, 11)]),
        "linux.gidMappings[0].hostID",
        "overlaps linux.gidMappings[2]",
    ),
    "map-inside-a-wide-one": (
        user_namespace([mapping(0, 0, 100), mapping(200, 50, 1), mapping(300, 200, 1)], ONE),
        "linux.uidMappings[1].hostID",
        "overlaps linux.uidMappings[0]",
    ),
    "map-beyond-container": (
        user_namespace([mapping(0, 0, 1), mapping(4294967295, 1, 1)], ONE), "linux.uidMappings[1].containerID", "4294967294",
    ),
    "map-beyond-host": (user_namespace([mapping(0, 4294967290, 6)], ONE), "linux.uidMappings[0].hostID", "4294967294"),
    "map-341": (user_namespace([mapping(i, i, 1) for i in range(341)], ONE), "linux.uidMappings", "341 mappings"),
    "uid-unmapped": ({**MAPPED, "process.user": {"uid": 65536}}, "process.user.uid", "65536 is not mapped by linux.uidMappings"),
    "uid-default-unmapped": (user_namespace([mapping(1, 1, 1)], MANY), "process.user.uid", "0 is not mapped"),
    "gid-unmapped": ({**MAPPED, "process.user": {"gid": 65536}}, "process.user.gid", "65536 is not mapped by linux.gidMappings"),
    "group-unmapped": (
        {**MAPPED, "process.user": {"additionalGids": [1, 65536]}}, "process.user.additionalGids[1]", "65536 is not mapped",
    ),
    "time-offsets-no-namespace": ({"linux.timeOffsets": {"boottime": {"secs": 1}}}, "linux.timeOffsets", "new time namespace"),
    "time-offsets-joined": (
        {"linux.namespaces": namespaces("uts", "mount", time="/x"), "linux.timeOffsets": {"boottime": {"secs": 1}}},
        "linux.timeOffsets",
        "new time namespace",
    ),
    "time-offsets-nanosecs": (
        {**TIME, "linux.timeOffsets": {"boottime": {"nanosecs": 10**9}}}, "linux.timeOffsets.boottime.nanosecs", "below a second",
    ),
    "masked-relative": ({"linux.maskedPaths": ["/a", "b"]}, "linux.maskedPaths[1]", "absolute path"),
    "masked-empty": ({"linux.maskedPaths": [""]}, "linux.maskedPaths[0]", "must not be empty"),
    "masked-nul": ({"linux.maskedPaths": ["/a", "/\0"]}, "linux.maskedPaths[1]", NUL),
    "readonly-relative": ({"linux.readonlyPaths": ["b"]}, "linux.readonlyPaths[0]", "absolute path"),
    "masked-no-mount": (
        {"linux.namespaces": namespaces("uts"), "linux.readonlyPaths": []}, "linux.maskedPaths", "needs a mount namespace",
    ),
    "readonly-no-mount": (
        {"linux.namespaces": namespaces("uts"), "linux.maskedPaths": []}, "linux.readonlyPaths", "needs a mount namespace",
    ),
    "propagation": ({"linux.rootfsPropagation": "public"}, "linux.rootfsPropagation", '"public": must be one of private'),
    "cgroups-path-newline": ({"linux.cgroupsPath": "/a\nb"}, "linux.cgroupsPath", "must not contain a newline"),
    "cgroups-path-nul": ({"linux.cgroupsPath": "/a\0b"}, "linux.cgroupsPath", NUL),
    "swap": ({"linux.resources": {"memory": {"limit": 5, "swap": 4}}}, "linux.resources.memory.swap", "less than the memory"),
    "rdma-nothing": ({"linux.resources": {"rdma": {"mlx5_0": {}}}}, "linux.resources.rdma.mlx5_0", "hcaObjects or both"),
    "rdma-null": (
        {"linux.resources": {"rdma": {"a": {"hcaHandles": 0}, "b-1": {"hcaObjects": None}}}},
        'linux.resources.rdma["b-1"]',
        "needs hcaHandles",
    ),
    "swappiness": ({"linux.resources": {"memory": {"swappiness": 101}}}, "linux.resources.memory.swappiness", "0..100"),
    "burst": ({"linux.resources": {"cpu": {"quota": 4, "burst": 5}}}, "linux.resources.cpu.burst", "above the quota"),
    "hook-relative": (hook(path="true"), "hooks.createRuntime[1].path", "absolute path"),
    "hook-empty": (hook(path=""), "hooks.createRuntime[1].path", "must not be empty"),
    "hook-nul": (hook(path="/\0"), "hooks.createRuntime[1].path", NUL),
    "hook-args-nul": (hook(args=["\0"]), "hooks.createRuntime[1].args[0]", NUL),
    "hook-env": (hook(env=["A=b", "C"]), "hooks.createRuntime[1].env[1]", "NAME=value"),
    "hook-timeout": (hook(timeout=0), "hooks.createRuntime[1].timeout", "at least 1 second"),
    "hook-timeout-negative": (hook(timeout=-1), "hooks.createRuntime[1].timeout", "at least 1 second"),
    "annotation": ({"annotations": {"a": "b", "": "c"}}, "annotations", "empty key"),
    "mount-no-destination": (mount(destination=""), "mounts[0].destination", "must not be empty"),
    "mount-on-root": (mount(destination="/"), "mounts[0].destination", "the root file system itself"),
    "mount-on-root-disguised": (mount(destination="a/./../"), "mounts[0].destination", "the root file system itself"),
    "mount-destination-nul": (mount(destination="/a\0"), "mounts[0].destination", NUL),
    "mount-source-nul": (mount(source="/a\0"), "mounts[0].source", NUL),
    "mount-type-nul": (mount(type="tmpfs\0"), "mounts[0].type", NUL),
    "mount-option-nul": (mount(options=["ro", "size=1\0"]), "mounts[0].options[1]", NUL),
    "mount-no-type": (mount(type=""), "mounts[0].type", "is no file system"),
    "mount-type-bind-alone": (mount(type="bind", options=["ro"]), "mounts[0].type", 'needs the option "bind"'),
    "mount-type-none": (mount(type="none"), "mounts[0].type", '"none" is no file system'),
    "mount-copy-up": (mount(type="ramfs", options=["tmpcopyup"]), "mounts[0].options", "tmpcopyup is for tmpfs only"),
    "bind-misspelt": (bind("bind", "nosiud", "ro", "mode=7"), "mounts[0].options", BIND_WITH_DATA + ': "nosiud"'),
    "bind-misspelt-among": (bind("rbind", "size=1,noexce"), "mounts[0].options", BIND_WITH_DATA + ': "noexce"'),
    "bind-label": (bind("bind", "context=a:b:c"), "mounts[0].options", BIND_WITH_DATA + ': "context=a:b:c"'),
    "bind-root-label": (bind("bind", "rootcontext=a"), "mounts[0].options", BIND_WITH_DATA + ': "rootcontext=a"'),
    "bind-no-source": (bind("rbind", source=""), "mounts[0].source", "needs a source"),
    "proc-tmpfs": (mount(destination="/proc"), "mounts[0].destination", 'not "tmpfs"'),
    "proc-disguised": (mount(destination="//x/../proc/."), "mounts[0].destination", 'not "tmpfs"'),
    "proc-relative": (mount(destination="proc"), "mounts[0].destination", 'not "tmpfs"'),
    "over-proc": (mount(destination="/proc/self/attr"), "mounts[0].destination", "because it is inside /proc"),
    "over-proc-bind": (bind("bind", destination="/proc/sys"), "mounts[0].destination", "because it is inside /proc"),
    "over-proc-proc": (mount(destination="/proc/x", type="proc"), "mounts[0].destination", "because it is inside /proc"),
    "over-proc-below-allowed": (bind("bind", destination="/proc/stat/x"), "mounts[0].destination", "because it is inside /proc"),
    "over-proc-disguised": (mount(destination="//proc//./x/../sys"), "mounts[0].destination", "because it is inside /proc"),
}  # fmt: skip


def device(at: str, text: str, **changed: Any) -> tuple[Change, str, str]:
    entry = {key: value for key, value in {**DEVICE, **changed}.items() if value is not GONE}
    where = f"linux.devices[1].{at}"
    return {"linux.devices": [{**DEVICE, "path": "/dev/first"}, entry]}, where, text


BAD |= {
    "device-type": device("type", "must be one of c, b, u, p", type="a"),
    "device-type-two": device("type", "must be one of", type="cb"),
    "device-type-empty": device("type", "must be one of", type=""),
    "device-relative": device("path", "absolute path", path="dev/x"),
    "device-dots": device("path", "without ..", path="/dev/../etc/x"),
    "device-root": device("path", "must name a file", path="//."),
    "device-nul": device("path", NUL, path="/dev/\0"),
    "device-twice": device("path", "listed before as a different device", path="/dev/first", minor=5),
    "device-twice-block": device("path", "listed before as a different device", path="/dev//first", type="b"),
    "device-no-major": device("major", "is required", major=GONE),
    "device-no-minor": device("minor", "is required", type="b", minor=GONE),
    "device-unbuffered-no-minor": device("minor", "is required", type="u", minor=GONE),
    "device-major": device("major", "0..4095, is 4096", major=4096),
    "device-minor": device("minor", "0..1048575, is -1", minor=-1),
}


def sysctl(key: str, text: str, kinds: str = "pid network ipc uts mount", value: str = "1") -> tuple[Change, str, str]:
    change = {"linux.sysctl": {key: value}, "linux.namespaces": namespaces(*kinds.split()), "hostname": GONE}
    return change, f"linux.sysctl.{key}" if key in ("net", "user") else f"linux.sysctl[{json.dumps(key)}]", text


BAD |= {
    "sysctl-hostname": sysctl("kernel.hostname", "is set by the property hostname"),
    "sysctl-hostname-slash": sysctl("kernel/hostname", "is set by the property hostname"),
    "sysctl-host": sysctl("kernel.core_pattern", "not in a separate kernel namespace", value="|/x"),
    "sysctl-vm": sysctl("vm.swappiness", "not in a separate kernel namespace"),
    "sysctl-ipc-like": sysctl("kernel.shmmax2", "not in a separate kernel namespace"),
    "sysctl-net-alone": sysctl("net", "not in a separate kernel namespace"),
    "sysctl-user-alone": sysctl("user", "not in a separate kernel namespace"),
    "sysctl-netx": sysctl("netx.a", "not in a separate kernel namespace"),
    "sysctl-fs": sysctl("fs.mqueue", "not in a separate kernel namespace"),
    "sysctl-no-ipc": sysctl("kernel.shmmax", "namespace of type ipc", "mount network"),
    "sysctl-no-mqueue": sysctl("fs.mqueue.msg_max", "namespace of type ipc", "mount network"),
    "sysctl-no-net": sysctl("net.core.somaxconn", "namespace of type network", "mount ipc"),
    "sysctl-no-uts": sysctl("kernel.domainname", "namespace of type uts", "mount ipc"),
    "sysctl-no-user": sysctl("user.max_user_namespaces", "namespace of type user"),
    "sysctl-up": sysctl("net/../kernel/core_pattern", "is not the name of a sysctl"),
    "sysctl-up-by-dots": sysctl("net.//.kernel.core_pattern", "is not the name of a sysctl"),
    "sysctl-here": sysctl("net/./x", "is not the name of a sysctl"),
    "sysctl-empty-part": sysctl("net..x", "is not the name of a sysctl"),
    "sysctl-absolute": sysctl("/net/x", "is not the name of a sysctl"),
    "sysctl-empty": sysctl("", "is not the name of a sysctl"),
    "sysctl-trailing": sysctl("net.x.", "is not the name of a sysctl"),
    "sysctl-nul": sysctl("net.x\0", NUL),
    "sysctl-value-nul": sysctl("net.core.somaxconn", NUL, value="\0"),
}


def access(text: str, at: str = "access", **rule: Any) -> tuple[Change, str, str]:
    return {"linux.resources": {"devices": [{"allow": True, "access": "r", **rule}]}}, f"linux.resources.devices[0].{at}", text


BAD |= {
    "access-empty": access('is ""', access=""),
    "access-null": access('is ""', access=None),
    "access-other": access('is "rx"', access="rx"),
    "access-type": access("must be one of a, b, c", "type", type="p"),
    "access-major": access("must be -1 (any)", "major", type="c", major=-2),
    "access-minor": access("must be -1 (any)", "minor", type="c", minor=-2),
}



def seccomp(text: str, where: str, *rules: tuple[str, str], default: str = "ALLOW", **more: Any) -> tuple[Change, str, str]:
    """A profile of one rule for each (name, action)."""
    syscalls = [{"names": ["read", name], "action": f"SCMP_ACT_{action}"} for name, action in rules]
    profile = {"defaultAction": f"SCMP_ACT_{default}", "syscalls": syscalls, **more}
    return {"linux.seccomp": profile}, f"linux.seccomp.{where}", text


AGENT = {"listenerPath": "/run/agent"}
NOTIFY = ("mkdir", "NOTIFY")
BAD |= {
    "listener-relative": seccomp("absolute", "listenerPath", NOTIFY, listenerPath="run/agent"),
    "listener-abstract": seccomp("absolute", "listenerPath", NOTIFY, listenerPath="@agent"),
    "listener-nul": seccomp("NUL", "listenerPath", NOTIFY, listenerPath="/a\0b"),
    "listener-metadata-alone": seccomp("without listenerPath", "listenerMetadata", listenerMetadata="x"),
    "listener-missing": seccomp("needs listenerPath", "syscalls[1].action", ("kill", "LOG"), NOTIFY),
    "notify-default": seccomp("cannot be used as default action", "defaultAction", default="NOTIFY", **AGENT),
    "notify-write": seccomp("cannot be used for the write syscall", "syscalls[0].names", ("write", "NOTIFY"), **AGENT),
}
BAD |= {
    f"rdt-{name}": ({"linux.intelRdt": rdt}, f"linux.intelRdt.{path}", text)
    for name, rdt, path, text in (
        ("dots", {"closID": ".."}, "closID", "cannot name a class"),
        ("slash", {"closID": "a/b"}, "closID", "cannot name a class"),
        ("info", {"closID": "info"}, "closID", "cannot name a class"),
        ("long", {"closID": "a" * 256}, "closID", "at most 255 bytes"),
        ("nul", {"closID": "a\0"}, "closID", NUL),
        ("schemata", {"schemata": ["L3:0=f", "L3:0=f\nMB:0=1"]}, "schemata[1]", "is not one line"),
        ("schemata-empty", {"schemata": [""]}, "schemata[0]", "is not one line"),
    )
}


BAD |= {
    f"label-{path.partition('.')[2]}-{kind}": ({path: label}, path, text)
    for path, limit in (("process.apparmorProfile", 4000), ("process.selinuxLabel", 4000), ("linux.mountLabel", 255))
    for kind, label, text in (
        ("nul", "a\0b", "NUL"), ("newline", "a\nb", "newline"), ("long", "\u00e9" * (limit // 2 + 1), f"at most {limit} bytes"),
    )
}  # fmt: skip
BAD |= {"label-quote": ({"linux.mountLabel": 'u:r:t:s0",size="1'}, "linux.mountLabel", "quote")}


def test_labels_need_their_module() -> None:
    """SELinux is known to be off from the host; AppArmor, as with runc, when the kernel refuses the profile."""
    labels = {"process.selinuxLabel": "u:r:t:s0:c1,c2", "linux.mountLabel": "u:r:t:s0:c1,c2", "process.apparmorProfile": "p"}
    document = config(labels)
    check(document)
    check(document, host=SimpleNamespace(rootless=False, selinux=True))
    with pytest.raises(ConfigError) as caught:
        check(document, host=SimpleNamespace(rootless=False, selinux=False))
    text = "selinux label is specified in config, but selinux is disabled or not supported"
    assert caught.value.faults == [("process.selinuxLabel", text), ("linux.mountLabel", text)]
    for empty in ("", None):
        check(config(dict.fromkeys(labels, empty)), host=SimpleNamespace(rootless=False, selinux=False))


@pytest.mark.parametrize("name", BAD)
def test_bad(name: str) -> None:
    change, path, text = BAD[name]
    found = faults(config(change))
    assert [where for where, _ in found] == [path]
    assert text in found[0][1]
    assert found[0][1].isascii() and found[0][1].isprintable(), "a message is one line, whatever the config holds"


def test_all_faults_are_reported_together() -> None:
    document = config({"process.cwd": "x", "root.path": "", "hostname": "h" * 65, "process.oomScoreAdj": 5000})
    with pytest.raises(ConfigError) as caught:
        check(document)
    assert [path for path, _ in caught.value.faults] == ["root.path", "process.cwd", "process.oomScoreAdj", "hostname"]
    for path, text in caught.value.faults:
        assert f"{path}: {text}" in caught.value.message


def test_values_of_the_environment_are_not_shown() -> None:
    for entry in ("hunter2", "=hunter2", "P=hunter2\0", "P=hunter2\ud800"):
        found = faults(config({"process.env": [entry]}))
        assert found and "hunter2" not in str(found)


OPTIONS, UIDS, GIDS = ("mounts[0]." + name for name in ("options", "uidMappings", "gidMappings"))
CRUN = "idmap=uids=0-5-1;gids=@0-5-1"


@pytest.mark.parametrize(
    ("uids", "gids", "options", "change", "expected"),
    [
        (ONE, ONE, ["rbind"], {}, []),
        (ONE, ONE, ["rbind", "ridmap"], {}, []),
        (None, None, ["bind", "idmap"], MAPPED, []),
        (None, None, ["bind", CRUN], MAPPED, []),
        (None, None, ["bind", "ridmap=uids=0-5-1#1-9-2;gids=0-5-1"], {}, []),
        (ONE, None, ["rbind"], {}, [GIDS]),
        (None, ONE, ["rbind"], {}, [UIDS]),
        (None, [], ["rbind", "ridmap"], {}, [OPTIONS]),
        (ONE, [mapping(0, 0, 0)], ["rbind"], {}, ["mounts[0].gidMappings[0].size"]),
        (ONE, ONE, ["remount", "bind"], {}, [OPTIONS]),
        (None, None, ["bind", CRUN], {}, [OPTIONS]),  # nobody's ids
        (None, None, ["bind", "idmap=uids=0-5-1"], {}, [OPTIONS]),
        (None, None, ["bind", "idmap=uids=0-5"], MAPPED, [OPTIONS]),
        (None, None, ["bind", "idmap=gids=@70000-5-1"], MAPPED, []),
        (None, None, ["bind", "idmap=gids=@5-70000-1"], MAPPED, [OPTIONS]),
        (None, None, ["bind", "idmap=groups=0-5-1"], MAPPED, [OPTIONS]),
        (None, None, ["bind", "idmap=uids=0-5-0"], MAPPED, [UIDS + "[0].size"]),
    ],
)  # fmt: skip
def test_id_mapped_mounts(uids: Any, gids: Any, options: list[str], change: Change, expected: list[str]) -> None:
    asked = {**change, **bind(*options, uidMappings=uids, gidMappings=gids)}
    assert [path for path, _ in faults(config(asked))] == expected


@pytest.mark.parametrize("kind", ["proc", "sysfs", "cgroup", "mqueue", "devpts"])
def test_what_has_no_ids_to_map(kind: str) -> None:
    found = faults(config({**MAPPED, **mount(type=kind, options=["idmap"])}))
    assert found == [("mounts[0].type", f"a file system of type {kind} cannot be ID-mapped")]


def test_a_rootless_runtime_maps_no_mounts() -> None:
    asked = default_spec(rootless=True, cgroup2=False, uid=1000, gid=1000)
    asked["mounts"][1]["options"].append("idmap")
    assert faults(asked, host=SimpleNamespace(rootless=True)) == [
        ("mounts[1]", "ID-mapped mounts cannot be made by a rootless runtime")
    ]


def test_a_remount_needs_no_source_and_no_type() -> None:
    assert faults(config({"mounts": [{"destination": "/mnt", "options": ["remount", "bind", "ro"]}]})) == []
    assert faults(config({"mounts": [{"destination": "/proc", "options": ["remount", "ro"]}]})) == []


def test_rootless() -> None:
    root, other = SimpleNamespace(rootless=False), SimpleNamespace(rootless=True)
    mapped = default_spec(rootless=True, cgroup2=False, uid=1000, gid=1000)
    assert faults(config(), host=root) == faults(mapped, host=other) == []
    assert faults(config(), host=other) == [("linux.namespaces", "a rootless container needs a user namespace")]
    mapped["process"]["user"]["additionalGids"] = [0]
    assert faults(mapped, host=root) == []
    assert faults(mapped, host=other) == [("process.user.additionalGids", "cannot be set in a rootless container")]


def test_unknown_capabilities() -> None:
    sets = {"bounding": ["CAP_KILL", "CAP_FLY"], "ambient": ["CAP_FLY", "cap_kill"], "effective": None, "imaginary": ["X"]}
    assert unknown_capabilities({"capabilities": sets}) == ["CAP_FLY", "cap_kill"]
    assert unknown_capabilities({"capabilities": None}) == unknown_capabilities({}) == []


def process_faults(process: dict[str, Any] | None, **kw: Any) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        check_process(process, **kw)
    return caught.value.faults


def test_process_documents_of_exec() -> None:
    process = {"args": ["id"], "cwd": "/", "env": ["A=b"], "user": {"uid": 1}}
    check_process(process)
    check_process(process, config=config(MAPPED))
    assert process_faults({**process, "user": {"uid": 70000}}, config=config(MAPPED)) == [
        ("user.uid", "70000 is not mapped by linux.uidMappings")
    ]
    assert process_faults({**process, "cwd": ""}) == [("cwd", "must not be empty")]
    assert process_faults({**process, "cwd": ""}, at="process.") == [("process.cwd", "must not be empty")]
    assert process_faults({**process, "execCPUAffinity": {"initial": "0-"}})[0][0] == "execCPUAffinity.initial"
    assert process_faults({**process, "scheduler": {"policy": "SCHED_FIFO"}}, at="process.")[0][0] == "process.scheduler.priority"
    assert process_faults({**process, "apparmorProfile": "a\nb"}) == [("apparmorProfile", "must not contain a newline")]


@pytest.mark.parametrize("nothing", [None, {}])
def test_no_process_for_exec(nothing: dict[str, Any] | None) -> None:
    assert process_faults(nothing) == [("", "process property must not be empty")]
    assert process_faults(nothing, at="process.") == [("process", "process property must not be empty")]


@pytest.mark.parametrize("name", ["docker", "podman", "containerd"])
def test_what_engines_send(name: str) -> None:
    path = Path(__file__).parents[3] / f"shared/configs/{name}.json"
    if not path.exists():
        pytest.skip(f"needs ../shared/configs/{name}.json")
    check(json.loads(path.read_text()), host=SimpleNamespace(rootless=False))
