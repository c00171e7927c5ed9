"""What a compiled profile decides, by an interpreter of classic BPF, against the profile read plainly and against the kernel."""

from __future__ import annotations

import ctypes
import errno
import importlib.util
import json
import os
import platform
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

import pyrunc
from pyrunc.errors import UnsupportedError
from pyrunc.plan import seccomp_bpf
from pyrunc.plan.seccomp import compile_seccomp
from pyrunc.plan.seccomp_fold import fold
from pyrunc.plan.seccomp_profile import ARCHITECTURES, Profile

ROOT = Path(__file__).resolve().parents[2]
SHIM = ROOT / "native" / "shim"
CONFIGS = ROOT.parent / "shared" / "configs"

NOTIFY = 0x7FC00000
KILL, KILL_PROCESS, TRAP, ERRNO, TRACE, LOG, ALLOW = 0, 0x80000000, 0x30000, 0x50000, 0x7FF00000, 0x7FFC0000, 0x7FFF0000
EPERM, ENOSYS = ERRNO | errno.EPERM, ERRNO | errno.ENOSYS
X86_64, X86, X32_BIT = 0xC000003E, 0x40000003, 0x40000000
BIG = 2**64 - 1

try:
    scmp = ctypes.CDLL("libseccomp.so.2")
except OSError:
    pytest.skip("libseccomp.so.2 (Debian: libseccomp2) is not installed", allow_module_level=True)
scmp.seccomp_init.restype = ctypes.c_void_p
scmp.seccomp_arch_native.restype = scmp.seccomp_arch_resolve_name.restype = ctypes.c_uint32
NATIVE = scmp.seccomp_arch_native()

on_x86_64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of x86-64")


@pytest.fixture(scope="module", autouse=True)
def shim(tmp_path_factory):
    """The product's shim, or where it is not built or older than its source, this topic of it, for the time of this module."""
    try:
        from pyrunc import _shim
    except ImportError:
        pass
    else:
        newest = max(source.stat().st_mtime for source in SHIM.glob("seccomp.*"))
        if hasattr(_shim.lib, "shim_seccomp_compile") and Path(_shim.__file__).stat().st_mtime > newest:
            yield _shim
            return
    from cffi import FFI

    ffi = FFI()
    ffi.cdef((SHIM / "seccomp.cdef").read_text())
    sources = {"sources": [str(SHIM / "seccomp.c")], "include_dirs": [str(SHIM)]}
    ffi.set_source("_seccomp_alone", '#include "seccomp.h"', **sources)
    built = ffi.compile(tmpdir=str(tmp_path_factory.mktemp("shim")))
    spec = importlib.util.spec_from_file_location("_seccomp_alone", built)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pyrunc._shim", module)
        patch.setattr(pyrunc, "_shim", module, raising=False)
        yield module


def run(bpf: bytes, number: int, args: tuple[int, ...] = (), arch: int = NATIVE) -> int:
    """The filter's verdict on one system call; fails on an instruction that the kernel would not take."""
    data = struct.pack("=IIQ6Q", number & 0xFFFFFFFF, arch, 0, *args, *[0] * (6 - len(args)))
    code = list(struct.iter_unpack("=HBBI", bpf))
    at = acc = 0
    memory: dict[int, int] = {}
    while True:
        op, yes, no, k = code[at]
        at += 1
        if op == 0x20:
            assert k % 4 == 0 and k < 64
            (acc,) = struct.unpack_from("=I", data, k)
        elif op in (0x15, 0x25, 0x35, 0x45):
            at += yes if {0x15: acc == k, 0x25: acc > k, 0x35: acc >= k, 0x45: bool(acc & k)}[op] else no
        elif op == 0x05:
            at += k
        elif op == 0x54:
            acc &= k
        elif op == 0x02:
            memory[k] = acc
        elif op == 0x60:
            acc = memory[k]
        else:
            assert op == 0x06, f"instruction {at - 1}: {op:#x}"
            return k


def number_of(name: str, arch: int = NATIVE) -> int:
    return scmp.seccomp_syscall_resolve_name_arch(ctypes.c_uint32(arch), name.encode())


