"""Rules for mounts (runtime-spec config.md, "Mounts"): what the strings alone can tell.

The file system inside may still lie with symbolic links; that is met where a mount is made, by openat2(2) and O_PATH.
"""

from __future__ import annotations

from pyrunc.config.names import CUSTOM_IDMAP, MOUNT_OPTIONS
from pyrunc.config.rules.linux import check_mappings
from pyrunc.config.rules.text import check_text, check_texts, clean, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from pyrunc.config.rules.text import Faults

# What may be mounted over inside /proc, as lxcfs and checkpointing do; anything else could fake what the runtime and
# security modules read and write there (CVE-2019-16884, CVE-2023-27561).
PROC_OVERMOUNTS = frozenset((
    "/proc/cpuinfo", "/proc/diskstats", "/proc/meminfo", "/proc/stat", "/proc/swaps", "/proc/uptime", "/proc/loadavg",
    "/proc/slabinfo", "/proc/sys/kernel/ns_last_pid", "/proc/sys/crypto/fips_enabled",
))  # fmt: skip

NEVER_MAPPED = frozenset(("proc", "sysfs", "devpts", "mqueue", "cgroup", "cgroup2"))
"""What a file system shows of the container's own namespaces has no owner on a disk."""

BIND_WITH_DATA = "bind mounts cannot have any filesystem-specific options applied"


def mapped(mount: dict[str, Any]) -> bool:
    """Whether the mount asks for a mapping of its ids."""
    if mount.get("uidMappings") or mount.get("gidMappings"):
        return True
    return any(option in ("idmap", "ridmap") or option.startswith(CUSTOM_IDMAP) for option in mount.get("options") or ())


def mount_rules(faults: Faults, mounts: list[dict[str, Any]], linux: dict[str, Any]) -> None:
    for i, mount in enumerate(mounts):
        at = f"mounts[{i}]."
        options = mount.get("options") or ()
        bind = "bind" in options or "rbind" in options
        kind = mount.get("type") or ""
        remount = "remount" in options
        _destination(faults, mount.get("destination") or "", kind, bind or remount, at)
        check_text(faults, at + "type", kind)
        check_text(faults, at + "source", mount.get("source"))
        check_texts(faults, at + "options", options)
        if bind:
            _bind(faults, mount, options, at, remount=remount)
        elif not remount and kind in ("", "bind", "none"):
            faults.append((at + "type", f'{quote(kind)} is no file system: a bind mount needs the option "bind" or "rbind"'))
        if "tmpcopyup" in options and kind != "tmpfs":
            faults.append((at + "options", "tmpcopyup is for tmpfs only"))
        if mapped(mount):
            _idmap(faults, mount, linux, at)


def _destination(faults: Faults, destination: str, kind: str, bind: bool, at: str) -> None:
    at += "destination"
    if not destination:
        faults.append((at, "must not be empty"))
    if not destination or not check_text(faults, at, destination):
        return
    target = clean(destination)
    if target == "/":
        faults.append((at, f"{quote(destination)} is the root file system itself"))
    elif target == "/proc":
        if kind != "proc" and not bind:
            faults.append((at, f'only a mount of type "proc" or a bind mount can be at /proc, not {quote(kind)}'))
    elif target.startswith("/proc/") and target not in PROC_OVERMOUNTS:
        faults.append((at, f"{quote(destination)} cannot be mounted because it is inside /proc"))


def _bind(faults: Faults, mount: dict[str, Any], options: Sequence[str], at: str, *, remount: bool) -> None:
    if not mount.get("source") and not remount:
        faults.append((at + "source", "a bind mount needs a source"))
    if not MOUNT_OPTIONS.issuperset(options) and (data := [word for word in _data(options) if not _is_a_setting(word)]):
        faults.append((at + "options", f"{BIND_WITH_DATA}: {quote(','.join(data))}"))


def ignored_options(mounts: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The config path and the words of bind mounts' settings for a file system, which bind mounts do not have.

    What is no option of the specification's goes to the file system as data, and "MS_BIND" ignores data (runtime-spec
    config.md, "Mounts"; mount(2)). Callers and the validation suite rely on that. A word without a value is an error
    none the less, as with runc 1.5: it may be a misspelt `nosuid`, which a file system would have refused.
    """
    found = []
    for i, mount in enumerate(mounts):
        options = mount.get("options") or ()
        if ("bind" in options or "rbind" in options) and (data := _data(options)):
            found.append((f"mounts[{i}].options", ",".join(data)))
    return found


def _data(options: Sequence[str]) -> list[str]:
    other = [option for option in options if option not in MOUNT_OPTIONS and not option.startswith(CUSTOM_IDMAP)]
    return [word for option in other for word in option.split(",") if word]


def _is_a_setting(word: str) -> bool:
    """Whether nothing is lost without it; a label is security's, and not to be left out."""
    name, equals, _ = word.partition("=")
    return bool(equals) and not name.endswith("context")


def _idmap(faults: Faults, mount: dict[str, Any], linux: dict[str, Any], at: str) -> None:
    """Mappings come in pairs; ``idmap`` without any borrows those of the container's user namespace (runtime-spec 1.2)."""
    uids, gids = mount.get("uidMappings"), mount.get("gidMappings")
    options = mount.get("options") or ()
    bind = "bind" in options or "rbind" in options
    custom_option = next((option for option in options if option.startswith(CUSTOM_IDMAP)), None)
    if "remount" in options:
        faults.append((at + "options", "the ids of a mount that is there already cannot be mapped"))
    if not bind and (mount.get("type") or "") in NEVER_MAPPED:
        faults.append((at + "type", f"a file system of type {mount['type']} cannot be ID-mapped"))
    if bool(uids) != bool(gids):
        faults.append((at + ("gidMappings" if uids else "uidMappings"), "must be given when the other mapping is"))
    elif not uids and custom_option:
        from pyrunc.config.idmap import custom

        try:
            uids, gids = custom(custom_option, linux)
        except ValueError as error:
            faults.append((at + "options", str(error)))
            return
        if not uids or not gids:
            faults.append((at + "options", "needs uids= and gids=, or a user namespace of the container with maps"))
    elif not uids and not any(namespace["type"] == "user" for namespace in linux.get("namespaces") or ()):
        faults.append((at + "options", "idmap without mappings needs a user namespace"))
    check_mappings(faults, at + "uidMappings", uids)
    check_mappings(faults, at + "gidMappings", gids)
