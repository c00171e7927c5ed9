"""Container IDs: names of directories under ``--root``, parts of cgroup paths and of systemd units."""

from __future__ import annotations

from pyrunc import errors

_ALLOWED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-.")


def check_id(id: str) -> None:
    """Raise InvalidId unless `id` is 1 to 255 of ``[A-Za-z0-9_+.-]`` and neither ``.`` nor ``..``.

    255 bytes is NAME_MAX, the longest name of a directory (limits.h).
    """
    if not 0 < len(id) <= 255 or id in (".", "..") or not set(id) <= _ALLOWED:
        import json

        raise errors.InvalidId(f"invalid container ID format: {json.dumps(id)}")
