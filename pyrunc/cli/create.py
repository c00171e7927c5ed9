"""``pyrunc create``; its options are also those of ``run``."""

from __future__ import annotations

from pyrunc.cli.options import FLAG, NUMBER, TEXT, Command, Given, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.log import Context

OPTIONS = (
    Option("bundle", "b", TEXT, "DIR", "the bundle, a directory with a config.json (default: the working directory)"),
    Option("config", "f", TEXT, "FILE", "read FILE in place of the bundle's config.json"),
    Option("console-socket", "", TEXT, "SOCKET", "UNIX socket that receives the master end of the container's terminal"),
    Option("pidfd-socket", "", TEXT, "SOCKET", "UNIX socket that receives a pidfd of the container's init"),
    Option("pid-file", "", TEXT, "FILE", "write the pid of the container's init to FILE"),
    Option("no-pivot", "", FLAG, "", "change the root by moving the mount; for a rootfs on the initial ramdisk"),
    Option("no-new-keyring", "", FLAG, "", "stay in the caller's session keyring"),
    Option("preserve-fds", "", NUMBER, "N", "pass N descriptors, from 3 on, after those of $LISTEN_FDS (default: 0)"),
)

COMMAND = Command(
    "create",
    "<container-id>",
    "create a container",
    """Makes everything that config.json describes and stops just before the program: "start" executes it.

The ID is unique under --root, of letters, digits, "_", "+", "-" and ".".""",
    (*OPTIONS, Option("no-subreaper", "", FLAG, "", "accepted and ignored, as create reaps nothing")),
)


def execute(ctx: Context, given: Given) -> int:
    from pyrunc.runtime.create import create

    create(ctx, given.args[0], **settings(given))
    return 0


def settings(given: Given) -> dict[str, Any]:
    """The keyword arguments that ``runtime.create`` and ``runtime.run`` share."""
    return {
        "bundle": given.text("bundle") or ".",
        "config_path": given.text("config"),
        "console_socket": given.text("console-socket"),
        "pidfd_socket": given.text("pidfd-socket"),
        "pid_file": given.text("pid-file"),
        "no_pivot": given.flag("no-pivot"),
        "no_new_keyring": given.flag("no-new-keyring"),
        "preserve_fds": given.number("preserve-fds"),
    }
