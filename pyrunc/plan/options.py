"""The options of a mount (runtime-spec config.md, "Mounts"; mount(8)): from strings to flags.

Of contrary options the later wins. What is no option of the specification is data for the file system, in its order.
"""

from __future__ import annotations

from pyrunc.config.names import (
    CUSTOM_IDMAP,
    MOUNT_ATIME_CLEARS,
    MOUNT_ATTR__ATIME,
    MOUNT_ATTRS,
    MOUNT_OPTIONS,
    PROPAGATION,
    RECURSIVE_ATTRS,
    SUPERBLOCK_FLAGS,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class MountOptions:
    """What the options of one mount ask for.

    ``attr_set``, ``attr_clr``: MOUNT_ATTR_* bits for mount_setattr(2) on the mount alone; ``rec_set``, ``rec_clr``: on the
    tree below it too. Every bit of ``attr_clr`` was asked for by the user: one that the kernel has locked is an error, not
    a thing to retry without. A chosen access time has all of MOUNT_ATTR__ATIME in the clear mask, as the kernel demands.
    ``sb_flags``: flag names for fsconfig(2); a bind mount shares its superblock, so they are not for it.
    ``propagation``: MS_* flags, perhaps with MS_REC, to apply one after the other.
    ``data``: parameters of the file system. ``idmap``: 0 none, 1 ``idmap``, 2 ``ridmap``; ``custom`` is that option with
    mappings of its own, as crun has it, or empty.
    """

    __slots__ = (
        "attr_clr", "attr_set", "bind", "custom", "data", "idmap", "propagation", "rec_clr", "rec_set", "recursive", "remount",
        "sb_flags", "tmpcopyup",
    )  # fmt: skip

    def __init__(self) -> None:
        self.bind = self.recursive = self.remount = self.tmpcopyup = False
        self.attr_set = self.attr_clr = self.rec_set = self.rec_clr = self.idmap = 0
        self.custom = ""
        self.sb_flags: list[str] = []
        self.propagation: list[int] = []
        self.data: list[str] = []

    @property
    def clears(self) -> set[str]:
        """The options in force that take an attribute away, for messages: of ``{"rw", "suid", "dev", "exec", ...}``.

        ``atime`` stands for any choice of access time, which on a locked mount is refused like a clear.
        """
        names = {name for name, (_, bits) in MOUNT_ATTRS.items() if bits & self.attr_clr and bits != MOUNT_ATTR__ATIME}
        return names | {"atime"} if self.attr_clr & MOUNT_ATTR__ATIME else names


def parse(options: Iterable[str] | None) -> MountOptions:
    """Read the ``options`` of a mount. Never fails: which combinations are wrong is for config/rules to say."""
    found = MountOptions()
    for option in options or ():
        if option not in MOUNT_OPTIONS:
            if option.startswith(CUSTOM_IDMAP):
                found.idmap, found.custom = 2 if option[0] == "r" else 1, option
            elif option:
                found.data.append(option)
        elif option in MOUNT_ATTRS or option in MOUNT_ATIME_CLEARS:
            found.attr_set, found.attr_clr = _attributes(option, found.attr_set, found.attr_clr)
            if option in SUPERBLOCK_FLAGS:
                _superblock(option, found.sb_flags)
        elif option in PROPAGATION:
            found.propagation.append(PROPAGATION[option])
        elif option in RECURSIVE_ATTRS:
            found.rec_set, found.rec_clr = _attributes(RECURSIVE_ATTRS[option], found.rec_set, found.rec_clr)
        elif option in SUPERBLOCK_FLAGS:
            _superblock(option, found.sb_flags)
        else:
            _other(option, found)
    return found


def _attributes(option: str, to_set: int, to_clear: int) -> tuple[int, int]:
    """The masks after one more option."""
    if option in MOUNT_ATTRS:
        bits, cleared = MOUNT_ATTRS[option]
        return to_set & ~cleared | bits, to_clear & ~bits | cleared
    taken_back = MOUNT_ATIME_CLEARS[option]
    chosen = to_clear & MOUNT_ATTR__ATIME
    if chosen and to_set & MOUNT_ATTR__ATIME != taken_back:
        return to_set, to_clear
    # Without noatime and strictatime the kernel does relatime: taking that back leaves no choice, the others choose it.
    to_set &= ~MOUNT_ATTR__ATIME
    return to_set, to_clear | MOUNT_ATTR__ATIME if taken_back else to_clear & ~MOUNT_ATTR__ATIME


def _superblock(option: str, flags: list[str]) -> None:
    for stale in (option, SUPERBLOCK_FLAGS[option]):
        if stale in flags:
            flags.remove(stale)
    flags.append(option)


def _other(option: str, found: MountOptions) -> None:
    if option in ("bind", "rbind"):  # no contraries: with both, the mount is recursive, as MS_BIND | MS_REC would have it
        found.bind = True
        found.recursive = found.recursive or option == "rbind"
    elif option in ("idmap", "ridmap"):
        found.idmap = 1 if option == "idmap" else 2
    elif option == "remount":
        found.remount = True
    elif option == "tmpcopyup":
        found.tmpcopyup = True
