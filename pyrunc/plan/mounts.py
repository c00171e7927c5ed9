"""`mounts`: an op or a few for each, in the order of the list."""

from __future__ import annotations

from pyrunc.config.names import MOUNT_ATTR_RDONLY
from pyrunc.config.rules.mounts import PROC_OVERMOUNTS
from pyrunc.kernel import os
from pyrunc.plan import ops
from pyrunc.plan.opcodes import MODE_COPYUP, MODE_DIRMODE, MODE_INPROC, MODE_MAPPED, MODE_REALDIR, MODE_RECURSIVE
from pyrunc.plan.options import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from pyrunc.cgroups.view import Leg
    from pyrunc.plan.held import Held
    from pyrunc.plan.ops import Op
    from pyrunc.plan.options import MountOptions

FSCONFIG_MAX = 255
"""Bytes of a value that fsconfig(2) takes; overlay's lowerdir is often longer and goes through mount(2)."""

UNLABELLED = ("proc", "sysfs", "mqueue", "cgroup", "cgroup2")
"""File systems that get no context= from linux.mountLabel: the kernel labels their files by itself. mqueue's root directory is
labelled afterwards, as runc does it."""

MS_FLAGS = {"ro": 0x1, "sync": 0x10, "mand": 0x40, "dirsync": 0x80, "lazytime": 0x2000000}
ATTR_TO_MS = ((0x1, 0x1), (0x2, 0x2), (0x4, 0x4), (0x8, 0x8), (0x10, 0x400), (0x20, 0x1000000), (0x80, 0x800), (0x200000, 0x100))
"""MOUNT_ATTR_* to MS_* for mount(2)."""


class Mounts:
    """What compiling all mounts gave: the ops, and the destinations that become read-only when all is in place."""

    __slots__ = ("dev_is_bind", "dev_is_new", "held", "late_readonly", "ops", "user_namespace")

    def __init__(self, held: Held, user_namespace: bool) -> None:
        self.user_namespace = user_namespace
        self.ops: list[Op] = []
        self.held = held
        self.late_readonly: list[Op] = []
        self.dev_is_bind = self.dev_is_new = False


def compile_mounts(
    mounts: Sequence[dict[str, Any]], bundle: str, view: Sequence[Leg], held: Held, *, user_namespace: bool, label: str = ""
) -> Mounts:
    """`held` collects what must be done before, outside of the user namespace. `label` is ``linux.mountLabel``, for all new file
    systems that take one; what is bound keeps its labels, which are its owner's affair."""
    result = Mounts(held, user_namespace)
    for i, mount in enumerate(mounts):
        at = f"mounts[{i}]"
        options = parse(mount.get("options"))
        target = os.path.normpath("/" + mount["destination"].lstrip("/"))
        if options.remount:
            _remount(result, at, mount, target, options)
        elif options.bind:
            _bind(result, at, mount, target, options, bundle)
        elif mount.get("type") == "cgroup":
            _cgroup(result, at, target, options, view, label)
        else:
            _file_system(result, at, mount, target, options, label)
    return result


def _mode(target: str) -> int:
    return MODE_INPROC if target == "/proc" or target in PROC_OVERMOUNTS else 0


def _bind(result: Mounts, at: str, mount: dict[str, Any], target: str, options: MountOptions, bundle: str) -> None:
    if target == "/dev":
        result.dev_is_bind = True
    source = os.path.join(bundle, mount["source"])
    slot = result.held.tree(at, source, recursive=options.recursive, options=options, mount=mount)
    mode = (MODE_RECURSIVE if options.recursive else 0) | (MODE_MAPPED if result.held.is_mapped(slot) else 0)
    result.ops.append(
        ops.bind(
            at,
            source,
            target,
            attributes=(options.attr_set, options.attr_clr),
            below=(options.rec_set, options.rec_clr),
            propagation=options.propagation,
            mode=_mode(target) | mode,
            slot=slot,
        )
    )


def _remount(result: Mounts, at: str, mount: dict[str, Any], target: str, options: MountOptions) -> None:
    """What is mounted there changes: with ``bind`` that mount, otherwise its file system too (mount(8), "remount")."""
    if options.attr_clr & MOUNT_ATTR_RDONLY:
        result.late_readonly = [op for op in result.late_readonly if op.text(0) != target]
    result.ops.append(
        ops.remount(
            at,
            target,
            None if options.bind else [*options.sb_flags, *_key_values(options.data)],
            attributes=(options.attr_set, options.attr_clr),
            below=(options.rec_set, options.rec_clr),
            propagation=options.propagation,
        )
    )


