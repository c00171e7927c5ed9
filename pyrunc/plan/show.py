"""A plan in words, a line for each op. Loaded when somebody reads, never on the way of success."""

from __future__ import annotations

from pyrunc.config.names import CAPABILITIES, NAMESPACES
from pyrunc.plan import opcodes as c
from pyrunc.plan.seccomp import NEW_LISTENER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrunc.plan.encode import Plan
    from pyrunc.plan.ops import Op

ATTRIBUTES = {
    0x1: "ro", 0x2: "nosuid", 0x4: "nodev", 0x8: "noexec", 0x10: "noatime", 0x20: "strictatime", 0x80: "nodiratime",
    0x100000: "idmap", 0x200000: "nosymfollow",
}  # fmt: skip
SYNCS = {
    c.SYNC_MAPS: "the runtime writes the id maps",
    c.SYNC_CGROUP: "the runtime has the cgroups ready",
    c.SYNC_HOOKS: "the runtime runs the prestart and createRuntime hooks",
    c.SYNC_READY: "the runtime sets the rlimits and records the container",
    c.SYNC_NETWORK: "the runtime moves the network devices",
}


def _names(mask: int, table: dict[str, int]) -> str:
    return ",".join(name for name, bit in table.items() if mask & bit) or "none"


def _namespaces(mask: int) -> str:
    return _names(mask, NAMESPACES)


def _caps(mask: int) -> str:
    return ",".join(name for name, number in CAPABILITIES.items() if mask >> number & 1) or "none"


def _attributes(mask: int) -> str:
    return ",".join(name for bit, name in ATTRIBUTES.items() if mask & bit)


def _propagation(packed: int) -> str:
    names = []
    while packed:
        kind = next(name for bit, name in ((1, "unbindable"), (2, "private"), (4, "slave"), (8, "shared")) if packed & bit)
        names.append(("r" if packed & 16 else "") + kind)
        packed >>= 8
    return ",".join(names)


def _with(*parts: tuple[str, str]) -> str:
    return "".join(f" {label}{text}" for label, text in parts if text)


def _mount(op: Op) -> str:
    source, *options = op.items(2) or [""]
    options += _attributes(op.value(0)).split(",")
    shown = ",".join(filter(None, dict.fromkeys(options)))
    return f"mount {op.text(0)} on {op.text(1)}" + _with(
        ("from ", source.partition("=")[2]), ("with ", shown), ("propagation ", _propagation(op.value(1))), *_mode(op.value(2)),
        *_instead(op),
    )


def _instead(op: Op) -> list[tuple[str, str]]:
    if len(op.strings) < 4 or op.strings[3] is None:
        return []
    attributes = _attributes(op.value(3))
    return [("or else ", (op.text(3) or "an empty directory") + (f" with {attributes}" if attributes else ""))]


def _mount_data(op: Op) -> str:
    return f"mount {op.text(0)} on {op.text(1)}" + _with(
        ("from ", op.text(3)), ("with ", op.text(2)), ("flags ", f"{op.value(0):#x}"),
        ("propagation ", _propagation(op.value(1))), *_mode(op.value(2)),
    )  # fmt: skip


def _mode(mode: int) -> list[tuple[str, str]]:
    words = {
        c.MODE_REALDIR: "no links on the way", c.MODE_INPROC: "allowed in /proc",
        c.MODE_COPYUP: "copy up", c.MODE_DIRMODE: "mode of the directory",
    }  # fmt: skip
    named = [word for bit, word in words.items() if mode & bit]
    slot = mode >> c.PLAN_MODE_SLOT
    named += [f"held as {slot}" + (", mapped" if mode & c.MODE_MAPPED else "")] if slot else []
    shown = ", ".join(named)
    return [("(", shown + ")")] if shown else []


def _bind(op: Op) -> str:
    recursive = "recursively " if op.value(5) & c.MODE_RECURSIVE else ""
    return f"bind {recursive}{op.text(0)} on {op.text(1)}" + _with(
        ("with ", _attributes(op.value(0))), ("without ", _attributes(op.value(1))),
        ("and below with ", _attributes(op.value(2))), ("and below without ", _attributes(op.value(3))),
        ("propagation ", _propagation(op.value(4))), *_mode(op.value(5)),
    )  # fmt: skip


