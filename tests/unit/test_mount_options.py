"""Mount options: every name of the specification, contraries, and what the kernel demands of the masks."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given, strategies as st

from pyrunc.config.names import (
    INERT_OPTIONS,
    MOUNT_ATTR__ATIME,
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_STRICTATIME,
    MOUNT_OPTIONS,
    MS_PRIVATE,
    MS_REC,
    MS_SHARED,
    MS_SLAVE,
    MS_UNBINDABLE,
)
from pyrunc.plan.held import Held
from pyrunc.plan.mounts import compile_mounts
from pyrunc.plan.options import MountOptions, parse

# The names of the specification's table, written out so that one lost from ours is missed.
SPECIFIED = """
    async atime bind defaults dev diratime dirsync exec iversion lazytime loud noatime nodev nodiratime noexec noiversion
    nolazytime norelatime nostrictatime nosuid rbind relatime remount ro rw silent strictatime suid sync
    private rprivate slave rslave shared rshared unbindable runbindable mand nomand tmpcopyup nosymfollow symfollow
    ratime rdev rdiratime rexec rnoatime rnodiratime rnodev rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow rrelatime
    rro rrw rstrictatime rsuid rsymfollow idmap ridmap
""".split()

NONE: dict[str, object] = {
    "bind": False, "recursive": False, "remount": False, "tmpcopyup": False, "idmap": 0, "custom": "",
    "attr_set": 0, "attr_clr": 0, "rec_set": 0, "rec_clr": 0, "sb_flags": [], "propagation": [], "data": [],
}  # fmt: skip


def fields(options: MountOptions) -> dict[str, Any]:
    return {name: getattr(options, name) for name in MountOptions.__slots__}


def changed(*options: str) -> dict[str, object]:
    """The fields that the options change, and their values."""
    return {name: value for name, value in fields(parse(options)).items() if value != NONE[name]}


ATTRIBUTES = {
    "nosuid": (MOUNT_ATTR_NOSUID, 0), "suid": (0, MOUNT_ATTR_NOSUID), "nodev": (MOUNT_ATTR_NODEV, 0),
    "dev": (0, MOUNT_ATTR_NODEV), "noexec": (MOUNT_ATTR_NOEXEC, 0), "exec": (0, MOUNT_ATTR_NOEXEC),
    "nodiratime": (MOUNT_ATTR_NODIRATIME, 0), "diratime": (0, MOUNT_ATTR_NODIRATIME),
    "nosymfollow": (MOUNT_ATTR_NOSYMFOLLOW, 0), "symfollow": (0, MOUNT_ATTR_NOSYMFOLLOW),
    "noatime": (MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME), "strictatime": (MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME),
    "relatime": (0, MOUNT_ATTR__ATIME), "atime": (0, MOUNT_ATTR__ATIME), "nostrictatime": (0, MOUNT_ATTR__ATIME),
    "norelatime": (0, 0),
}  # fmt: skip


def masks(to_set: int, to_clear: int, prefix: str) -> dict[str, object]:
    return {prefix + end: mask for end, mask in (("_set", to_set), ("_clr", to_clear)) if mask}


GOLDEN: dict[str, dict[str, object]] = {
    **{name: masks(*bits, "attr") for name, bits in ATTRIBUTES.items()},
    **{"r" + name: masks(*bits, "rec") for name, bits in ATTRIBUTES.items()},
    "ro": {"attr_set": MOUNT_ATTR_RDONLY, "sb_flags": ["ro"]},
    "rw": {"attr_clr": MOUNT_ATTR_RDONLY, "sb_flags": ["rw"]},
    "rro": {"rec_set": MOUNT_ATTR_RDONLY},
    "rrw": {"rec_clr": MOUNT_ATTR_RDONLY},
    **{name: {"sb_flags": [name]} for name in ("sync", "async", "dirsync", "lazytime", "nolazytime", "mand", "nomand")},
    **{name: {} for name in ("defaults", "iversion", "noiversion", "silent", "loud")},
    "private": {"propagation": [MS_PRIVATE]},
    "rprivate": {"propagation": [MS_PRIVATE | MS_REC]},
    "slave": {"propagation": [MS_SLAVE]},
    "rslave": {"propagation": [MS_SLAVE | MS_REC]},
    "shared": {"propagation": [MS_SHARED]},
    "rshared": {"propagation": [MS_SHARED | MS_REC]},
    "unbindable": {"propagation": [MS_UNBINDABLE]},
    "runbindable": {"propagation": [MS_UNBINDABLE | MS_REC]},
    "bind": {"bind": True},
    "rbind": {"bind": True, "recursive": True},
    "remount": {"remount": True},
    "tmpcopyup": {"tmpcopyup": True},
    "idmap": {"idmap": 1},
    "ridmap": {"idmap": 2},
}


def test_the_names_are_the_specifications() -> None:
    assert set(SPECIFIED) == MOUNT_OPTIONS == set(GOLDEN)


@pytest.mark.parametrize("name", SPECIFIED)
def test_each_name(name: str) -> None:
    assert changed(name) == GOLDEN[name]


@pytest.mark.parametrize("nothing", [None, [], [""]])
def test_no_options(nothing: list[str] | None) -> None:
    assert fields(parse(nothing)) == NONE


def test_what_is_unknown_is_data_in_its_order() -> None:
    assert changed("size=64k", "nosuid", "mode=755", "copy-symlink", "RO", "mode=700") == {
        "attr_set": MOUNT_ATTR_NOSUID,
        "data": ["size=64k", "mode=755", "copy-symlink", "RO", "mode=700"],
    }


def test_propagations_are_all_applied() -> None:
    assert changed("rslave", "shared") == {"propagation": [MS_SLAVE | MS_REC, MS_SHARED]}


@pytest.mark.parametrize("order", [("bind", "rbind"), ("rbind", "bind")])
def test_bind_and_rbind_are_no_contraries(order: tuple[str, str]) -> None:
    assert changed(*order) == {"bind": True, "recursive": True}


def test_the_mount_and_its_tree_are_apart() -> None:
    assert changed("rbind", "rro", "rw", "rnosuid") == {
        "bind": True, "recursive": True, "attr_clr": MOUNT_ATTR_RDONLY, "sb_flags": ["rw"],
        "rec_set": MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID,
    }  # fmt: skip


CONTRARIES = [
    *(("ro", "rw"), ("nosuid", "suid"), ("nodev", "dev"), ("noexec", "exec"), ("nodiratime", "diratime")),
    *(("nosymfollow", "symfollow"), ("noatime", "atime"), ("strictatime", "nostrictatime"), ("relatime", "norelatime")),
    *(("sync", "async"), ("lazytime", "nolazytime"), ("mand", "nomand"), ("noatime", "strictatime"), ("relatime", "noatime")),
    *(("strictatime", "relatime"), ("idmap", "ridmap"), ("rro", "rrw"), ("rnoatime", "ratime"), ("rnoexec", "rexec")),
    *(("rstrictatime", "rnoatime"), ("rrelatime", "rnorelatime"), ("rnosymfollow", "rsymfollow")),
]


@pytest.mark.parametrize(("one", "other"), CONTRARIES)
def test_the_later_of_contraries_wins(one: str, other: str) -> None:
    assert changed(one, other) == changed(other)
    assert changed(other, one) == changed(one)
    assert changed(one) != changed(other)


@pytest.mark.parametrize(
    ("mode", "other"),
    [("strictatime", "atime"), ("noatime", "nostrictatime"), ("noatime", "norelatime"), ("strictatime", "norelatime")],
)
def test_taking_back_another_mode_of_access_time_changes_nothing(mode: str, other: str) -> None:
    assert changed(mode, other) == changed(mode)
    assert changed("r" + mode, "r" + other) == changed("r" + mode)


def test_clears_are_named() -> None:
    assert parse(["nosuid", "ro"]).clears == set()
    assert parse(["ro", "rw", "suid", "dev", "exec", "diratime", "symfollow"]).clears == {
        "rw", "suid", "dev", "exec", "diratime", "symfollow",
    }  # fmt: skip
    assert parse(["rw", "ro"]).clears == set()
    assert parse(["noatime"]).clears == parse(["atime"]).clears == {"atime"}
    assert parse(["rrw"]).clears == set()


options = st.lists(st.one_of(st.sampled_from(sorted(MOUNT_OPTIONS)), st.sampled_from(["size=1", "x", ""])), max_size=12)


@given(options)
def test_masks_are_what_mount_setattr_takes(given_options: list[str]) -> None:
    """EINVAL for an attribute both set and cleared, but for access time, whose mode needs the whole field cleared."""
    found = parse(given_options)
    for to_set, to_clear in ((found.attr_set, found.attr_clr), (found.rec_set, found.rec_clr)):
        assert not to_set & to_clear & ~MOUNT_ATTR__ATIME
        assert to_clear & MOUNT_ATTR__ATIME in (0, MOUNT_ATTR__ATIME)
        assert to_set & MOUNT_ATTR__ATIME in (0, MOUNT_ATTR_NOATIME, MOUNT_ATTR_STRICTATIME)
        assert to_clear & MOUNT_ATTR__ATIME or not to_set & MOUNT_ATTR__ATIME


@given(options)
def test_repeating_the_options_changes_only_the_lists(given_options: list[str]) -> None:
    once, twice = fields(parse(given_options)), fields(parse(given_options * 2))
    for name in ("propagation", "data"):
        assert twice.pop(name) == once.pop(name) * 2
    assert once == twice


def test_repeating_access_times_changes_nothing() -> None:
    names = ("atime", "noatime", "relatime", "norelatime", "strictatime", "nostrictatime")
    for order in product(names, repeat=4):
        assert changed(*order, *order) == changed(*order), order


@given(options)
def test_a_superblock_flag_never_stands_beside_its_contrary(given_options: list[str]) -> None:
    flags = parse(given_options).sb_flags
    assert len(set(flags)) == len(flags)
    for one, other in (("ro", "rw"), ("sync", "async"), ("lazytime", "nolazytime"), ("mand", "nomand")):
        assert not {one, other} <= set(flags)
        if last := [option for option in given_options if option in (one, other)][-1:]:
            assert last[0] in flags


@given(options, st.sampled_from(INERT_OPTIONS), st.integers(0, 12))
def test_inert_options_change_nothing(given_options: list[str], inert: str, place: int) -> None:
    with_inert = [*given_options[:place], inert, *given_options[place:]]
    assert fields(parse(with_inert)) == fields(parse(given_options))


def test_mappings_in_the_option() -> None:
    """crun's extension; the option is no data of a file system."""
    found = parse(["ridmap=uids=0-1-2", "size=1m"])
    assert (found.idmap, found.custom, found.data) == (2, "ridmap=uids=0-1-2", ["size=1m"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (['context="a:b:c:s0:c1,c2"', "size=1k"], ["context=a:b:c:s0:c1,c2", "size=1k"]),
        (['mode=700,rootcontext="a,b",size=1k,,nr_inodes=5'], ["mode=700", "rootcontext=a,b", "size=1k", "nr_inodes=5"]),
        (["context=a:b:c:s0"], ["context=a:b:c:s0"]),
        (['lowerdir=/a"b:/c,index=off'], ['lowerdir=/a"b:/c', "index=off"]),
    ],
)
def test_a_security_context_may_hold_commas(options: list[str], words: list[str]) -> None:
    mounts = [{"destination": "/t", "type": "tmpfs", "source": "t", "options": options}]
    held = Held({}, everything=False, outer=0, joined=False)
    assert compile_mounts(mounts, "/bundle", (), held, user_namespace=False).ops[0].items(2) == ["source=t", *words]
