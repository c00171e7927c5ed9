"""Classes of service of caches and memory bandwidth: ``linux.intelRdt`` and the kernel's resctrl file system.

A class is a directory of it, with the files ``schemata`` and ``tasks``; a monitoring group one below its ``mon_groups``.
Source: runtime-spec config-linux.md, "IntelRdt"; the kernel's Documentation/filesystems/resctrl.rst.
"""

from __future__ import annotations

from errno import EEXIST, ENOENT

from ..errors import CgroupError, ConfigError, StateError, UnsupportedError
from ..kernel import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

AT = "linux.intelRdt"
ROOT = "/"
"""The closID of the class that everything is in at first, since runtime-spec 1.3."""
SIZE = 1 << 16
"""Bytes read of a file; the largest, schemata, is of some hundred."""


def mount_point() -> str:
    """Where resctrl is mounted. UnsupportedError where it is not: no such processor, or nobody has mounted it."""
    from ..kernel.host import mount_points

    found = mount_points("resctrl")
    if not found:
        raise UnsupportedError(
            f"{AT}: no resctrl file system is mounted",
            hint="mount -t resctrl resctrl /sys/fs/resctrl, if the processor has it",
            config_path=AT,
        )
    return found[0]


class Group:
    """The class and the monitoring group of one container. ``path`` is the class's directory, ``ours`` whether it ends with the
    container; ``monitor`` is the monitoring group's directory, always ours, or empty."""

    __slots__ = ("monitor", "ours", "path")

    def __init__(self, path: str, *, ours: bool, monitor: str = "") -> None:
        self.path = path
        self.ours = ours
        self.monitor = monitor

    def record(self) -> dict[str, Any]:
        return {"path": self.path, "ours": self.ours, "monitor": self.monitor}

    @classmethod
    def of(cls, record: dict[str, Any]) -> Group | None:
        """What `record` gave; None for the empty record of a container without. StateError for a damaged one."""
        if not record:
            return None
        path, monitor = record.get("path"), record.get("monitor")
        if not isinstance(path, str) or not isinstance(monitor, str) or not path.startswith("/"):
            raise StateError("the record of the container's resctrl group is damaged")
        return cls(path, ours=record.get("ours") is True, monitor=monitor)

    def create(self, rdt: dict[str, Any]) -> None:
        """Make what is not there, and write the schemata of a class that was made. Raises CgroupError and ConfigError."""
        lines = schemata(rdt)
        if os.path.isdir(self.path):
            self._compare(lines)
        else:
            self._make(self.path, "make the class of service")
            try:
                self._set(lines)
            except BaseException:
                # Also one to be shared: nobody has what was asked for, and the next one would be told that it exists.
                remove_directory(self.path)
                raise
        if self.monitor:
            self._make(self.monitor, "make the monitoring group")

    def _make(self, path: str, doing: str) -> None:
        try:
            make_directory(path)
        except OSError as error:
            if error.errno == EEXIST and path == self.monitor:  # somebody else's, and not ours to remove
                self.monitor = ""
            elif error.errno == EEXIST:
                self.ours = False
            raise _error(f"{AT}: {doing} {path}", error, self.path) from error

    def _compare(self, lines: list[str]) -> None:
        """A class that is there already is also somebody else's: what is asked of it must be what it is."""
        there = values(read(f"{self.path}/schemata")) if lines else {}
        for (resource, domain), value in values("\n".join(lines)).items():
            if there.get((resource, domain)) != value:
                now = there.get((resource, domain), "nothing")
                text = f"{self.path} exists, and has {now} for {resource}:{domain} where {value} is asked for"
                raise ConfigError([(f"{AT}.closID", text)])

    def join(self, pid: int) -> None:
        """Put a process, and what it will fork, into the class and the monitoring group. Raises CgroupError."""
        for directory in (self.path, self.monitor):
            if directory:
                write(f"{directory}/tasks", str(pid), self.path)

    def change(self, l3: str | None, bandwidth: str | None) -> None:
        """Other schemata for the class, as `update` has them in its options. Raises CgroupError."""
        self._set(schemata({"l3CacheSchema": l3, "memBwSchema": bandwidth}))

    def _set(self, lines: list[str]) -> None:
        if lines:
            write(f"{self.path}/schemata", "".join(line + "\n" for line in lines), self.path)

    def as_it_is(self) -> Callable[[], None]:
        """What puts the schemata of now in force again. Raises CgroupError, now and when it is called."""
        path = f"{self.path}/schemata"
        text = read(path)
        return lambda: write(path, text, self.path)

    def remove(self) -> None:
        """What was made for this container alone; that it is gone already is well. Raises CgroupError."""
        for path in (self.monitor, self.path if self.ours else ""):
            if path:
                try:
                    remove_directory(path)
                except OSError as error:
                    if error.errno != ENOENT:
                        raise CgroupError.of(f"remove {path}", error) from error


