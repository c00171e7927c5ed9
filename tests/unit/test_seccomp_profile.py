"""Profiles that are wrong: every fault is found, with its path, before the shim or libseccomp is needed."""

from __future__ import annotations

import pytest

from pyrunc.errors import ConfigError
from pyrunc.plan.seccomp_profile import Profile


def allow(*names: object, **more: object) -> dict:
    return {"names": list(names), "action": "SCMP_ACT_ALLOW", **more}


def deny_all_but(*rules: object, **more: object) -> dict:
    return {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": list(rules), **more}


MALFORMED = [
    ({}, "defaultAction: is missing"),
    ({"defaultAction": "ALLOW"}, "defaultAction: unknown value 'ALLOW'"),
    ({"defaultAction": 7}, "defaultAction: unknown value 7"),
    ({"defaultAction": ["SCMP_ACT_ALLOW"]}, "defaultAction: unknown value ['SCMP_ACT_ALLOW']"),
    ({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}, "defaultErrnoRet: SCMP_ACT_ALLOW cannot carry an errno"),
    ({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": -1}, "defaultErrnoRet: -1 is not a whole number from 0 to 4094"),
    ({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4095}, "defaultErrnoRet: 4095 is not a whole number from 0 to 4094"),
    (
        {"defaultAction": "SCMP_ACT_TRACE", "defaultErrnoRet": 65536},
        "defaultErrnoRet: 65536 is not a whole number from 0 to 65535",
    ),
    ({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": True}, "defaultErrnoRet: True is not a whole number from 0 to 4094"),
    (deny_all_but(architectures=["SCMP_ARCH_VAX"]), "architectures[0]: unknown value 'SCMP_ARCH_VAX'"),
    (deny_all_but(architectures="SCMP_ARCH_X86"), "architectures: must be an array"),
    (deny_all_but(flags=["SECCOMP_FILTER_FLAG_LOG", "X"]), "flags[1]: unknown value 'X'"),
    (deny_all_but(flags={}), "flags: must be an array"),
    (
        deny_all_but({"names": ["read"], "action": "SCMP_ACT_NOTIFY", "errnoRet": 1}),
        "syscalls[0].errnoRet: SCMP_ACT_NOTIFY cannot carry an errno",
    ),
    (deny_all_but("read"), "syscalls[0]: must be an object"),
    (deny_all_but(allow()), "syscalls[0].names: must name at least one system call"),
    (deny_all_but(allow(5)), "syscalls[0].names[0]: must be a string"),
    (deny_all_but({"names": ["read"]}), "syscalls[0].action: is missing"),
    (deny_all_but(allow("read"), allow("read", errnoRet=0)), "syscalls[1].errnoRet: SCMP_ACT_ALLOW cannot carry an errno"),
    (deny_all_but(allow("read", args=[5])), "syscalls[0].args[0]: must be an object"),
]
ARGUMENT = {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}
MALFORMED += [
    (deny_all_but(allow("read", args=[ARGUMENT, {**ARGUMENT, **wrong}])), f"syscalls[0].args[1].{text}")
    for wrong, text in [
        ({"index": 6}, "index: 6 is not a whole number from 0 to 5"),
        ({"index": None}, "index: is missing"),
        ({"op": "SCMP_CMP_LIKE"}, "op: unknown value 'SCMP_CMP_LIKE'"),
        ({"value": 2**64}, "value: 18446744073709551616 is not a whole number from 0 to 18446744073709551615"),
        ({"value": 1.0}, "value: 1.0 is not a whole number from 0 to 18446744073709551615"),
        ({"valueTwo": "2"}, "valueTwo: '2' is not a whole number from 0 to 18446744073709551615"),
    ]
]


@pytest.mark.parametrize(("profile", "message"), MALFORMED, ids=[message for _, message in MALFORMED])
def test_malformed(profile, message):
    with pytest.raises(ConfigError) as caught:
        Profile(profile)
    assert caught.value.message == f"linux.seccomp.{message}"
    assert caught.value.config_path == f"linux.seccomp.{message.split(':')[0]}"


def test_all_faults_are_told_together():
    with pytest.raises(ConfigError) as caught:
        Profile({"defaultAction": "X", "flags": ["Y"], "syscalls": [{"names": [], "action": "Z"}]})
    assert len(caught.value.faults) == 4


def test_null_and_absent_are_the_same():
    bare = Profile({"defaultAction": "SCMP_ACT_ERRNO"})
    nulls = dict.fromkeys(["defaultErrnoRet", "flags", "architectures", "syscalls", "listenerPath", "listenerMetadata"])
    full = Profile({"defaultAction": "SCMP_ACT_ERRNO", **nulls})
    assert (bare.default_action, bare.flags, bare.rules) == (full.default_action, full.flags, full.rules) == (0x50001, None, [])
    (rule,) = Profile(deny_all_but(allow("read", args=None, errnoRet=None))).rules
    assert rule.arguments == []
    (rule,) = Profile(deny_all_but(allow("read", args=[{"index": 0, "value": 1, "op": "SCMP_CMP_EQ", "valueTwo": None}]))).rules
    assert rule.arguments == [(0, 4, 1, 0)]


def test_a_second_comparison_of_an_argument_makes_alternatives():
    one, two = ({"index": 1, "value": value, "op": "SCMP_CMP_EQ"} for value in (5, 6))
    rules = Profile(deny_all_but(allow("read", "write", args=[one, two]))).rules
    assert [(rule.name, rule.arguments) for rule in rules] == [
        ("read", [(1, 4, 5, 0)]),
        ("read", [(1, 4, 6, 0)]),
        ("write", [(1, 4, 5, 0)]),
        ("write", [(1, 4, 6, 0)]),
    ]
