"""What all cgroup managers share: a container's directories, made, joined, listed, emptied and removed.

A command's order is select, check, create, apply, join; later commands reopen what `Manager.record` gave. What differs
between v1 and v2 (limits, devices, freezer, OOM) is in the subclasses.
"""

from __future__ import annotations

import time
from errno import EACCES, EBUSY, ENOENT, EPERM, EROFS

from .. import errors
from ..errors import PyruncError
from ..kernel import os
from . import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .change import Journal
    from .freezer import Freezer
    from .hierarchies import Layout
    from .oom import Watch
    from .settings import Setting
    from .view import Leg

NOT_PERMITTED = (EACCES, EPERM, EROFS)
NO_PERMISSION = "rootless needs no limits + no cgrouppath when no permission is granted for cgroups"
REMOVE_SECONDS = 10.0


class Manager:
    """The cgroups of one container. `paths` holds its directory by controller, ``""`` being cgroup2.

    With `rootless`, and unless the config names the path (`explicit`), a hierarchy in which we may make no directory is
    left out of `paths`, and device rules that the kernel does not let us set are let go. Until `create` has succeeded the
    directories may be somebody else's, so without `ours` (a record says that they were made) nothing is killed or removed.
    """

    name = "cgroupfs"
    wants_process = False
    """Whether `create` has to be given the container's first process."""

    def __init__(self, paths: dict[str, str], *, rootless: bool = False, explicit: bool = True, ours: bool = False) -> None:
        self.paths = paths
        self.rootless = rootless
        self._explicit = explicit
        self._ours = ours
        self._made: list[str] = []

    # --- what differs between the versions

    def limits(self, resources: dict[str, Any]) -> list[list[Setting]]:
        """What `resources` means for the files of this version, see `settings.write`. ConfigError, UnsupportedError."""
        raise NotImplementedError

    def _places(self) -> Mapping[str, str]:
        """The directory in which a controller's files are."""
        return self.paths

    def apply_devices(self, resources: dict[str, Any] | None) -> None:
        """Put the device rules in force; without any in the config only the defaults are allowed. Errors as of `apply`."""
        raise NotImplementedError

    def oom_kills(self) -> int:
        """How many processes the OOM killer took since the cgroup was made; 0 where the kernel does not count."""
        raise NotImplementedError

    def stats(self) -> dict[str, Any]:
        """What the container uses, see `stats.whole`. Raises CgroupError, UnsupportedError where there is nothing to ask."""
        raise NotImplementedError

    def watch_oom(self) -> Watch | None:
        """To be told of the OOM killer; None where the kernel does not tell."""
        raise NotImplementedError

    def _primary(self) -> str | None:
        """The directory that stands for the container in questions about its processes."""
        raise NotImplementedError

    def _freezer_of(self) -> tuple[str, bool] | None:
        """The directory that is frozen, and whether it is of cgroup2; None where nothing can be."""
        raise NotImplementedError

    def _prepare(self, directory: str) -> None:
        """What a new or reused leaf needs before a process can join."""

    # --- what does not

    def apply(self, resources: dict[str, Any] | None, *, devices: bool = True) -> None:
        """Write the limits of ``linux.resources``, and the device rules if `devices`.

        Limits are meant to be in force before the process joins, so that it never runs without them. Raises ConfigError,
        UnsupportedError or CgroupError naming the property; what was written until then stays.
        """
        if resources:
            self._write(self.limits(resources))
        if devices:
            self.apply_devices(resources)

    def settle(self, resources: dict[str, Any] | None) -> None:
        """Write what could not be in force while the container was made. To be called before its program runs."""

    def update(self, change: dict[str, Any], saved: dict[str, Any]) -> Journal:
        """Put `change` in force, where `saved` has been so far: all of it, or on an error nothing. What is given back can
        still undo it. Device rules that differ are replaced as a whole, those that do not are left alone, because others
        (GPU plugins) may have added their own. Errors as of `apply`.
        """
        from .change import Journal, effective

        wanted = effective(saved, change)
        journal = Journal()
        try:
            self._check_usage(wanted.get("memory") or {})
            self._write(self.limits(wanted), journal)
            if wanted.get("devices") and wanted["devices"] != saved.get("devices"):
                journal.add("the device rules", lambda: self.apply_devices(saved))
                self.apply_devices(wanted)
        except BaseException as error:
            left = journal.undo()
            if left and isinstance(error, PyruncError):
                error.hint = f"{', '.join(left)} could not be set back to what was in force"
            raise
        return journal

    def _check_usage(self, memory: dict[str, Any]) -> None:
        """``checkBeforeUpdate``, where the kernel does not refuse a limit below the usage by itself. Raises ConfigError."""

    def _write(self, groups: list[list[Setting]], journal: Journal | None = None) -> None:
        from . import settings

        settings.write(self._places(), groups, absent=self._absent(), journal=journal)

    def record(self) -> dict[str, object]:
        """What `reopen` takes, fit for JSON. Settled after `create`, which may leave hierarchies out."""
        record: dict[str, object] = {"manager": self.name, "paths": dict(self.paths)}
        if self.rootless:
            record["rootless"] = True
        return record

    def directories(self) -> list[str]:
        """Every directory once, also of controllers that are mounted together."""
        return list(dict.fromkeys(self.paths.values()))

    def check(self) -> None:
        """Raise StateError if one of the cgroups already holds processes or is frozen (runtime-spec 1.1, cgroupsPath).

        To be called before anything about this container is recorded: who finds a record may kill and remove what it names.
        """
        for directory in self.directories():
            if os.path.isdir(directory):
                try:
                    self._refuse_in_use(directory)
                except OSError as error:
                    raise errors.CgroupError.of(f"look into cgroup {directory}", error, config_path="linux.cgroupsPath") from None

    def create(self, pid: int | None = None) -> None:
        """Make the directories with their parents; on any error remove again what was made. `pid`: see `wants_process`.

        Raises StateError as `check` does, CgroupError for what the kernel refuses.
        """
        try:
            for directory in self.directories():
                self._create(directory)
        except BaseException:
            self._remove_made()
            raise
        self._ours = True

    def _create(self, directory: str) -> None:
        before = len(self._made)
        try:
            try:
                self._make(directory)
            except FileExistsError:
                self._refuse_in_use(directory)
            self._prepare(directory)
        except OSError as error:
            if error.errno in NOT_PERMITTED and self.rootless and not self._explicit:
                self.paths = {name: path for name, path in self.paths.items() if path != directory}
                self._remove_made(keep=before)
                return
            raise errors.CgroupError.of(f"create cgroup {directory}", error, config_path="linux.cgroupsPath") from None

    def _make(self, directory: str) -> None:
        """mkdir with missing parents, remembering each."""
        for _ in range(5):
            try:
                os.mkdir(directory, 0o755)
            except OSError as error:
                if error.errno not in files.GONE:
                    raise
                try:
                    self._make(os.path.dirname(directory))
                except FileExistsError:
                    # Made by another runtime in between, or removed before our mkdir: that is tried again anyway.
                    continue
            else:
                self._made.append(directory)
                return
        raise FileNotFoundError(ENOENT, os.strerror(ENOENT), directory)

    def _refuse_in_use(self, directory: str) -> None:
        count = len(files.processes(directory)) + len(files.processes_below(directory))
        if count:
            raise errors.StateError(f"container's cgroup is not empty: {count} process(es) found", hint=f"{directory} is in use")
        if directory == self._primary() and self.frozen():
            raise errors.StateError("container's cgroup unexpectedly frozen", hint=f"thaw {directory}")

    def join(self, pid: int, *, below: dict[str, str] | None = None, init: int | None = None) -> None:
        """Move the process `pid` (as the host sees it) into every cgroup.

        `below` names sub-cgroups by controller, ``"*"`` for all others (exec --cgroup; subgroup.parse makes it); they must
        exist. With `init` and without `below`, a cgroup2 that takes no processes because it has given its controllers to
        children is replaced by that of the container's first process. Raises CgroupError.
        """
        from .membership import cgroup2_of, enter

        below = below or {}
        targets = {name: path + below.get(name, below.get("*", "")) for name, path in self.paths.items()}
        for directory in dict.fromkeys(targets.values()):
            try:
                enter(directory, pid)
            except errors.CgroupError as error:
                if error.errno != EBUSY or init is None or below or directory != targets.get(""):
                    raise
                enter(cgroup2_of(init, directory), pid)

    def entry(self) -> tuple[list[str], str | None]:
        """How a process enters by itself, without the stall that moving another one costs: it writes 0 into these `tasks`
        files of v1, and is born in this cgroup2 directory (None where there is none)."""
        tasks = [path + "/tasks" for path in dict.fromkeys(path for name, path in self.paths.items() if name)]
        return tasks, self.paths.get("")

    def frozen(self) -> bool:
        """Whether this container was paused; a cgroup that is gone, or frozen only through a parent, was not.

        Raises CgroupError, as `freeze` and `thaw` do.
        """
        freezer = self._freezer()
        return freezer is not None and freezer.frozen()

    def freeze(self) -> None:
        """Stop every process, and return when all stand still; thawed again if they do not within 10 seconds.

        Raises UnsupportedError for a container that has no freezer.
        """
        freezer = self._freezer()
        if freezer is None:
            raise errors.UnsupportedError("the container has no cgroup that can be frozen, so it cannot be paused")
        freezer.freeze()

    def thaw(self) -> None:
        """Let the processes go on; nothing happens to a container that is not frozen or cannot be."""
        freezer = self._freezer()
        if freezer is not None:
            freezer.thaw()

    def _freezer(self) -> Freezer | None:
        place = self._freezer_of()
        if place is None:
            return None
        from .freezer import Freezer

        return Freezer(*place)

    def pids(self, all: bool = False) -> list[int]:
        """The container's processes as the host sees them, with those of its sub-cgroups if `all`. Empty without a cgroup."""
        directory = self._primary()
        if directory is None:
            return []
        try:
            return files.processes(directory) + (files.processes_below(directory) if all else [])
        except OSError as error:
            raise errors.CgroupError.of(f"list the processes of {directory}", error) from None

    def kill_all(self) -> None:
        """Send SIGKILL to every process of the container's cgroups and those below, also to paused ones. Does not wait.

        Raises CgroupError.
        """
        if not self._ours:
            return
        from .freezer import kill, kill_each

        cgroup2 = self.paths.get("")
        at_a_stroke = cgroup2 is not None and kill(cgroup2)
        if at_a_stroke and self._primary() == cgroup2:
            return
        if not at_a_stroke and self.pids(all=True):
            try:
                self.freeze()
            except (errors.CgroupError, errors.UnsupportedError):
                # What does not stand still can still be killed, if not at a stroke.
                pass
        kill_each(lambda: self.pids(all=True))
        # A frozen v1 process takes its SIGKILL when it thaws.
        self.thaw()

    def destroy(self) -> None:
        """Remove the container's cgroups and whatever it made below them; absence is fine.

        A killed process holds its cgroup until it is gone, so EBUSY is tried again for up to 10 seconds in all; then
        CgroupError. Parents stay, as with runc (they are their creator's, or other containers' too), except those that
        this very object made, once they are empty.
        """
        left = self.directories() if self._ours else []
        delay, deadline = 0.001, time.monotonic() + REMOVE_SECONDS
        while left := [directory for directory in left if not _removed(directory)]:
            if time.monotonic() >= deadline:
                count = len(files.processes(left[0])) + len(files.processes_below(left[0]))
                raise errors.CgroupError(f"remove cgroup {left[0]}, {count} process(es) in it", EBUSY, syscall="rmdir")
            time.sleep(delay)
            delay = min(delay * 2, 0.1)
        self._remove_made()

    def _remove_made(self, keep: int = 0) -> None:
        while len(self._made) > keep:
            try:
                os.rmdir(self._made.pop())
            except OSError:
                # Gone already, or another container lives there now.
                continue

    def mount_view(self, host: Layout, *, private: bool) -> list[Leg]:
        """What a mount of type ``cgroup`` puts into the container, see `view.legs`."""
        from .view import legs

        return legs(host, self.paths, private=private)

    def _absent(self) -> str:
        """Why a controller has no directory, to be formatted with its name."""
        return NO_PERMISSION if self.rootless else "no hierarchy with the controller {} is mounted"


def _removed(directory: str) -> bool:
    try:
        return files.remove(directory)
    except OSError as error:
        # What is mounted read-only for us was never ours to make.
        if error.errno == EROFS:
            return True
        raise errors.CgroupError.of(f"remove cgroup {directory}", error) from None
