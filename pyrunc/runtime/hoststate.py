"""The state that hooks read on stdin (runtime-spec, runtime.md, "State")."""

from __future__ import annotations

from pyrunc.kernel import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.state.record import Record


def hook_state(record: Record, status: str, pid: int) -> bytes:
    """The JSON for a hook that sees the pid as the host does."""
    before, after = split_state(record, status)
    return f"{before}{pid}{after}".encode()


def split_state(record: Record, status: str) -> tuple[str, str]:
    """The same before and after the pid, for a hook inside the container, where the pid is another."""
    before = {"ociVersion": record.oci_version, "id": record.id, "status": status}
    after: dict[str, object] = {"bundle": record.bundle}
    if record.annotations:
        after["annotations"] = record.annotations
    return json.dumps(before)[:-1] + ',"pid":', "," + json.dumps(after)[1:]
