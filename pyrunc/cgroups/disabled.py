"""The manager without cgroups."""

from __future__ import annotations

from ..errors import UnsupportedError
from .manager import Manager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .change import Journal


class Disabled(Manager):
    """crun's ``--cgroup-manager=disabled``: the container stays in its creator's cgroups, and no limit is applied."""

    name = "disabled"

    def __init__(self) -> None:
        super().__init__({})

    def apply(self, resources: dict[str, Any] | None, *, devices: bool = True) -> None:
        return

    def update(self, change: dict[str, Any], saved: dict[str, Any]) -> Journal:
        """For an `update` of something else, as of a class of service, nothing is to be done."""
        from .change import Journal, merged

        if any(merged({}, change).values()):
            raise UnsupportedError(
                "the container has no cgroups that could be limited", hint="it was made without a cgroup manager"
            )
        return Journal()

    def apply_devices(self, resources: dict[str, Any] | None) -> None:
        return

    def stats(self) -> dict[str, Any]:
        raise UnsupportedError("the container has no cgroups that could be asked", hint="it was made without a cgroup manager")

    def watch_oom(self) -> None:
        return None

    def oom_kills(self) -> int:
        return 0

    def _primary(self) -> str | None:
        return None

    def _freezer_of(self) -> tuple[str, bool] | None:
        return None
