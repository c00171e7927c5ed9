"""Damaged plans against the program as it is shipped and with the sanitisers: whatever a plan says, memory stays whole.

The plans are carried out for real, so that is done where it can do no harm: by a helper in namespaces of its own, as a user
that owns nothing outside.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from tests.native.plan_harness import (
    BELOW,
    HEADER,
    NEWCGROUP,
    NEWIPC,
    NEWNET,
    NEWNS,
    NEWPID,
    NEWTIME,
    NEWUSER,
    NEWUTS,
    OP,
    PROC,
    SECONDS,
    SETHOSTNAME,
    SHARED,
    SLAVE,
    Init,
    Op,
    bind,
    c,
    encode,
    errno_filter,
    op,
    tmpfs,
    write_maps,
)

SANITISER, HELPER = 99, -99


def corpus(root: str) -> list[bytes]:
    """Valid plans that together use every op."""
    enter = [op("OPEN_PROC"), op("UNSHARE", v=[NEWNS | NEWUTS | NEWIPC | NEWNET | NEWPID | NEWTIME]), op("FORK")]
    enter.append(op("ROOT", root, v=[1]))
    mounts = [
        *[tmpfs("/t", "size=4k", mode=c.MODE_COPYUP), op("MOUNT_DATA", "tmpfs", "/d/e", "size=4k", "x", v=[0, SHARED]), PROC],
        *[bind("/proc/self/status", "/f/file"), op("BIND_DEVICE", "/dev/null", "/dev/null", v=[0x2000, 1, 3])],
        *[op("DEVICE", "/dev/p", v=[0x1000 | 0o666]), op("SYMLINK", "/l/m", "/t", v=[1]), op("HIDE", "/sys")],
        *[op("MASK_PATH", "/etc", ok="ENOENT"), op("READONLY_PATH", "/t"), op("READONLY_MOUNT", "/"), op("MAKE_CWD", "/w")],
        *[op("ROOT_PROPAGATION", v=[SLAVE]), op("PROPAGATE", "/", v=[SHARED | BELOW])],
    ]
    names = [op("HOSTNAME", "h"), op("DOMAINNAME", "d"), op("SYSCTL", "kernel/hostname", "n"), op("LOOPBACK")]
    names += [op("NET_DEVICES", ["eth0"]), op("LABEL", "attr/exec", "l", "attr/e"), op("FILE_LABEL", "/t", "l")]
    user = [op("UMASK", v=[18]), op("BOUNDING", v=[3]), op("USER", bytes(8), v=[0, 0, 0, 1]), op("CAPABILITIES", v=[1] * 4)]
    end = [op("CHDIR", "/", v=[1]), op("LOOKUP", "sh", "/bin:/sbin"), op("HOME"), op("RELEASE")]
    end.append(op("EXEC", ["sh", "-c", "true"], ["A=1"], v=[3, 1]))
    hook = op("HOOK", "/bin/true", ["true"], ["A=1"], "{", "}", v=[5000, 1, 1])
    uts = [op("OPEN_NS", "/proc/self/ns/uts", v=[1]), op("SETNS", "x", v=[1, NEWUTS])]
    pts = op("MOUNT", "devpts", "/dev/pts", ["newinstance", "ptmxmode=666"], v=[0, 0, 0])
    maps, first = op("MAKE_USERNS", "0 0 1\n", "0 0 1\n", v=[c.SLOT_HELD]), c.SLOT_HELD + 1
    held = [maps, op("OPEN_TREE", root, v=[first, SLAVE, c.MODE_RECURSIVE, 0]), op("VERIFY_MAPS", "0 0 1\n", "0 0 1\n")]
    held.append(op("NEW_TREE", "tmpfs", ["size=4k"], v=[first + 1, 0, c.SLOT_HELD, 0, 0]))
    layers = [f"lowerdir={root}/a\\:b:{root}::{root}", f"upperdir={root}/u", f"workdir={root}/w"]
    held.append(op("NEW_TREE", "overlay", layers, v=[first + 2, 0, c.SLOT_HELD, 0, 0]))
    use = [bind(root, "/held", mode=first << c.PLAN_MODE_SLOT), op("REMOUNT", "/held", ["ro"], v=[1, 0, 0, 0, SLAVE])]
    use.append(op("MOUNT", "tmpfs", "/t", ["size=4k"], v=[0, 0, (first + 1) << c.PLAN_MODE_SLOT]))
    scheduling = [op("SCHEDULER", v=[0]), op("IO_PRIORITY", v=[2 << 13]), op("AFFINITY", bytes(8)), op("PERSONALITY", v=[0])]
    scheduling.append(op("MEMORY_POLICY", bytes(8), v=[0, 64]))
    plans = [
        [*enter, *mounts, *names, op("SESSION"), op("KEYRING", "k", v=[1]), op("PIVOT"), *user, *end],
        [*enter, hook, pts, op("NULL_STDIO"), op("OWN_STDIO"), op("SESSION"), op("CONSOLE", v=[1, 2, 1]), op("MOVE_ROOT"), *end],
        [*uts, op("OPEN_ROOT", "/"), op("ENTER_ROOT"), *end],
        [*enter[:1], op("UNSHARE", v=[NEWTIME]), op("TIME_OFFSETS", "monotonic 1 0"), op("OOM_SCORE", "5"), op("JOIN", v=[0])],
        [op("NO_NEW_PRIVS"), op("SECCOMP", errno_filter(SETHOSTNAME, 1), v=[0]), op("SYNC", v=[c.SYNC_READY]), *end],
        [*scheduling, *end],
        [op("OWN_ROOT"), op("OPEN_CGROUP", "/", v=[0, 1]), op("ENTER_CGROUPS"), op("BECOME_ROOT", v=[1]), op("WAIT")],
        [*enter[:1], *held, *enter[1:-1], op("GO_TO_ROOT", root), op("ROOT", root, v=[0, 1]), *use, op("PIVOT"), *end],
    ]
    assert {o.name for plan in plans for o in plan} == set(c.OP_NAMES.values())
    return [encode([Op(o.name, o.strings, o.values, sum(c.TOLERATED)) for o in plan]) for plan in plans]


def harmless_helper(connection: socket.socket, programs: dict[str, int]) -> None:
    """Carries out plans for `Jail`, one after the other: b"program seconds plan" in."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(1, signal.SIGKILL, 0, 0, 0)
    if libc.unshare(NEWUSER | NEWNS | NEWPID | NEWIPC | NEWUTS | NEWNET | NEWCGROUP):
        os._exit(2)
    connection.send(b"maps")
    connection.recv(1)
    os.setgid(0), os.setuid(0)
    libc.mount(b"none", b"/", None, 0x44000, None)  # MS_PRIVATE | MS_REC
    child = os.fork()  # the first process of the pid namespace ends all others with it
    if child:
        os.waitpid(child, 0)
        os._exit(0)
    libc.prctl(1, signal.SIGKILL, 0, 0, 0)
    while request := connection.recv(1 << 20):
        name, seconds, plan = request.split(b" ", 2)
        try:
            connection.send(carry_out(programs[name.decode()], float(seconds), plan))
        except Exception as error:
            connection.send(b"%d 0 " % HELPER + repr(error).encode())
    os._exit(0)


