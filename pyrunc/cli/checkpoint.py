"""``pyrunc checkpoint``; a part of its options is also of ``restore``."""

from __future__ import annotations

from pyrunc.cli.options import FLAG, MANY, NUMBER, TEXT, Command, Given, Option, natural
from pyrunc.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.log import Context

MODES = ("soft", "full", "strict", "ignore")
EMPTY = ("network",)
IMAGES = "checkpoint"

TCP_ESTABLISHED = Option("tcp-established", "", FLAG, "", "allow open TCP connections")
EXT_UNIX_SK = Option("ext-unix-sk", "", FLAG, "", "allow UNIX sockets whose other end is outside")
SHELL_JOB = Option("shell-job", "", FLAG, "", "allow a terminal that is not the container's own")
FILE_LOCKS = Option("file-locks", "", FLAG, "", "save and restore file locks")
MANAGE_CGROUPS = Option(
    "manage-cgroups-mode", "", TEXT, "MODE", "what of cgroups: soft, full, strict or ignore (default: soft)", MODES
)
EMPTY_NS = Option("empty-ns", "", MANY, "NAMESPACE", "leave the properties of a namespace out: network, which always is")
AUTO_DEDUP = Option("auto-dedup", "", FLAG, "", "punch holes where memory is in a later image too")
LAZY_PAGES = Option("lazy-pages", "", FLAG, "", "restore memory when it is used, by userfaultfd")

FLAGS = ("tcp-established", "ext-unix-sk", "shell-job", "file-locks", "auto-dedup", "lazy-pages")
"""Those of both commands that go to CRIU as they are."""


def needs_criu() -> object:
    from pyrunc.runtime.images import find_criu

    return find_criu()


COMMAND = Command(
    "checkpoint",
    "<container-id>",
    "save a running container",
    """Writes the container's processes, with their memory and all that they have open, into files from which "restore" makes
them again, and removes the container. CRIU does the work, and needs the host's root.""",
    (
        Option("image-path", "", TEXT, "DIR", f"where the files go (default: {IMAGES})"),
        Option("work-path", "", TEXT, "DIR", "where CRIU's log and statistics go (default: the same)"),
        Option("parent-path", "", TEXT, "DIR", "files of an earlier pre-dump, relative to --image-path"),
        Option("leave-running", "", FLAG, "", "let the container go on"),
        TCP_ESTABLISHED,
        Option("tcp-skip-in-flight", "", FLAG, "", "leave TCP connections out that are being made"),
        Option("link-remap", "", FLAG, "", "allow open files that have been removed and linked elsewhere"),
        EXT_UNIX_SK,
        SHELL_JOB,
        LAZY_PAGES,
        Option("status-fd", "", NUMBER, "FD", "write a zero byte to FD when lazy pages can be served"),
        Option("page-server", "", TEXT, "ADDRESS:PORT", "send memory there, where a page server of CRIU's listens"),
        FILE_LOCKS,
        Option("pre-dump", "", FLAG, "", "save only memory and let the container go on"),
        MANAGE_CGROUPS,
        EMPTY_NS,
        AUTO_DEDUP,
    ),
    needs=needs_criu,
)


def execute(ctx: Context, given: Given) -> int:
    from pyrunc.runtime.checkpoint import checkpoint

    image_path = given.text("image-path") or IMAGES
    flags = (*FLAGS, "tcp-skip-in-flight", "link-remap")
    checkpoint(
        ctx,
        given.args[0],
        image_path=image_path,
        work_path=given.text("work-path"),
        parent_path=_parent(given),
        leave_running=given.flag("leave-running"),
        pre_dump=given.flag("pre-dump"),
        status_fd=given.number("status-fd") if given.has("status-fd") else None,
        page_server=_page_server(given),
        manage_cgroups_mode=checked(given),
        **{name.replace("-", "_"): True for name in flags if given.flag(name)},
    )
    return 0


def checked(given: Given) -> str:
    """The mode of --manage-cgroups-mode, "" where there is none. UsageError for it and for --empty-ns."""
    for name in given.many("empty-ns"):
        if name not in EMPTY:
            raise UsageError(f'namespace "{name}" is not supported by --empty-ns: only network is')
    mode = given.text("manage-cgroups-mode") or ""
    if mode and mode not in MODES:
        raise UsageError(f'invalid value "{mode}" for --manage-cgroups-mode (known: {", ".join(MODES)})')
    return mode


def _parent(given: Given) -> str | None:
    """CRIU reads it relative to the images, so that a set of them can be moved."""
    path = given.text("parent-path")
    if path and path.startswith("/"):
        raise UsageError("--parent-path must be relative, to --image-path")
    return path


def _page_server(given: Given) -> tuple[str, int] | None:
    text = given.text("page-server")
    if text is None:
        return None
    address, colon, port = text.rpartition(":")
    number = natural(port)
    if not address or not colon or not number or number > 0xFFFF:
        raise UsageError("use --page-server ADDRESS:PORT to specify the page server")
    return address.removeprefix("[").removesuffix("]"), number
