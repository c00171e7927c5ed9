"""config.json -> the plan of a container, in the order in which it must happen.

    namespaces · cgroup · root and mounts · devices · [hooks] · pivot · console · names, sysctls, masks · [ready] · identity

The order is a contract: docs/architecture.md says for each step what it must come after. Nothing here touches the host.
"""

from __future__ import annotations

from pyrunc import errors
from pyrunc.config.names import MS_PRIVATE, MS_REC, MS_SHARED, MS_UNBINDABLE, NAMESPACES, PROPAGATION, sysctl_path
from pyrunc.kernel.json import dumps
from pyrunc.plan import ops
from pyrunc.plan.devices import compile_devices
from pyrunc.plan.encode import Plan
from pyrunc.plan.entry import enterable, open_cgroups
from pyrunc.plan.held import Held, map_lines
from pyrunc.plan.mounts import compile_mounts
from pyrunc.plan.opcodes import OP_LOOKUP, SLOT_GO, SLOT_REPLY, SYNC_HOOKS, SYNC_MAPS, SYNC_READY
from pyrunc.plan.process import identity, key_label, labels, scheduled, terminal
from pyrunc.plan.seccomp import later

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from pyrunc.plan.facts import Host, Request
    from pyrunc.plan.ops import Op

USER, CGROUP, TIME, PID, NET = (NAMESPACES[name] for name in ("user", "cgroup", "time", "pid", "network"))
JOIN_ORDER = ("user", "ipc", "uts", "network", "pid", "cgroup", "time", "mount")
"""User first, for the rights in the others; mount last, because paths mean something else after it."""

DEFAULT_UMASK = 0o022
MASK_OPTIONS = ("nr_blocks=1", "nr_inodes=1", "mode=755")
"""Of the empty file system over masked directories, as in native/init/mount.c."""
HOOK_TIMEOUT_MAX = 1 << 60
"""Milliseconds; the executor adds it to the clock, where config.json may have 2^63 seconds."""


class Namespaces:
    """``linux.namespaces``, sorted into what is new and what is joined, with the JSON path of each."""

    __slots__ = ("at", "joined", "new")

    def __init__(self, linux: dict[str, Any]) -> None:
        self.new: set[str] = set()
        self.joined: dict[str, str] = {}
        self.at: dict[str, str] = {}
        for i, entry in enumerate(linux.get("namespaces") or ()):
            kind = entry["type"]
            self.at[kind] = f"linux.namespaces[{i}]"
            if entry.get("path"):
                self.joined[kind] = entry["path"]
            else:
                self.new.add(kind)

    def private(self, kind: str) -> bool:
        """The container does not share this namespace with the runtime."""
        return kind in self.new or kind in self.joined

    def flags(self) -> int:
        """CLONE_NEW* of the new ones that one unshare(2) makes: user comes before them, cgroup after joining the cgroup."""
        flags = 0
        for kind in self.new:
            flags |= NAMESPACES[kind]
        return flags & ~(USER | CGROUP)


def compile_container(config: dict[str, Any], request: Request, host: Host) -> Plan:
    """The plan of a checked config. Raises ConfigError or UnsupportedError for what only now shows to be impossible."""
    linux = config.get("linux") or {}
    ns = Namespaces(linux)
    held = _held(linux, ns, host)
    root = (_root if ns.private("mount") else _shared_root)(config, linux, ns, request, host, held)
    plan = [*_namespaces(config, linux, ns, request, host, held), *root]
    plan += _settings(config, linux)
    plan += _process(config, ns, request, host)
    passed = (SLOT_GO, SLOT_REPLY) if request.waits else ()
    return Plan(plan, passed=passed, preserve=request.preserve)


def _namespaces(
    config: dict[str, Any], linux: dict[str, Any], ns: Namespaces, request: Request, host: Host, held: Held
) -> list[Op]:
    process = config["process"]
    plan = [ops.open_proc()]
    if "mount" in ns.new:
        plan.append(ops.own_root())
    if process.get("oomScoreAdj") is not None:
        plan.append(ops.oom_score("process.oomScoreAdj", process["oomScoreAdj"]))
    forks = ns.private("pid") or ns.private("time")
    tasks, cgroup2 = enterable(request.cgroup_entry, user=forks and ns.private("user"))
    cgroups = open_cgroups(tasks, cgroup2 if forks else None)
    early = ns.private("user") or "mount" in ns.joined
    if early:
        plan += cgroups  # as the host's root, on the host's paths
    joined = [kind for kind in JOIN_ORDER if kind in ns.joined]
    plan += [ops.open_ns(ns.at[kind] + ".path", ns.joined[kind], slot) for slot, kind in enumerate(joined)]
    plan += held.ops
    if _hidden(ns):
        plan.append(ops.go_to_root("root.path", request.rootfs))
    for slot, kind in enumerate(joined):
        plan.append(ops.setns(ns.at[kind] + ".path", ns.joined[kind], slot, NAMESPACES[kind]))
        if kind == "user":
            plan += _same_maps(linux)
            plan.append(ops.become_root(ns.at[kind], keep_groups=host.single_map))
    if "user" in ns.new:
        plan.append(ops.unshare(ns.at["user"], USER, dumpable=host.rootless))
        plan.append(ops.sync(SYNC_MAPS))
        plan.append(ops.become_root("linux.uidMappings", keep_groups=host.single_map))
    if flags := ns.flags():
        plan.append(ops.unshare("linux.namespaces", flags))
    if offsets := _time_offsets(linux.get("timeOffsets") or {}):
        plan.append(ops.time_offsets("linux.timeOffsets", offsets))
    if not early:
        plan += cgroups
    if forks:
        plan.append(ops.fork())
    if tasks:
        plan.append(ops.enter_cgroups(len(tasks)))
    plan.append(ops.affinity("", None))
    if "cgroup" in ns.new:
        plan.append(ops.unshare(ns.at["cgroup"], CGROUP))
    plan.append(ops.session())
    if request.new_keyring:
        plan += key_label(process)
        plan.append(ops.keyring(f"_ses.{request.id}", new=True))
    if "network" in ns.new:
        plan.append(ops.loopback(ns.at["network"]))
    if devices := linux.get("netDevices"):
        moves = [f"{name} as {device['name']}" if device.get("name") else name for name, device in devices.items()]
        plan.append(ops.net_devices("linux.netDevices", moves))
    return plan