def bpf_of(profile: dict) -> bytes:
    return compile_seccomp(profile, cache_dir=None).bpf


def built(profile: dict) -> bytes:
    """The filter before it is folded."""
    return seccomp_bpf.build(Profile(profile))[0]


def allow(*names: str, **more: object) -> dict:
    return {"names": list(names), "action": "SCMP_ACT_ALLOW", **more}


def deny_all_but(*rules: dict, **more: object) -> dict:
    return {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": list(rules), **more}


# --- the decisions of random profiles -------------------------------------------------------------------------------

NAMES = [
    *("read", "write", "close", "fstat", "mmap", "ioctl", "socket", "clone", "execve", "kill", "prctl", "setns", "getrandom"),
    *("personality", "openat2", "clone3", "no_such_syscall", "mount", "umount2", "bpf", "futex", "ptrace", "keyctl", "statx"),
]
OPERATORS = {
    "SCMP_CMP_NE": lambda got, a, b: got != a,
    "SCMP_CMP_LT": lambda got, a, b: got < a,
    "SCMP_CMP_LE": lambda got, a, b: got <= a,
    "SCMP_CMP_EQ": lambda got, a, b: got == a,
    "SCMP_CMP_GE": lambda got, a, b: got >= a,
    "SCMP_CMP_GT": lambda got, a, b: got > a,
    "SCMP_CMP_MASKED_EQ": lambda got, a, b: got & a == b & a,
}
ACTIONS = {
    "SCMP_ACT_KILL": KILL,
    "SCMP_ACT_KILL_THREAD": KILL,
    "SCMP_ACT_KILL_PROCESS": KILL_PROCESS,
    "SCMP_ACT_TRAP": TRAP,
    "SCMP_ACT_ERRNO": ERRNO,
    "SCMP_ACT_TRACE": TRACE,
    "SCMP_ACT_LOG": LOG,
    "SCMP_ACT_ALLOW": ALLOW,
}
values = st.sampled_from([0, 1, 2, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 32, (1 << 32) + 1, 0xFFFFFFFE00000000, BIG]) | st.integers(0, BIG)


@st.composite
def actions(draw, key="action", carried="errnoRet"):
    name = draw(st.sampled_from(list(ACTIONS)))
    if name in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE") and draw(st.booleans()):
        return {key: name, carried: draw(st.integers(0, 4094))}
    return {key: name}


def code_of(action: dict, key="action", carried="errnoRet") -> int:
    code = ACTIONS[action[key]]
    return code | action.get(carried, errno.EPERM) if code in (ERRNO, TRACE) else code


comparisons = st.builds(
    lambda index, op, value, second: {"index": index, "op": op, "value": value, "valueTwo": second},
    *(st.integers(0, 5), st.sampled_from(list(OPERATORS)), values, values),
)


def narrow(args: list[dict]) -> list[dict]:
    """libseccomp 2.5.4 mistakes alternatives by order of one argument whose upper halves differ: docs/seccomp.md."""
    ordered = [arg["index"] for arg in args if arg["op"][-2:] in ("LT", "LE", "GT", "GE")]
    return [{**arg, "value": arg["value"] & 0xFFFFFFFF} for arg in args] if len(set(ordered)) < len(ordered) else args


@st.composite
def profiles(draw):
    """Profiles with one action for each name: what libseccomp makes of contradictions is its own affair."""
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=len(NAMES)))
    syscalls = []
    while names:
        count = draw(st.integers(1, 4))
        group, names = names[:count], names[count:]
        args = narrow(draw(st.lists(comparisons, max_size=3)))
        syscalls.append({"names": group, "args": args, **draw(actions())})
    return {**draw(actions("defaultAction", "defaultErrnoRet")), "syscalls": syscalls}


