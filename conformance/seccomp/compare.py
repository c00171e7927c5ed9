"""Decisions compared in the interpreter, and system calls compared in containers."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from conformance.seccomp.corpus import (
    ALLOW,
    ERRNO,
    HARMLESS,
    LOG,
    TRACE,
    X32,
    X32_BIT,
    X86,
    X86_64,
    Library,
    Profile,
    arguments_near,
    decide,
    expected,
    instructions,
    random_profile,
)
from pyrunc.config.default import default_spec
from pyrunc.plan.seccomp import compile_seccomp

PROJECT = Path(__file__).resolve().parents[2]
SIGSYS = 31
NEEDED = (
    "read write pread64 pwrite64 close openat open newfstatat fstat lseek mmap munmap mprotect brk madvise clone clone3"
    " fork vfork wait4 exit exit_group execve futex rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack nanosleep getpid"
    " gettid getppid tgkill arch_prctl set_tid_address set_robust_list rseq prlimit64 getrandom readlinkat readlink fcntl"
    " dup dup2 dup3 prctl capget capset setuid setgid setgroups getuid geteuid getgid getegid getcwd chdir fchdir access"
    " faccessat faccessat2 epoll_pwait epoll_ctl epoll_create1 pipe2 sched_yield sched_getaffinity getdents64 close_range"
    " writev sendmsg recvmsg sendto recvfrom setresuid setresgid poll ppoll restart_syscall clock_gettime clock_nanosleep"
    " fchown statfs fstatfs getsockopt ioctl"
).split()
"""What the probe does, and Go's runtime, in which runc goes on after it has loaded the filter."""


def shared_profiles() -> dict[str, Profile]:
    """Those of engines' configurations beside the project, if they are there."""
    found = {}
    for path in sorted((PROJECT.parent / "shared/configs").glob("*.json")):
        profile = (json.loads(path.read_text()).get("linux") or {}).get("seccomp")
        if profile:
            found[path.stem] = profile
    return found


def compare_decisions(
    library: Library, count: int, seed: int, profiles: Iterable[Profile] | None = None
) -> tuple[int, int, list[str]]:
    """How many profiles and decisions were compared, and those that differ."""
    chance = random.Random(seed)
    done, faults = 0, []
    todo = list(profiles) if profiles is not None else [random_profile(chance) for _ in range(count)]
    for position, profile in enumerate(todo):
        ours = instructions(compile_seccomp(profile, cache_dir=None).bpf)
        theirs = instructions(library.program(profile))
        for token, arch in ((X86_64, X86_64), (X86, X86), (X32, X86_64), (1, 1)):
            bit = X32_BIT if token == X32 else 0
            newest = max(library.newest(profile, token) & ~X32_BIT, 0) if token != 1 else 0
            numbers = [*range(newest + 4), 460, 1000, 0xFFFF, 0x3FFFFFFF]
            if profiles is not None and token == X86:  # what socketcall(2) and ipc(2) do too: libseccomp does not tell the number
                numbers = list(range(min(newest, 336)))
            for number in numbers:
                for args in arguments_near(chance, profile, 2):
                    call = (number | bit, args)
                    got, want = decide(ours, *call, arch), expected(library, profile, theirs, call, arch)
                    done += 1
                    if got != want:
                        faults.append(f"profile {position}, arch {token:#x}, {call}: {got:#x}, libseccomp {want:#x}")
    return len(todo), done, faults


class Containers:
    """A bundle with the probe, run by pyrunc and by runc with the same profile. Use as a context."""

    def __init__(self, pyrunc: str, runc: str | None) -> None:
        self.work = Path(tempfile.mkdtemp(prefix="pyrunc-seccomp-"))
        self.runtimes = {"pyrunc": pyrunc, **({"runc": runc} if runc else {})}
        self.library = Library()
        self.faults: list[str] = []
        self.count = self.calls = 0
        root = self.work / "bundle/rootfs"
        for name in ("dev", "proc", "sys", "tmp"):
            (root / name).mkdir(parents=True)
        source = Path(__file__).with_name("probe.c")
        subprocess.run(["gcc", "-static", "-O1", "-o", root / "probe", source], check=True)

    def __enter__(self) -> Containers:
        return self

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self.work)

    def compare(self, seed: int) -> None:
        chance = random.Random(seed)
        default = chance.choice(["SCMP_ACT_ERRNO", "SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"])
        profile = random_profile(chance, default=default, always=NEEDED)
        # For the machine's own architecture, where it is not named, runc 1.1 answers no ENOSYS.
        profile["architectures"] = [*profile.get("architectures", ()), "SCMP_ARCH_X86_64"]
        names = [name for name in HARMLESS if self.library.number(name, X86_64) >= 0]
        numbers = [self.library.number(name, X86_64) for name in names] + [400, 480, 700, 5000]
        calls = [(number, args) for number in numbers for args in arguments_near(chance, profile, 2)]
        (self.work / "bundle/rootfs/calls").write_bytes(b"".join(struct.pack("=7Q", number, *args) for number, args in calls))
        code = instructions(compile_seccomp(profile, cache_dir=None).bpf)
        free = self._run("pyrunc", None)
        answers = {name: self._run(name, profile) for name in self.runtimes}
        self.count += 1
        self.calls += len(calls)
        for i, (number, args) in enumerate(calls):
            verdict = decide(code, number, args, X86_64)
            want = free[i] if verdict in (ALLOW, LOG) else self._effect(verdict)
            for name, got in answers.items():
                if got[i] != want:
                    self.faults.append(f"seed {seed}, {name}: {number}{args}: {got[i]}, expected {want} ({verdict:#x})")

    @staticmethod
    def _effect(verdict: int) -> int:
        """What a process sees of it, without a tracer."""
        if verdict & ~0xFFFF == ERRNO:
            return verdict & 0xFFFF
        return errno.ENOSYS if verdict & ~0xFFFF == TRACE else -SIGSYS

    def _run(self, runtime: str, profile: Profile | None) -> list[int]:
        config: dict[str, Any] = default_spec(rootless=False, cgroup2=not os.path.exists("/sys/fs/cgroup/memory"), uid=0, gid=0)
        config["process"].update(terminal=False, args=["/probe", "/calls"], cwd="/")
        config["linux"]["cgroupsPath"] = f"/{self.work.name}"
        if profile:  # runc 1.1 refuses flags, which decide nothing
            config["linux"]["seccomp"] = {k: v for k, v in profile.items() if runtime != "runc" or k != "flags"}
        (self.work / "bundle/config.json").write_text(json.dumps(config))
        argv = [self.runtimes[runtime], "--root", self.work / f"root-{runtime}"]
        done = subprocess.run(
            [*argv, "run", "--bundle", self.work / "bundle", f"{self.work.name}-{runtime}"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{runtime}: exit {done.returncode}: {done.stderr}: {json.dumps(profile)}")
        return [int(line.split()[1]) for line in done.stdout.splitlines()]
