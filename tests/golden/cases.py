"""Configurations, each with what it was asked for and what the host is like: the name of a case is that of its plan's file.

Nothing here is of the machine that the tests run on. A case is the least that shows one thing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyrunc.cgroups.hierarchies import Hierarchy, Layout
from pyrunc.cgroups.view import legs
from pyrunc.config.default import default_spec
from pyrunc.config.names import MOUNT_OPTIONS, PROPAGATION
from pyrunc.config.rules.container import check
from pyrunc.config.rules.process import check_process
from pyrunc.plan.container import compile_container
from pyrunc.plan.encode import Plan
from pyrunc.plan.facts import Host, Request
from pyrunc.plan.further import compile_exec
from pyrunc.plan.seccomp import NEW_LISTENER, Filter
from tests.golden.heavy import docker_like

Config = dict[str, Any]
Case = Callable[[], Plan]

FILTER = Filter(bytes(8 * 12), 0)
NOTIFYING = Filter(bytes(8 * 12), NEW_LISTENER)
STATE = '{"ociVersion":"1.3.0","id":"c1","status":"%s","pid":', ',"bundle":"/bundle"}'

V1 = Layout([
    Hierarchy("/sys/fs/cgroup/cpu,cpuacct", ("cpu", "cpuacct"), "/"),
    Hierarchy("/sys/fs/cgroup/memory", ("memory",), "/"),
    Hierarchy("/sys/fs/cgroup/systemd", ("name=systemd",), "/"),
])  # fmt: skip
HYBRID = Layout([*V1.hierarchies, Hierarchy("/sys/fs/cgroup/unified", ("",), "/")])
V2 = Layout([Hierarchy("/sys/fs/cgroup", ("",), "/")])
PATHS = {
    "cpu": "/sys/fs/cgroup/cpu,cpuacct/c1", "memory": "/sys/fs/cgroup/memory/c1",
    "name=systemd": "/sys/fs/cgroup/systemd/c1", "": "/sys/fs/cgroup/unified/c1",
}  # fmt: skip

ENTRY = (["/sys/fs/cgroup/cpu,cpuacct/c1/tasks", "/sys/fs/cgroup/memory/c1/tasks"], "/sys/fs/cgroup/unified/c1")
"""How a process enters its cgroups by itself."""

CASES: dict[str, Case] = {}


def case(make: Case) -> Case:
    CASES[make.__name__.replace("_", "-")] = make
    return make


def minimal(**changes: Any) -> Config:
    """Of nothing more than there must be, in new pid and mount namespaces; top-level properties are replaced by `changes`."""
    return {
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "process": {"cwd": "/", "args": ["true"], "env": ["HOME=/"]},
        "linux": {"namespaces": namespaces("pid", "mount")},
        **changes,
    }


def namespaces(*kinds: str, **joined: str) -> list[dict[str, str]]:
    return [{"type": kind} for kind in kinds] + [{"type": kind, "path": path} for kind, path in joined.items()]


def linux(*kinds: str, **properties: Any) -> Config:
    """A ``linux`` object with pid, mount and further new namespaces."""
    return {"namespaces": namespaces("pid", "mount", *kinds), **properties}


def process(**properties: Any) -> Config:
    return {"cwd": "/", "args": ["true"], "env": ["HOME=/"], **properties}


def container(config: Config, *, host: Host | None = None, waits: bool = True, **asked: Any) -> Plan:
    """The plan of a config that the rules accept."""
    host = host or Host()
    check(config, host=host)
    request = Request("c1", "/bundle", "/bundle/rootfs", waits=waits, state=lambda s: (STATE[0] % s, STATE[1]), **asked)
    return compile_container(config, request, host)


def further(document: Config, *differs: str, new_keyring: bool = True, **asked: Any) -> Plan:
    """The plan of an exec."""
    check_process(document)
    asked = {"setgroups": True, "seccomp": None, "preserve": 0, "linux": {}, **asked}
    return compile_exec(document, differs, id="c1", new_keyring=new_keyring, **asked)


def tmpfs(*options: str, destination: str = "/t") -> Config:
    return {"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": list(options)}


def bind(*options: str, destination: str = "/b", source: str = "/data") -> Config:
    return {"destination": destination, "source": source, "options": ["bind", *options]}


def cgroup(*options: str) -> Config:
    return {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": list(options)}


# --- whole configurations ------------------------------------------------------------------------------------------------


@case
def default() -> Plan:
    config = default_spec(rootless=False, cgroup2=False, uid=0, gid=0)
    return container(config, cgroup_view=legs(V1, PATHS, private=False))


@case
def default_rootless() -> Plan:
    config = default_spec(rootless=True, cgroup2=True, uid=1000, gid=1000)
    return container(config, host=Host(rootless=True, single_map=True), cgroup_view=legs(V2, PATHS, private=True))


@case
def docker() -> Plan:
    view = legs(HYBRID, PATHS, private=False)
    return container(docker_like(), seccomp=FILTER, new_keyring=False, cgroup_view=view, cgroup_entry=ENTRY)


@case
def minimal_create() -> Plan:
    return container(minimal())


@case
def minimal_run() -> Plan:
    return container(minimal(), waits=False)


# --- namespaces ------------------------------------------------------------------------------------------------------------


@case
def no_namespaces() -> Plan:
    return container(minimal(linux={}))


@case
def no_mount_namespace() -> Plan:
    hooks = {"createRuntime": [{"path": "/h"}], "startContainer": [{"path": "/s"}]}
    config = minimal(linux={"namespaces": namespaces("pid", "uts", "network")}, hooks=hooks, hostname="h")
    return container(config)


@case
def mounts_of_the_host() -> Plan:
    """Without a mount namespace: below the root, then chroot(2); what is bound hears of the host's mounts and tells of none."""
    hooks = {"createRuntime": [{"path": "/h"}], "createContainer": [{"path": "/c"}]}
    mounts = [
        {"destination": "/proc", "type": "proc"},
        {"destination": "/dev", "type": "tmpfs", "options": ["ro"]},
        {"destination": "/dev/pts", "type": "devpts"},
        {"destination": "/a", "source": "/a", "options": ["rbind"]},
        {"destination": "/b", "source": "/b", "options": ["bind", "rshared"]},
        {"destination": "/a", "options": ["remount", "bind", "ro"]},
    ]
    config = minimal(linux={"namespaces": namespaces("pid")}, hooks=hooks, mounts=mounts)
    config["process"]["terminal"] = True
    return container(config)


