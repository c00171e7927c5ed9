"""Rules for a container's whole configuration."""

from __future__ import annotations

from pyrunc import errors
from pyrunc.config.names import HOOKS
from pyrunc.config.rules.linux import linux_rules, namespace_rules
from pyrunc.config.rules.mounts import mapped, mount_rules
from pyrunc.config.rules.process import is_mapped, process_rules
from pyrunc.config.rules.text import check_absolute, check_env, check_text, check_texts, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from pyrunc.config.rules.text import Faults

    class Host(Protocol):
        """What a rule may know of the host."""

        @property
        def rootless(self) -> bool: ...

        @property
        def selinux(self) -> bool: ...


UTS_LENGTH = 64  # bytes of a host or domain name, __NEW_UTS_LEN (uname(2))


def check(config: dict[str, Any], *, host: Host | None = None) -> None:
    """Raise ConfigError with every fault of a container's `config`; without `host`, of those that every host would find."""
    faults: Faults = []
    _version(faults, config.get("ociVersion") or "")
    root = config.get("root")
    if not root:
        faults.append(("root", "must be specified"))
    elif not root.get("path"):
        faults.append(("root.path", "must not be empty"))
    else:
        check_text(faults, "root.path", root["path"])
    linux = config.get("linux") or {}
    namespaces = namespace_rules(faults, linux.get("namespaces"))
    if process := config.get("process"):
        process_rules(faults, process, linux, "process.")
    else:
        faults.append(("process", "process property must not be empty"))
    for name in ("hostname", "domainname"):
        if config.get(name):
            _uts_name(faults, name, config[name], namespaces)
    mount_rules(faults, config.get("mounts") or [], linux)
    linux_rules(faults, linux, namespaces)
    if hooks := config.get("hooks"):
        _hooks(faults, hooks)
    if "" in (config.get("annotations") or ()):
        faults.append(("annotations", "must not have an empty key"))
    if host and host.rootless:
        _rootless(faults, config, namespaces)
    if linux.get("mountLabel") or (process or {}).get("selinuxLabel"):
        _selinux(faults, config, host)
    if faults:
        raise errors.ConfigError(faults)


def _version(faults: Faults, version: str) -> None:
    """Any 1.x is ours, later ones too: inside a major version the specification stays compatible."""
    core = version.partition("+")[0].partition("-")[0].split(".")
    if len(core) != 3 or not all(part.isascii() and part.isdigit() for part in core):
        faults.append(("ociVersion", f"{quote(version)} is not a version of the form 1.2.3"))
    elif core[0] != "1":
        faults.append(("ociVersion", f"{quote(version)} is not a version 1 of the runtime specification"))


def _uts_name(faults: Faults, at: str, name: str, namespaces: dict[str, str]) -> None:
    if "uts" not in namespaces:
        faults.append((at, "needs a namespace of type uts in linux.namespaces"))
    if check_text(faults, at, name) and len(name.encode("utf-8", "surrogateescape")) > UTS_LENGTH:
        faults.append((at, f"must be at most {UTS_LENGTH} bytes"))


def _hooks(faults: Faults, hooks: dict[str, Any]) -> None:
    for name in HOOKS:
        for i, hook in enumerate(hooks.get(name) or ()):
            at = f"hooks.{name}[{i}]."
            check_absolute(faults, at + "path", hook.get("path") or "")
            check_texts(faults, at + "args", hook.get("args"))
            check_env(faults, at + "env", hook.get("env"))
            timeout = hook.get("timeout")
            if timeout is not None and timeout < 1:
                faults.append((at + "timeout", f"must be at least 1 second, is {timeout}"))


def _selinux(faults: Faults, config: dict[str, Any], host: Host | None) -> None:
    from pyrunc.config.rules.labels import SELINUX_OFF, mount_label, selinux_labels

    if label := (config.get("linux") or {}).get("mountLabel"):
        mount_label(faults, label)
    if host and not host.selinux:
        faults += [(path, SELINUX_OFF) for path in selinux_labels(config)]


def _rootless(faults: Faults, config: dict[str, Any], namespaces: dict[str, str]) -> None:
    """Without privilege only a user namespace gives a container its powers, and setgroups(2) is denied in it."""
    if "user" not in namespaces:
        faults.append(("linux.namespaces", "a rootless container needs a user namespace"))
    if ((config.get("process") or {}).get("user") or {}).get("additionalGids"):
        faults.append(("process.user.additionalGids", "cannot be set in a rootless container"))
    linux = config.get("linux") or {}
    for i, mount in enumerate(config.get("mounts") or ()):
        if mapped(mount):
            faults.append((f"mounts[{i}]", "ID-mapped mounts cannot be made by a rootless runtime"))
        for text in mount.get("options") or ():
            for option in text.split(",") if "uid=" in text or "gid=" in text else ():
                _owner(faults, f"mounts[{i}].options", option, linux)
    if linux.get("netDevices"):
        faults.append(("linux.netDevices", "cannot be moved into a rootless container: that needs CAP_NET_ADMIN on the host"))


def _owner(faults: Faults, at: str, option: str, linux: dict[str, Any]) -> None:
    """An owner of a new file system must have an id in the user namespace."""
    name, _, value = option.partition("=")
    maps = linux.get(f"{name}Mappings") if name in ("uid", "gid") else None
    if maps and value.isascii() and value.isdigit() and not is_mapped(int(value), maps):
        faults.append((at, f"{quote(option)}: the id is not mapped by linux.{name}Mappings"))
