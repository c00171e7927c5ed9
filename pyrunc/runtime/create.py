"""``create``: everything but the program itself, which waits for `start`."""

from __future__ import annotations

from pyrunc.errors import PyruncError
from pyrunc.runtime.bundle import Options
from pyrunc.runtime.creation import Creation
from pyrunc.runtime.process import check_console

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.log import Context


def create(ctx: Context, id: str, **settings: Any) -> None:
    """Make the container `id`; `settings` are those of `bundle.Options`.

    Raises any PyruncError, and then leaves no cgroup, mount, process or file behind.
    """
    try:
        creation = Creation(ctx, id, Options(**settings))
        check_console(creation.bundle.config["process"], creation.options.console_socket, detached=True)
        creation.make()
        creation.container.close()
    except PyruncError as error:
        where = "pyrunc create failed: unable to start container process" if error.stage == "setup" else "pyrunc create failed"
        raise error.within(where) from None
