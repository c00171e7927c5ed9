"""What went wrong with an op of a plan, in words that callers match. Loaded with the error, never on the way of success."""

from __future__ import annotations

from pyrunc.errors import ExecutableError, HookError, SetupError, strerror
from pyrunc.plan import opcodes as c
from pyrunc.plan.hints import file_system, hint
from pyrunc.plan.show import describe, one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.errors import PyruncError
    from pyrunc.plan.ops import Op

SUBJECTS = {  # op -> index of the string that names in a message what it was about
    c.OP_OPEN_NS: 0, c.OP_SETNS: 0, c.OP_OPEN_CGROUP: 0, c.OP_OOM_SCORE: 0, c.OP_PROPAGATE: 0, c.OP_ROOT: 0, c.OP_OPEN_ROOT: 0,
    c.OP_MOUNT: 1, c.OP_MOUNT_DATA: 1, c.OP_BIND: 1, c.OP_DEVICE: 0, c.OP_BIND_DEVICE: 0, c.OP_SYMLINK: 0, c.OP_HOOK: 0,
    c.OP_HIDE: 0, c.OP_MAKE_CWD: 0, c.OP_READONLY_MOUNT: 0, c.OP_READONLY_PATH: 0, c.OP_MASK_PATH: 0, c.OP_HOSTNAME: 0,
    c.OP_DOMAINNAME: 0, c.OP_SYSCTL: 0, c.OP_CHDIR: 0, c.OP_OPEN_TREE: 0, c.OP_NEW_TREE: 0, c.OP_REMOUNT: 0, c.OP_GO_TO_ROOT: 0,
    c.OP_LABEL: 1, c.OP_FILE_LABEL: 0,
}  # fmt: skip


def failure(op: Op, place: int, errno: int, detail: str) -> PyruncError:
    """The error of an op that failed at `place` in native/init; `detail` is what the child, a file system or a hook said."""
    detail = detail.strip()
    if op.code == c.OP_HOOK:
        error: PyruncError = _hook_failure(op, place, errno, detail)
    elif op.code in (c.OP_LOOKUP, c.OP_EXEC):
        error = _executable_failure(op, place, errno)
    else:
        subject = f" ({op.text(SUBJECTS[op.code])})" if op.code in SUBJECTS else ""
        what = f"{op.at or op.name.lower()}{subject}: {_tried(op, place, detail)}"
        error = SetupError(what, errno, hint=hint(op, place, errno))
    error.args = (one_line(error.message),)
    error.op, error.stage, error.errno = op.name.lower(), "setup", errno or None
    error.config_path = op.at or None
    return error


def _tried(op: Op, place: int, detail: str) -> str:
    tried = c.PLACES.get(place) or describe(op)
    if place == c.AT_MAPIDS:
        detail = f" {file_system(detail)}" if detail else ""
    elif place == c.AT_SAMEMAPS:
        detail = f" (it has {', '.join(' '.join(line.split()) for line in detail.splitlines())})"
    elif op.code in (c.OP_MOUNT, c.OP_MOUNT_DATA) and place in (c.AT_FSMOUNT, c.AT_FSCREATE, c.AT_ATTACH):
        tried, detail = f"mount {op.text(0)}", detail and f": {detail}"
    elif detail:
        detail = f" {detail}"
    return tried + detail


def _hook_failure(op: Op, place: int, errno: int, detail: str) -> HookError:
    name = op.at.partition(".")[2].replace("[", " hook #").rstrip("]")
    said = detail.replace("\n, stderr:", ", stderr:")
    if place == c.AT_HOOKTIME:
        said = f"hook ran past specified timeout of {op.value(0) / 1000:.1f}s{said}"
    elif place != c.AT_HOOKEXIT or not said:
        said = strerror(errno)
    return HookError(f"error running {name}: {op.text(0)}: {said}")


def _executable_failure(op: Op, place: int, errno: int) -> ExecutableError:
    """With the words that podman and Docker turn into exit codes 126 and 127 (integrators' contract)."""
    name = op.text(0) if op.code == c.OP_LOOKUP else op.items(0)[0]
    if place == c.AT_NOTFOUND:
        why = "executable file not found in $PATH"
    elif errno == 21:  # EISDIR: Docker knows "is a directory", podman "permission denied"
        why = "is a directory: permission denied"
    elif place == c.AT_STAT:
        why = f"stat {name}: {strerror(errno)}"
    else:
        why = strerror(errno)
    return ExecutableError(f'exec: "{name}": {why}', config_path=op.at)