def model(profile: dict, name: str, args: tuple[int, ...]) -> int:
    default = code_of(profile, "defaultAction", "defaultErrnoRet")
    newest = max([number_of(name) for rule in profile["syscalls"] for name in rule["names"]], default=-1)
    for rule in profile["syscalls"]:
        if name in rule["names"]:
            hits = [OPERATORS[arg["op"]](args[arg["index"]], arg["value"], arg["valueTwo"]) for arg in rule["args"]]
            alternatives = len({arg["index"] for arg in rule["args"]}) < len(hits)
            if any(hits) if alternatives else all(hits):
                return code_of(rule)
    silent = default in (ALLOW, LOG) or default & ~0xFFFF == TRACE
    return ENOSYS if number_of(name) > newest >= 0 and not silent else default


@settings(max_examples=80, deadline=None)
@given(profile=profiles(), data=st.data())
def test_random_profiles_decide_as_they_read(profile, data):
    bpf = bpf_of(profile)
    interesting = [value for rule in profile["syscalls"] for arg in rule["args"] for value in (arg["value"], arg["valueTwo"])]
    near = st.sampled_from(interesting or [0]).flatmap(lambda v: st.sampled_from([v, (v + 1) & BIG, (v - 1) & BIG, v ^ 1 << 32]))
    calls = st.tuples(*[near | values] * 6)
    for name in NAMES:
        if number_of(name) < 0:
            continue
        for args in data.draw(st.lists(calls, min_size=3, max_size=3)):
            assert run(bpf, number_of(name), args) == model(profile, name, args), (name, args)


