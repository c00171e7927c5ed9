"""The part of a plan that makes a process what `process` says; shared by the container's init and by exec."""

from __future__ import annotations

from pyrunc.config.names import CAPABILITIES
from pyrunc.plan import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from pyrunc.plan.ops import Op
    from pyrunc.plan.seccomp import Filter

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where a program is looked for when the environment has no PATH."""


def terminal(process: dict[str, Any], *, bind: bool) -> list[Op]:
    """The pty of a process that wants one; its size when both numbers are given (runtime-spec, process.consoleSize)."""
    if not process.get("terminal"):
        return []
    size = process.get("consoleSize") or {}
    rows, columns = size.get("height") or 0, size.get("width") or 0
    return [ops.console("process.terminal", rows, columns, bind=bind)]


def scheduled(process: dict[str, Any], linux: dict[str, Any]) -> list[Op]:
    """When and where it runs, if the config says so."""
    asked = process.get("scheduler") or process.get("ioPriority") or linux.get("personality") or linux.get("memoryPolicy")
    if not asked:
        return []
    from pyrunc.plan.scheduling import compile_scheduling

    return compile_scheduling(process, linux)


def environment(process: dict[str, Any]) -> tuple[list[str], bool]:
    """The environment, of duplicates the last, and whether HOME must come from /etc/passwd: it is missing or empty."""
    found: dict[str, str] = {}
    for entry in process.get("env") or ():
        name, _, value = entry.partition("=")
        found.pop(name, None)
        found[name] = value
    need_home = not found.get("HOME")
    if need_home:
        found.pop("HOME", None)
    return [f"{name}={value}" for name, value in found.items()], need_home


def labels(process: dict[str, Any]) -> list[Op]:
    """What execve(2) shall make of the process in the eyes of the security modules. A child inherits the wish, and a hook that it
    executes the label."""
    found = []
    if profile := process.get("apparmorProfile"):
        found.append(ops.label("process.apparmorProfile", "attr/apparmor/exec", f"exec {profile}", "attr/exec"))
    if label := process.get("selinuxLabel"):
        found.append(ops.label("process.selinuxLabel", "attr/exec", label))
    return found


def key_label(process: dict[str, Any]) -> list[Op]:
    """The session keyring is labelled as the process is; execve(2) forgets about it."""
    label = process.get("selinuxLabel")
    return [ops.label("process.selinuxLabel", "attr/keycreate", label)] if label else []


def capability_mask(names: Sequence[str] | None) -> int:
    """Names to bits; what is unknown is left out, as the specification asks (clarified in 1.1)."""
    mask = 0
    for name in names or ():
        number = CAPABILITIES.get(name)
        if number is not None:
            mask |= 1 << number
    return mask


def identity(
    process: dict[str, Any], *, seccomp: Filter | None, setgroups: bool, last: Sequence[Op], at: str = "process",
    rootless: bool = False,
) -> list[Op]:  # fmt: skip
    """From root of the container to its user, and up to execve(2).

    Without no_new_privs the filter needs CAP_SYS_ADMIN and is loaded while there is some; with it as late as can be
    (runtime-spec, config-linux.md, seccomp). `last` is what stands between: waiting for `start`, its hooks. A filter with a
    listener comes before that, while the runtime is there to take it.
    """
    user = process.get("user") or {}
    uid, gid = user.get("uid") or 0, user.get("gid") or 0
    groups = user.get("additionalGids") or []
    caps = process.get("capabilities")
    no_new_privs = process.get("noNewPrivileges")
    env, need_home = environment(process)
    cwd = process["cwd"]
    path = next((entry[5:] for entry in env if entry.startswith("PATH=")), DEFAULT_PATH)
    filters = [ops.seccomp("linux.seccomp", seccomp.bpf, seccomp.flags, dumpable=rootless)] if seccomp else []

    plan = [ops.own_stdio(uid)]
    if need_home:
        plan.append(ops.home(uid))
    # First the directory: that it is inside is asked of getcwd(2), which a filter may forbid.
    plan.append(ops.chdir(f"{at}.cwd", cwd, last=False))
    if not no_new_privs:
        plan += filters
    if caps is not None:
        plan.append(ops.bounding(f"{at}.capabilities.bounding", capability_mask(caps.get("bounding"))))
    plan.append(ops.user(f"{at}.user", uid, gid, groups if setgroups else None, keep_caps=caps is not None))
    plan.append(ops.chdir(f"{at}.cwd", cwd, last=True))
    if caps is not None:
        sets = [capability_mask(caps.get(name)) for name in ("effective", "permitted", "inheritable", "ambient")]
        plan.append(ops.capabilities(f"{at}.capabilities", *sets))
    plan.append(ops.lookup(f"{at}.args[0]", process["args"][0], path))
    if not no_new_privs:
        filters = []
    plan += [*filters, *last] if seccomp and seccomp.notifies else [*last, *filters]
    plan.append(ops.execute(f"{at}.args", process["args"], env))
    return plan
