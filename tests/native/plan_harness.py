"""Speaks to pyrunc-init as the runtime does, and shares nothing with the runtime but native/plan.h.

A plan is written down here a second time, from the header alone, so that a mistake of pyrunc/plan/encode.py or of the executor
cannot hide in code that both use. `Init` is one pyrunc-init at work, `run` takes one through its whole conversation.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import platform
import select
import signal
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace, TracebackType
from typing import Any

from native import gen_opcodes

_numbers: dict[str, Any] = {}
exec(gen_opcodes.generate(), _numbers)
c = SimpleNamespace(**_numbers)
"""The numbers of native/plan.h, under the names of pyrunc/plan/opcodes.py."""

HEADER = struct.Struct(f"=IHHIIIiHH{c.PLAN_PASSED}s")
OP = struct.Struct(f"=HH{c.PLAN_STRINGS}I{c.PLAN_VALUES}Q")
MESSAGE = struct.Struct("=IIIi")

NEWTIME, NEWNS, NEWCGROUP, NEWUTS = 0x80, 0x20000, 0x2000000, 0x4000000
NEWIPC, NEWUSER, NEWPID, NEWNET = 0x8000000, 0x10000000, 0x20000000, 0x40000000
RDONLY, NOSUID, NODEV, NOEXEC, NOATIME, ATIME = 1, 2, 4, 8, 0x10, 0x70  # MOUNT_ATTR_*, linux/mount.h
UNBINDABLE, PRIVATE, SLAVE, SHARED, BELOW = 1, 2, 4, 8, 16  # as mount_propagation() of native/init/mount.c has them
MINE = f"0 {os.geteuid()} {65536 if os.geteuid() == 0 else 1}"
SECONDS = 20.0
"""How long anything may take before the test fails."""


@dataclass(frozen=True)
class Op:
    """One record of a plan; lists among the strings are written as their items, each ended by NUL."""

    name: str
    strings: tuple[str | bytes | Sequence[str] | None, ...] = ()
    values: tuple[int, ...] = ()
    tolerate: int = 0

    @property
    def code(self) -> int:
        return int(_numbers[f"OP_{self.name}"])


def op(name: str, *strings: str | bytes | Sequence[str] | None, v: Sequence[int] = (), ok: str = "") -> Op:
    """An op by its name; `v` are its values, `ok` names the errnos that it tolerates."""
    return Op(name, strings, tuple(v), sum(_numbers[f"TOLERATE_{name}"] for name in ok.split()))


def encode(ops: Sequence[Op], *, parent: int = 0, preserve: int = 0, passed: Sequence[int] = ()) -> bytes:
    """The plan's bytes. `parent` 0: whoever started it."""
    text, records = bytearray(4), []
    for o in ops:
        offsets = []
        for string in o.strings:
            offsets.append(0 if string is None else len(text))
            if string is not None:
                raw = string if isinstance(string, bytes) else os.fsencode(
                    string if isinstance(string, str) else "".join(item + "\0" for item in string)
                )  # fmt: skip
                text += struct.pack("=I", len(raw)) + raw + b"\0"
        offsets += [0] * (c.PLAN_STRINGS - len(offsets))
        values = [value % 2**64 for value in o.values] + [0] * (c.PLAN_VALUES - len(o.values))
        records.append(OP.pack(o.code, o.tolerate, *offsets, *values))
    at = HEADER.size + OP.size * len(ops)
    head = (c.PLAN_MAGIC, c.PLAN_VERSION, preserve, at + len(text), len(ops), at, parent, len(passed), 0, bytes(passed))
    return HEADER.pack(*head) + b"".join(records) + bytes(text)


def prelude(rootfs: object, flags: int = NEWUSER | NEWNS | NEWPID | NEWIPC | NEWUTS | NEWNET) -> list[Op]:
    """Into new namespaces and up to the root, from where mounts can be made.

    The host is in reach until then, and more so of a pyrunc-init with a fault: but for the directory of temporary files it
    is made read-only in the new mount namespace.
    """
    ops = [op("OPEN_PROC"), op("UNSHARE", v=[flags, os.geteuid() != 0])]
    if flags & NEWUSER:
        ops += [op("SYNC", v=[c.SYNC_MAPS]), op("BECOME_ROOT", v=[os.geteuid() != 0])]
    if flags & (NEWPID | NEWTIME):
        ops.append(op("FORK"))
    temporary = tempfile.gettempdir()
    ops += [op("PROPAGATE", "/", v=[PRIVATE | BELOW]), op("OPEN_ROOT", "/"), bind(temporary, temporary, mode=c.MODE_RECURSIVE)]
    return [*ops, op("READONLY_MOUNT", "/"), op("READONLY_MOUNT", "/dev"), op("ROOT", str(rootfs), v=[1])]


def command(*argv: str, env: Sequence[str] = ("PATH=/bin",), cwd: str = "/") -> list[Op]:
    """The end of a plan: this program, found in the container's /bin."""
    return [
        *[op("CHDIR", cwd, v=[1]), op("LOOKUP", argv[0], "/bin"), op("RELEASE")],
        op("EXEC", list(argv), list(env), v=[len(argv), len(env)]),
    ]


