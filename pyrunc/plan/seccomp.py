"""``linux.seccomp`` of a config -> the program and the flags for seccomp(2), from the cache where it was compiled before.

The way of a profile: `seccomp_profile` reads it, `seccomp_bpf` has libseccomp compile it, `seccomp_fold` makes the program
short, `seccomp_cache` keeps the result. A hit loads the last alone, and not libseccomp. docs/seccomp.md has the reasons.
Source: runtime-spec, config-linux.md, "Seccomp"; seccomp(2).
"""

from __future__ import annotations

from pyrunc.plan import seccomp_cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


NEW_LISTENER = 8  # SECCOMP_FILTER_FLAG_NEW_LISTENER
NOTIFY = "SCMP_ACT_NOTIFY"
ABOUT_LISTENER = ("listenerPath", "listenerMetadata")


class Filter:
    """``bpf`` is an array of struct sock_filter, ``flags`` the SECCOMP_FILTER_FLAG_* to load it with; for ``bpf`` of None see
    `later`. ``notifies``: loading it gives a listener, for the agent at ``listenerPath``. ``unknown`` are system calls that were
    left out, as this host's libseccomp does not know them; of a filter from the cache there are none to tell."""

    __slots__ = ("bpf", "flags", "unknown")

    def __init__(self, bpf: bytes | None, flags: int, unknown: Sequence[str] = ()) -> None:
        self.bpf = bpf
        self.flags = flags
        self.unknown = unknown

    @property
    def notifies(self) -> bool:
        return self.flags & NEW_LISTENER != 0


def compile_seccomp(profile: dict[str, Any], *, cache_dir: str | None) -> Filter:
    """Compile ``linux.seccomp``, or find what an earlier call compiled for this profile, kernel and libseccomp.

    `cache_dir` is made when it is absent (its parent is not); None compiles always. Raises ConfigError with every fault
    of the profile, and UnsupportedError for what this host's libseccomp or kernel, or this pyrunc, cannot do.
    """
    profile = {name: value for name, value in profile.items() if name not in ABOUT_LISTENER}
    key = seccomp_cache.key_of(profile)
    if cache_dir is not None:
        cached = seccomp_cache.load(cache_dir, key)
        if cached is not None:
            return Filter(*cached)
    from pyrunc.plan import seccomp_bpf, seccomp_fold, seccomp_profile

    parsed = seccomp_profile.Profile(profile)
    flags = seccomp_bpf.load_flags(parsed)
    bpf, library = seccomp_bpf.build(parsed)
    bpf = seccomp_fold.fold(bpf)
    seccomp_bpf.check_length(bpf)
    if cache_dir is not None:
        seccomp_cache.store(cache_dir, key, bpf, flags, library)
    return Filter(bpf, flags, parsed.unknown)


def later(profile: dict[str, Any] | None) -> Filter | None:
    """What a plan must know of the filter of this profile before there is one."""
    return Filter(None, NEW_LISTENER if notifies(profile) else 0) if profile else None


def notifies(profile: dict[str, Any] | None) -> bool:
    """Whether a filter of this profile will have a listener."""
    return any(rule["action"] == NOTIFY for rule in (profile or {}).get("syscalls") or ())
