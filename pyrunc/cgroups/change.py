"""What `update` needs beyond `apply`: a request laid over what is in force, and the way back when a write is refused."""

from __future__ import annotations

from . import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Resources = dict[str, Any]

ZERO_COUNTS = {("memory", "swappiness"), ("cpu", "idle"), ("cpu", "burst"), ("pids", "limit")}
"""Where 0 is a value; for all other numbers it means "leave it" (runtime-spec; limits_v1)."""

KEYED = ("net_prio.ifpriomap", "rdma.max")
"""Files of a line for each name; those for block devices are told by their value, ``major:minor ...``."""


def merged(saved: Resources, change: Resources) -> Resources:
    """The resources in force once `change` is: property by property, lists of devices and page sizes entry by entry."""
    result = dict(saved)
    for name, value in change.items():
        if name == "hugepageLimits":
            result[name] = _upserted(saved.get(name), value, "pageSize")
        elif isinstance(value, dict) and name not in ("unified", "rdma"):
            result[name] = {**(saved.get(name) or {}), **_wishes(name, saved.get(name) or {}, value)}
        elif value:
            result[name] = value
    return result


def effective(saved: Resources, change: Resources) -> Resources:
    """What of `change` is to be written, with those members of `saved` that it cannot be understood without.

    A quota and its period are one file on v2; there swap, which is the sum of both, needs the limit; and the kernel resets
    the shares of a cgroup that is no longer idle. What the request does not name stays as it is, whoever has set it.
    """
    whole = merged(saved, change)
    result = {name: dict(value) if isinstance(value, dict) else value for name, value in change.items()}
    cpu, memory = result.get("cpu") or {}, result.get("memory") or {}
    if cpu.get("quota") or cpu.get("period"):
        cpu.update({name: whole["cpu"][name] for name in ("quota", "period") if whole["cpu"].get(name)})
    if cpu.get("idle") == 0 and whole["cpu"].get("shares"):
        cpu["shares"] = whole["cpu"]["shares"]
    if (memory.get("swap") or -1) != -1 and whole["memory"].get("limit"):
        memory["limit"] = whole["memory"]["limit"]
    if memory and whole["memory"].get("checkBeforeUpdate"):
        memory["checkBeforeUpdate"] = True
    return result


def _wishes(section: str, saved: Resources, change: Resources) -> Resources:
    found: Resources = {}
    for name, value in change.items():
        if isinstance(value, list):
            found[name] = _upserted(saved.get(name), value, "major", "minor")
        elif value or (section, name) in ZERO_COUNTS:
            found[name] = value
    return found


def _upserted(saved: list[Resources] | None, change: list[Resources], *keys: str) -> list[Resources]:
    entries = {tuple(entry.get(key) for key in keys): entry for entry in saved or ()}
    for entry in change:
        key = tuple(entry.get(name) for name in keys)
        entries[key] = {**entries.get(key, {}), **entry}
    return list(entries.values())


class Journal:
    """What to do, last step first, to have everything as it was."""

    __slots__ = ("_steps",)

    def __init__(self) -> None:
        self._steps: list[tuple[str, Callable[[], object]]] = []

    def note(self, directory: str, file: str, value: str) -> None:
        """To be called before `value` is written."""
        path = f"{directory}/{file}"
        if file == "cpu.idle":
            # The kernel forgets the weight of what becomes idle.
            for weight in ("cpu.weight", "cpu.shares"):
                self.note(directory, weight, "")
        try:
            old = taken_back(file, value, files.read(path))
        except OSError:
            return  # it cannot be written either, which the write will tell
        if old is not None:
            self.add(path, lambda: files.write(path, old))

    def add(self, what: str, step: Callable[[], object]) -> None:
        """`step` may raise OSError or PyruncError."""
        self._steps.append((what, step))

    def undo(self) -> list[str]:
        """What could not be undone; each other step is taken none the less."""
        from ..errors import PyruncError

        left = []
        while self._steps:
            what, step = self._steps.pop()
            try:
                step()
            except (OSError, PyruncError):
                left.append(what)
        return left


def taken_back(file: str, value: str, text: str) -> str | None:
    """What takes `value` back from a file that read `text` before; None where the kernel has no word for that."""
    lines = text.splitlines()
    if file == "memory.oom_control":
        return str(files.flat_value(text, "oom_kill_disable"))
    key = value.partition(" ")[0]
    if ":" in key or file in KEYED:
        return next((line for line in lines if line.partition(" ")[0] == key), _unset(file, key))
    if len(lines) > 1:
        return lines[0] if lines[0].startswith("default ") else None
    # An empty value is none to write(2).
    return text.strip() or "\n"


def _unset(file: str, key: str) -> str | None:
    """The line that says "nothing is set for this device"."""
    if file == "io.max":
        return f"{key} rbps=max wbps=max riops=max wiops=max"
    if file.startswith("blkio.throttle."):
        return f"{key} 0"
    return f"{key} default" if "weight" in file else None