@case
def all_namespaces_new() -> Plan:
    config = minimal(linux=linux("network", "ipc", "uts", "user", "cgroup", "time", uidMappings=MAPS, gidMappings=MAPS))
    return container(config)


MAPS = [{"containerID": 0, "hostID": 100000, "size": 65536}]
OWN_MAPS = {f"{kind}Mappings": [{"containerID": 0, "hostID": id, "size": 1}] for kind, id in (("uid", 5), ("gid", 6))}


@case
def all_namespaces_joined() -> Plan:
    kinds = ("mount", "time", "cgroup", "pid", "network", "uts", "ipc", "user")
    return container(minimal(linux={"namespaces": namespaces(**{kind: f"/proc/9/ns/{kind}" for kind in kinds})}))


@case
def network_joined_user_new() -> Plan:
    """The joined one is entered first: it belongs to the user namespace outside."""
    listed = namespaces("pid", "mount", "user", network="/run/netns/a")
    return container(minimal(linux={"namespaces": listed, "uidMappings": MAPS, "gidMappings": MAPS}))


@case
def mappings_of_a_joined_namespace() -> Plan:
    """They are compared with what the namespace has."""
    listed = {"namespaces": namespaces("pid", "mount", user="/proc/9/ns/user"), "uidMappings": MAPS, "gidMappings": MAPS}
    return container(minimal(linux=listed))


@case
def mapped_by_a_joined_namespace() -> Plan:
    listed = {"namespaces": namespaces("pid", "mount", user="/proc/9/ns/user")}
    return container(minimal(linux=listed, mounts=[bind("idmap")]))