def select(rdt: dict[str, Any], container_id: str, *, mount: str | None = None) -> Group:
    """Where a container with this ``linux.intelRdt`` belongs; nothing is made yet. `mount` is found if it is not given.

    A class of the container's own is named after it and ends with it. One with a closID is there to be shared: it stays, and
    without schemata it must be there. Raises UnsupportedError, ConfigError.
    """
    top = mount or mount_point()
    closid = rdt.get("closID") or ""
    path = top if closid == ROOT else f"{top}/{closid or container_id}"
    exists = os.path.isdir(path)
    if closid and not exists and not schemata(rdt):
        raise ConfigError([(f"{AT}.closID", f"{path} does not exist, and no schemata are given to make it with")])
    if not closid and exists:
        raise ConfigError([(AT, f"{path} exists already: it is not this container's")])
    monitor = f"{path}/mon_groups/{container_id}" if rdt.get("enableMonitoring") else ""
    return Group(path, ours=not closid, monitor=monitor)


def schemata(rdt: dict[str, Any]) -> list[str]:
    """The lines in the order of the specification; of the L3 schema those for memory bandwidth count only alone."""
    bandwidth = rdt.get("memBwSchema") or ""
    lines = [line.strip() for line in (rdt.get("l3CacheSchema") or "").splitlines()]
    lines = [line for line in lines if line and not (bandwidth and line.startswith("MB:"))]
    return [*lines, *([bandwidth] if bandwidth else []), *(rdt.get("schemata") or ())]


def values(text: str) -> dict[tuple[str, str], str]:
    """(resource, domain) -> value of every ``L3:0=7f;1=f``, without blanks and leading zeros."""
    found = {}
    for line in text.splitlines():
        resource, _, domains = line.partition(":")
        for entry in domains.split(";"):
            domain, equals, value = entry.partition("=")
            if equals:
                found[resource.strip(), domain.strip()] = value.strip().lower().lstrip("0") or "0"
    return found


def write(path: str, text: str, group: str) -> None:
    """One write(2). Raises CgroupError, which tells what resctrl has to say of it."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        try:
            os.write(fd, os.fsencode(text))
        finally:
            os.close(fd)
    except OSError as error:
        raise _error(f"{AT}: write {text.strip()!a} to {path}", error, group) from error


def read(path: str) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.fsdecode(os.read(fd, SIZE))
        finally:
            os.close(fd)
    except OSError as error:
        raise CgroupError.of(f"{AT}: read {path}", error, config_path=AT) from error


def _error(what: str, error: OSError, group: str) -> CgroupError:
    """With the file in which the kernel explains its last refusal (info/last_cmd_status), which lies beside the classes."""
    failed = CgroupError(what, error.errno or 0, config_path=AT)
    for top in (os.path.dirname(group), group):
        try:
            said = read(f"{top}/info/last_cmd_status").strip()
        except CgroupError:
            continue
        if said and said != "ok":
            failed.hint = f"resctrl says: {said}"
    return failed


make_directory, remove_directory = os.mkdir, os.rmdir
