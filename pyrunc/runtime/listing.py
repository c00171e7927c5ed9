"""``list``: the states of all containers under the root."""

from __future__ import annotations

from pyrunc.errors import ContainerMissing, PyruncError
from pyrunc.runtime.state import describe
from pyrunc.state.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.log import Context
    from pyrunc.state.store import Container


def containers(ctx: Context) -> list[dict[str, Any]]:
    """The state of every container, by ID, ``owner`` being the user's name, or ``#uid`` for a user without one.

    One that cannot be described is told on stderr and left out; one that vanishes meanwhile is only left out. KernelError
    if the root cannot be read; a root that does not exist has no containers.
    """
    store = Store(ctx.root)
    found = []
    for id in store.ids():
        try:
            container = store.open(id, lock=False)
        except ContainerMissing:
            continue
        try:
            found.append(describe(container, owner_of(container)))
        except PyruncError as error:
            hint = f" ({error.hint})" if error.hint else ""
            ctx.log.notice(f"{id}: {error.message}{hint}")
        finally:
            container.close()
    return found


def owner_of(container: Container) -> str:
    """The name of the user who has created it."""
    import pwd

    try:
        return pwd.getpwuid(container.record.owner).pw_name
    except KeyError:
        return f"#{container.record.owner}"