@case
def sources_opened_before_the_user_namespace() -> Plan:
    config = minimal(linux=linux("user", uidMappings=MAPS, gidMappings=MAPS), mounts=[tmpfs(), bind("ro")])
    return container(config)


@case
def mapped_mounts() -> Plan:
    """By mappings of their own, twice the same, by crun's option, and by the container's."""
    mounts = [
        {**bind("rbind", "ridmap"), **OWN_MAPS},
        {**tmpfs("size=1m"), **OWN_MAPS},
        bind("idmap=uids=@0-7-1#5-9-1;gids=0-8-1", destination="/crun"),
        bind("idmap", destination="/mine"),
        {**tmpfs("lowerdir=/l", destination="/o"), "type": "overlay", **OWN_MAPS},
    ]
    return container(minimal(linux=linux("user", uidMappings=MAPS, gidMappings=MAPS), mounts=mounts))


@case
def mapped_mounts_without_a_user_namespace() -> Plan:
    return container(minimal(mounts=[{**bind(), **OWN_MAPS}, bind(destination="/plain")]))


@case
def remounts() -> Plan:
    """What is made writable again is not made read-only at the end."""
    mounts = [
        tmpfs("ro"),
        tmpfs("remount", "rw", "size=1m", "nosuid"),
        tmpfs("ro", destination="/u"),
        {"destination": "/u", "options": ["remount", "bind", "rnodev", "private"]},
    ]
    return container(minimal(mounts=mounts))


@case
def user_namespace_rootless() -> Plan:
    one = [{"containerID": 0, "hostID": 1000, "size": 1}]
    config = minimal(linux=linux("user", uidMappings=one, gidMappings=one, devices=[{"type": "p", "path": "/dev/p"}]))
    return container(config, host=Host(rootless=True, single_map=True))


@case
def runtime_in_a_user_namespace() -> Plan:
    fuse = {"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229}
    return container(minimal(linux=linux(devices=[fuse])), host=Host(in_userns=True, kcore=False))


@case
def cgroup_namespace() -> Plan:
    return container(minimal(linux=linux("cgroup")), cgroup_view=legs(V2, PATHS, private=True))


@case
def cgroups_entered_as_the_host_s_root() -> Plan:
    """Before the user namespace, and before a cgroup namespace, whose root they become."""
    config = minimal(linux=linux("user", "cgroup", uidMappings=MAPS, gidMappings=MAPS))
    return container(config, cgroup_entry=ENTRY)


@case
def cgroups_entered_before_a_mount_namespace_is_joined() -> Plan:
    return container(minimal(linux={"namespaces": namespaces("pid", mount="/proc/9/ns/mnt")}), cgroup_entry=ENTRY)


@case
def cgroups_entered_without_a_fork() -> Plan:
    return container(minimal(linux={"namespaces": namespaces("mount", "cgroup")}), cgroup_entry=ENTRY)


@case
def time_offsets() -> Plan:
    offsets = {"boottime": {"secs": -7, "nanosecs": 999999999}, "monotonic": {"secs": 172800}, "other": 1}
    return container(minimal(linux=linux("time", timeOffsets=offsets)))


@case
def time_offsets_empty() -> Plan:
    return container(minimal(linux=linux("time", timeOffsets={"monotonic": {}})))


# --- root and mounts --------------------------------------------------------------------------------------------------------


@case
def no_pivot() -> Plan:
    mounted = ["/proc", "/proc/bus", "/sys", "/bundle/rootfs/proc", "/srv/jail/proc", "/procedures"]
    return container(minimal(), pivot=False, host=Host(proc_mounts=mounted))


@case
def readonly_root() -> Plan:
    return container(minimal(root={"path": "rootfs", "readonly": True}, mounts=[tmpfs("ro"), tmpfs("ro", destination="/dev")]))


def _propagation(kind: str) -> Case:
    return lambda: container(minimal(linux=linux(rootfsPropagation=kind)))


for _kind in PROPAGATION:
    CASES[f"propagation-{_kind}"] = _propagation(_kind)


@case
def mount_options_of_a_file_system() -> Plan:
    names = sorted(MOUNT_OPTIONS - {"bind", "rbind", "remount", "idmap", "ridmap"})
    return container(minimal(mounts=[tmpfs(name, destination=f"/{name}") for name in names]))


@case
def mount_options_of_a_bind() -> Plan:
    names = sorted(MOUNT_OPTIONS - {"remount", "tmpcopyup", "idmap", "ridmap"})
    return container(minimal(mounts=[bind(name, destination=f"/{name}") for name in names]))


@case
def mount_options_together() -> Plan:
    mounts = [
        bind("ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "nosymfollow", "rslave", source="relative/dir"),
        bind("rro", "rnoatime", "rw", "strictatime", "rbind", "private", "runbindable", source="../up"),
        tmpfs("ro", "rw", "ro", "noexec", "exec", "size=1k,mode=1777,nr_inodes=5", "relatime", "noatime", "atime"),
        tmpfs("rro", "ro", "nodev", "tmpcopyup", "", "defaults", destination="/u"),
        tmpfs("ro", "rrw", destination="/v"),
        {"destination": "mnt/../w/", "type": "tmpfs"},
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["ro", "hidepid=2", "subset=pid"]},
        bind("ro", destination="/proc/uptime", source="/var/lib/lxcfs/uptime"),
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["rro"]},
    ]
    return container(minimal(mounts=mounts))


