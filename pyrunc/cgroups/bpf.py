"""The device rules as a BPF program, cgroup v2's way (bpf(2), Documentation/bpf/prog_cgroup_*; BPF_PROG_TYPE_CGROUP_DEVICE).

The program gets a struct bpf_cgroup_dev_ctx: access in the high and type in the low half of its first u32, then major
and minor, and answers 1 to allow. It asks the rules from the last to the first, striking allowed bits from the request:
nothing left, allow; a bit that a rule denies, deny; at the end, deny.
"""

from __future__ import annotations

from _struct import pack
from errno import EINVAL, ENOENT, EPERM
from sys import byteorder

from .. import errors
from ..kernel import os
from . import files
from .devices import ALL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .devices import Rule

_TYPE = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_*

# Opcodes: class | source or size | operation, as in linux/bpf_common.h and linux/bpf.h.
LOAD_WORD = 0x61  # BPF_LDX | BPF_MEM | BPF_W
MOVE_REG, MOVE_IMM, AND_IMM, SHIFT_RIGHT = 0xBF, 0xB7, 0x57, 0x77  # BPF_ALU64
JUMP, JUMP_EQUAL, JUMP_NOT_EQUAL, EXIT = 0x05, 0x15, 0x55, 0x95  # BPF_JMP | BPF_K
_RESULT, _CONTEXT, _KIND, _PENDING, _MAJOR, _MINOR, _SCRATCH = range(7)


def assemble(rules: Iterable[Rule]) -> bytes:
    """The program for the rules, 8 bytes an instruction, in the byte order of this machine."""
    code = [
        _insn(LOAD_WORD, _KIND, _CONTEXT, offset=0),
        _insn(MOVE_REG, _PENDING, _KIND),
        _insn(AND_IMM, _KIND, imm=0xFFFF),
        _insn(SHIFT_RIGHT, _PENDING, imm=16),
        _insn(LOAD_WORD, _MAJOR, _CONTEXT, offset=4),
        _insn(LOAD_WORD, _MINOR, _CONTEXT, offset=8),
    ]
    for rule in reversed(list(rules)):
        code += _block(rule)
        if rule.everything:
            # The verifier refuses instructions that cannot be reached.
            return b"".join(code)
    return b"".join([*code, *_answer(False)])


def _block(rule: Rule) -> list[bytes]:
    if rule.access == ALL:
        body = _answer(rule.allow)
    elif rule.allow:
        body = [_insn(AND_IMM, _PENDING, imm=ALL & ~rule.access), _insn(JUMP_NOT_EQUAL, _PENDING, offset=2), *_answer(True)]
    else:
        body = [
            _insn(MOVE_REG, _SCRATCH, _PENDING),
            _insn(AND_IMM, _SCRATCH, imm=rule.access),
            _insn(JUMP_EQUAL, _SCRATCH, offset=2),
            *_answer(False),
        ]
    checks = [(_KIND, _TYPE[rule.types])] if len(rule.types) == 1 else []
    checks += [(register, number) for register, number in ((_MAJOR, rule.major), (_MINOR, rule.minor)) if number is not None]
    beyond = len(checks) + len(body)
    jumps = [_insn(JUMP_NOT_EQUAL, reg, offset=beyond - at, imm=number) for at, (reg, number) in enumerate(checks, 1)]
    return jumps + body


def _answer(allow: bool) -> list[bytes]:
    return [_insn(MOVE_IMM, _RESULT, imm=int(allow)), _insn(EXIT)]


def _insn(opcode: int, target: int = 0, source: int = 0, *, offset: int = 0, imm: int = 0) -> bytes:
    # Two bit fields of four bits, which compilers lay out by the byte order.
    registers = source << 4 | target if byteorder == "little" else target << 4 | source
    return pack("=BBhi", opcode, registers, offset, imm)


def attach(directory: str, rules: Iterable[Rule], *, tolerate_eperm: bool, beside: bool = False) -> None:
    """Put the rules in force for the cgroup2 `directory`, atomically in place of the one program attached there before; or
    `beside` others', in place of an earlier one of ours: then all of them must agree.

    With `tolerate_eperm` a kernel that does not let us load a program (a user namespace) goes without, as its
    containers cannot make or open device nodes anyway. Raises CgroupError, or UnsupportedError for a kernel without
    CONFIG_CGROUP_BPF.
    """
    try:
        program = _load(assemble(rules))
    except errors.CgroupError as error:
        if tolerate_eperm and error.errno == EPERM:
            return
        raise
    try:
        _attach(directory, program, beside)
    finally:
        os.close(program)


def _load(code: bytes) -> int:
    from pyrunc._shim import ffi, lib

    result = lib.shim_bpf_load_device(code, len(code) // 8, ffi.NULL, 0)
    if result == -EPERM and _raise_memlock():
        result = lib.shim_bpf_load_device(code, len(code) // 8, ffi.NULL, 0)
    if result == -EINVAL:
        raise errors.UnsupportedError("linux.resources.devices: this kernel takes no BPF program for devices (CONFIG_CGROUP_BPF)")
    return _checked(result, "load the BPF program", "bpf(2) for devices needs CAP_BPF or CAP_SYS_ADMIN, not in a user namespace")


def _raise_memlock() -> bool:
    """Kernels before 5.11 charge programs to RLIMIT_MEMLOCK and answer EPERM when it is too small."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (OSError, ValueError):
        return False
    return (soft, hard) != (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def _attach(directory: str, program: int, beside: bool) -> None:
    from pyrunc._shim import ffi, lib

    try:
        cgroup = files.open_directory(directory)
    except OSError as error:
        raise errors.CgroupError(f"linux.resources.devices: open {directory}", error.errno or 0) from None
    opened = [cgroup]
    try:
        ids = ffi.new("uint32_t[64]")
        for index in range(_checked(lib.shim_bpf_query_device(cgroup, ids, 64), f"list the BPF programs of {directory}")):
            if (fd := lib.shim_bpf_open(ids[index])) != -ENOENT:
                opened.append(_checked(fd, f"open BPF program {ids[index]}"))
        old = opened[1:]
        if beside:
            old = [fd for fd in old if _checked(lib.shim_bpf_is_ours(fd), "ask for the name of a BPF program")]
        replace = old[0] if len(old) == 1 else -1
        result = lib.shim_bpf_attach_device(cgroup, program, replace)
        if result == -EINVAL and replace >= 0:
            # Linux before 5.6 cannot replace. All programs must agree, so for a moment both are in force.
            replace = -1
            result = lib.shim_bpf_attach_device(cgroup, program, replace)
        _checked(result, f"attach the BPF program to {directory}")
        if replace < 0:
            for fd in old:
                _checked(lib.shim_bpf_detach_device(cgroup, fd), f"detach an old BPF program from {directory}")
    finally:
        for fd in opened:
            os.close(fd)


def _checked(result: int, what: str, hint: str | None = None) -> int:
    if result < 0:
        path = "linux.resources.devices"
        raise errors.CgroupError(f"{path}: {what}", -result, syscall="bpf", hint=hint, config_path=path)
    return result
