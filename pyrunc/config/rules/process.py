"""Rules for the process, of config.json and of exec's process files (runtime-spec config.md, "Process").

Names of capabilities are no rule: an unknown one is for unknown_capabilities() and a warning.
"""

from __future__ import annotations

from pyrunc import errors
from pyrunc.config.names import CAPABILITIES, CAPABILITY_SETS, RLIMITS
from pyrunc.config.rules.text import check_absolute, check_env, check_texts, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.config.rules.text import Faults

WINSIZE_MAX = 0xFFFF  # the fields of struct winsize are unsigned short (ioctl_tty(2))


def check_process(process: dict[str, Any] | None, *, config: dict[str, Any] | None = None, at: str = "") -> None:
    """Raise ConfigError with every fault of a `process` document for exec.

    `config` is the container's, for its id mappings. Paths in messages begin with `at`, as in ``process.``.
    """
    faults: Faults = []
    if process:
        process_rules(faults, process, (config or {}).get("linux") or {}, at)
    else:
        faults.append((at.rstrip("."), "process property must not be empty"))
    if faults:
        raise errors.ConfigError(faults)


def process_rules(faults: Faults, process: dict[str, Any], linux: dict[str, Any], at: str) -> None:
    """Rules for `process`, whose paths begin with `at`; `linux` says which ids are mapped."""
    args = process.get("args")
    if not args:
        faults.append((at + "args", "must hold at least the program"))
    else:
        if not args[0]:
            faults.append((at + "args[0]", 'exec: "": executable file not found in $PATH'))
        check_texts(faults, at + "args", args)
    check_absolute(faults, at + "cwd", process.get("cwd") or "")
    check_env(faults, at + "env", process.get("env"))

    score = process.get("oomScoreAdj")
    if score is not None and not -1000 <= score <= 1000:
        faults.append((at + "oomScoreAdj", f"must be in -1000..1000, is {score}"))
    size = process.get("consoleSize")
    if size and process.get("terminal"):
        for side in ("height", "width"):
            if (size.get(side) or 0) > WINSIZE_MAX:
                faults.append((f"{at}consoleSize.{side}", f"must be at most {WINSIZE_MAX}, is {size[side]}"))
    if process.get("scheduler") or process.get("ioPriority") or process.get("execCPUAffinity"):
        _scheduling(faults, process, at)
    if process.get("apparmorProfile") or process.get("selinuxLabel"):
        from pyrunc.config.rules.labels import process_labels

        process_labels(faults, process, at)
    if rlimits := process.get("rlimits"):
        _rlimits(faults, rlimits, at)
    _user(faults, process.get("user") or {}, linux, at + "user.")


def _scheduling(faults: Faults, process: dict[str, Any], at: str) -> None:
    from pyrunc.config.rules.scheduling import affinity_rules, io_priority_rules, scheduler_rules

    rules = (("scheduler", scheduler_rules), ("ioPriority", io_priority_rules), ("execCPUAffinity", affinity_rules))
    for name, rule in rules:
        if process.get(name):
            rule(faults, process[name], at + name)


def _rlimits(faults: Faults, rlimits: list[dict[str, Any]], at: str) -> None:
    seen = set()
    for i, rlimit in enumerate(rlimits):
        where = f"{at}rlimits[{i}]"
        kind, soft, hard = rlimit["type"], rlimit["soft"], rlimit["hard"]
        if kind not in RLIMITS:
            faults.append((where + ".type", f"unknown rlimit type {quote(kind)}"))
        elif kind in seen:
            faults.append((where + ".type", f"duplicate rlimit type {quote(kind)}"))
        if soft > hard:
            faults.append((where, f"soft limit {soft} is above the hard limit {hard}"))
        seen.add(kind)


def _user(faults: Faults, user: dict[str, Any], linux: dict[str, Any], at: str) -> None:
    umask = user.get("umask")
    if umask is not None and not 0 <= umask <= 0o777:
        faults.append((at + "umask", f"must be in 0..511 (0o777), is {umask}"))
    uids, gids = linux.get("uidMappings"), linux.get("gidMappings")
    if uids and not is_mapped(user.get("uid") or 0, uids):
        faults.append((at + "uid", f"{user.get('uid') or 0} is not mapped by linux.uidMappings"))
    if gids:
        if not is_mapped(user.get("gid") or 0, gids):
            faults.append((at + "gid", f"{user.get('gid') or 0} is not mapped by linux.gidMappings"))
        for i, gid in enumerate(user.get("additionalGids") or ()):
            if not is_mapped(gid, gids):
                faults.append((f"{at}additionalGids[{i}]", f"{gid} is not mapped by linux.gidMappings"))


def is_mapped(id: int, mappings: list[dict[str, int]]) -> bool:
    return any(0 <= id - mapping["containerID"] < mapping["size"] for mapping in mappings)


def unknown_capabilities(process: dict[str, Any]) -> list[str]:
    """Names of capabilities that Linux does not have, each once: something to warn of (runtime-spec 1.1), not to fail on."""
    sets = process.get("capabilities") or {}
    names = [name for kind in CAPABILITY_SETS for name in sets.get(kind) or ()]
    return list(dict.fromkeys(name for name in names if name not in CAPABILITIES))