def _file_system(
    result: Mounts, at: str, mount: dict[str, Any], target: str, options: MountOptions, label: str
) -> None:
    fs = mount["type"]
    if target == "/dev":
        result.dev_is_new = True
    attributes, data = _plain(options), _key_values(options.data)
    mode = _mode(target)
    if fs in ("proc", "sysfs"):
        mode |= MODE_REALDIR
    if fs == "tmpfs":
        mode |= MODE_COPYUP if options.tmpcopyup else 0
        mode |= 0 if any(word.startswith("mode=") for word in data) else MODE_DIRMODE
    if attributes & MOUNT_ATTR_RDONLY and (fs == "tmpfs" or target == "/dev"):
        # It must take mount points, devices and links first.
        attributes &= ~MOUNT_ATTR_RDONLY
        result.late_readonly.append(ops.readonly_mount(at, target))
    flags = [flag for flag in options.sb_flags if flag != "ro" or attributes & MOUNT_ATTR_RDONLY]
    source = mount.get("source") or fs
    words = [f"source={source}", *flags, *data]
    text = ",".join(options.data)
    if label and fs not in UNLABELLED:
        words.append(f"context={label}")
        text = ",".join([*options.data, f'context="{label}"'])
    if slot := result.held.file_system(at, fs, words, attributes, options, mount):
        result.ops.append(ops.mount(at, fs, target, words, attributes, options.propagation, mode, slot))
    elif any(len(word.encode("utf-8", "surrogateescape")) > FSCONFIG_MAX for word in words):
        result.ops.append(_by_mount(at, fs, target, source, options, attributes, flags, mode, text))
    else:
        # The host's /sys is bound in a user namespace that may not have its own, and never to be written to.
        host_sys = ("/sys", attributes | MOUNT_ATTR_RDONLY) if fs == "sysfs" and result.user_namespace else None
        result.ops.append(ops.mount(at, fs, target, words, attributes, options.propagation, mode, instead=host_sys))
    if label and fs == "mqueue":
        result.ops.append(ops.file_label("linux.mountLabel", target, label))


def _plain(options: MountOptions) -> int:
    """The attributes of a new mount: it has nothing below it, so a recursive one is a plain one."""
    return options.attr_set & ~options.rec_clr | options.rec_set


def _key_values(data: Sequence[str]) -> list[str]:
    """mount(8) and mount(2) take commas inside of one option's string; fsconfig(2) takes one at a time. A security context that
    has commas itself is in quotes there, and without them here."""
    return [word for text in data for word in (_unquoted(text) if 'context="' in text else text.split(",")) if word]


def _unquoted(text: str) -> list[str]:
    words = [""]
    for i, part in enumerate(text.split('"')):
        first, *rest = [part] if i % 2 else part.split(",")
        words[-1] += first
        words += rest
    return words


def _by_mount(
    at: str, fs: str, target: str, source: str, options: MountOptions, attributes: int, flags: Sequence[str], mode: int, data: str
) -> Op:
    bits = sum(ms for attr, ms in ATTR_TO_MS if attributes & attr)
    for flag in flags:
        bits |= MS_FLAGS.get(flag, 0)
    return ops.mount_data(at, fs, target, data, source, bits, options.propagation, mode)


def _cgroup(result: Mounts, at: str, target: str, options: MountOptions, view: Sequence[Leg], label: str) -> None:
    """The container's own cgroups: cgroup2 itself, or on v1 a tmpfs with a directory for each hierarchy."""
    attributes = _plain(options)
    for leg in view:
        place = os.path.normpath(os.path.join(target, leg.target))
        words = [f"source={leg.source}", *_key_values([leg.data])]
        if leg.kind == "tmpfs":
            words += [f"context={label}"] if label else []
            result.ops.append(ops.mount(at, "tmpfs", place, words, attributes & ~MOUNT_ATTR_RDONLY, options.propagation, 0))
            if attributes & MOUNT_ATTR_RDONLY:
                result.late_readonly.append(ops.readonly_mount(at, place))
        elif leg.kind == "bind":
            _bind_cgroup(result, at, leg.source, place, options)
        elif leg.kind == "symlink":
            result.ops.append(ops.symlink(at, place, leg.source))
        else:
            instead = None if leg.instead is None or not result.user_namespace else (leg.instead, attributes)
            result.ops.append(
                ops.mount(at, leg.kind, place, words, attributes, options.propagation, MODE_REALDIR, instead=instead)
            )


def _bind_cgroup(result: Mounts, at: str, source: str, place: str, options: MountOptions) -> None:
    result.ops.append(
        ops.bind(
            at,
            source,
            place,
            attributes=(options.attr_set, options.attr_clr),
            below=(options.rec_set, options.rec_clr),
            propagation=options.propagation,
            mode=MODE_RECURSIVE if options.recursive else 0,
            slot=result.held.tree(at, source, recursive=options.recursive),
        )
    )
