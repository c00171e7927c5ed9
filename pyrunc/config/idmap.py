"""ID mappings that come with a mount: as properties (runtime-spec 1.1) or in crun's option.

crun's is ``idmap=uids=0-1000-10#10-2000-5;gids=0-1000-10``: id in the file system, id on the host, how many. After an ``@``
the ids on the host are those of the container, to be found on the host through its user namespace.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Maps = list[dict[str, int]]


def custom(option: str, linux: dict[str, Any]) -> tuple[Maps | None, Maps | None]:
    """The mappings in crun's option; the kind that it leaves out is that of the container. Raises ValueError with a reason."""
    found: dict[str, Maps | None] = {name: linux.get(f"{name[:3]}Mappings") for name in ("uids", "gids")}
    for part in filter(None, option.partition("=")[2].split(";")):
        name, equals, text = part.partition("=")
        if name not in found or not equals:
            raise ValueError(f"{part!r} is neither uids= nor gids=")
        relative = text.startswith("@")
        maps = [_triple(triple) for triple in text.removeprefix("@").split("#")]
        found[name] = [_outside(entry, linux.get(f"{name[:3]}Mappings") or ()) for entry in maps] if relative else maps
    return found["uids"], found["gids"]


def _triple(text: str) -> dict[str, int]:
    numbers = text.split("-")
    if len(numbers) != 3 or not all(number.isascii() and number.isdigit() for number in numbers):
        raise ValueError(f"{text!r} is not of the form 0-1000-10")
    inside, outside, size = map(int, numbers)
    return {"containerID": inside, "hostID": outside, "size": size}


def _outside(entry: dict[str, int], maps: Sequence[dict[str, int]]) -> dict[str, int]:
    first, size = entry["hostID"], entry["size"]
    for own in maps:
        if own["containerID"] <= first and first + size <= own["containerID"] + own["size"]:
            return {**entry, "hostID": own["hostID"] + first - own["containerID"]}
    raise ValueError(f"the container's ids {first} to {first + size - 1} are not in one mapping of its user namespace")
