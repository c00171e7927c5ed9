"""A profile's rules -> classic BPF: libseccomp's program (native/shim/seccomp.c) behind a prologue of ours.

Source: seccomp(2); classic BPF in linux/filter.h, struct seccomp_data in linux/seccomp.h, architectures in linux/audit.h.
"""

from __future__ import annotations

from _struct import pack
from errno import EDOM, ENOENT, ENOSYS, ERANGE

from pyrunc.errors import UnsupportedError, strerror
from pyrunc.kernel import os
from pyrunc.plan.seccomp_profile import (
    ALLOW,
    ERRNO,
    FLAG_NEW_LISTENER,
    FLAG_SPEC_ALLOW,
    FLAG_TSYNC,
    FLAG_WAIT_KILLABLE_RECV,
    LOG,
    NOTIFY,
    ROOT,
    TRACE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from pyrunc.plan.seccomp_profile import Profile

    Instruction = tuple[int, int, int, int]

INSTRUCTION_BYTES = 8
INSTRUCTIONS_MAX = 4096  # BPF_MAXINSNS
BUILT_MAX = 1 << 16
"""Instructions that libseccomp may need; folded, they may be few enough for the kernel."""
LONG_PROFILE = 32
"""Rules beyond which libseccomp looks system calls up in a binary tree instead of one after the other."""

ARCH_X86_64, ARCH_ARM, ARCHES_S390 = 0xC000003E, 0x40000028, (0x00000016, 0x80000016)
ARCH_X32 = 0x4000003E
"""libseccomp's token: to the kernel x32 is x86-64 with a bit of the number set."""
X32_BIT = 0x40000000
ARM_PRIVATE = 0x000F0000  # __ARM_NR_BASE: cacheflush, set_tls and others, far above the growing table
LOAD, IF_EQUAL, IF_GREATER, IF_AT_LEAST, RETURN = 0x20, 0x15, 0x25, 0x35, 0x06
NUMBER, ARCH = 0, 4  # offsets in struct seccomp_data
DENY, PASS = -1, -2  # where to jump: the end of the prologue, or past it


def load_flags(profile: Profile) -> int:
    """The flags to load the filter with. Raises UnsupportedError where the kernel lacks one that the profile asks for.

    The process that loads the filter has one thread, and only a filter with a listener may be killable while it waits.
    """
    from pyrunc._shim import lib

    listener = FLAG_NEW_LISTENER if any(rule.action == NOTIFY for rule in profile.rules) else 0
    if profile.flags is None:
        return listener | int(lib.shim_seccomp_flags(FLAG_SPEC_ALLOW))
    wanted = listener
    for flag, path in profile.flags:
        if flag != FLAG_TSYNC and not lib.shim_seccomp_flags(flag):
            raise UnsupportedError(f"{path}: this kernel does not know the flag", config_path=path)
        wanted |= flag
    return wanted & ~(FLAG_TSYNC if listener else FLAG_TSYNC | FLAG_WAIT_KILLABLE_RECV)


def build(profile: Profile) -> tuple[bytes, str]:
    """The program, and the path of the libseccomp that made it; `profile` is told what that did not know. Raises
    UnsupportedError."""
    from pyrunc._shim import ffi, lib

    request = _encode(profile)
    report = ffi.new("struct shim_seccomp_report *")
    buffer = ffi.new("unsigned char[]", BUILT_MAX * INSTRUCTION_BYTES)
    error = lib.shim_seccomp_compile(request, len(request), buffer, len(buffer), report)
    if error == -ERANGE:
        _too_long()
    if error:
        _explain(profile, report.stage, report.index, -error)
    told = min(report.unknown_count, len(report.unknown))
    profile.unknown = list(dict.fromkeys(profile.rules[report.unknown[i]].name for i in range(told)))
    newest = {report.arch[i]: report.last[i] for i in range(report.arch_count)}
    bpf = bytes(ffi.buffer(buffer, report.bpf_size))
    if profile.default_action not in (ALLOW, LOG, ERRNO | ENOSYS) and profile.default_action & ~0xFFFF != TRACE:
        bpf = enosys_prologue(newest) + bpf
    return bpf, os.fsdecode(ffi.string(report.library))


def check_length(bpf: bytes) -> None:
    """Raises UnsupportedError for a program that the kernel would not take."""
    if len(bpf) > INSTRUCTIONS_MAX * INSTRUCTION_BYTES:
        _too_long()


def _too_long() -> NoReturn:
    _refuse(ROOT, f"the filter has more than {INSTRUCTIONS_MAX} instructions")


def _encode(profile: Profile) -> bytes:
    """The request of native/shim/seccomp.h."""
    text = bytearray()
    offsets: dict[str, int] = {}

    def offset_of(name: str) -> int:
        if name not in offsets:
            offsets[name] = len(text)
            text.extend(name.encode("ascii") + b"\0")
        return offsets[name]

    arguments, rules, count = bytearray(), bytearray(), 0
    for rule in profile.rules:
        rules += pack("=IIII", offset_of(rule.name), rule.action, count, len(rule.arguments))
        for argument in rule.arguments:
            arguments += pack("=IIQQ", *argument)
        count += len(rule.arguments)
    arches = b"".join(pack("=I", offset_of(name)) for name, _ in profile.architectures)
    text += b"\0"
    long = len(profile.rules) > LONG_PROFILE
    numbers = (profile.default_action, long, count, len(profile.rules), len(profile.architectures), len(text))
    return pack("=IIIIII", *numbers) + arguments + rules + arches + text


def _explain(profile: Profile, stage: int, index: int, error: int) -> NoReturn:
    from pyrunc._shim import lib

    if stage == lib.SHIM_SECCOMP_LOAD and error == ENOENT:
        _refuse(ROOT, "libseccomp.so.2 is missing: install the package libseccomp2")
    if stage == lib.SHIM_SECCOMP_LOAD:
        _refuse(ROOT, "libseccomp.so.2 is older than 2.2: install a newer package libseccomp2")
    if stage == lib.SHIM_SECCOMP_INIT:
        _refuse(f"{ROOT}.defaultAction", "libseccomp or the kernel does not know the action")
    if stage == lib.SHIM_SECCOMP_ARCH:
        why = "has the other byte order than this machine" if error == EDOM else "is unknown to this host's libseccomp"
        _refuse(profile.architectures[index][1], why)
    if stage == lib.SHIM_SECCOMP_RULE:
        rule = profile.rules[index]
        _refuse(f"{ROOT}.syscalls[{rule.position}]", f"libseccomp refuses the rule for {rule.name}: {strerror(error)}")
    _refuse(ROOT, f"libseccomp: {strerror(error)}")


def _refuse(path: str, why: str) -> NoReturn:
    raise UnsupportedError(f"{path}: {why}", config_path=path)


def enosys_prologue(newest: dict[int, int]) -> bytes:
    """Instructions that answer ENOSYS to every system call above the greatest number that the profile names.

    `newest` maps libseccomp's architecture tokens to that number, -1 where the profile names none. What is not above goes
    on to the instruction behind the last of these, where libseccomp's program begins. Empty when there is nothing to test.
    """
    arches = {ARCH_X86_64 if token == ARCH_X32 else token for token, number in newest.items() if number >= 0}
    blocks = [(arch, _number_tests(arch, newest)) for arch in sorted(arches)]
    if not blocks:
        return b""
    code: list[Instruction] = [(LOAD, ARCH, 0, 0)]
    for arch, tests in blocks:
        past = PASS if arch == blocks[-1][0] else len(tests) + 1
        code += [(IF_EQUAL, arch, 0, past), (LOAD, NUMBER, 0, 0), *tests]
    end = len(code)
    code.append((RETURN, ERRNO | ENOSYS, 0, 0))

    def distance(at: int, target: int) -> int:
        return {DENY: end - at - 1, PASS: end - at}.get(target, target)

    return b"".join(pack("=HBBI", op, distance(at, yes), distance(at, no), k) for at, (op, k, yes, no) in enumerate(code))


def _number_tests(arch: int, newest: dict[int, int]) -> list[Instruction]:
    """The tests of a system call's number on one architecture of the kernel's."""

    def above(token: int) -> Instruction:
        return (IF_GREATER, newest.get(token, -1) & 0xFFFFFFFF, DENY, PASS)  # unsigned, nothing is above -1

    if arch == ARCH_X86_64 and ARCH_X32 in newest:
        return [(IF_AT_LEAST, X32_BIT, 0, 1), above(ARCH_X32), above(arch)]
    if arch == ARCH_ARM:
        return [(IF_AT_LEAST, ARM_PRIVATE, PASS, 0), above(arch)]
    if arch in ARCHES_S390:  # the kernel shows a number that is above its own table as 0
        return [(IF_EQUAL, 0, DENY, 0), above(arch)]
    return [above(arch)]
