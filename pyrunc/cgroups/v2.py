"""cgroup v2, one hierarchy for all controllers (Documentation/admin-guide/cgroup-v2.rst)."""

from __future__ import annotations

from errno import EPERM

from .. import errors
from ..kernel import os
from . import files
from .manager import Manager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .oom import Watch
    from .settings import Setting


class V2(Manager):
    """`top` is the mount point, below which controllers are enabled; `domain` says that the config asks for a controller
    that a threaded cgroup cannot have; `owner` is the uid to whom the cgroup is given. Only `create` needs the three.
    """

    def __init__(
        self,
        paths: dict[str, str],
        *,
        rootless: bool = False,
        explicit: bool = True,
        ours: bool = False,
        top: str = "",
        domain: bool = False,
        owner: int | None = None,
    ) -> None:
        super().__init__(paths, rootless=rootless, explicit=explicit, ours=ours)
        self._top = top
        self._domain = domain
        self._owner = owner

    def limits(self, resources: dict[str, Any]) -> list[list[Setting]]:
        from .limits_v2 import compile_limits

        return compile_limits(resources)

    def _places(self) -> Mapping[str, str]:
        from .limits_v2 import CONTROLLERS

        return dict.fromkeys(("", *CONTROLLERS), self.paths[""]) if self.paths else {}

    def _check_usage(self, memory: dict[str, Any]) -> None:
        if not memory.get("checkBeforeUpdate"):
            return
        try:
            usage = int(files.read(self.paths[""] + "/memory.current"))
        except (KeyError, OSError, ValueError):
            return
        for name in ("swap", "limit"):
            if 0 < (memory.get(name) or 0) <= usage:
                what = f"{memory[name]} is not above the usage, {usage} bytes"
                raise errors.ConfigError([(f"linux.resources.memory.{name}", what)])

    def apply_devices(self, resources: dict[str, Any] | None) -> None:
        from . import bpf
        from .devices import rules_of

        rules = rules_of(resources)
        if self.paths:
            bpf.attach(self.paths[""], rules, tolerate_eperm=self.rootless)

    def _prepare(self, directory: str) -> None:
        # From the top down: a cgroup can pass on only what it was given.
        parent = self._top
        for name in os.path.relpath(directory, self._top).split("/"):
            _enable_controllers(parent)
            parent = f"{parent}/{name}"
        kind = files.read(directory + "/cgroup.type").strip()
        if kind != "domain" and self._domain:
            raise errors.UnsupportedError(
                f"linux.cgroupsPath: {directory} is {kind!r}, and a cgroup below a threaded one cannot limit memory or I/O",
                config_path="linux.cgroupsPath",
            )
        if kind == "domain invalid":
            files.write(directory + "/cgroup.type", "threaded")
        if self._owner is not None and self._owner != os.geteuid():
            self._give(directory, self._owner)

    def _give(self, directory: str, uid: int) -> None:
        from .delegation import give

        try:
            give(directory, uid)
        except errors.CgroupError as error:
            if not self.rootless or error.errno != EPERM:
                raise
            # Of one's own ids only the uid can be given anything; the container's others go without, as with runc.

    def _primary(self) -> str | None:
        return self.paths.get("")

    def _freezer_of(self) -> tuple[str, bool] | None:
        return (self.paths[""], True) if self.paths else None

    def stats(self) -> dict[str, Any]:
        from .stats_v2 import stats

        return stats(self.paths.get(""))

    def watch_oom(self) -> Watch | None:
        from .oom import Counter

        try:
            return Counter(self.paths[""])
        except (KeyError, OSError):
            return None

    def oom_kills(self) -> int:
        try:
            return files.flat_value(files.read(self.paths[""] + "/memory.events"), "oom_kill")
        except (KeyError, OSError):
            return 0


def needs_domain(resources: dict[str, Any] | None) -> bool:
    """Whether a controller is asked for that a threaded cgroup cannot have (cgroups(7), "threaded mode")."""
    return any((resources or {}).get(name) for name in ("memory", "blockIO", "hugepageLimits", "rdma"))


def _enable_controllers(directory: str) -> None:
    """Give the children every controller that the cgroup has. What it cannot give shows when a limit's file is missing."""
    control = directory + "/cgroup.subtree_control"
    try:
        names = set(files.read(directory + "/cgroup.controllers").split()) - set(files.read(control).split())
    except OSError:
        return
    wanted = ["+" + name for name in sorted(names)]
    # One refused controller refuses all that are written with it.
    for value in [" ".join(wanted), *wanted] if wanted else []:
        try:
            files.write(control, value)
        except OSError:
            continue
        if value.count("+") == len(wanted):
            return
