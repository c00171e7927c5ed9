"""A part of the corpus of conformance/seccomp, by the interpreter; the whole is `python3 -m conformance.seccomp`."""

from __future__ import annotations

import platform
from typing import Any

import pytest

from conformance.seccomp.compare import compare_decisions, shared_profiles
from conformance.seccomp.corpus import Library

if platform.machine() != "x86_64":
    pytest.skip("numbers of x86-64", allow_module_level=True)
try:
    library = Library()
except OSError:
    pytest.skip("libseccomp.so.2 (Debian: libseccomp2) is not installed", allow_module_level=True)
pytest.importorskip("pyrunc._shim", reason="the shim is not built: python3 setup.py build_inplace")


def test_random_profiles_decide_like_libseccomps_own_program() -> None:
    profiles, decisions, faults = compare_decisions(library, 5, seed=7)
    assert (profiles, faults) == (5, []) and decisions > 10_000


def test_engines_profiles_decide_like_libseccomps_own_program() -> None:
    profiles = shared_profiles()
    if not profiles:
        pytest.skip("no ../shared/configs here")
    for name, profile in profiles.items():
        assert compare_decisions(library, 0, 7, [profile])[2] == [], name


def test_a_decision_that_differs_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison itself: with another answer for a single number it must fail."""
    from conformance.seccomp import compare

    right = compare.decide

    def wrong(code: Any, number: int, args: Any, arch: int) -> int:
        return right(code, number, args, arch) ^ (number == 39)

    monkeypatch.setattr(compare, "decide", wrong)
    faults = compare_decisions(library, 1, seed=7)[2]
    assert faults and all("(39, " in fault for fault in faults)
