"""``plan``: what `create` would do, compiled from the bundle and this host, without privilege and without doing it."""

from __future__ import annotations

from pyrunc.kernel import os
from pyrunc.runtime.bundle import Bundle, Options, select_manager
from pyrunc.runtime.process import seccomp_filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.log import Context
    from pyrunc.plan.encode import Plan


def plan(ctx: Context, bundle: str, *, config_path: str | None = None, format: str) -> str:
    """The plan as text or JSON. The ID is that of the bundle's directory. Raises what `create` would find wrong."""
    from pyrunc.plan.show import show

    return show(_compiled(ctx, bundle, config_path, waits=True), format)


def encoded(ctx: Context, bundle: str, *, config_path: str | None = None) -> bytearray:
    """The plan of `run`, as pyrunc-init reads it, for any parent: the one plan that needs no fifos. Raises as `plan` does."""
    from pyrunc.plan.encode import encode

    return encode(_compiled(ctx, bundle, config_path, waits=False), parent=0)


def _compiled(ctx: Context, bundle: str, config_path: str | None, *, waits: bool) -> Plan:
    options = Options(bundle=bundle, config_path=config_path, waits=waits)
    loaded = Bundle(ctx, options)
    id = os.path.basename(loaded.path) or "container"
    return loaded.plan(id, options, select_manager(ctx, loaded, id), seccomp_filter(ctx, loaded.linux))
