"""The operations of a plan: what pyrunc-init can do, one function each.

An op is a value: its opcode, the JSON path in config.json that it came from, strings and numbers. plan/show.py says in words
what one does, plan/encode.py writes it down for native/init, where exactly one C function of the same name executes it.
"""

from __future__ import annotations

import sys

from pyrunc.plan import opcodes as c

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Text = str | bytes


class Op:
    """One step. ``strings`` and ``values`` are as native/init documents them at the executor; ``tolerate`` has the
    errnos (TOLERATE_*) that are no failure of this op."""

    __slots__ = ("at", "code", "strings", "tolerate", "values")

    def __init__(
        self, code: int, at: str, strings: Sequence[bytes | None] = (), values: Sequence[int] = (), tolerate: int = 0
    ) -> None:
        self.code = code
        self.at = at
        self.strings = strings
        self.values = values
        self.tolerate = tolerate

    @property
    def name(self) -> str:
        """The opcode's name, as in native/plan.h."""
        return c.OP_NAMES[self.code]

    def text(self, index: int) -> str:
        """A string for people; "" where there is none."""
        raw = self.strings[index] if index < len(self.strings) else None
        return (raw or b"").decode("utf-8", "surrogateescape")

    def items(self, index: int) -> list[str]:
        """The members of a list string."""
        return self.text(index).split("\0")[:-1]

    def value(self, index: int) -> int:
        return self.values[index] if index < len(self.values) else 0


def _b(text: Text) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def _list(items: Iterable[Text]) -> bytes:
    return b"".join([_b(item) + b"\0" for item in items])


def propagation_bits(flags: Sequence[int]) -> int:
    """MS_* propagation flags, first one first, as the bytes that native/init/mount.c applies one after the other."""
    packed = 0
    for i, flag in enumerate(flags[:8]):
        packed |= (flag >> 17 & 15 | (16 if flag & 0x4000 else 0)) << 8 * i
    return packed


def open_proc() -> Op:
    return Op(c.OP_OPEN_PROC, "")


def own_root() -> Op:
    """A runtime without the privilege cannot, and a container of its is confined by its user namespace."""
    return Op(c.OP_OWN_ROOT, "root.path", (), (), c.TOLERATE_EPERM)


def make_userns(at: str, uids: Text, gids: Text, slot: int) -> Op:
    return Op(c.OP_MAKE_USERNS, at, (_b(uids), _b(gids)), (slot,))


def verify_maps(at: str, uids: Text, gids: Text) -> Op:
    return Op(c.OP_VERIFY_MAPS, at, (_b(uids), _b(gids)))


def open_tree(at: str, source: Text, slot: int, propagation: Sequence[int], mode: int, userns: int) -> Op:
    """Without privilege, and without a mapping, what is not opened here is opened later, with the rights that are there then."""
    values = (slot, propagation_bits(propagation), mode, userns)
    return Op(c.OP_OPEN_TREE, at, (_b(source),), values, 0 if userns else c.TOLERATE_EPERM)


def new_tree(at: str, fs: Text, options: Iterable[Text], slot: int, attributes: int, userns: int, owner: tuple[int, int]) -> Op:
    """`owner`: uid and gid on the host of the mappings' root."""
    return Op(c.OP_NEW_TREE, at, (_b(fs), _list(options)), (slot, attributes, userns, *owner))


def open_ns(at: str, path: Text, slot: int) -> Op:
    return Op(c.OP_OPEN_NS, at, (_b(path),), (slot,))


def setns(at: str, path: Text, slot: int, flag: int) -> Op:
    return Op(c.OP_SETNS, at, (_b(path),), (slot, flag))


def join(at: str, flags: int) -> Op:
    return Op(c.OP_JOIN, at, (), (flags,))


def unshare(at: str, flags: int, *, dumpable: bool = False) -> Op:
    return Op(c.OP_UNSHARE, at, (), (flags, dumpable))


def sync(point: int) -> Op:
    return Op(c.OP_SYNC, "", (), (point,))


def become_root(at: str, *, keep_groups: bool) -> Op:
    return Op(c.OP_BECOME_ROOT, at, (), (keep_groups,))


def time_offsets(at: str, text: Text) -> Op:
    return Op(c.OP_TIME_OFFSETS, at, (_b(text),))


def fork() -> Op:
    return Op(c.OP_FORK, "")


def oom_score(at: str, score: int) -> Op:
    return Op(c.OP_OOM_SCORE, at, (b"%d" % score,))


def session() -> Op:
    return Op(c.OP_SESSION, "")


def keyring(name: Text, *, new: bool) -> Op:
    return Op(c.OP_KEYRING, "", (_b(name),), (new,), c.TOLERATE_ENOSYS)


def loopback(at: str) -> Op:
    return Op(c.OP_LOOPBACK, at)


def net_devices(at: str, moves: Sequence[Text]) -> Op:
    """`moves` says what the runtime will move, for people."""
    return Op(c.OP_NET_DEVICES, at, (_list(moves),))