def _open_tree(op: Op) -> str:
    recursive = "recursively " if op.value(2) & c.MODE_RECURSIVE else ""
    return f"open {recursive}{op.text(0)} as {op.value(0)}" + _with(
        ("propagation ", _propagation(op.value(1))), ("", _mapped(op.value(3))),
        ("", "and below" if op.value(2) & c.MODE_MAPBELOW else ""),
    )  # fmt: skip


def _new_tree(op: Op) -> str:
    _, *options = op.items(1) or [""]
    shown = ",".join(filter(None, [*options, *_attributes(op.value(1)).split(",")]))
    return f"make {op.text(0)} as {op.value(0)}" + _with(
        ("with ", shown), ("", _mapped(op.value(2))), ("root ", f"{op.value(3)}:{op.value(4)}")
    )


def _mapped(slot: int) -> str:
    return f"ids mapped by {slot}" if slot else ""


def _remount(op: Op) -> str:
    what = "mount" if op.strings[1] is None else f"file system ({','.join(op.items(1))})"
    return f"change the {what} at {op.text(0)}" + _with(
        ("with ", _attributes(op.value(0))), ("without ", _attributes(op.value(1))),
        ("and below with ", _attributes(op.value(2))), ("and below without ", _attributes(op.value(3))),
        ("propagation ", _propagation(op.value(4))),
    )  # fmt: skip


def _lines(op: Op) -> str:
    return f"uid {', '.join(op.text(0).splitlines())}; gid {', '.join(op.text(1).splitlines())}"


def _device(op: Op) -> str:
    kind = {0o020000: "c", 0o060000: "b", 0o010000: "p"}[op.value(0) & 0o170000]
    number = "" if kind == "p" else f" {op.value(1)}:{op.value(2)}"
    return f"make device {op.text(0)} {kind}{number} mode {op.value(0) & 0o7777:04o} owner {op.value(3)}:{op.value(4)}"


def _user(op: Op) -> str:
    import sys

    raw = op.strings[0] or b""
    groups = [str(int.from_bytes(raw[i : i + 4], sys.byteorder)) for i in range(0, len(raw), 4)]
    shown = " ".join(groups) if op.value(2) else "left alone"
    return f"become user {op.value(0)}:{op.value(1)}, additional groups: {shown or 'none'}"


def _capabilities(op: Op) -> str:
    names = ("effective", "permitted", "inheritable", "ambient")
    return "set capabilities " + "; ".join(f"{name} {_caps(op.value(i))}" for i, name in enumerate(names))


def _hook(op: Op) -> str:
    timeout = f", for at most {op.value(0) / 1000:g} s" if op.value(0) else ""
    return f"run hook {op.text(0)} {op.items(1)}{timeout}"


def _scheduler(op: Op) -> str:
    from pyrunc.config.scheduling import POLICIES, REAL_TIME, SCHEDULER_FLAGS, WITH_NICE

    policy = next(name for name, number in POLICIES.items() if number == op.value(0))
    nice, priority = op.value(2) & 0xFFFFFFFF, op.value(2) >> 32
    parts = [policy]
    if policy in WITH_NICE:
        parts.append(f"nice {nice - (nice >> 31 << 32)}")
    elif policy in REAL_TIME:
        parts.append(f"priority {priority}")
    elif op.value(3):
        parts.append(f"{op.value(3)} ns within {op.value(4)} ns" + (f" every {op.value(5)} ns" if op.value(5) else ""))
    if op.value(1):
        parts.append(_names(op.value(1), SCHEDULER_FLAGS))
    return f"set scheduling policy {', '.join(parts)}"


def _io_priority(op: Op) -> str:
    from pyrunc.config.scheduling import IO_CLASS_SHIFT, IO_CLASSES

    name = next(name for name, number in IO_CLASSES.items() if number == op.value(0) >> IO_CLASS_SHIFT)
    return f"set I/O priority {name}, level {op.value(0) & (1 << IO_CLASS_SHIFT) - 1}"


def _affinity(op: Op) -> str:
    from pyrunc.config.scheduling import numbers

    return f"run on CPUs {numbers(op.strings[0])}" if op.strings[0] else "run on every CPU of the cpuset"


def _personality(op: Op) -> str:
    from pyrunc.config.scheduling import DOMAINS

    return f"set personality {next(name for name, number in DOMAINS.items() if number == op.value(0))}"