@case
def mount_options_too_long_for_fsconfig() -> Plan:
    layers = "lowerdir=" + ":".join(f"/var/lib/layer{i}" for i in range(20))
    overlay = {"destination": "/o", "type": "overlay", "source": "overlay"}
    mounts = [
        {**overlay, "options": [layers, "upperdir=/u", "workdir=/w", "ro", "sync", "nosuid", "noatime", "rnodev", "rslave"]},
        tmpfs("x=" + "é" * 130, "rro"),
        {**overlay, "source": "s" * 300, "options": ["lowerdir=/a:/b"]},
    ]
    return container(minimal(mounts=mounts))


@case
def dev_bound_from_the_host() -> Plan:
    """Whoever binds /dev wants it as it is."""
    return container(minimal(mounts=[bind("rbind", destination="/dev/", source="/dev")], process=process(terminal=True)))


@case
def cgroup_view_v1() -> Plan:
    config = minimal(mounts=[cgroup("ro", "nosuid", "noexec", "nodev", "relatime")])
    return container(config, cgroup_view=legs(V1, PATHS, private=False))


@case
def cgroup_view_v1_private() -> Plan:
    config = minimal(mounts=[cgroup("rro")], linux=linux("cgroup"))
    return container(config, cgroup_view=legs(HYBRID, PATHS, private=True))


@case
def cgroup_view_v2() -> Plan:
    return container(minimal(mounts=[cgroup("rw", "nosuid")]), cgroup_view=legs(V2, PATHS, private=False))


@case
def cgroup_view_of_nothing() -> Plan:
    return container(minimal(mounts=[cgroup("ro")]))


@case
def paths_masked_and_readonly() -> Plan:
    return container(minimal(linux=linux(maskedPaths=["/proc/keys", "/sys/firmware"], readonlyPaths=["/proc/sys", "/a b"])))


# --- devices, terminal, names ------------------------------------------------------------------------------------------------