def propagate(at: str, path: Text, flags: Sequence[int]) -> Op:
    return Op(c.OP_PROPAGATE, at, (_b(path),), (propagation_bits(flags),))


def root(at: str, path: Text, *, private_parent: bool, here: bool = False) -> Op:
    """`here`: the working directory is the path, by `go_to_root`."""
    return Op(c.OP_ROOT, at, (_b(path),), (private_parent, here))


def go_to_root(at: str, path: Text) -> Op:
    return Op(c.OP_GO_TO_ROOT, at, (_b(path),))


def open_root(at: str = "", path: Text = b"/") -> Op:
    return Op(c.OP_OPEN_ROOT, at, (_b(path),))


def mount(
    at: str, fs: Text, target: Text, options: Iterable[Text], attributes: int, propagation: Sequence[int], mode: int,
    slot: int = 0, instead: tuple[Text, int] | None = None,
) -> Op:
    """`slot` is that of a file system made before. `instead`: what is bound where the kernel refuses one with EPERM or EBUSY
    (empty: an empty directory), and with which attributes."""
    strings = (_b(fs), _b(target), _list(options), None if instead is None else _b(instead[0]))
    values = (attributes, propagation_bits(propagation), mode | slot << c.PLAN_MODE_SLOT, instead[1] if instead else 0)
    return Op(c.OP_MOUNT, at, strings, values)


def mount_data(
    at: str, fs: Text, target: Text, data: Text, source: Text, flags: int, propagation: Sequence[int], mode: int
) -> Op:
    strings = (_b(fs), _b(target), _b(data), _b(source))
    return Op(c.OP_MOUNT_DATA, at, strings, (flags, propagation_bits(propagation), mode))


def bind(
    at: str, source: Text, target: Text, *, attributes: tuple[int, int] = (0, 0), below: tuple[int, int] = (0, 0),
    propagation: Sequence[int] = (), mode: int = 0, slot: int = 0,
) -> Op:  # fmt: skip
    """`slot` is that of a source opened before."""
    values = (*attributes, *below, propagation_bits(propagation), mode | slot << c.PLAN_MODE_SLOT)
    return Op(c.OP_BIND, at, (_b(source), _b(target)), values)


def remount(
    at: str, target: Text, options: Iterable[Text] | None, *, attributes: tuple[int, int] = (0, 0),
    below: tuple[int, int] = (0, 0), propagation: Sequence[int] = (),
) -> Op:  # fmt: skip
    """`options` None leaves the file system alone and changes the mount."""
    strings = (_b(target), None if options is None else _list(options))
    return Op(c.OP_REMOUNT, at, strings, (*attributes, *below, propagation_bits(propagation)))


def device(at: str, path: Text, mode: int, major: int, minor: int, uid: int, gid: int) -> Op:
    """`mode` has the type's bits (stat.S_IFCHR ...) too."""
    return Op(c.OP_DEVICE, at, (_b(path),), (mode, major, minor, uid, gid))


def bind_device(at: str, path: Text, source: Text, mode: int, major: int, minor: int, slot: int = 0) -> Op:
    """`slot` is that of a source opened before."""
    return Op(c.OP_BIND_DEVICE, at, (_b(path), _b(source)), (mode, major, minor, slot))


def symlink(at: str, link: Text, text: Text, *, replace: bool = False) -> Op:
    return Op(c.OP_SYMLINK, at, (_b(link), _b(text)), (replace,))


def hook(
    at: str, path: Text, argv: Sequence[Text], env: Sequence[Text], state: tuple[Text, Text], timeout_ms: int
) -> Op:
    """`state` is the JSON for the hook's stdin, before and after the pid, which only the process itself knows."""
    strings = (_b(path), _list(argv), _list(env), _b(state[0]), _b(state[1]))
    return Op(c.OP_HOOK, at, strings, (timeout_ms, len(argv), len(env)))


def hide(path: Text) -> Op:
    return Op(c.OP_HIDE, "", (_b(path),))


def pivot() -> Op:
    return Op(c.OP_PIVOT, "root.path")


def move_root() -> Op:
    return Op(c.OP_MOVE_ROOT, "root.path")


def open_cgroup(path: Text, slot: int, *, cgroup2: bool) -> Op:
    return Op(c.OP_OPEN_CGROUP, "linux.cgroupsPath", (_b(path),), (slot, cgroup2))


def enter_cgroups(count: int) -> Op:
    return Op(c.OP_ENTER_CGROUPS, "linux.cgroupsPath", (), (count,))


def enter_root() -> Op:
    return Op(c.OP_ENTER_ROOT, "root.path")


def root_propagation(at: str, flags: Sequence[int]) -> Op:
    return Op(c.OP_ROOT_PROPAGATION, at, (), (propagation_bits(flags),))


def null_stdio() -> Op:
    return Op(c.OP_NULL_STDIO, "")


def make_cwd(at: str, path: Text) -> Op:
    return Op(c.OP_MAKE_CWD, at, (_b(path),))