def _memory_policy(op: Op) -> str:
    from pyrunc.config.scheduling import MEMORY_FLAGS, MEMORY_MODES, numbers

    flags = [name for name, bit in MEMORY_FLAGS.items() if op.value(0) & bit]
    mode = next(name for name, number in MEMORY_MODES.items() if number == op.value(0) & ~sum(MEMORY_FLAGS.values()))
    nodes = f" of nodes {numbers(op.strings[0])}" if op.strings[0] else ""
    return f"set memory policy {', '.join([mode, *flags])}{nodes}"


DESCRIPTIONS: dict[int, Callable[[Op], str]] = {
    c.OP_OPEN_PROC: lambda op: "open the host's procfs",
    c.OP_OPEN_NS: lambda op: f"open namespace {op.text(0)}",
    c.OP_SETNS: lambda op: f"join {_namespaces(op.value(1))} namespace {op.text(0)}",
    c.OP_JOIN: lambda op: f"join the container's namespaces: {_namespaces(op.value(0))}",
    c.OP_UNSHARE: lambda op: f"create namespaces: {_namespaces(op.value(0))}",
    c.OP_SYNC: lambda op: f"wait until {SYNCS[op.value(0)]}",
    c.OP_BECOME_ROOT: lambda op: "become root of the user namespace" + (", keeping the groups" if op.value(0) else ""),
    c.OP_TIME_OFFSETS: lambda op: f"set time offsets: {', '.join(op.text(0).splitlines())}",
    c.OP_FORK: lambda op: "fork, as pid and time namespaces hold for children only",
    c.OP_OOM_SCORE: lambda op: f"set oom_score_adj to {op.text(0)}",
    c.OP_SESSION: lambda op: "start a session",
    c.OP_KEYRING: lambda op: f"join session keyring {op.text(0)}",
    c.OP_LOOPBACK: lambda op: "bring up the loopback device",
    c.OP_NET_DEVICES: lambda op: f"hand over a netlink socket and wait until the runtime moves {', '.join(op.items(0))}",
    c.OP_PROPAGATE: lambda op: f"set propagation of {op.text(0)} to {_propagation(op.value(0))}",
    c.OP_MAKE_USERNS: lambda op: f"make a user namespace as {op.value(0)}, {_lines(op)}",
    c.OP_VERIFY_MAPS: lambda op: f"compare the namespace's maps, {_lines(op)}",
    c.OP_OPEN_TREE: _open_tree,
    c.OP_NEW_TREE: _new_tree,
    c.OP_REMOUNT: _remount,
    c.OP_GO_TO_ROOT: lambda op: f"change directory to {op.text(0)}",
    c.OP_ROOT: lambda op: f"take {op.text(0)} as the root"
    + (" (its parent mount private)" if op.value(0) else "")
    + (" (the working directory)" if op.value(1) else ""),
    c.OP_OPEN_ROOT: lambda op: f"open {op.text(0)} as the root",
    c.OP_MOUNT: _mount,
    c.OP_MOUNT_DATA: _mount_data,
    c.OP_BIND: _bind,
    c.OP_DEVICE: _device,
    c.OP_BIND_DEVICE: lambda op: f"bind device {op.text(1)} ({op.value(1)}:{op.value(2)}) on {op.text(0)}"
    + (f" (held as {op.value(3)})" if op.value(3) else ""),
    c.OP_SYMLINK: lambda op: f"link {op.text(0)} to {op.text(1)}" + (", replacing what is there" if op.value(0) else ""),
    c.OP_HOOK: _hook,
    c.OP_HIDE: lambda op: f"unmount or cover {op.text(0)}",
    c.OP_PIVOT: lambda op: "pivot into the root and let go of the old one",
    c.OP_MOVE_ROOT: lambda op: "move the root to / and chroot into it",
    c.OP_OWN_ROOT: lambda op: "if the runtime is chrooted, make its root that of a mount namespace",
    c.OP_OPEN_CGROUP: lambda op: f"open cgroup {op.text(0)}",
    c.OP_ENTER_CGROUPS: lambda op: f"enter the {op.value(0)} cgroups opened",
    c.OP_ENTER_ROOT: lambda op: "chroot into the root",
    c.OP_ROOT_PROPAGATION: lambda op: f"set propagation of the root to {_propagation(op.value(0))}",
    c.OP_NULL_STDIO: lambda op: "replace stdio that is the host's /dev/null by the container's",
    c.OP_MAKE_CWD: lambda op: f"make directory {op.text(0)} if it is missing",
    c.OP_CONSOLE: lambda op: "open a terminal"
    + (f" of {op.value(0)} rows and {op.value(1)} columns" if op.value(0) and op.value(1) else "")
    + (", also as /dev/console" if op.value(2) else ""),
    c.OP_OWN_STDIO: lambda op: f"give stdio to user {op.value(0)}",
    c.OP_READONLY_MOUNT: lambda op: f"make the mount at {op.text(0)} read-only",
    c.OP_READONLY_PATH: lambda op: f"make {op.text(0)} read-only",
    c.OP_MASK_PATH: lambda op: f"mask {op.text(0)}" + _with(("with ", ",".join(op.items(1)))),
    c.OP_LABEL: lambda op: f"write {op.text(1)} to /proc/self/{op.text(0)}"
    + (f", or where that does not exist {op.text(2)}" if op.text(2) else ""),
    c.OP_FILE_LABEL: lambda op: f"label {op.text(0)} {op.text(1)}",
    c.OP_UMASK: lambda op: f"set umask {op.value(0):04o}",
    c.OP_HOSTNAME: lambda op: f"set hostname {op.text(0)}",
    c.OP_DOMAINNAME: lambda op: f"set domainname {op.text(0)}",
    c.OP_SYSCTL: lambda op: f"set sysctl {op.text(0)} to {op.text(1)}",
    c.OP_NO_NEW_PRIVS: lambda op: "set no_new_privs",
    c.OP_SECCOMP: lambda op: (
        f"load seccomp filter of {len(op.strings[0]) // 8} instructions, flags {op.value(0):#x}"
        if op.strings[0] is not None
        else "load the seccomp filter that the runtime gives"
    )
    + (", whose listener the runtime takes" if op.value(0) & NEW_LISTENER else ""),
    c.OP_BOUNDING: lambda op: f"drop bounding capabilities other than {_caps(op.value(0))}",
    c.OP_CHDIR: lambda op: f"change directory to {op.text(0)}" + (" as the user, if not done" if op.value(0) else ""),
    c.OP_USER: _user,
    c.OP_CAPABILITIES: _capabilities,
    c.OP_SCHEDULER: _scheduler,
    c.OP_IO_PRIORITY: _io_priority,
    c.OP_AFFINITY: _affinity,
    c.OP_PERSONALITY: _personality,
    c.OP_MEMORY_POLICY: _memory_policy,
    c.OP_HOME: lambda op: f"take HOME of user {op.value(0)} from the container's /etc/passwd",
    c.OP_LOOKUP: lambda op: f"look up {op.text(0)} in {op.text(1)}",
    c.OP_WAIT: lambda op: "wait for start",
    c.OP_RELEASE: lambda op: "let go of the runtime",
    c.OP_EXEC: lambda op: f"execute {op.items(0)} with environment {op.items(1)}",
}

