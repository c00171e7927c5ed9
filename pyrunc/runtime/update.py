"""``update``: other limits for a container that exists."""

from __future__ import annotations

from pyrunc.cgroups import reopen
from pyrunc.cgroups.change import effective, merged
from pyrunc.config.load import LIMIT, check_resources, load_resources, loads, read
from pyrunc.config.rules.linux import resource_rules
from pyrunc.errors import ConfigError, UnsupportedError, strerror
from pyrunc.kernel import json, os
from pyrunc.kernel.files import write_atomic
from pyrunc.runtime.process import own_config
from pyrunc.state.status import require_signalable, status
from pyrunc.state.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.cgroups.resctrl import Group
    from pyrunc.log import Context
    from pyrunc.state.record import Record
    from pyrunc.state.store import Container

RESOURCES = "resources.json"
"""In the container's directory, once it was updated: ``linux.resources`` in force, of which config.json's were the first."""


def update(
    ctx: Context, id: str, request: dict[str, Any], source: str | None = None, *,
    l3: str | None = None, bandwidth: str | None = None,
) -> None:  # fmt: skip
    """Put the resources of `request`, or of the file `source` (``-`` is standard input), in force, and the schemata of Intel
    RDT if they are given; all of it or nothing.

    What is not named stays as it is. Raises ContainerMissing, WrongStatus ("container not running"), ConfigError,
    UnsupportedError, CgroupError.
    """
    change = check_resources(request, "update") if source is None else _from_file(source)
    warn_of_obsolete(ctx, change.get("memory") or {})
    container = Store(ctx.root).open(id, lock=True)
    try:
        manager = reopen(container.record.cgroup)
        require_signalable(status(container.record, container.fd, manager.frozen))
        group = _class_of_service(container.record) if l3 or bandwidth else None
        saved = _in_force(container)
        faults: list[tuple[str, str]] = []
        resource_rules(faults, effective(saved, change))
        if faults:
            raise ConfigError(faults)
        journal = manager.update(change, saved)
        try:
            if group:
                journal.add(f"{group.path}/schemata", group.as_it_is())
                group.change(l3, bandwidth)
            write_atomic(container.fd, RESOURCES, json.dumps(merged(saved, change)).encode("ascii"))
        except BaseException:
            journal.undo()
            raise
    finally:
        container.close()


def _class_of_service(record: Record) -> Group:
    from pyrunc.cgroups.resctrl import Group

    group = Group.of(record.rdt)
    if group is None:
        raise UnsupportedError("the container has no class of service that could be changed: its config has no linux.intelRdt")
    return group


def warn_of_obsolete(ctx: Context, memory: dict[str, Any]) -> None:
    """Linux 5.11 and 6.1 took these two limits away, and the specification advises against them."""
    for name in ("kernel", "kernelTCP"):
        if memory.get(name):
            ctx.log.warning(f"linux.resources.memory.{name} is ignored: kernels have no such limit any more")


def _in_force(container: Container) -> dict[str, Any]:
    try:
        saved: dict[str, Any] = loads(read(os.path.join(container.path, RESOURCES)), RESOURCES)
    except FileNotFoundError:
        saved = (own_config(container).get("linux") or {}).get("resources") or {}
    return saved


def _from_file(source: str) -> dict[str, Any]:
    try:
        return load_resources(_standard_input() if source == "-" else read(source), source)
    except OSError as error:
        raise ConfigError(f"read {source}: {strerror(error.errno or 0)}") from None


def _standard_input() -> bytes:
    data = b""
    while len(data) <= LIMIT and (more := os.read(0, 1 << 16)):
        data += more
    return data
