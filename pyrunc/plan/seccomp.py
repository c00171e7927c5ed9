"""``linux.seccomp`` of a config -> the program and the flags for seccomp(2), from the cache where it was compiled before.

The way of a profile: `seccomp_profile` reads it, `seccomp_bpf` has libseccomp compile it, `seccomp_fold` makes the program
short, `seccomp_cache` keeps the result. A hit loads the last alone, and not libseccomp. docs/seccomp.md has the reasons.
Source: runtime-spec, config-linux.md, "Seccomp"; seccomp(2).
"""

from __future__ import annotations

from pyrunc.plan import seccomp_cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Filter:
    """``bpf`` is an array of struct sock_filter, ``flags`` the SECCOMP_FILTER_FLAG_* to load it with."""

    __slots__ = ("bpf", "flags")

    def __init__(self, bpf: bytes, flags: int) -> None:
        self.bpf = bpf
        self.flags = flags


def compile_seccomp(profile: dict[str, Any], *, cache_dir: str | None) -> Filter:
    """Compile ``linux.seccomp``, or find what an earlier call compiled for this profile, kernel and libseccomp.

    `cache_dir` is made when it is absent (its parent is not); None compiles always. Raises ConfigError with every fault
    of the profile, and UnsupportedError for what this host's libseccomp or kernel, or this pyrunc, cannot do.
    """
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
    return Filter(bpf, flags)