def _hidden(ns: Namespaces) -> bool:
    """Whether the root file system is entered before the user namespace, which may not reach it by its name."""
    return ns.private("user") and "mount" in ns.new


def _held(linux: dict[str, Any], ns: Namespaces, host: Host) -> Held:
    return Held(
        linux, everything=_hidden(ns) and not host.rootless, outer=_outer_propagation(linux), joined="user" in ns.joined
    )


def _outer_propagation(linux: dict[str, Any]) -> int:
    """Of the old root with all below it, so that what is mounted here shows outside only when that was asked for. From an
    unbindable one nothing could be cloned, so the new root alone becomes so."""
    propagation = PROPAGATION[linux.get("rootfsPropagation") or "rslave"]
    return MS_PRIVATE if propagation & MS_UNBINDABLE else propagation


def _same_maps(linux: dict[str, Any]) -> list[Op]:
    """containerd names the maps of a user namespace that it made: they say nothing new, unless they are wrong."""
    uids, gids = map_lines(linux.get("uidMappings")), map_lines(linux.get("gidMappings"))
    return [ops.verify_maps("linux.uidMappings" if uids else "linux.gidMappings", uids, gids)] if uids or gids else []


def _time_offsets(offsets: dict[str, Any]) -> str:
    """The lines of /proc/PID/timens_offsets, time_namespaces(7), for the clocks that there are."""
    found = [(clock, offsets[clock]) for clock in ("monotonic", "boottime") if offsets.get(clock)]
    return "".join([f"{clock} {offset.get('secs') or 0} {offset.get('nanosecs') or 0}\n" for clock, offset in found])


def _hooks(config: dict[str, Any], name: str, state: tuple[str, str], env: Sequence[str]) -> list[Op]:
    """The hooks that run inside; without an `env` of their own they get `env`."""
    plan = []
    for i, hook in enumerate((config.get("hooks") or {}).get(name) or ()):
        path = hook["path"]
        hook_env = hook["env"] if hook.get("env") is not None else env
        timeout = min((hook.get("timeout") or 0) * 1000, HOOK_TIMEOUT_MAX)
        plan.append(ops.hook(f"hooks.{name}[{i}]", path, hook.get("args") or [path], hook_env, state, timeout))
    return plan


def _host_hooks(config: dict[str, Any]) -> list[Op]:
    hooks = config.get("hooks") or {}
    return [ops.sync(SYNC_HOOKS)] if hooks.get("prestart") or hooks.get("createRuntime") else []


def _root(
    config: dict[str, Any], linux: dict[str, Any], ns: Namespaces, request: Request, host: Host, held: Held
) -> list[Op]:
    at = "linux.rootfsPropagation"
    propagation = PROPAGATION[linux.get("rootfsPropagation") or "rslave"]
    if propagation & MS_PRIVATE and not request.pivot:
        raise errors.ConfigError([(at, "private is not safe with --no-pivot: the host's mounts stay below the root, and busy")])
    confined = ns.private("user") or host.in_userns
    label = linux.get("mountLabel") or ""
    mounts = compile_mounts(
        config.get("mounts") or (), request.bundle, request.cgroup_view, held, user_namespace=confined, label=label
    )
    outer = _outer_propagation(linux)
    plan = [ops.propagate(at, "/", [outer | MS_REC])]
    plan.append(ops.root("root.path", request.rootfs, private_parent=outer & MS_SHARED != 0, here=_hidden(ns)))
    # What is made has the mode that is asked for; the caller's umask, which may be any, is nobody's business inside.
    plan.append(ops.umask("", 0))
    plan += mounts.ops
    if not mounts.dev_is_bind:
        plan += compile_devices(linux, host, held, user_namespace=ns.private("user"))
    plan.append(ops.umask("", DEFAULT_UMASK))
    plan += _host_hooks(config)
    plan += _hooks(config, "createContainer", request.state("creating"), request.environment)
    if request.pivot:
        plan.append(ops.pivot())
    else:
        plan += [ops.hide(path) for path in _outermost(host.proc_mounts) if not _below(path, request.rootfs)]
        plan.append(ops.move_root())
    if not mounts.dev_is_bind:
        plan.append(ops.null_stdio())
    plan.append(ops.make_cwd("process.cwd", config["process"]["cwd"]))
    plan += terminal(config["process"], bind=True)
    plan += mounts.late_readonly
    if config["root"].get("readonly"):
        plan.append(ops.readonly_mount("root.readonly", "/"))
    return plan