@case
def devices() -> Plan:
    listed = [
        {"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229, "fileMode": 0o100600, "uid": 1000, "gid": 5},
        {"type": "b", "path": "/dev//sda", "major": 8, "minor": 0},
        {"type": "u", "path": "//dev//null", "major": 1, "minor": 3, "fileMode": 0},
        {"type": "p", "path": "/run/pipe"},
        {"type": "c", "path": "/dev/ptmx", "major": 5, "minor": 2},
        {"type": "c", "path": "/dev/console", "major": 5, "minor": 1},
    ]
    return container(minimal(linux=linux(devices=listed)))


@case
def terminal() -> Plan:
    return container(minimal(process=process(terminal=True, consoleSize={"height": 25, "width": 80})))


@case
def terminal_of_half_a_size() -> Plan:
    return container(minimal(process=process(terminal=True, consoleSize={"height": 0, "width": 80})))


@case
def names_and_sysctl() -> Plan:
    settings = {"net.ipv4.ip_forward": "1", "net/ipv4/conf/eth0.1/mtu": "9000", "kernel.shmmax": "5", 'net.a"\n': "é"}
    config = minimal(hostname="höst", domainname="example.org", linux=linux("uts", "ipc", "network", sysctl=settings))
    return container(config)


# --- hooks -------------------------------------------------------------------------------------------------------------------


@case
def net_devices() -> Plan:
    """The hooks of the host find them inside."""
    devices = {"eth1": {}, "eth2": {"name": "lan%d"}, "eth3": {"name": None}}
    hooks = {"createRuntime": [{"path": "/h"}]}
    return container(minimal(hooks=hooks, linux=linux("network", netDevices=devices)))


@case
def net_devices_into_a_joined_namespace() -> Plan:
    listed = namespaces("pid", "mount", network="/run/netns/n")
    return container(minimal(linux={"namespaces": listed, "netDevices": {"eth1": {"name": "eth0"}}}))


@case
def hooks_of_every_kind() -> Plan:
    """prestart and createRuntime are the runtime's: the plan only waits for them. poststart and poststop are not in it."""
    names = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    hooks = {name: [{"path": f"/{name}"}, {"path": "/x", "args": ["y", "z"], "env": ["A=b"], "timeout": 3}] for name in names}
    return container(minimal(hooks=hooks), environment=["FROM=runtime"])


@case
def hooks_of_run() -> Plan:
    hooks = {"createContainer": [{"path": "/c", "timeout": 2**61}], "startContainer": [{"path": "/s", "env": []}]}
    return container(minimal(hooks=hooks), waits=False)


# --- process -----------------------------------------------------------------------------------------------------------------


@case
def process_of_a_user() -> Plan:
    capabilities = {
        "bounding": ["CAP_KILL", "CAP_NET_RAW"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL", "CAP_NET_RAW"],
        "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL", "CAP_UNHEARD_OF"],
    }  # fmt: skip
    user = {"uid": 1000, "gid": 100, "additionalGids": [5, 100, 4294967294], "umask": 0o77}
    env = ["PATH=/opt/bin:", "A=1", "HOME=", "A=2", "B=x=y"]
    return container(minimal(process=process(user=user, capabilities=capabilities, env=env, cwd="/home/u", oomScoreAdj=0)))


@case
def process_without_capabilities() -> Plan:
    return container(minimal(process=process(capabilities={}, args=["/bin/a b", "", "é\n"], oomScoreAdj=-1000)))


@case
def scheduled_with_a_deadline() -> Plan:
    flags = ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_DL_OVERRUN"]
    scheduler = {"policy": "SCHED_DEADLINE", "runtime": 10**6, "deadline": 2**62, "flags": flags}
    policy = {"mode": "MPOL_BIND", "nodes": "0-2, 64", "flags": ["MPOL_F_STATIC_NODES"]}
    more = {"personality": {"domain": "LINUX32"}, "memoryPolicy": policy}
    priority = {"class": "IOPRIO_CLASS_BE", "priority": 5}
    affinity = {"initial": "0", "final": "1"}  # is for exec, no concern of a container's
    document = process(scheduler=scheduler, ioPriority=priority, execCPUAffinity=affinity, noNewPrivileges=True)
    return container(minimal(process=document, linux=linux("cgroup", **more)), seccomp=FILTER, cgroup_entry=ENTRY)


def _scheduled(**scheduler: Any) -> Case:
    more = {"personality": {"domain": "LINUX"}, "memoryPolicy": {"mode": "MPOL_LOCAL"}}
    priority = {"class": "IOPRIO_CLASS_IDLE"}
    document = process(scheduler={"flags": [], **scheduler}, ioPriority=priority)
    mapped = linux("user", uidMappings=MAPS, gidMappings=MAPS, **more)
    return lambda: container(minimal(process=document, linux=mapped), seccomp=FILTER, waits=False)


CASES["scheduled-nicely"] = _scheduled(policy="SCHED_BATCH", nice=-20)
CASES["scheduled-in-real-time"] = _scheduled(policy="SCHED_RR", priority=99, nice=0)


@case
def seccomp_late() -> Plan:
    hooks = {"startContainer": [{"path": "/s"}]}
    return container(minimal(process=process(noNewPrivileges=True), hooks=hooks), seccomp=FILTER)


@case
def seccomp_early() -> Plan:
    return container(minimal(hooks={"startContainer": [{"path": "/s"}]}), seccomp=Filter(bytes(16), 2), waits=False)


@case
def preserved_fds() -> Plan:
    return container(minimal(), preserve=3)


@case
def seccomp_notify_late() -> Plan:
    """Before the wait for `start`, while there is somebody to take the listener."""
    hooks = {"startContainer": [{"path": "/h"}]}
    return container(minimal(process=process(noNewPrivileges=True), hooks=hooks), seccomp=NOTIFYING)


@case
def seccomp_notify_rootless() -> Plan:
    maps = [{"containerID": 0, "hostID": 1000, "size": 1}]
    config = minimal(linux=linux("user", uidMappings=maps, gidMappings=maps))
    return container(config, host=Host(rootless=True, single_map=True), seccomp=NOTIFYING)


@case
def labels() -> Plan:
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue"},
        {"destination": "/o", "type": "overlay", "source": "o", "options": ["lowerdir=/" + "l" * 300]},
        tmpfs("size=1k", 'rootcontext="a:b:c:s0:c1,c2",mode=700'),
        bind(),
        cgroup(),
    ]
    config = minimal(
        process=process(apparmorProfile="docker-default", selinuxLabel="u:r:container_t:s0:c1,c2"),
        mounts=mounts,
        linux=linux(mountLabel="u:object_r:container_file_t:s0:c1,c2", maskedPaths=["/proc/acpi"]),
    )
    return container(config, host=Host(selinux=True), cgroup_view=legs(V1, PATHS, private=True))


