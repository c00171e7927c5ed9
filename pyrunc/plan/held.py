"""What is opened on the host before a user namespace is entered that may not reach it, and held until it is attached.

Root of a container's user namespace is nobody special on the host: a directory that only the host's root may pass through
hides the sources of bind mounts and the root file system from it. And only the host's root may map the ids of a mount of
a file system that is the host's (mount_setattr(2), MOUNT_ATTR_IDMAP).
"""

from __future__ import annotations

from pyrunc import errors
from pyrunc.config.names import MS_REC, MS_SHARED
from pyrunc.plan import ops
from pyrunc.plan.opcodes import MODE_MAPBELOW, MODE_RECURSIVE, PLAN_NSLOTS, SLOT_HELD, SLOT_NS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from pyrunc.plan.ops import Op
    from pyrunc.plan.options import MountOptions

    Maps = Sequence[dict[str, int]]


def map_lines(maps: Maps | None) -> str:
    """The content of a uid_map or gid_map, user_namespaces(7)."""
    return "".join([f"{m['containerID']} {m['hostID']} {m['size']}\n" for m in maps or ()])


class Held:
    """The ops that hold something, and its slots. ``everything``: also what no mapping asks for.

    `outer` is the propagation of all that is mounted in the container (MS_*), which what is opened outside does not get
    from its mount namespace. `joined`: the user namespace is one that exists.
    """

    def __init__(self, linux: dict[str, Any], *, everything: bool, outer: int, joined: bool) -> None:
        self.ops: list[Op] = []
        self.everything = everything
        self._linux = linux
        self._outer = [] if outer & MS_SHARED else [outer | MS_REC]
        self._joined = joined
        self._next = SLOT_HELD
        self._namespaces: dict[tuple[str, str], int] = {}
        self._mapped: set[int] = set()
        self._owners: dict[int, tuple[int, int]] = {}

    def tree(self, at: str, source: str, *, recursive: bool, options: MountOptions | None = None, mount: Any = None) -> int:
        """The slot of a copy of the mount at `source`; 0 if it need not be held."""
        userns = self._userns(at, options, mount) if options and mount else 0
        if not userns and not self.everything:
            return 0
        mode = (MODE_RECURSIVE if recursive else 0) | (MODE_MAPBELOW if options and options.idmap > 1 else 0)
        slot = self._slot()
        if userns:
            self._mapped.add(slot)
        self.ops.append(ops.open_tree(at, source, slot, self._outer, mode, userns))
        return slot

    def file_system(
        self, at: str, fs: str, words: Iterable[str], attributes: int, options: MountOptions, mount: dict[str, Any]
    ) -> int:
        """The slot of a new file system whose ids are mapped; 0 if they are not."""
        userns = self._userns(at, options, mount)
        if not userns:
            return 0
        owner = self._owners.get(userns)
        if owner is None:
            what = "a new file system cannot have the mappings of a joined user namespace that the config does not name"
            hint = "repeat them in linux.uidMappings and linux.gidMappings"
            raise errors.UnsupportedError(f"{at}: {what}", config_path=at, hint=hint)
        slot = self._slot()
        self.ops.append(ops.new_tree(at, fs, words, slot, attributes, userns, owner))
        return slot

    def is_mapped(self, slot: int) -> bool:
        """Whether the tree in this slot has mapped ids, so that no other will do."""
        return slot in self._mapped

    def _slot(self) -> int:
        self._next += 1
        if self._next > PLAN_NSLOTS:
            raise errors.UnsupportedError(f"more than {PLAN_NSLOTS - SLOT_HELD} mounts to be opened for a user namespace")
        return self._next - 1

    def _userns(self, at: str, options: MountOptions, mount: dict[str, Any]) -> int:
        """The slot of a user namespace with the mount's mappings, 0 for none: those that it names, or the container's."""
        uids, gids = mount.get("uidMappings"), mount.get("gidMappings")
        if not uids and not options.idmap:
            return 0
        if options.custom and not uids:
            from pyrunc.config.idmap import custom

            try:
                uids, gids = custom(options.custom, self._linux)
            except ValueError as error:
                raise errors.ConfigError([(f"{at}.options", str(error))]) from None
        elif not uids:
            uids, gids = self._linux.get("uidMappings"), self._linux.get("gidMappings")
            if self._joined and not (uids and gids):
                return SLOT_NS
        lines = map_lines(uids), map_lines(gids)
        slot = self._namespaces.get(lines)
        if slot is None:
            slot = self._namespaces[lines] = self._slot()
            self.ops.append(ops.make_userns(at, *lines, slot))
            self._owners[slot] = _root(uids), _root(gids)
        return slot


def _root(maps: Maps | None) -> int:
    """Whom on the host the maps make root, or the first of theirs."""
    found = [m["hostID"] for m in maps or () if m["containerID"] == 0]
    return found[0] if found else maps[0]["hostID"] if maps else 0
