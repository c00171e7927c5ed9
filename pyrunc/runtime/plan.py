"""``plan``: what `create` would do, compiled from the bundle and this host, without privilege and without doing it."""

from __future__ import annotations

from pyrunc.kernel import os
from pyrunc.plan.show import show
from pyrunc.runtime.creation import Bundle, Options, select_manager
from pyrunc.state.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.log import Context


def plan(ctx: Context, bundle: str, *, config_path: str | None = None, format: str) -> str:
    """The plan as text or JSON. The ID is that of the bundle's directory. Raises what `create` would find wrong."""
    options = Options(bundle=bundle, config_path=config_path)
    loaded = Bundle(ctx, options)
    id = os.path.basename(loaded.path) or "container"
    record = Record(id, loaded.path, oci_version=loaded.config["ociVersion"], annotations=loaded.config.get("annotations"))
    return show(loaded.plan(ctx, record, options, select_manager(ctx, loaded, id)), format)
