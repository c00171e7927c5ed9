"""hypothesis strategies for configurations that the schema and the rules accept, with every property that a plan depends on.

They are wide, not real: strings hold what the rules let through, lists are short. `check` has the last word.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from pyrunc.config.names import CAPABILITIES, MOUNT_OPTIONS, NAMESPACES
from pyrunc.config.rules.mounts import PROC_OVERMOUNTS

Config = dict[str, Any]
Strategy = st.SearchStrategy[Any]

text = st.sampled_from(["a", "b c", "é", "\udcff\udc80", "x\ny", "\t", '"', "%s", "a,b=c", "w" * 300]) | st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=8
)
part = st.sampled_from(["a", "b", "dev", "..", ".", "", "\udcfe", "x y"])
path = st.lists(part, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
destination = st.sampled_from(["/dev", "/dev/", "/dev/shm", "/proc", "/sys", "/sys/fs/cgroup", "rel/ative"]) | path
destination |= st.sampled_from(sorted(PROC_OVERMOUNTS))
uid = st.sampled_from([0, 1000, 65535, 65536])
mode = st.integers(0, 0o777)
env = st.lists(st.sampled_from(["PATH=/bin:", "PATH=", "HOME=", "HOME=/h", "A=1", "A=2", "B==", "C=\udcff\n"]), max_size=4)


def some(**parts: Strategy) -> st.SearchStrategy[Config]:
    """Any of these properties."""
    return st.fixed_dictionaries({}, optional=parts)


def joined(required: st.SearchStrategy[Config], optional: st.SearchStrategy[Config]) -> st.SearchStrategy[Config]:
    return st.builds(lambda a, b: {**a, **b}, required, optional)


capabilities = some(
    **{
        kind: st.lists(st.sampled_from([*CAPABILITIES, "CAP_UNHEARD_OF"]), max_size=5)
        for kind in ("bounding", "effective", "permitted", "inheritable", "ambient")
    }
)
numbers = st.sampled_from(["0", "0-3,7", " 1 , 5 - 6"])
scheduler = st.one_of(
    st.fixed_dictionaries({"policy": st.sampled_from(["SCHED_OTHER", "SCHED_BATCH"]), "nice": st.integers(-20, 19)}),
    st.fixed_dictionaries({"policy": st.sampled_from(["SCHED_FIFO", "SCHED_RR"]), "priority": st.integers(1, 99)}),
    st.fixed_dictionaries({"policy": st.just("SCHED_DEADLINE"), "runtime": st.just(2000), "deadline": st.integers(2000, 2**62)}),
    st.fixed_dictionaries({"policy": st.just("SCHED_IDLE"), "flags": st.just(["SCHED_FLAG_RESET_ON_FORK"])}),
)
io_class = st.sampled_from(["IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE"])
io_priority = st.fixed_dictionaries({"class": io_class, "priority": st.integers(0, 7)})
memory_policy = st.fixed_dictionaries({"mode": st.sampled_from(["MPOL_BIND", "MPOL_PREFERRED"]), "nodes": numbers})
user = some(uid=uid, gid=uid, additionalGids=st.lists(uid, max_size=3), umask=mode)
process = joined(
    st.fixed_dictionaries({"args": st.lists(text, min_size=1, max_size=3), "cwd": path}),
    some(
        env=env,
        user=user,
        capabilities=capabilities,
        terminal=st.booleans(),
        consoleSize=some(height=st.integers(0, 65535), width=st.integers(0, 65535)),
        noNewPrivileges=st.booleans(),
        oomScoreAdj=st.integers(-1000, 1000),
        scheduler=scheduler,
        ioPriority=io_priority,
        execCPUAffinity=some(initial=numbers, final=numbers | st.just("")),
    ),
)
hook = joined(
    st.fixed_dictionaries({"path": path}),
    some(args=st.lists(text, max_size=2), env=env, timeout=st.sampled_from([1, 30, 2**40, 2**62, 2**63 - 1])),
)
HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
hooks = some(**{name: st.lists(hook, max_size=2) for name in HOOKS})

words = st.sampled_from(sorted(MOUNT_OPTIONS - {"idmap", "ridmap", "bind", "rbind", "tmpcopyup", "remount"}))
data = st.sampled_from(["size=1k", "mode=755", "a,mode=7,,b", "", "lowerdir=" + "/l:" * 100, "é" * 128, "key=", "newinstance"])
binds = st.fixed_dictionaries(
    {
        "destination": destination,
        "source": path | st.sampled_from(["relative", "../up"]),
        "options": st.builds(lambda kind, rest: [*rest, kind], st.sampled_from(["bind", "rbind"]), st.lists(words, max_size=4)),
    }
)
file_systems = joined(
    st.fixed_dictionaries({"destination": destination, "type": st.sampled_from(["tmpfs", "proc", "sysfs", "overlay", "cgroup"])}),
    some(source=text, options=st.lists(words | data, max_size=5)),
)
copied_up = st.just({"destination": "/up", "type": "tmpfs", "options": ["tmpcopyup", "ro"]})
remounts = st.just({"destination": "/a", "options": ["remount", "ro"]})
mounts = st.lists(binds | file_systems | file_systems | copied_up, max_size=5)

device_path = st.sampled_from(["/dev/null", "//dev/null", "/dev/tty", "/dev/ptmx", "/dev/fuse", "/x/y", "/dev//sda", "/dev/fd"])
devices = st.lists(
    st.builds(
        lambda kind, name, rest: {**rest, "type": kind, "path": f"{name}{kind}" if name != "/dev/null" else name},
        st.sampled_from("cbup"),
        device_path,
        joined(
            st.fixed_dictionaries({"major": st.integers(0, 0xFFF), "minor": st.integers(0, 0xFFFFF)}),
            some(fileMode=st.integers(0, 0o177777), uid=uid, gid=uid),
        ),
    ),
    max_size=3,
)
sysctl = st.dictionaries(
    st.sampled_from(["net.ipv4.ip_forward", "net/ipv4/conf/eth0.1/mtu", "kernel.shmmax", "fs.mqueue.msg_max", 'net.a"\n\udcff']),
    text,
    max_size=3,
)
offsets = some(
    **{
        clock: some(secs=st.integers(-(2**63), 2**63 - 1), nanosecs=st.integers(0, 999_999_999))
        for clock in ("monotonic", "boottime")
    },
    unknown=st.just(5),
)
MAPS = [{"containerID": 0, "hostID": 1000, "size": 65537}]


@st.composite
def linux(draw: st.DrawFn) -> Config:
    kinds = draw(st.lists(st.sampled_from(sorted(NAMESPACES)), unique=True))
    kinds += ["mount"] if "mount" not in kinds and draw(st.integers(0, 9)) else []
    listed: list[dict[str, str]] = []
    for kind in kinds:
        listed.append({"type": kind, "path": draw(path)} if draw(st.integers(0, 3)) == 0 else {"type": kind})
    new = {entry["type"] for entry in listed if "path" not in entry}
    config: Config = {"namespaces": listed}
    if "user" in kinds:
        config |= {"uidMappings": MAPS, "gidMappings": MAPS}
    if {"network", "ipc"} <= set(kinds):
        config["sysctl"] = draw(sysctl)
    if "time" in new and draw(st.booleans()):
        config["timeOffsets"] = draw(offsets)
    if "network" in kinds and draw(st.integers(0, 3)) == 0:
        config["netDevices"] = {"eth1": {}, "eth2": {"name": "lan%d"}}
    if "mount" in kinds:
        paths = st.lists(path, max_size=2)
        config |= draw(some(maskedPaths=paths, readonlyPaths=paths, devices=devices))
    propagation = ("private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable")
    domain = st.fixed_dictionaries({"domain": st.sampled_from(["LINUX", "LINUX32"])})
    more = some(rootfsPropagation=st.sampled_from(propagation), personality=domain, memoryPolicy=memory_policy)
    return {**config, **draw(more)}


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """Whole configurations, nearly all of which the rules accept."""
    config: Config = {"ociVersion": "1.2.0", "process": draw(process), "linux": draw(linux())}
    config["root"] = {"path": "rootfs", **draw(some(readonly=st.booleans()))}
    kinds = [entry["type"] for entry in config["linux"]["namespaces"]]
    if "mount" in kinds:
        config["mounts"] = draw(mounts)
    if "uts" in kinds:
        config |= draw(some(hostname=st.sampled_from(["h", "é\n"]), domainname=st.just("d")))
    config["hooks"] = draw(hooks)
    return config
