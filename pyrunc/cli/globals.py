"""The options before the command, and the `Context` that they become."""

from __future__ import annotations

from pyrunc import errors
from pyrunc.cli.options import FLAG, TEXT, Given, Option, boolean
from pyrunc.kernel import os
from pyrunc.log import DEBUG, ERROR, LEVELS, Context, Log

DEFAULT_ROOT = "/run/pyrunc"
FORMATS = ("text", "json")
WHEN = ("true", "false", "auto")
MANAGERS = ("cgroupfs", "systemd", "disabled")

OPTIONS = (
    Option("root", "", TEXT, "DIR", f"where containers are recorded, a tmpfs at best (default: {DEFAULT_ROOT})"),
    Option("log", "", TEXT, "FILE", "append errors to FILE, or journald:NAME or syslog:NAME (they go to stderr too)"),
    Option("log-format", "", TEXT, "FORMAT", "form of the log: text or json (default: text)", FORMATS),
    Option("log-level", "", TEXT, "LEVEL", "what is logged: error, warning or debug (default: error)", LEVELS),
    Option("debug", "", FLAG, "", "log everything, as --log-level debug"),
    Option("systemd-cgroup", "", FLAG, "", "let systemd make the cgroups; cgroupsPath is slice:prefix:name"),
    Option("cgroup-manager", "", TEXT, "NAME", "who makes the cgroups: cgroupfs, systemd or disabled", MANAGERS),
    Option("rootless", "", TEXT, "WHEN", "ignore cgroup permission errors: true, false or auto (default: auto)", WHEN),
    Option("criu", "", TEXT, "PATH", "accepted for old callers and ignored"),
    Option("version", "v", FLAG, "", "print the version"),
)


def context(given: Given, log: Log) -> Context:
    """Check the global options and set `log` up. The log comes first, so that it tells of what is wrong in the others.

    UsageError; KernelError if the log cannot be opened.
    """
    debug = given.flag("debug")
    form = _one_of(given, "log-format", FORMATS)
    level = _one_of(given, "log-level", LEVELS)
    log.configure(given.text("log"), json=form == "json", level=DEBUG if debug else LEVELS.index(level) if level else ERROR)
    # podman asks for "disabled" beside whatever its configuration says about systemd, so the explicit name wins
    manager = _one_of(given, "cgroup-manager", MANAGERS) or ("systemd" if given.flag("systemd-cgroup") else None)
    rootless = _rootless(given.text("rootless"))
    return Context(_root(given), log, root_given=given.has("root"), debug=debug, cgroup_manager=manager, rootless=rootless)


def default_root() -> str:
    """``/run/pyrunc``, or ``$XDG_RUNTIME_DIR/pyrunc`` for those who may not write there.

    podman sets XDG_RUNTIME_DIR for the host's root too. Root of a user namespace is told from it by uid_map, and one
    who became root by su or sudo inside (USER is root) works as root there, user_namespaces(7).
    """
    private = os.getenv("XDG_RUNTIME_DIR")
    if private and (os.geteuid() != 0 or (os.getenv("USER") != "root" and _in_user_namespace())):
        return private.rstrip("/") + "/pyrunc"
    return DEFAULT_ROOT


def _root(given: Given) -> str:
    root = given.text("root")
    if root is None:
        if given.has("root"):
            raise errors.UsageError("--root must not be empty")
        root = default_root()
    absolute = "/" + os.path.abspath(root).lstrip("/")
    if absolute == "/":
        raise errors.UsageError("--root must not be /: the names of its directories would be container IDs")
    return absolute


def _rootless(text: str | None) -> bool | None:
    if text is None or text.lower() == "auto":
        return None
    truth = boolean(text)
    if truth is None:
        raise errors.UsageError(f'invalid value "{text}" for --rootless: not true, false or auto')
    return truth


def _one_of(given: Given, name: str, choices: tuple[str, ...]) -> str | None:
    value = given.text(name)
    if value is not None and value not in choices:
        raise errors.UsageError(f"invalid {name}: {value} (known: {', '.join(choices)})")
    return value


def _in_user_namespace() -> bool:
    try:
        fd = os.open("/proc/self/uid_map", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(fd, 256).split() != [b"0", b"0", b"4294967295"]
        finally:
            os.close(fd)
    except OSError:
        return False