class Comparison(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def by_libseccomp(profile: dict) -> bytes:
    """The same profile, by the library's calls and without the shim."""
    default = code_of(profile, "defaultAction", "defaultErrnoRet")
    context = ctypes.c_void_p(scmp.seccomp_init(ctypes.c_uint32(default)))
    for arch in profile.get("architectures", []):
        token = scmp.seccomp_arch_resolve_name(ARCHITECTURES[arch].encode())
        assert scmp.seccomp_arch_add(context, ctypes.c_uint32(token)) in (0, -errno.EEXIST)
    order = {op: position for position, op in enumerate(OPERATORS, 1)}
    rules = []
    for rule in profile["syscalls"]:
        args = [Comparison(a["index"], order[a["op"]], a["value"], a.get("valueTwo", 0)) for a in rule.get("args") or []]
        alternatives = [[arg] for arg in args] if len({arg.arg for arg in args}) < len(args) else [args]
        rules += [(code_of(rule), name, alternative) for name in rule["names"] for alternative in alternatives]
    if len(rules) > 32:
        assert scmp.seccomp_attr_set(context, 8, 2) == 0
    for action, name, args in rules:
        number = scmp.seccomp_syscall_resolve_name(name.encode())
        if number != -1 and action != default:
            array = (Comparison * len(args))(*args)
            assert scmp.seccomp_rule_add_array(context, ctypes.c_uint32(action), number, len(args), array) == 0
    fd = os.memfd_create("bpf")
    try:
        assert scmp.seccomp_export_bpf(context, fd) == 0
        return os.pread(fd, 1 << 20, 0)
    finally:
        os.close(fd)
        scmp.seccomp_release(context)


@settings(max_examples=60, deadline=None)
@given(profile=profiles())
def test_behind_the_prologue_stands_what_libseccomp_makes(profile):
    assert built(profile).endswith(by_libseccomp(profile))


# --- real profiles --------------------------------------------------------------------------------------------------


def real_profile(engine: str) -> dict:
    path = CONFIGS / f"{engine}.json"
    if not path.exists():
        pytest.skip("no ../shared/configs here")
    return json.loads(path.read_text())["linux"]["seccomp"]


@on_x86_64
@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_real_profiles_decide_as_they_read(engine):
    profile = real_profile(engine)
    bpf = bpf_of(profile)
    default = code_of(profile, "defaultAction", "defaultErrnoRet")
    assert built(profile).endswith(by_libseccomp(profile))
    for arch, token, bit in ((X86_64, X86_64, 0), (X86, X86, 0), (X86_64, 0x4000003E, X32_BIT)):
        plain: dict[int, dict] = {}
        for rule in profile["syscalls"]:
            for name in [] if rule.get("args") else rule["names"]:
                plain.setdefault(number_of(name, token), rule)  # podman's profile has setns twice: libseccomp keeps the first
        newest = max(plain)
        conditional = {number_of(name, token) for rule in profile["syscalls"] for name in rule["names"] if rule.get("args")}
        # socketcall, ipc and what they multiplex: libseccomp does not tell their numbers on x86.
        multiplexed = {102, 117, 337, 345, *range(359, 374), *range(393, 403)} if arch == X86 else set()
        for number in set(range(bit, newest + 1)) - conditional - multiplexed:
            assert run(bpf, number, arch=arch) == (code_of(plain[number]) if number in plain else default), (arch, number)
        assert run(bpf, newest + 1, arch=arch) == run(bpf, newest + 500, arch=arch) == ENOSYS
    assert run(bpf, 0, arch=0xC00000B7) == KILL


@on_x86_64
def test_arguments_in_dockers_profile():
    bpf = bpf_of(real_profile("docker"))
    for persona, verdict in (
        (0, ALLOW),
        (8, ALLOW),
        (0x20000, ALLOW),
        (0x20008, ALLOW),
        (0xFFFFFFFF, ALLOW),
        (1, EPERM),
        (0x40000, EPERM),
    ):
        assert run(bpf, 135, (persona,)) == verdict
    assert run(bpf, 56, (0x11,)) == ALLOW
    assert run(bpf, 56, (0x10000000 | 0x11,)) == EPERM  # CLONE_NEWUSER


PROBE = """
import ctypes, json, os, sys
libc = ctypes.CDLL(None, use_errno=True)
bpf, flags, calls = bytes.fromhex(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
assert libc.prctl(38, 1, 0, 0, 0) == 0
if libc.syscall(317, 1, flags, ctypes.byref(Program(len(bpf) // 8, bpf))):
    sys.exit(os.strerror(ctypes.get_errno()))
answers = []
for call in calls:
    result = libc.syscall(*map(ctypes.c_long, call))
    answers.append(ctypes.get_errno() if result == -1 else 0)
print(json.dumps(answers))
"""


@on_x86_64
@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_the_kernel_takes_and_obeys_a_real_filter(engine):
    filter_ = compile_seccomp(real_profile(engine), cache_dir=None)
    calls = [[39], [135, 0xFFFFFFFF], [135, 0x40000], [500], [9999], [272, 0x10000000]]
    args = [sys.executable, "-I", "-S", "-c", PROBE, filter_.bpf.hex(), str(filter_.flags), json.dumps(calls)]
    done = subprocess.run(args, capture_output=True, text=True)
    default = {"docker": errno.EPERM, "podman": errno.ENOSYS}[engine]
    unshare = run(filter_.bpf, 272, (0x10000000,))
    assert (done.stderr, done.returncode) == ("", 0)
    assert json.loads(done.stdout) == [0, 0, default, errno.ENOSYS, errno.ENOSYS, 0 if unshare == ALLOW else unshare & 0xFFFF]


# --- folding --------------------------------------------------------------------------------------------------------

ALL_NUMBERS = st.integers(0, 500) | st.integers(X32_BIT - 2, X32_BIT + 600) | st.integers(0, 2**32 - 1)


@settings(max_examples=60, deadline=None)
@given(
    profile=profiles(), arches=st.lists(st.sampled_from(["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"]), unique=True),
    calls=st.lists(st.tuples(ALL_NUMBERS, st.tuples(*[values] * 6)), min_size=40, max_size=40),
)  # fmt: skip
def test_a_folded_filter_decides_the_same(profile, arches, calls):
    before = built({**profile, "architectures": arches})
    after = fold(before)
    assert len(after) <= len(before)
    for number, args in [*calls, *((number_of(name), calls[0][1]) for name in NAMES)]:
        for arch in (NATIVE, X86, 0xC00000B7, 1):
            assert run(after, number, args, arch) == run(before, number, args, arch), (number, args, arch)


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_folding_a_real_filter_leaves_a_fifth(engine):
    profile = real_profile(engine)
    assert len(bpf_of(profile)) * 5 < len(built(profile))


def test_a_number_that_stands_alone_takes_one_comparison():
    """Not so two neighbours: they are a range."""
    alone = range(10, 110, 10)
    code = [(0x20, 0, 0, 0)]
    for number in [*alone, 200, 201]:
        code += [(0x15, 0, 1, number), (6, 0, 0, ERRNO)]
    bpf = b"".join(struct.pack("=HBBI", *instruction) for instruction in [*code, (6, 0, 0, ALLOW)])
    folded = fold(bpf)
    compared = [k for op, _, _, k in struct.iter_unpack("=HBBI", folded) if op == 0x15]
    assert sorted(compared) == list(alone)
    for number in range(300):
        assert run(folded, number) == run(bpf, number), number


def test_a_filter_that_is_not_understood_stays_as_it_is():
    """A test of the number's bits, scratch memory, an order of architectures: libseccomp has none of them."""
    for odd in [(0x45, 1, 0, 1)], [(0x02, 0, 0, 0), (0x60, 0, 0, 0)], [(0x20, 0, 0, 4), (0x35, 0, 0, 1)]:
        code = [(0x20, 0, 0, 0), *odd, (6, 0, 0, ALLOW), (6, 0, 0, KILL)]
        bpf = b"".join(struct.pack("=HBBI", *instruction) for instruction in code)
        assert fold(bpf) == bpf


def test_a_branch_further_than_a_jump_can_name():
    """Every second of 2000 numbers has a verdict of its own, and the least and the greatest of them an argument to look at."""
    code = [(0x20, 0, 0, 0)]
    for number in range(1, 2000):
        code += [(0x15, 0, 1, number), (6, 0, 0, ERRNO | number % 4000) if number % 2 else (0x05, 0, 0, 2 * (1999 - number) + 1)]
    code += [(6, 0, 0, ALLOW), (0x20, 0, 0, 16), (0x15, 0, 1, 7), (6, 0, 0, TRAP), (6, 0, 0, LOG)]
    bpf = b"".join(struct.pack("=HBBI", *instruction) for instruction in code)
    folded = fold(bpf)
    assert folded != bpf
    for number in range(2002):
        for argument in (7, 8):
            assert run(folded, number, (argument,)) == run(bpf, number, (argument,)), number


# --- ENOSYS for what is newer than the profile ----------------------------------------------------------------------


def test_a_default_errno_does_not_hide_that_a_syscall_is_unknown():
    bpf = bpf_of(deny_all_but(allow("read", "write")))
    newest = max(number_of("read"), number_of("write"))
    assert [run(bpf, number) for number in (newest, newest + 1, 0xFFFFFFFF)] == [ALLOW, ENOSYS, ENOSYS]


@pytest.mark.parametrize(
    "default", [{"defaultAction": "SCMP_ACT_ALLOW"}, {"defaultAction": "SCMP_ACT_LOG"}, {"defaultAction": "SCMP_ACT_TRACE"}]
)
def test_no_enosys_where_the_default_lets_the_call_through(default):
    bpf = bpf_of({**default, "syscalls": [{"names": ["read"], "action": "SCMP_ACT_KILL"}]})
    assert run(bpf, 9999) == code_of(default, "defaultAction")
    profile = {**default, "syscalls": [{"names": ["read"], "action": "SCMP_ACT_KILL"}]}
    assert built(profile) == by_libseccomp(profile)


def test_no_prologue_where_the_default_is_enosys_or_nothing_is_named():
    rules = [allow("read")]
    profile = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": errno.ENOSYS, "syscalls": rules}
    assert built(profile) == by_libseccomp(profile)
    for syscalls in ([], [allow("no_such_syscall")]):
        assert run(bpf_of(deny_all_but(*syscalls)), 9999) == EPERM


def test_a_rule_that_repeats_the_default_still_makes_its_number_known():
    bpf = bpf_of(deny_all_but(allow("read"), {"names": ["statx"], "action": "SCMP_ACT_ERRNO"}))
    assert [run(bpf, number_of("statx") + step) for step in (0, 1)] == [EPERM, ENOSYS]


@on_x86_64
def test_x32_without_x32_in_the_profile_is_unknown():
    assert run(bpf_of(deny_all_but(allow("read"))), X32_BIT) == ENOSYS


@on_x86_64
def test_x32_has_its_own_newest_number():
    bpf = bpf_of(deny_all_but(allow("read", "execve"), architectures=["SCMP_ARCH_X32"]))
    assert [run(bpf, number) for number in (59, 60, X32_BIT, X32_BIT | 520, X32_BIT | 521)] == [
        ALLOW,
        ENOSYS,
        ALLOW,
        ALLOW,
        ENOSYS,
    ]


@on_x86_64
@pytest.mark.parametrize(("name", "number"), [("socket", 359), ("recvmmsg", 337), ("shmat", 397), ("msgctl", 402)])
def test_multiplexed_calls_of_x86_stay_allowed_by_their_own_numbers(name, number):
    bpf = bpf_of(deny_all_but(allow("read", name), architectures=["SCMP_ARCH_X86"]))
    assert run(bpf, number, arch=X86) == ALLOW
    assert run(bpf, 425, arch=X86) == ENOSYS


@on_x86_64
def test_arms_private_syscalls_do_not_count_as_new():
    arm = 0x40000028
    bpf = bpf_of(deny_all_but(allow("read", "set_tls"), architectures=["SCMP_ARCH_ARM"]))
    assert [run(bpf, number, arch=arm) for number in (2, 3, 4, 0xF0001, 0xF0005)] == [EPERM, ALLOW, ENOSYS, EPERM, ALLOW]


def test_s390_shows_an_unknown_number_as_zero():
    s390x, passed = 0x80000016, struct.pack("=HBBI", 6, 0, 0, ALLOW)
    bpf = seccomp_bpf.enosys_prologue({s390x: 300}) + passed
    assert [run(bpf, number, arch=s390x) for number in (0, 1, 300, 301)] == [ENOSYS, ALLOW, ALLOW, ENOSYS]
    assert run(bpf, 0, arch=X86) == ALLOW


X32 = 0x4000003E
TOKENS = [X86, X86_64, X32, 0xC00000B7, 0x80000016, 0x40000028]


@given(
    st.dictionaries(st.sampled_from(TOKENS), st.sampled_from([-1]) | st.integers(1, 600)).map(
        lambda d: {t: n | X32_BIT if t == X32 and n > 0 else n for t, n in d.items()}
    )
)
@settings(max_examples=80, deadline=None)
def test_the_prologue_alone(newest):
    bpf = seccomp_bpf.enosys_prologue(newest) + struct.pack("=HBBI", 6, 0, 0, ALLOW)
    for token, last in newest.items():
        arch, bit = (X86_64, X32_BIT) if token == X32 else (token, 0)
        assert run(bpf, bit | max(last, 1), arch=arch) == ALLOW
        assert run(bpf, bit | 601, arch=arch) == (ALLOW if last == -1 else run(bpf, bit | last + 1, arch=arch))
        assert last == -1 or run(bpf, bit | last + 1, arch=arch) == ENOSYS
    assert run(bpf, 700, arch=1) == ALLOW


NOTIFIED = {"syscalls": [{"names": ["mkdirat"], "action": "SCMP_ACT_NOTIFY"}]}


def test_notify_is_an_action_as_others():
    bpf = bpf_of({"defaultAction": "SCMP_ACT_ALLOW", **NOTIFIED})
    assert [run(bpf, number_of(name)) for name in ("mkdirat", "read")] == [NOTIFY, ALLOW]


# --- architectures, flags, actions ----------------------------------------------------------------------------------


@on_x86_64
def test_every_architecture_of_the_spec_is_built_or_refused_by_name():
    for name, short in ARCHITECTURES.items():
        token = scmp.seccomp_arch_resolve_name(short.encode())
        try:
            bpf = bpf_of(deny_all_but(allow("read"), architectures=["SCMP_ARCH_X86_64", name]))
        except UnsupportedError as error:
            big_endian = token != 0 and not token & X32_BIT
            why = "has the other byte order than this machine" if big_endian else "is unknown to this host's libseccomp"
            assert token == 0 or big_endian
            assert error.message == f"linux.seccomp.architectures[1]: {why}"
            assert error.config_path == "linux.seccomp.architectures[1]"
        else:
            assert run(bpf, number_of("read", token), arch=X86_64 if token == X32 else token) == ALLOW
    assert len(ARCHITECTURES) == 23


def test_another_architecture_is_killed():
    assert run(bpf_of(deny_all_but(allow("read"))), 0, arch=1) == KILL


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, 4),
        ({"flags": None}, 4),
        ({"flags": []}, 0),
        ({"flags": ["SECCOMP_FILTER_FLAG_TSYNC"]}, 0),
        ({"flags": ["SECCOMP_FILTER_FLAG_LOG"]}, 2),
        ({"flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_LOG"]}, 6),
        ({"flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}, 0),
        (NOTIFIED, 8 | 4),
        ({**NOTIFIED, "flags": []}, 8),
        ({**NOTIFIED, "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", "SECCOMP_FILTER_FLAG_TSYNC"]}, 8 | 32),
    ],
)
def test_flags(flags, expected):
    compiled = compile_seccomp({**deny_all_but(), **flags}, cache_dir=None)
    assert compiled.flags == expected
    assert compiled.notifies is ("syscalls" in flags)


