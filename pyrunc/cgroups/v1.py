"""cgroup v1, a hierarchy per controller, and the hybrid of it with a cgroup2 hierarchy that has no controllers (cgroups(7))."""

from __future__ import annotations

from errno import EACCES, EINVAL, EPERM

from .. import errors
from . import UNIFIED, files
from .manager import Manager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .change import Journal
    from .oom import Watch
    from .settings import Setting

DEVICES = "linux.resources.devices"


class V1(Manager):
    """All controllers by v1. Where cgroup2 is mounted too, the process joins it, it kills, and it enforces device rules
    for which v1 has no words.
    """

    def limits(self, resources: dict[str, Any]) -> list[list[Setting]]:
        from .limits_v1 import compile_limits

        return compile_limits(resources)

    def apply_devices(self, resources: dict[str, Any] | None) -> None:
        from .devices import Inexpressible, rules_of, v1_lines

        rules = rules_of(resources)
        reason = self._absent().format("devices")
        if "devices" in self.paths:
            try:
                return self._write_devices(self.paths["devices"], *v1_lines(rules))
            except Inexpressible as error:
                reason = f"cgroup v1 cannot express {error}"
        if UNIFIED in self.paths:
            from . import bpf

            bpf.attach(self.paths[UNIFIED], rules, tolerate_eperm=self.rootless)
        elif not self.rootless:
            raise errors.UnsupportedError(f"{DEVICES}: {reason}", config_path=DEVICES)

    def update(self, change: dict[str, Any], saved: dict[str, Any]) -> Journal:
        from .devices import expressible

        if change.get("devices") and expressible(change) != expressible(saved):
            what = f"{DEVICES}: rules that cgroup v1 can express cannot take the place of rules that it cannot, nor the reverse"
            raise errors.UnsupportedError(what, config_path=DEVICES)
        return super().update(change, saved)

    def _write_devices(self, directory: str, allowed: bool, exceptions: list[str]) -> None:
        from .devices import v1_steps

        try:
            current = files.read(directory + "/devices.list").splitlines()
        except OSError:
            current = []  # nor can it be written, which is told below
        for verb, lines in v1_steps(current, allowed, exceptions):
            refused = files.write_each(f"{directory}/devices.{verb}", lines)
            if refused is None:
                continue
            line, error = refused
            hint = None
            if error in (EPERM, EACCES):
                if self.rootless:
                    return
                hint = "a cgroup cannot allow more than its parent does, and only a privileged runtime may set device rules"
            elif error == EINVAL:
                hint = "the default cannot change while the cgroup has children"
            what = f"{DEVICES}: write {line!r} to {directory}/devices.{verb}"
            raise errors.CgroupError(what, error, syscall="write", hint=hint, config_path=DEVICES)

    def _prepare(self, directory: str) -> None:
        if directory == self.paths.get("cpuset"):
            try:
                _fill_cpuset(directory, "cpuset.")
            except FileNotFoundError:
                # Mounted with noprefix.
                _fill_cpuset(directory, "")

    def _primary(self) -> str | None:
        for name in ("freezer", "pids", "devices"):
            if name in self.paths:
                return self.paths[name]
        return next(iter(self.paths.values()), None)

    def _freezer_of(self) -> tuple[str, bool] | None:
        for name in ("freezer", UNIFIED):
            if name in self.paths:
                return self.paths[name], name == UNIFIED
        return None

    def stats(self) -> dict[str, Any]:
        from .stats_v1 import stats

        return stats(self.paths)

    def watch_oom(self) -> Watch | None:
        from .oom import Eventfd

        try:
            return Eventfd(self.paths["memory"])
        except (KeyError, OSError):
            return None

    def oom_kills(self) -> int:
        try:
            return files.flat_value(files.read(self.paths["memory"] + "/memory.oom_control"), "oom_kill")
        except (KeyError, OSError):
            return 0


def _fill_cpuset(leaf: str, prefix: str) -> None:
    """Take over the nearest ancestor's cpus and mems where a cpuset has none: without them no process can join (cpuset(7))."""
    for file in (prefix + "cpus", prefix + "mems"):
        directory, empty = leaf, []
        while not (value := files.read(f"{directory}/{file}").strip()):
            empty.append(directory)
            directory = directory.rpartition("/")[0]
        for directory in reversed(empty):
            files.write(f"{directory}/{file}", value)
