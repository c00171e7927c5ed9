"""Random profiles from a fixed seed, an interpreter of classic BPF, and libseccomp called without any of pyrunc's code."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import struct
from collections.abc import Sequence
from typing import Any

Profile = dict[str, Any]
Call = tuple[int, tuple[int, ...]]

ERRNO, TRACE, LOG, ALLOW = 0x50000, 0x7FF00000, 0x7FFC0000, 0x7FFF0000
ACTIONS = {
    "SCMP_ACT_KILL": 0, "SCMP_ACT_KILL_THREAD": 0, "SCMP_ACT_KILL_PROCESS": 0x80000000, "SCMP_ACT_TRAP": 0x30000,
    "SCMP_ACT_ERRNO": ERRNO, "SCMP_ACT_TRACE": TRACE, "SCMP_ACT_LOG": LOG, "SCMP_ACT_ALLOW": ALLOW,
}  # fmt: skip
OPERATORS = ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")
X86_64, X86, X32, X32_BIT = 0xC000003E, 0x40000003, 0x4000003E, 0x40000000
ARCHES = {"SCMP_ARCH_X86_64": X86_64, "SCMP_ARCH_X86": X86, "SCMP_ARCH_X32": X32, "SCMP_ARCH_AARCH64": 0xC00000B7}

HARMLESS = (
    "times sysinfo getpriority getrusage uname getpgrp getsid personality alarm getitimer sched_get_priority_max mincore msync"
    " flock ftruncate truncate mkdir rmdir link symlink chmod chown lchown umask setpgid swapon swapoff mount umount2 init_module"
    " delete_module keyctl add_key request_key bpf perf_event_open kexec_load userfaultfd memfd_create process_vm_readv kcmp"
    " io_setup quotactl unshare setns mknod mkdirat linkat symlinkat fchmodat utimensat name_to_handle_at"
    " fanotify_init inotify_init1 timerfd_create eventfd2 signalfd4 copy_file_range statx openat2 open_tree fsopen fsmount"
    " move_mount mount_setattr landlock_create_ruleset io_uring_setup pidfd_getfd process_madvise epoll_pwait2 no_such_call"
).split()
"""What a process may try with any arguments, and what no runtime needs after it has loaded a filter."""


def random_profile(chance: random.Random, *, default: str | None = None, always: Sequence[str] = ()) -> Profile:
    """One rule for each name at most, but for `always`, which are allowed: what libseccomp makes of contradictions is its own."""
    names = chance.sample(HARMLESS, chance.randint(0, len(HARMLESS)))
    syscalls = [{"names": list(always), "action": "SCMP_ACT_ALLOW"}] if always else []
    while names:
        count = chance.randint(1, 5)
        group, names = names[:count], names[count:]
        rule: Profile = {"names": group, **_action(chance, "action", "errnoRet")}
        if args := _arguments(chance):
            rule["args"] = args
        syscalls.append(rule)
    profile: Profile = {"syscalls": syscalls, **_action(chance, "defaultAction", "defaultErrnoRet", default)}
    if chance.random() < 0.5:
        profile["architectures"] = chance.sample(list(ARCHES), chance.randint(1, len(ARCHES)))
    if chance.random() < 0.5:
        flags = ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]
        profile["flags"] = chance.sample(flags, chance.randint(0, 2))
    return profile


def _action(chance: random.Random, key: str, carried: str, name: str | None = None) -> Profile:
    name = name or chance.choice(list(ACTIONS))
    if name == "SCMP_ACT_ERRNO" and chance.random() < 0.7:
        return {key: name, carried: chance.randint(1, 4094)}
    return {key: name}


def _arguments(chance: random.Random) -> list[Profile]:
    args = [
        {
            "index": chance.randint(0, 5), "op": f"SCMP_CMP_{chance.choice(OPERATORS)}",
            "value": some_value(chance), "valueTwo": some_value(chance),
        }
        for _ in range(chance.choice((0, 0, 0, 1, 1, 2, 3)))
    ]  # fmt: skip
    ordered = [arg["index"] for arg in args if arg["op"][-2:] in ("LT", "LE", "GT", "GE")]
    if len(set(ordered)) < len(ordered):  # libseccomp 2.5.4 mistakes alternatives by order whose upper halves differ
        args = [{**arg, "value": int(arg["value"]) & 0xFFFFFFFF} for arg in args]
    return args


def some_value(chance: random.Random) -> int:
    few = (0, 1, 2, 8, 0x20000, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 32, (1 << 32) + 1, 0xFFFFFFFE00000000, 2**64 - 1)
    return chance.choice(few) if chance.random() < 0.8 else chance.getrandbits(64)


def arguments_near(chance: random.Random, profile: Profile, count: int) -> list[tuple[int, ...]]:
    """Argument lists in which the values of the rules, and those beside them, are frequent."""
    args = [arg for rule in profile["syscalls"] for arg in rule.get("args") or ()]
    found = [value for arg in args for value in (arg["value"], arg.get("valueTwo") or 0)]
    near = [(value + step) % 2**64 for value in found for step in (-1, 0, 1)]

    def one() -> int:
        return chance.choice(near) if near and chance.random() < 0.5 else some_value(chance)

    return [tuple(one() for _ in range(6)) for _ in range(count)]


def decide(code: Sequence[tuple[int, int, int, int]], number: int, args: Sequence[int], arch: int) -> int:
    """What a filter answers; it fails on an instruction that libseccomp and we have no use for."""
    data = struct.pack("=IIQ6Q", number & 0xFFFFFFFF, arch, 0, *args)
    at = acc = 0
    while True:
        op, yes, no, k = code[at]
        at += 1
        if op == 0x20:
            (acc,) = struct.unpack_from("=I", data, k)
        elif op == 0x15:
            at += yes if acc == k else no
        elif op == 0x25:
            at += yes if acc > k else no
        elif op == 0x35:
            at += yes if acc >= k else no
        elif op == 0x45:
            at += yes if acc & k else no
        elif op == 0x05:
            at += k
        elif op == 0x54:
            acc &= k
        else:
            assert op == 0x06, f"instruction {at - 1}: {op:#x}"
            return k


def instructions(bpf: bytes) -> list[tuple[int, int, int, int]]:
    return list(struct.iter_unpack("=HBBI", bpf))


class Comparison(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


class Library:
    """libseccomp, by its own interface."""

    def __init__(self) -> None:
        self.lib = ctypes.CDLL("libseccomp.so.2")
        self.lib.seccomp_init.restype = ctypes.c_void_p
        self.lib.seccomp_arch_native.restype = ctypes.c_uint32
        self.native = int(self.lib.seccomp_arch_native())

    def number(self, name: str, arch: int) -> int:
        return int(self.lib.seccomp_syscall_resolve_name_arch(ctypes.c_uint32(arch), name.encode()))

    def program(self, profile: Profile) -> bytes:
        """The profile as libseccomp compiles it: without ENOSYS for what is newer."""
        default = code_of(profile, "defaultAction", "defaultErrnoRet")
        context = ctypes.c_void_p(self.lib.seccomp_init(ctypes.c_uint32(default)))
        for arch in profile.get("architectures", ()):
            assert self.lib.seccomp_arch_add(context, ctypes.c_uint32(ARCHES[arch])) in (0, -errno.EEXIST)
        rules = []
        for rule in profile["syscalls"]:
            order = {f"SCMP_CMP_{name}": i for i, name in enumerate(OPERATORS, 1)}
            args = [Comparison(a["index"], order[a["op"]], a["value"], a.get("valueTwo") or 0) for a in rule.get("args") or ()]
            alternatives = [[arg] for arg in args] if len({arg.arg for arg in args}) < len(args) else [args]
            rules += [(code_of(rule, "action", "errnoRet"), name, one) for name in rule["names"] for one in alternatives]
        if len(rules) > 32:
            assert self.lib.seccomp_attr_set(context, 8, 2) == 0
        for action, name, args in rules:
            number = self.lib.seccomp_syscall_resolve_name(name.encode())
            if number != -1 and action != default:
                array = (Comparison * len(args))(*args)
                assert self.lib.seccomp_rule_add_array(context, ctypes.c_uint32(action), number, len(args), array) == 0
        fd = os.memfd_create("bpf")
        try:
            assert self.lib.seccomp_export_bpf(context, fd) == 0
            return os.pread(fd, 1 << 20, 0)
        finally:
            os.close(fd)
            self.lib.seccomp_release(context)

    def newest(self, profile: Profile, arch: int) -> int:
        """The greatest number that the profile names on this architecture. The calls that socketcall(2) and ipc(2) of x86 do have
        made-up numbers; none of HARMLESS is one."""
        numbers = [self.number(name, arch) for rule in profile["syscalls"] for name in rule["names"]]
        return max(numbers, default=-1)


def code_of(node: Profile, key: str, carried: str) -> int:
    code = ACTIONS[node[key]]
    return code | int(node.get(carried) or errno.EPERM) if code in (ERRNO, TRACE) else code


def expected(library: Library, profile: Profile, code: Sequence[tuple[int, int, int, int]], call: Call, token: int) -> int:
    """libseccomp's answer, or ENOSYS where the call is newer than the profile. `token` is libseccomp's for the architecture."""
    number, args = call
    default = code_of(profile, "defaultAction", "defaultErrnoRet")
    silent = default in (ALLOW, LOG, ERRNO | errno.ENOSYS) or default & ~0xFFFF == TRACE
    arches = {library.native, *(ARCHES[name] for name in profile.get("architectures", ()))}
    if token == X86_64 and number & X32_BIT and X32 in arches:
        token = X32
    if not silent and token in arches and 0 <= library.newest(profile, token) < number:
        return ERRNO | errno.ENOSYS
    return decide(code, number, args, X86_64 if token == X32 else token)