def console(at: str, rows: int, columns: int, *, bind: bool) -> Op:
    return Op(c.OP_CONSOLE, at, (), (rows, columns, bind))


def own_stdio(uid: int) -> Op:
    return Op(c.OP_OWN_STDIO, "process.user.uid", (), (uid,))


def readonly_mount(at: str, path: Text) -> Op:
    return Op(c.OP_READONLY_MOUNT, at, (_b(path),))


def readonly_path(at: str, path: Text) -> Op:
    return Op(c.OP_READONLY_PATH, at, (_b(path),), (), c.TOLERATE_ENOENT | c.TOLERATE_ENOTDIR)


def mask_path(at: str, path: Text, options: Sequence[Text] = ()) -> Op:
    """`options` of the empty file system that covers a directory, if not the usual ones."""
    strings = (_b(path), _list(options)) if options else (_b(path),)
    return Op(c.OP_MASK_PATH, at, strings, (), c.TOLERATE_ENOENT | c.TOLERATE_ENOTDIR)


def label(at: str, attribute: Text, text: Text, older: Text | None = None) -> Op:
    """`attribute` is below /proc/self; `older` is its name where it does not exist."""
    return Op(c.OP_LABEL, at, (_b(attribute), _b(text), _b(older) if older else None))


def file_label(at: str, path: Text, text: Text) -> Op:
    return Op(c.OP_FILE_LABEL, at, (_b(path), _b(text)))


def umask(at: str, mask: int) -> Op:
    return Op(c.OP_UMASK, at, (), (mask,))


def hostname(at: str, name: Text) -> Op:
    return Op(c.OP_HOSTNAME, at, (_b(name),))


def domainname(at: str, name: Text) -> Op:
    return Op(c.OP_DOMAINNAME, at, (_b(name),))


def sysctl(at: str, path: Text, value: Text) -> Op:
    """`path` is below /proc/sys, with slashes."""
    return Op(c.OP_SYSCTL, at, (_b(path), _b(value)))


def no_new_privs(at: str) -> Op:
    return Op(c.OP_NO_NEW_PRIVS, at)


def seccomp(at: str, bpf: bytes | None, flags: int, *, dumpable: bool = False) -> Op:
    """None is for a filter that the runtime gives while the plan is carried out. `dumpable`: for the moment in which an
    unprivileged runtime takes the listener."""
    return Op(c.OP_SECCOMP, at, (bpf,), (flags, dumpable))


def bounding(at: str, kept: int) -> Op:
    return Op(c.OP_BOUNDING, at, (), (kept,))


def chdir(at: str, path: Text, *, last: bool) -> Op:
    return Op(c.OP_CHDIR, at, (_b(path),), (last,))


def user(at: str, uid: int, gid: int, groups: Sequence[int] | None, *, keep_caps: bool) -> Op:
    """`groups` None leaves the additional groups alone, because setgroups(2) is denied."""
    packed = b"".join([group.to_bytes(4, sys.byteorder) for group in groups or ()])
    return Op(c.OP_USER, at, (packed,), (uid, gid, groups is not None, keep_caps))


def capabilities(at: str, effective: int, permitted: int, inheritable: int, ambient: int) -> Op:
    return Op(c.OP_CAPABILITIES, at, (), (effective, permitted, inheritable, ambient))


def scheduler(
    at: str, policy: int, flags: int, nice: int, priority: int, runtime: int, deadline: int, period: int
) -> Op:  # fmt: skip
    """Times in nanoseconds; a nice value may be negative."""
    return Op(c.OP_SCHEDULER, at, (), (policy, flags, nice & 0xFFFFFFFF | priority << 32, runtime, deadline, period))


def io_priority(at: str, priority: int) -> Op:
    return Op(c.OP_IO_PRIORITY, at, (), (priority,))


def affinity(at: str, cpus: bytes | None) -> Op:
    """`cpus` is a bit mask; None is all that the cpuset has, and no failure if the kernel does not let us ask for them."""
    return Op(c.OP_AFFINITY, at, (cpus,), (), 0 if cpus else c.TOLERATE_EINVAL | c.TOLERATE_EPERM)


def personality(at: str, domain: int) -> Op:
    return Op(c.OP_PERSONALITY, at, (), (domain,))


def memory_policy(at: str, mode: int, nodes: bytes) -> Op:
    """`mode` with its flags, `nodes` a bit mask."""
    return Op(c.OP_MEMORY_POLICY, at, (nodes,), (mode,))


def home(uid: int) -> Op:
    return Op(c.OP_HOME, "process.env", (), (uid,))


def lookup(at: str, name: Text, path: Text) -> Op:
    return Op(c.OP_LOOKUP, at, (_b(name), _b(path)))


def wait() -> Op:
    return Op(c.OP_WAIT, "")


def release() -> Op:
    return Op(c.OP_RELEASE, "")


def execute(at: str, argv: Sequence[Text], env: Sequence[Text]) -> Op:
    return Op(c.OP_EXEC, at, (_list(argv), _list(env)), (len(argv), len(env)))
