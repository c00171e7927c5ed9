"""Id maps of a new user namespace (user_namespaces(7)), written from outside."""

from __future__ import annotations

from pyrunc.errors import KernelError, PyruncError
from pyrunc.kernel import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


def write_maps(pid: int, linux: dict[str, Any], *, rootless: bool) -> None:
    """Give the process's new user namespace its maps; without privilege through newuidmap(1) and newgidmap(1).

    A single map of one's own id needs no helper, but setgroups(2) must then be denied first (CVE-2014-8989).
    Raises KernelError naming the property, PyruncError with the helper's own words.
    """
    for kind, own in (("uid", os.geteuid()), ("gid", os.getegid())):
        maps = linux.get(f"{kind}Mappings") or []
        if rootless and not is_own(maps, own):
            _by_helper(f"new{kind}map", pid, maps, f"linux.{kind}Mappings")
            continue
        if rootless and kind == "gid":
            _write(f"/proc/{pid}/setgroups", "deny", "linux.gidMappings")
        lines = "".join(f"{m['containerID']} {m['hostID']} {m['size']}\n" for m in maps)
        _write(f"/proc/{pid}/{kind}_map", lines, f"linux.{kind}Mappings")


def is_own(maps: Sequence[dict[str, Any]], own: int) -> bool:
    """Whether these maps are the one that an unprivileged process may write: its own id, alone."""
    return len(maps) == 1 and maps[0]["hostID"] == own and maps[0]["size"] == 1


def _write(path: str, text: str, at: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise KernelError.of(f"{at}: write {path}", error, config_path=at) from error


def _by_helper(helper: str, pid: int, maps: Sequence[dict[str, Any]], at: str) -> None:
    import subprocess

    words = [str(m[name]) for m in maps for name in ("containerID", "hostID", "size")]
    try:
        done = subprocess.run([helper, str(pid), *words], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except OSError as error:
        hint = "install the package uidmap"
        raise PyruncError(f"{at}: cannot run {helper}: {error.strerror}", hint=hint, config_path=at) from error
    if done.returncode:
        kind = helper.removeprefix("new").removesuffix("map")
        hint = f"the ranges must be those of the user in /etc/sub{kind}"
        raise PyruncError(f"{at}: {helper}: {done.stderr.strip() or done.returncode}", hint=hint, config_path=at)
