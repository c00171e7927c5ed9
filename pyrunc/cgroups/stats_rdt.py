"""Statistics of a container's class of service and monitoring group, ``intel_rdt`` in the form of runc's ``events``.

Source: the kernel's Documentation/filesystems/resctrl.rst.
"""

from __future__ import annotations

from ..kernel import os
from .stats import number, read, some

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .stats import Section

CACHE_INFO = ("cbm_mask", "min_cbm_bits", "num_closids")
BANDWIDTH_INFO = ("bandwidth_gran", "delay_linear", "min_bandwidth", "num_closids")


def stats(path: str, monitor: str) -> Section:
    """`path` is the class's directory, `monitor` the monitoring group's or empty. Raises CgroupError."""
    top = path if os.path.isdir(path + "/info") else os.path.dirname(path)
    found: Section = {}
    for kind, name, info in (("L3", "l3_cache", CACHE_INFO), ("MB", "mem_bw", BANDWIDTH_INFO)):
        where = f"{top}/info/{kind}"
        if os.path.isdir(where):
            words = {key: read(where, key).strip() for key in info}
            # The mask is text, all others are numbers.
            found[f"{name}_info"] = some(**{key: word if key == "cbm_mask" else int(word or 0) for key, word in words.items()})
            found[f"{name}_schema_root"] = _line(top, kind)
            found[f"{name}_schema"] = _line(path, kind)
    nodes = list(_nodes((monitor or path) + "/mon_data"))
    features = read(f"{top}/info/L3_MON", "mon_features").split()
    for name, files in (("mbm_stats", ("mbm_total_bytes", "mbm_local_bytes")), ("cmt_stats", ("llc_occupancy",))):
        if files[0] in features:
            found[name] = [some(**{file: number(node, file) for file in files}) for node in nodes]
    return some(**found)


def _line(directory: str, kind: str) -> str:
    lines = (line.strip() for line in read(directory, "schemata").splitlines())
    return next((line for line in lines if line.startswith(kind + ":")), "")


def _nodes(directory: str) -> Iterator[str]:
    """A directory for each cache, in their order: ``mon_L3_00``."""
    names = os.listdir(directory) if os.path.isdir(directory) else []
    yield from (f"{directory}/{name}" for name in sorted(names) if name.startswith("mon_L3_"))