def test_flags_on_a_kernel_without_them(monkeypatch):
    from pyrunc import _shim

    class OldKernel:
        shim_seccomp_compile = _shim.lib.shim_seccomp_compile

        @staticmethod
        def shim_seccomp_flags(flags: int) -> int:
            return 0

    monkeypatch.setattr(_shim, "lib", OldKernel)
    assert compile_seccomp(deny_all_but(), cache_dir=None).flags == 0
    with pytest.raises(UnsupportedError, match=r"^linux\.seccomp\.flags\[1\]: this kernel does not know the flag$"):
        bpf_of(deny_all_but(flags=["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG"]))


def test_the_kernel_is_asked_for_each_flag(shim):
    assert shim.lib.shim_seccomp_flags(1 | 2 | 4 | 32 | 1 << 30) == 1 | 2 | 4 | 32
    assert shim.lib.shim_seccomp_flags(0) == 0


def test_more_than_32_rules_become_a_tree():
    """The last system call of a list is found after a comparison with each; of a tree, after a few."""

    def steps(count: int) -> int:
        names = [name for name in real_names() if number_of(name) >= 0][:count]
        rules = [{"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": 100 + i} for i, name in enumerate(names)]
        bpf = built({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules})
        assert [run(bpf, number_of(name)) for name in names] == [ERRNO | 100 + i for i in range(count)]
        return sum(1 for op, *_ in struct.iter_unpack("=HBBI", bpf) if op in (0x25, 0x35))

    assert steps(33) > steps(32) + 3