def _shared_root(
    config: dict[str, Any], linux: dict[str, Any], ns: Namespaces, request: Request, host: Host, held: Held
) -> list[Op]:
    """Without a mount namespace the mounts are made in the runtime's, below the root; runtime/hostmounts.py removes them."""
    from pyrunc.plan.shared import check_shared, one_way

    check_shared(config, linux, request.rootfs, user_namespace=ns.private("user"))
    label = linux.get("mountLabel") or ""
    entries = one_way(config.get("mounts") or ())
    mounts = compile_mounts(
        entries, request.bundle, request.cgroup_view, held, user_namespace=host.in_userns, label=label
    )
    plan = [ops.open_root("root.path", request.rootfs)]
    if mounts.ops:
        plan += [ops.umask("", 0), *mounts.ops]
        if mounts.dev_is_new:
            plan += compile_devices(linux, host, held, user_namespace=False)
        plan.append(ops.umask("", DEFAULT_UMASK))
    plan += _host_hooks(config)
    plan += _hooks(config, "createContainer", request.state("creating"), request.environment)
    plan.append(ops.enter_root())
    if mounts.dev_is_new:
        plan.append(ops.null_stdio())
    return [*plan, *terminal(config["process"], bind=False), *mounts.late_readonly]


def _below(path: str, parent: str) -> bool:
    return path == parent or path.startswith(parent.rstrip("/") + "/")


def _outermost(paths: Sequence[str]) -> list[str]:
    """Without those below another one, which go with it: a container's procfs has several bound over parts of itself."""
    return [path for path in paths if not any(path != other and _below(path, other) for other in paths)]


def _settings(config: dict[str, Any], linux: dict[str, Any]) -> list[Op]:
    plan = []
    if config.get("hostname"):
        plan.append(ops.hostname("hostname", config["hostname"]))
    if config.get("domainname"):
        plan.append(ops.domainname("domainname", config["domainname"]))
    plan += labels(config["process"])
    for key, value in (linux.get("sysctl") or {}).items():
        plan.append(ops.sysctl(f"linux.sysctl[{dumps(key)}]", sysctl_path(key), value))
    for i, path in enumerate(linux.get("readonlyPaths") or ()):
        plan.append(ops.readonly_path(f"linux.readonlyPaths[{i}]", path))
    masks = [*MASK_OPTIONS, f"context={linux['mountLabel']}"] if linux.get("mountLabel") else ()
    for i, path in enumerate(linux.get("maskedPaths") or ()):
        plan.append(ops.mask_path(f"linux.maskedPaths[{i}]", path, masks))
    if kind := linux.get("rootfsPropagation"):
        # After the last bind mount, because what is unbindable cannot be bound, and /proc with it if that is for all below.
        plan.append(ops.root_propagation("linux.rootfsPropagation", [PROPAGATION[kind]]))
    umask = (config["process"].get("user") or {}).get("umask")
    plan.append(ops.umask("process.user.umask", DEFAULT_UMASK if umask is None else umask))
    return plan


def _process(config: dict[str, Any], ns: Namespaces, request: Request, host: Host) -> list[Op]:
    process = config["process"]
    plan = []
    if process.get("noNewPrivileges"):
        plan.append(ops.no_new_privs("process.noNewPrivileges"))
    plan.append(ops.sync(SYNC_READY))
    plan += scheduled(process, config.get("linux") or {})
    start = [ops.wait() if request.waits else ops.release()]
    start_hooks = _hooks(config, "startContainer", request.state("created"), process.get("env") or ())
    setgroups = not (host.single_map and ns.private("user"))
    # startContainer hooks come after `start` has given its byte; `run` gives none.
    last = [*start, *start_hooks]
    plan += identity(process, seccomp=request.seccomp, setgroups=setgroups, last=last, rootless=host.rootless)
    return plan


def tail(config: dict[str, Any]) -> list[Op]:
    """The ops that come after WAIT, for naming the one that failed when `start` had been called; not for execution."""
    process = config["process"]
    hooks = _hooks(config, "startContainer", ("", ""), ())
    seccomp = later((config.get("linux") or {}).get("seccomp"))
    plan = identity(process, seccomp=seccomp, setgroups=True, last=hooks)
    return plan[[op.code for op in plan].index(OP_LOOKUP) + 1 :]
