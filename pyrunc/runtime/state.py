"""``state``: what a container is, to all who ask."""

from __future__ import annotations

from pyrunc.cgroups import frozen
from pyrunc.state import status
from pyrunc.state.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.log import Context
    from pyrunc.state.store import Container


def state(ctx: Context, id: str) -> dict[str, Any]:
    """The state of one container (runtime-spec "State"), in the order in which it is printed.

    ``owner`` is empty, as runc leaves it here. Raises InvalidId, ContainerMissing, StateError, KernelError.
    """
    container = Store(ctx.root).open(id, lock=False)
    try:
        return describe(container)
    finally:
        container.close()


def status_of(container: Container) -> str:
    """The status as of now. Raises as `Container.record` does, KernelError, CgroupError."""
    record = container.record

    return status.status(record, container.fd, lambda: frozen(record.cgroup))


def describe(container: Container, owner: str = "") -> dict[str, Any]:
    """The state of an open container. ``pid`` is 0 once it has stopped, and until there is one."""
    record = container.record
    now = status_of(container)
    state: dict[str, Any] = {
        "ociVersion": record.oci_version,
        "id": record.id,
        "pid": 0 if now == status.STOPPED else record.pid,
        "status": now,
        "bundle": record.bundle,
        "rootfs": record.rootfs,
        "created": record.created,
    }
    if record.annotations:
        state["annotations"] = record.annotations
    state["owner"] = owner
    return state
