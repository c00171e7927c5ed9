"""`process` of an exec -> the plan of a further process in a running container."""

from __future__ import annotations

from pyrunc.config.names import NAMESPACES
from pyrunc.plan import ops
from pyrunc.plan.encode import Plan
from pyrunc.plan.entry import enterable, open_cgroups
from pyrunc.plan.opcodes import SLOT_PIDFD, SYNC_READY
from pyrunc.plan.process import identity, key_label, labels, scheduled, terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from pyrunc.plan.ops import Op
    from pyrunc.plan.seccomp import Filter


def compile_exec(
    process: dict[str, Any], differs: Sequence[str], *, id: str, new_keyring: bool, setgroups: bool,
    seccomp: Filter | None, preserve: int, cgroup_entry: tuple[Sequence[str], str | None] = ((), None),
    rootfs: str | None = None, linux: dict[str, Any], rootless: bool = False,
) -> Plan:  # fmt: skip
    """The plan of a checked process; `differs` names the namespaces in which the container is not where the runtime is.

    The pidfd of the container's init is passed in slot PIDFD. What this process may do it must be able to do before the
    container's processes can reach it: so it enters the cgroups first, and keeps no fd of the host's. `rootfs` is the root
    of a container without a mount namespace, which joining does not lead into.
    """
    flags = 0
    for kind in differs:
        flags |= NAMESPACES[kind]
    forks = flags & (NAMESPACES["pid"] | NAMESPACES["time"]) != 0
    tasks, cgroup2 = enterable(cgroup_entry, user=forks and "user" in differs)
    initial, final = _affinity(process.get("execCPUAffinity"))
    plan = _labels(process, new_keyring=new_keyring)
    plan += initial + open_cgroups(tasks, cgroup2 if forks else None)
    if tasks:
        plan.append(ops.enter_cgroups(len(tasks)))
    plan += final if not forks else []
    if flags:
        plan.append(ops.join("", flags))
    if "user" in differs:  # the host's root is nobody there: not the owner of a pty, nor of the session keyring
        plan.append(ops.become_root("", keep_groups=not setgroups))
    if forks:
        plan.append(ops.fork())
        plan += final  # the fork is what enters a cgroup2
    plan += [ops.open_root()] if rootfs is None else [ops.open_root("root.path", rootfs), ops.enter_root()]
    plan.append(ops.session())
    if new_keyring:
        plan.append(ops.keyring(f"_ses.{id}", new=False))
    plan += terminal(process, bind=False)
    umask = (process.get("user") or {}).get("umask")
    if umask is not None:
        plan.append(ops.umask("process.user.umask", umask))
    if process.get("noNewPrivileges"):
        plan.append(ops.no_new_privs("process.noNewPrivileges"))
    plan.append(ops.sync(SYNC_READY))
    plan += scheduled(process, linux)
    plan += identity(process, seccomp=seccomp, setgroups=setgroups, last=[ops.release()], rootless=rootless)
    return Plan(plan, passed=(SLOT_PIDFD,), preserve=preserve)


def _labels(process: dict[str, Any], *, new_keyring: bool) -> list[Op]:
    """First of all, through the host's procfs, which must not come along."""
    found = [*(key_label(process) if new_keyring else ()), *labels(process)]
    return [ops.open_proc(), *found] if found else []


def _affinity(affinity: dict[str, Any] | None) -> tuple[list[Op], list[Op]]:
    """CPUs before and after the cgroup is entered. Without a word of the config the runtime's own affinity is not handed on."""
    if not any((affinity or {}).values()):
        return [], [ops.affinity("", None)]
    from pyrunc.plan.scheduling import cpu_affinity

    return cpu_affinity(affinity, "initial"), cpu_affinity(affinity, "final")