def carry_out(program: int, seconds: float, plan: bytes) -> bytes:
    """After so many seconds it is killed, which is no fault: a damaged plan may wait for what never comes."""
    env = {"ASAN_OPTIONS": f"exitcode={SANITISER}:detect_leaks=0", "UBSAN_OPTIONS": f"exitcode={SANITISER}"}
    with Init(program, plan, env=env) as process:
        process.channel.settimeout(seconds)
        process.page[c.PLAN_STEP_TAKEN] = 1  # whatever listener there will be
        try:
            while message := process.receive():
                process.answer(message, None)
        except TimeoutError:
            pass
        status = 0
        for pid in list(process.pids):
            end = time.monotonic() + seconds
            while not (ended := os.waitpid(pid, os.WNOHANG))[0] and time.monotonic() < end:
                time.sleep(0.001)
            if ended[0]:
                process.pids.remove(pid)
                status = os.waitstatus_to_exitcode(ended[1]) or status
        for message in process.messages:
            for fd in message.fds:
                os.close(fd)
        errors = [message for message in process.messages if message.kind == c.MSG_ERROR]
        return f"{status} {process.step} {process.printed(2)[-8000:]} {errors}".encode(errors="replace")


class Jail:
    """A helper in namespaces of its own, root there and nobody here, that carries out what no one would."""

    def __init__(self, programs: dict[str, int]) -> None:
        self.programs = programs
        self._start()

    def _start(self) -> None:
        programs = self.programs
        self.connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.connection.settimeout(SECONDS)
        self.pid = os.fork()
        if self.pid == 0:
            self.connection.close()
            try:
                harmless_helper(theirs, programs)
            finally:
                os._exit(3)
        theirs.close()
        assert self.connection.recv(10) == b"maps", "no user namespace can be made"
        write_maps(self.pid, "0 100000 65536")
        self.connection.send(b"1")

    def __call__(self, program: str, plan: bytes, seconds: float = 0.2) -> tuple[int, int, str]:
        """The exit status, the last op begun, and what was written to stderr or said to be wrong.

        A plan that lost its UNSHARE to the damage may take the helper's own root away: then the next one has a new helper.
        """
        got = self._ask(program, plan, seconds)
        if got[0] == HELPER:
            self.close()
            self._start()
            got = self._ask(program, plan, seconds)
        return got

    def _ask(self, program: str, plan: bytes, seconds: float) -> tuple[int, int, str]:
        self.connection.send(f"{program} {seconds} ".encode() + plan)
        status, step, words = self.connection.recv(1 << 16).split(b" ", 2)
        return int(status), int(step), words.decode(errors="replace")

    def close(self) -> None:
        self.connection.close()
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


