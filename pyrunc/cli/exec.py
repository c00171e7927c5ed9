"""``pyrunc exec``: a further process in a running container."""

from __future__ import annotations

from pyrunc import errors
from pyrunc.cli.options import FLAG, MANY, NUMBER, TEXT, Command, Given, Option, natural
from pyrunc.errors import PyruncError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.log import Context

COMMAND = Command(
    "exec",
    "<container-id> <command> [argument...]  |  --process FILE <container-id>",
    "execute a further process in a running container",
    """Exits with the status of the process, 128 plus the signal's number if a signal ended it, 255 if it could not be
executed. What follows the ID is the command line, options included.""",
    (
        Option("console-socket", "", TEXT, "SOCKET", "UNIX socket that receives the master end of the process's terminal"),
        Option("pidfd-socket", "", TEXT, "SOCKET", "UNIX socket that receives a pidfd of the process"),
        Option("cwd", "", TEXT, "DIR", "working directory in the container (default: that of its init)"),
        Option("env", "e", MANY, "NAME=VALUE", "set an environment variable; may be repeated"),
        Option("tty", "t", FLAG, "", "give the process a terminal"),
        Option("user", "u", TEXT, "UID[:GID]", "numbers in the container's user namespace"),
        Option("additional-gids", "g", MANY, "GID", "add a supplementary group; may be repeated"),
        Option("process", "p", TEXT, "FILE", "read the process, as config.json describes it, from FILE"),
        Option("detach", "d", FLAG, "", "return when the process runs"),
        Option("pid-file", "", TEXT, "FILE", "write the pid of the process to FILE"),
        Option("process-label", "", TEXT, "LABEL", "SELinux label of the process"),
        Option("apparmor", "", TEXT, "PROFILE", "AppArmor profile of the process"),
        Option("no-new-privs", "", FLAG, "", "the process can gain no privileges by execve"),
        Option("cap", "c", MANY, "CAP", "add a capability, such as CAP_NET_RAW; may be repeated"),
        Option("preserve-fds", "", NUMBER, "N", "pass N descriptors, from 3 on, after those of $LISTEN_FDS (default: 0)"),
        Option("cgroup", "", MANY, "[CONTROLLER:]PATH", "run in this existing cgroup below the container's; may be repeated"),
        Option("ignore-paused", "", FLAG, "", "do not refuse a paused container"),
    ),
    most=None,
    interspersed=False,
    failure=255,
)


def execute(ctx: Context, given: Given) -> int:
    try:
        return _exec(ctx, given)
    except PyruncError as error:
        error.within("exec failed")
        raise


def _exec(ctx: Context, given: Given) -> int:
    from pyrunc.runtime.exec import exec_

    id, *argv = given.args
    process_file = given.text("process")
    if not argv and process_file is None:
        raise errors.UsageError("a command or --process is needed")
    return exec_(
        ctx,
        id,
        None,
        argv=argv,
        env=given.many("env"),
        cwd=given.text("cwd"),
        user=_user(given.text("user")),
        tty=given.flag("tty"),
        additional_gids=[_number("additional-gids", text) for text in given.many("additional-gids")],
        caps=given.many("cap"),
        no_new_privs=given.flag("no-new-privs") if given.has("no-new-privs") else None,
        process_label=given.text("process-label"),
        apparmor=given.text("apparmor"),
        process_file=process_file,
        console_socket=given.text("console-socket"),
        pidfd_socket=given.text("pidfd-socket"),
        pid_file=given.text("pid-file"),
        detach=given.flag("detach"),
        preserve_fds=given.number("preserve-fds"),
        cgroup=given.many("cgroup"),
        ignore_paused=given.flag("ignore-paused"),
    )


def _user(text: str | None) -> tuple[int, int | None] | None:
    """``UID[:GID]``; None for the gid, or for all, where the container's own process decides."""
    if text is None:
        return None
    uid, colon, gid = text.partition(":")
    return _number("user", uid), _number("user", gid) if colon else None


def _number(option: str, text: str) -> int:
    number = natural(text)
    if number is None:
        raise errors.UsageError(f'invalid value "{text}" for --{option}: not a number from 0 to 4294967295')
    return number