def sh(script: str) -> list[Op]:
    """The end of a plan: the script in busybox, inside the root."""
    return [op("PIVOT"), *command("sh", "-c", script)]


def host(*argv: str) -> list[Op]:
    """The end of a plan that changes no root: this program of the host's busybox."""
    return [*command("/bin/busybox", *argv)[:-1], op("EXEC", ["busybox", *argv], [], v=[1 + len(argv), 0])]


PROC = op("MOUNT", "proc", "/proc", ["source=proc"], v=[NOSUID | NODEV | NOEXEC, 0, c.MODE_REALDIR])


def tmpfs(path: str, *options: str, attributes: int = 0, propagation: int = 0, mode: int = 0) -> Op:
    """A new tmpfs at path."""
    return op("MOUNT", "tmpfs", path, ["source=tmpfs", *options], v=[attributes, propagation, mode])


Attributes = tuple[int, int]


def bind(source: object, path: str, *, top: Attributes = (0, 0), below: Attributes = (0, 0), to: int = 0, mode: int = 0) -> Op:
    """A bind mount with attributes (set, cleared) of itself and of all that is mounted below."""
    return op("BIND", str(source), path, v=[*top, *below, to, mode])


@dataclass(frozen=True)
class Message:
    """What pyrunc-init said; `fds` came with it and are the receiver's to close."""

    kind: int
    op: int
    value: int
    error: int
    detail: str
    fds: tuple[int, ...] = ()

    @classmethod
    def parse(cls, data: bytes, fds: Sequence[int] = ()) -> Message:
        assert len(data) >= c.PLAN_MESSAGE_HEAD, data
        return cls(*MESSAGE.unpack_from(data), data[c.PLAN_MESSAGE_HEAD :].rstrip(b"\0").decode(errors="replace"), tuple(fds))


@dataclass
class Outcome:
    """The end of it: exit status (negative: signal), everything said, the last op begun, both outputs."""

    status: int
    messages: list[Message] = field(default_factory=list)
    step: int = -1
    out: str = ""
    err: str = ""

    def good(self) -> str:
        """The output of a container that ran to its end."""
        assert self.status == 0 and not self.errors, self
        return self.out

    @property
    def errors(self) -> list[Message]:
        return [message for message in self.messages if message.kind == c.MSG_ERROR]

    def bad(self, ops: Sequence[Op], name: str, place: str, error: int) -> Message:
        """The one error, which must be this op's, at this place, with this errno."""
        assert self.status == 1 and len(self.errors) == 1, self
        message = self.errors[0]
        said = (ops[message.op].name, c.PLACES[message.value], message.error)
        assert said == (name, c.PLACES[_numbers[f"AT_{place}"]], error), (said, message)
        assert self.step == message.op
        return message