def real_names() -> list[str]:
    names = "read write close fstat lseek mmap mprotect munmap brk ioctl pread64 pwrite64 readv writev sched_yield mremap"
    names += " msync mincore madvise dup nanosleep getpid socket connect sendto recvfrom sendmsg recvmsg shutdown bind listen"
    return (names + " getsockname getpeername socketpair setsockopt getsockopt clone execve exit wait4 kill uname fcntl").split()


# --- what libseccomp or this host cannot do -----------------------------------------------------------------------------


def test_what_is_left_out_is_told():
    many = [f"no_such_{i}" for i in range(99)]
    profile = deny_all_but(allow("read", "no_such_a"), allow("no_such_b", "no_such_a"), allow(*many))
    unknown = compile_seccomp(profile, cache_dir=None).unknown
    assert unknown[:3] == ["no_such_a", "no_such_b", "no_such_0"] and 60 < len(unknown) < 66
    assert list(compile_seccomp(deny_all_but(allow("read")), cache_dir=None).unknown) == []


@pytest.mark.parametrize("name", ["no_such_syscall", "", "read\0", "r\u00e9ad", "\udcff", "x" * 100_000])
def test_a_name_that_libseccomp_does_not_know_is_skipped(name):
    assert bpf_of(deny_all_but(allow("read", name))) == bpf_of(deny_all_but(allow("read")))


