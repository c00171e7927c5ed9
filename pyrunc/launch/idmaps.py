"""Id maps of a new user namespace (user_namespaces(7)), written from outside."""

from __future__ import annotations

from pyrunc import errors
from pyrunc.errors import PyruncError
from pyrunc.kernel import os
from pyrunc.plan.held import map_lines

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
        _write(f"/proc/{pid}/{kind}_map", map_lines(maps), f"linux.{kind}Mappings")


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
        raise errors.KernelError.of(f"{at}: write {path}", error, config_path=at) from error


def _by_helper(helper: str, pid: int, maps: Sequence[dict[str, Any]], at: str) -> None:
    import subprocess

    words = [str(m[name]) for m in maps for name in ("containerID", "hostID", "size")]
    try:
        done = subprocess.run([helper, str(pid), *words], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except OSError as error:
        hint = f"install the package uidmap (Debian), or map only the own id, {os.geteuid()}:{os.getegid()}"
        raise PyruncError(f"{at}: cannot run {helper}: {error.strerror}", hint=hint, config_path=at) from error
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"it ended with status {done.returncode}"
        raise PyruncError(f"{at}: {helper}: {said}", hint=_range_hint(helper, said), config_path=at)


def _range_hint(helper: str, said: str) -> str:
    """What the user may map, or must do to be allowed to (subuid(5), newuidmap(1))."""
    if "peration not permitted" in said:
        return f"{helper} must be setuid root or have file capabilities, and no_new_privs must not be set"
    kind = helper.removeprefix("new").removesuffix("map")
    path, uid = f"/etc/sub{kind}", str(os.geteuid())
    names = [uid, *_user_names(int(uid))]
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            entries = [line.strip().split(":") for line in file]
    except OSError:
        entries = []
    ranges = [f"{entry[1]} to {int(entry[1]) + int(entry[2]) - 1}" for entry in entries if _is_range(entry, names)]
    if ranges:
        return f"{path} gives {names[-1]} the ids {', '.join(ranges)}"
    return f"{path} gives {names[-1]} no range: usermod --add-sub{kind}s 100000-165535 {names[-1]}"


def _is_range(entry: list[str], names: list[str]) -> bool:
    return len(entry) == 3 and entry[0] in names and entry[1].isdigit() and entry[2].isdigit()


def _user_names(uid: int) -> list[str]:
    import pwd

    try:
        return [pwd.getpwuid(uid).pw_name]
    except KeyError:
        return []