def seal(name: str, data: bytes) -> int:
    """A memfd that nobody can change."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(fd, "wb", closefd=False) as file:
        file.write(data)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
    return fd


class Init:
    """A pyrunc-init that has been started. Use as a context: at its end no process of it is left."""

    def __init__(
        self, program: int, plan: bytes, *, passed: Sequence[int] = (), preserve: Sequence[int] = (),
        stdio: Mapping[int, int] | None = None, base: int | None = None, env: Mapping[str, str] | None = None,
        argv: Sequence[str] | None = None, plan_fd: int | None = None, sockets: tuple[socket.socket, socket.socket] | None = None,
    ) -> None:  # fmt: skip
        base = 3 + len(preserve) if base is None else base
        self.channel, theirs = sockets or socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel.settimeout(SECONDS)
        self.output = [os.memfd_create("out"), os.memfd_create("err")]
        page = os.memfd_create("step")
        os.ftruncate(page, c.PLAN_STEP_SIZE)
        self.page = mmap.mmap(page, c.PLAN_STEP_SIZE)
        null = os.open("/dev/null", os.O_RDWR)
        text = seal("plan", plan) if plan_fd is None else plan_fd
        targets = {0: null, 1: self.output[0], 2: self.output[1], **(stdio or {})}
        targets |= {3 + i: fd for i, fd in enumerate(preserve)}
        targets |= {base + i: fd for i, fd in enumerate([text, theirs.fileno(), page, *passed])}
        # Out of the way first: no copy may hit what is still to be copied.
        copies = {target: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, base + 64) for target, fd in targets.items()}
        actions = [(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in copies.items()]
        copies[-1] = fcntl.fcntl(program, fcntl.F_DUPFD_CLOEXEC, base + 64)
        arguments = ["pyrunc-init", str(base)] if argv is None else list(argv)
        self.pids = [os.posix_spawn(f"/proc/self/fd/{copies[-1]}", arguments, dict(env or {}), file_actions=actions)]
        self.messages: list[Message] = []
        theirs.close()
        for fd in {*copies.values(), page, null, *([text] if plan_fd is None else [])}:
            os.close(fd)

    def __enter__(self) -> Init:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self.channel.close()
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
        while self.pids:
            os.waitpid(self.pids.pop(), 0)
        for fd in self.output:
            os.close(fd)
        self.page.close()

    @property
    def pid(self) -> int:
        """The process that the container is made of, so far."""
        return self.pids[-1]

    @property
    def step(self) -> int:
        return self.word(0)

    def word(self, offset: int) -> int:
        """A word of the step page."""
        return int.from_bytes(self.page[offset : offset + 4], sys.byteorder)

    def receive(self) -> Message | None:
        """The next message, None when there will be no more."""
        try:
            data, fds, _, _ = socket.recv_fds(self.channel, 8192, 4)
        except ConnectionResetError:
            return None
        if not data:
            return None
        message = Message.parse(data, fds)
        self.messages.append(message)
        if message.kind == c.MSG_FORKED:
            self.pids.append(message.value)
        return message

    def until(self, kind: int, value: int | None = None, maps: str = MINE) -> Message:
        """Answer everything until this message comes, which stays unanswered."""
        while message := self.receive():
            if message.kind == kind and value in (None, message.value):
                return message
            if message.kind == c.MSG_SYNC:
                self.answer(message, maps)
        raise AssertionError(f"no message {c.MESSAGE_NAMES[kind]} came: {self.messages}, exit {self.wait()}")

    def answer(self, message: Message, maps: str | None = MINE) -> None:
        if message.value == c.SYNC_MAPS and maps:
            write_maps(self.pid, maps)
        try:
            self.channel.send(b"\1")
        except (BrokenPipeError, ConnectionResetError):
            pass

    def wait(self) -> int:
        """The exit status of the last process; negative the signal that ended it."""
        status = 0
        while self.pids:
            pid = self.pids[0]
            ended = select.poll()
            handle = os.pidfd_open(pid)
            ended.register(handle, select.POLLIN)
            try:
                if not ended.poll(SECONDS * 1000):
                    raise AssertionError(f"pyrunc-init does not end: step {self.step}, {self.messages}")
            finally:
                os.close(handle)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            self.pids.pop(0)
        return status

    def printed(self, which: int = 1) -> str:
        """What was written to the stdout (1) or stderr (2) that the process was given."""
        fd = self.output[which - 1]
        return os.pread(fd, os.fstat(fd).st_size, 0).decode(errors="replace")

    def finish(self, at: Mapping[int, Callable[[Init], object]] | None = None, maps: str | None = MINE) -> Outcome:
        """Converse to the end; `at` has what is to be done at points of synchronisation (SYNC_*) or messages (-MSG_*)."""
        while message := self.receive():
            todo = (at or {}).get(message.value if message.kind == c.MSG_SYNC else -message.kind)
            if todo:
                todo(self)
            if message.kind == c.MSG_SYNC:
                self.answer(message, maps)
                for fd in message.fds:
                    os.close(fd)
            elif message.kind == c.MSG_LISTENER:
                self.page[c.PLAN_STEP_TAKEN] = 1
        status = self.wait()
        return Outcome(status, self.messages, self.step, self.printed(1), self.printed(2))


def write_maps(pid: int, maps: str) -> None:
    """The same mapping for users and groups; lines are separated by commas."""
    if os.geteuid():
        with open(f"/proc/{pid}/setgroups", "w") as file:
            file.write("deny")
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{pid}/{name}", "w") as file:
            file.write(maps.replace(",", "\n"))


def run(
    program: int, ops: Sequence[Op], *, at: Mapping[int, Callable[[Init], object]] | None = None, maps: str | None = MINE,
    slots: Mapping[int, int] | None = None, preserve: Sequence[int] = (), **options: Any,
) -> Outcome:  # fmt: skip
    """Start, converse, wait. `slots` maps fd slots to the fds that are passed for them."""
    passed = slots or {}
    plan = encode(ops, parent=os.getpid(), preserve=len(preserve), passed=list(passed))
    with Init(program, plan, passed=list(passed.values()), preserve=preserve, **options) as init:
        return init.finish(at, maps)


def kill_everything_filter() -> bytes:
    """Classic BPF that ends the process at its next system call: SECCOMP_RET_KILL_PROCESS."""
    return struct.pack("=HBBI", 0x06, 0, 0, 0x80000000)


def errno_filter(number: int, error: int) -> bytes:
    """Classic BPF that lets this system call fail and all others pass."""
    return b"".join([
        struct.pack("=HBBI", 0x20, 0, 0, 0),  # load seccomp_data.nr
        struct.pack("=HBBI", 0x15, 0, 1, number),  # equal: next, else skip one
        struct.pack("=HBBI", 0x06, 0, 0, 0x50000 | error),  # SECCOMP_RET_ERRNO
        struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000),  # SECCOMP_RET_ALLOW
    ])  # fmt: skip


SETHOSTNAME = {"x86_64": 170}.get(platform.machine(), 161)


def eventually(condition: Callable[[], object], seconds: float = 5.0) -> bool:
    """True as soon as the condition is, False when it does not become so."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True