def test_a_filter_longer_than_the_kernel_takes_is_refused():
    def conditions(rule: int) -> list[dict]:
        return [{"index": index, "value": (10 * rule + index) * 0x100000001, "op": "SCMP_CMP_EQ"} for index in range(6)]

    rules = [allow(name, args=conditions(4 * i + j)) for i, name in enumerate(real_names()) for j in range(4)]
    with pytest.raises(UnsupportedError, match=r"^linux\.seccomp: the filter has more than 4096 instructions$"):
        bpf_of(deny_all_but(*rules))


def test_without_libseccomp_the_package_is_named(tmp_path):
    """An empty file of that name stands for a missing one: the loader refuses both. It needs a process of its own."""
    (tmp_path / "libseccomp.so.2").write_bytes(b"")
    code = (
        "import sys; sys.path[:0] = sys.argv[1:3]; import pyrunc, importlib\n"
        "sys.modules['pyrunc._shim'] = pyrunc._shim = importlib.import_module(sys.argv[3])\n"
        "from pyrunc.plan.seccomp import compile_seccomp\n"
        "from pyrunc.errors import UnsupportedError\n"
        "try: compile_seccomp({'defaultAction': 'SCMP_ACT_ALLOW'}, cache_dir=None)\n"
        "except UnsupportedError as error: print(error.message)"
    )
    from pyrunc import _shim

    args = [sys.executable, "-c", code, str(ROOT), str(Path(_shim.__file__).parent), _shim.__name__]
    done = subprocess.run(args, capture_output=True, text=True, env={"LD_LIBRARY_PATH": str(tmp_path)})
    assert (done.stdout, done.stderr) == ("linux.seccomp: libseccomp.so.2 is missing: install the package libseccomp2\n", "")


