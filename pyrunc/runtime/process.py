"""What the container's init and a further process have in common: their filter, limits and fds, and what callers are handed."""

from __future__ import annotations

from _imp import source_hash
from errno import ETIMEDOUT

from pyrunc import __version__, errors
from pyrunc.config.names import RLIMITS
from pyrunc.kernel import json, os, sys
from pyrunc.kernel.files import read_bounded, write_atomic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.log import Context
    from pyrunc.plan.seccomp import Filter
    from pyrunc.state.record import Record
    from pyrunc.state.store import Container

CONFIG_COPY = "config.json"
"""In the container's directory: later edits of the bundle's own have no effect (runtime-spec, lifecycle, step 2)."""

CONFIG_BYTES = 1 << 20
"""A longer one is judged each time."""

TAKEN_MS = 10_000
"""Whoever listens on a socket may be busy, with other containers' too; one that hangs must not hold up us, and our lock."""

NOT_TAKEN = f"who listens there has not taken it for {TAKEN_MS // 1000} s: see whether it is stopped or stuck, and restart it"

CACHE = "@cache"
"""Below --root; ``@`` cannot be in a container's ID."""


def mark(text: bytes) -> str:
    """A checksum by which `own_config` knows a configuration that this very pyrunc has accepted. It is against accidents: who can
    write beside the record can write the record."""
    return f"{__version__} {source_hash(0, text).hex()}"


def own_config(container: Container) -> dict[str, Any]:
    """The container's configuration, in normal form. Raises ConfigError, as `load_config` does, for one that was changed since:
    only such a one is judged again."""
    try:
        text = read_bounded(CONFIG_COPY, CONFIG_BYTES, at=container.fd)
    except errors.KernelError:
        text = b""
    if mark(text) == container.record.accepted:
        config: dict[str, Any] = json.scan(text.decode().lstrip(), 0)[0]
        return config
    from pyrunc.config.load import load_config

    config = load_config(os.path.join(container.path, CONFIG_COPY))[0]
    if not config.get("process"):
        raise errors.ConfigError([("process", "must be specified")], prefix=f"{CONFIG_COPY}: ")
    return config


def seccomp_filter(ctx: Context, linux: dict[str, Any]) -> Filter | None:
    if not linux.get("seccomp"):
        return None
    from pyrunc.plan.seccomp import compile_seccomp

    compiled = compile_seccomp(linux["seccomp"], cache_dir=os.path.join(ctx.root, CACHE))
    if compiled.unknown:
        ctx.log.debug(f"linux.seccomp: libseccomp does not know, and leaves out: {', '.join(compiled.unknown)}")
    return compiled


def give_listener(profile: dict[str, Any], record: Record, status: str, pid: int, listener: int) -> None:
    """Hand a filter's listener to the agent, with the container process state (runtime-spec, config-linux.md, seccomp): `pid`
    is that of the process, the state within, of this `status`, that of the container. Raises KernelError."""
    from pyrunc.kernel.json import dumps
    from pyrunc.runtime.hoststate import hook_state

    about = {"ociVersion": record.oci_version, "fds": ["seccompFd"], "pid": pid}
    if profile.get("listenerMetadata"):
        about["metadata"] = profile["listenerMetadata"]
    state = hook_state(record, status, record.pid)
    payload = dumps(about)[:-1].encode() + b',"state":' + state + b"}"
    at, path = "linux.seccomp.listenerPath", profile["listenerPath"]
    try:
        _hand_over(f"{at}: send the filter's listener to the agent at {path}", path, payload, listener, at)
    finally:
        os.close(listener)


def inherited_fds() -> int:
    """How many fds systemd passed to us (sd_listen_fds(3))."""
    if os.getenv("LISTEN_PID") != str(os.getpid()):
        return 0
    number = os.getenv("LISTEN_FDS") or ""
    return int(number) if number.isascii() and number.isdigit() else 0


def with_listen_fds(config: dict[str, Any]) -> dict[str, Any]:
    """The config whose process is told of them; it will be process 1 of its namespace."""
    count = inherited_fds()
    if not count:
        return config
    process = config["process"]
    env = [*(process.get("env") or ()), f"LISTEN_FDS={count}", "LISTEN_PID=1"]
    return {**config, "process": {**process, "env": env}}


def check_console(process: dict[str, Any], socket: str | None, *, detached: bool) -> None:
    """A terminal of a detached process needs somebody to take it, and nobody waits for one that is not there."""
    terminal = bool(process.get("terminal"))
    if terminal and detached and not socket:
        what = "cannot allocate tty if pyrunc will detach without setting console socket"
    elif socket and not terminal:
        what = "cannot use console socket if pyrunc will not allocate a tty"
    else:
        return
    raise errors.ConfigError([("process.terminal", what)])


def set_rlimits(pid: int, process: dict[str, Any], at: str = "process") -> None:
    """From outside, because a process in a user namespace may not raise its own. Raises KernelError."""
    for i, limit in enumerate(process.get("rlimits") or ()):
        try:
            sys.prlimit(pid, RLIMITS[limit["type"]], limit["soft"], limit["hard"])
        except OSError as error:
            path = f"{at}.rlimits[{i}]"
            values = f"{limit['soft']}:{limit['hard']}"
            hint = "raising a hard limit needs CAP_SYS_RESOURCE" if error.errno == 1 else None
            what = f"{path} ({limit['type']}): set to {values}"
            raise errors.KernelError(what, error.errno or 0, config_path=path, hint=hint) from error


def write_pid(path: str, pid: int) -> None:
    """Digits alone: go-runc reads the whole file as a number."""
    write_atomic(os.path.dirname(path) or "/", os.path.basename(path), b"%d" % pid, 0o644)


def send_console(path: str, master: int) -> None:
    """One message with the master's name and its fd, as every caller's console socket expects it."""
    try:
        hand_over("--console-socket", path, b"/dev/ptmx", master)
    finally:
        os.close(master)


def hand_over(option: str, path: str, payload: bytes, fd: int) -> None:
    _hand_over(f"send to {option} {path}", path, payload, fd)


def _hand_over(what: str, path: str, payload: bytes, fd: int, config_path: str | None = None) -> None:
    try:
        sys.hand_over(path, payload, fd, TAKEN_MS)
    except OSError as error:
        hint = NOT_TAKEN if error.errno == ETIMEDOUT else None
        raise errors.KernelError(what, error.errno or 0, config_path=config_path, hint=hint) from error