def describe(op: Op) -> str:
    """The op as an imperative sentence."""
    return DESCRIPTIONS[op.code](op)


def show(plan: Plan, form: str) -> str:
    """The whole plan for people (``text``) or machines (``json``)."""
    if form == "json":
        import json

        return json.dumps([_as_json(i, op) for i, op in enumerate(plan.ops)], indent=2, ensure_ascii=True)
    width = max(len(op.at) for op in plan.ops)
    return "\n".join(f"{i:3}  {op.at:{width}}  {one_line(describe(op))}" for i, op in enumerate(plan.ops)) + "\n"


def one_line(text: str) -> str:
    """`text` with escapes for what cannot be printed: file names, a hook's output and the kernel's words may hold anything."""
    return "".join([char if char.isprintable() else _escape(char) for char in text])


def _escape(char: str) -> str:
    number = ord(char)
    return f"\\x{number - 0xDC00:02x}" if 0xDC80 <= number <= 0xDCFF else ascii(char)[1:-1]


def _as_json(index: int, op: Op) -> dict[str, Any]:
    tolerated = [name for bit, name in c.TOLERATED.items() if op.tolerate & bit]
    entry: dict[str, Any] = {"index": index, "op": op.name.lower(), "config_path": op.at, "describe": describe(op)}
    return {**entry, "tolerate": tolerated} if tolerated else entry