# --- the shim's own border ------------------------------------------------------------------------------------------


def test_a_request_that_lies_about_its_parts_is_refused(shim):
    """The smallest request that is right, then each of its words wrong in turn."""
    text = b"x86_64\0\0read\0\0\0\0"

    def compile_words(words: list[int], text: bytes = text) -> int:
        request = struct.pack(f"={len(words)}I", *words) + text
        report, buffer = shim.ffi.new("struct shim_seccomp_report *"), shim.ffi.new("unsigned char[]", 4096)
        return shim.lib.shim_seccomp_compile(request, len(request), buffer, 4096, report)

    good = [ALLOW, 0, 1, 1, 1, 16, *(0, 4, 1, 0, 0, 0), *(8, KILL, 0, 1), 0]
    assert compile_words(good) == 0
    for position, wrong in [
        (2, 2),
        (3, 2),
        (4, 0),
        (5, 15),
        (5, 17),
        (12, 16),
        (12, 2**32 - 1),
        (14, 2),
        (15, 2),
        (15, 7),
        (16, 16),
    ]:
        words = list(good)
        words[position] = wrong
        assert compile_words(words) == -errno.EBADMSG, (position, wrong)
    assert compile_words(good, text[:-1] + b"x") == -errno.EBADMSG
    assert compile_words([ALLOW, 0, 2**32 - 1, 2**32 - 1, 2**32 - 1, 2**32 - 1], b"") == -errno.EBADMSG
    assert compile_words(good[:5], b"") == -errno.EBADMSG


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_compiled(request_bytes):
    from pyrunc import _shim

    report, buffer = _shim.ffi.new("struct shim_seccomp_report *"), _shim.ffi.new("unsigned char[]", 4096)
    error = _shim.lib.shim_seccomp_compile(request_bytes, len(request_bytes), buffer, 4096, report)
    assert error <= 0 and report.bpf_size <= 4096


def test_the_shim_compiles_without_a_warning():
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]
    done = subprocess.run(["cc", *flags, str(SHIM / "seccomp.c")], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
