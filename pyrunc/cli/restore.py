"""``pyrunc restore``."""

from __future__ import annotations

from pyrunc.cli.checkpoint import (
    AUTO_DEDUP,
    EMPTY_NS,
    EXT_UNIX_SK,
    FILE_LOCKS,
    FLAGS,
    IMAGES,
    LAZY_PAGES,
    MANAGE_CGROUPS,
    SHELL_JOB,
    TCP_ESTABLISHED,
    checked,
    needs_criu,
)
from pyrunc.cli.options import FLAG, TEXT, Command, Given, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.log import Context

COMMAND = Command(
    "restore",
    "<container-id>",
    "make a container out of what checkpoint has saved",
    """The bundle is that of the saved container. Without --detach it waits for the end of the container, passes signals on and
exits with the status of its program, as "run" does. CRIU does the work, and needs the host's root.""",
    (
        Option("image-path", "", TEXT, "DIR", f"where the saved files are (default: {IMAGES})"),
        Option("work-path", "", TEXT, "DIR", "where CRIU's log and statistics go (default: the same)"),
        Option("bundle", "b", TEXT, "DIR", "the bundle (default: the working directory)"),
        Option("console-socket", "", TEXT, "SOCKET", "UNIX socket that receives the master end of the container's terminal"),
        Option("detach", "d", FLAG, "", "return when the container runs"),
        Option("pid-file", "", TEXT, "FILE", "write the pid of the container's init to FILE"),
        Option("no-subreaper", "", FLAG, "", "do not adopt the container's orphans"),
        Option("no-pivot", "", FLAG, "", "accepted: how the root is changed is CRIU's decision"),
        TCP_ESTABLISHED,
        Option("tcp-close", "", FLAG, "", "restore TCP connections as closed ones"),
        EXT_UNIX_SK,
        SHELL_JOB,
        LAZY_PAGES,
        FILE_LOCKS,
        MANAGE_CGROUPS,
        EMPTY_NS,
        AUTO_DEDUP,
        Option("lsm-profile", "", TEXT, "TYPE:NAME", "another profile for the processes: apparmor:NAME or selinux:LABEL"),
        Option("lsm-mount-context", "", TEXT, "CONTEXT", "another SELinux context for the mounts"),
    ),
    needs=needs_criu,
)


def execute(ctx: Context, given: Given) -> int:
    from pyrunc.runtime.restore import restore

    flags: dict[str, Any] = {name.replace("-", "_"): True for name in (*FLAGS, "tcp-close") if given.flag(name)}
    for name in ("lsm-profile", "lsm-mount-context"):
        if text := given.text(name):
            flags[name.replace("-", "_")] = text
    return restore(
        ctx,
        given.args[0],
        image_path=given.text("image-path") or IMAGES,
        work_path=given.text("work-path"),
        manage_cgroups_mode=checked(given),
        detach=given.flag("detach"),
        no_subreaper=given.flag("no-subreaper"),
        bundle=given.text("bundle") or ".",
        console_socket=given.text("console-socket"),
        pid_file=given.text("pid-file"),
        no_pivot=given.flag("no-pivot"),
        flags=flags,
    )