# --- exec --------------------------------------------------------------------------------------------------------------------


@case
def exec_plain() -> Plan:
    return further(process(args=["sh", "-c", "id"]), "pid", "mount", "network", "uts", "ipc")


@case
def exec_enters_cgroups() -> Plan:
    return further(process(), "pid", "user", cgroup_entry=ENTRY)


@case
def exec_shares_everything() -> Plan:
    return further(process(env=[]), new_keyring=False)


@case
def exec_shares_the_mounts() -> Plan:
    return further(process(env=[]), "pid", rootfs="/bundle/rootfs")


@case
def exec_on_other_cpus() -> Plan:
    affinity = {"initial": "0-3,7", "final": " 1 , 65 "}
    document = process(execCPUAffinity=affinity, scheduler={"policy": "SCHED_IDLE"})
    return further(document, "pid", "mount", cgroup_entry=ENTRY, linux={"personality": {"domain": "LINUX32"}})


@case
def exec_keeps_its_first_cpus() -> Plan:
    """Without a fork: what was asked for at first is not taken back."""
    return further(process(execCPUAffinity={"initial": "1", "final": ""}), cgroup_entry=ENTRY)


@case
def exec_terminal() -> Plan:
    document = process(terminal=True, consoleSize={"height": 25, "width": 80}, user={"umask": 0o2, "additionalGids": [1]})
    return further(document, "user", "mount", "cgroup", setgroups=False, preserve=2)


@case
def exec_seccomp_early() -> Plan:
    return further(process(capabilities={"bounding": ["CAP_CHOWN"]}), "time", "mount", seccomp=FILTER)


@case
def exec_seccomp_late() -> Plan:
    return further(process(noNewPrivileges=True), "mount", seccomp=FILTER)


@case
def exec_seccomp_notify() -> Plan:
    return further(process(noNewPrivileges=True), "mount", seccomp=NOTIFYING)


@case
def exec_labels() -> Plan:
    """Before anything is joined, through a procfs that does not come along."""
    return further(process(apparmorProfile="p", selinuxLabel="u:r:container_t:s0"), "pid", "mount")


@case
def exec_label_without_keyring() -> Plan:
    return further(process(selinuxLabel="u:r:container_t:s0"), "mount", new_keyring=False)