@pytest.fixture(scope="module")
def jail(init: int, sanitised: int) -> Iterator[Jail]:
    made = Jail({"shipped": init, "sanitised": sanitised})
    yield made
    made.close()


@pytest.fixture(scope="module")
def plans(session_dir: Path) -> list[bytes]:
    root = session_dir / "fuzzed"
    for name in ("etc", "proc", "sys", "dev", "bin", "t"):
        (root / name).mkdir(parents=True)
    (root / "t/file").write_text("copied up")
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    for path in [root, *root.rglob("*")]:
        os.chown(path, 100000, 100000)
    return corpus(str(root))


CRASHES = {-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGILL, -signal.SIGFPE, -signal.SIGABRT, -signal.SIGTRAP}


def unharmed(jail: Jail, program: str, plan: bytes, seconds: float = 0.2) -> bool:
    """It reported, was refused, or became whatever program was named; the sanitisers said nothing.

    A signal at EXEC is that program's, which a damaged filter may keep from living; of ours there the sanitisers tell by status.
    """
    status, step, words = jail(program, plan, seconds)
    crashed = status in CRASHES and c.OP_NAMES.get(opcode(plan, step)) != "EXEC"
    return not crashed and status not in (SANITISER, HELPER) and "Sanitizer" not in words and "runtime error" not in words


def opcode(plan: bytes, index: int) -> int:
    at = HEADER.size + OP.size * index
    return int(struct.unpack_from("=H", plan, at)[0]) if at + 2 <= len(plan) else 0


@pytest.mark.needs_root
@pytest.mark.parametrize("program", ["shipped", "sanitised"])
def test_the_plans_are_carried_out_to_their_ends(jail: Jail, plans: list[bytes], program: str) -> None:
    """Or else the faults would be made in what is never reached."""
    for plan in plans:
        status, step, words = jail(program, plan, 10)
        assert status not in CRASHES | {SANITISER, HELPER}, (status, step, words)
        assert step == struct.unpack_from("=I", plan, 12)[0] - 1, (status, step, words)


WORDS = st.one_of(st.sampled_from([0, 1, 7, 8, 15, 16, 63, 64, 255, 4096, 2**31, 2**32 - 1, 2**63]), st.integers(0, 2**64 - 1))
KINDS = st.sampled_from(["flip", "word", "value", "string", "opcode", "swap", "text"])
FAULTS = st.tuples(st.integers(0, 7), st.lists(st.tuples(KINDS, st.integers(0, 2**16), WORDS), min_size=1, max_size=5))
Faults = tuple[int, list[tuple[str, int, int]]]


def damage(plans: list[bytes], faults: Faults) -> bytes:
    """One of the plans with these faults in it, most of which leave it well-formed."""
    data = bytearray(plans[faults[0]])
    nops = struct.unpack_from("=I", data, 12)[0]
    text = HEADER.size + OP.size * nops
    offsets = [
        0,
        *(o for at in range(HEADER.size, text, OP.size) for o in struct.unpack_from(f"={c.PLAN_STRINGS}I", data, at + 4)),
    ]
    for kind, where, what in faults[1]:
        at, other = (HEADER.size + OP.size * (n % nops) for n in (where, what))
        if kind == "flip":
            data[where % len(data)] ^= 1 << what % 8
        elif kind == "word":
            struct.pack_into("=I", data, where % (len(data) - 3), what % 2**32)
        elif kind == "value":
            struct.pack_into("=Q", data, at + 24 + where // nops % c.PLAN_VALUES * 8, what)
        elif kind == "string":  # another's, or none
            struct.pack_into("=I", data, at + 4 + where // nops % c.PLAN_STRINGS * 4, offsets[what % len(offsets)])
        elif kind == "opcode":
            struct.pack_into("=H", data, at, what % (len(c.OP_NAMES) + 2))
        elif kind == "swap":
            data[at : at + OP.size], data[other : other + OP.size] = data[other : other + OP.size], data[at : at + OP.size]
        else:
            data[text + where % (len(data) - text)] = what % 256
    return bytes(data)


def limits(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@pytest.mark.needs_root
@limits(200)
@given(FAULTS)
def test_no_damage_to_a_plan_breaks_memory(jail: Jail, plans: list[bytes], faults: Faults) -> None:
    assert unharmed(jail, "sanitised", damage(plans, faults))


@pytest.mark.needs_root
@limits(400)
@given(FAULTS)
def test_no_damage_to_a_plan_breaks_the_shipped_program(jail: Jail, plans: list[bytes], faults: Faults) -> None:
    assert unharmed(jail, "shipped", damage(plans, faults))
