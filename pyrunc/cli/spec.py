"""``pyrunc spec``: a config.json to start from."""

from __future__ import annotations

import os

from pyrunc.cli.emit import json_text
from pyrunc.cli.options import FLAG, TEXT, Command, Given, Option
from pyrunc.errors import KernelError, PyruncError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.log import Context

COMMAND = Command(
    "spec",
    "",
    "write a config.json to start from",
    """The container runs "sh" on a terminal, on a read-only "rootfs" beside config.json. No file is ever overwritten.""",
    (
        Option("bundle", "b", TEXT, "DIR", "the directory to write to (default: the working directory)"),
        Option("file", "f", TEXT, "NAME", "the file's name in the bundle (default: config.json)"),
        Option("rootless", "", FLAG, "", "for a container of the calling user: a user namespace, the host's network, no limits"),
    ),
    least=0,
    most=0,
)


def execute(ctx: Context, given: Given) -> int:
    from pyrunc.config.default import default_spec

    config = default_spec(
        rootless=given.flag("rootless"),
        cgroup2=os.path.exists("/sys/fs/cgroup/cgroup.controllers"),  # absent at the root of a v1 or hybrid tree
        uid=os.geteuid(),
        gid=os.getegid(),
    )
    name = given.text("file") or "config.json"
    _write_new(os.path.join(given.text("bundle") or "", name), name, json_text(config, "\t").encode("utf-8", "surrogateescape"))
    return 0


def _write_new(path: str, name: str, data: bytes) -> None:
    """Write a file that must not exist yet; after a failure it does not exist either. PyruncError."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError as error:
        raise PyruncError(f"File {name} exists. Remove it first") from error
    except OSError as error:
        raise KernelError.of(f"create {path}", error) from error
    try:
        with open(fd, "wb") as file:
            file.write(data)
    except OSError as error:
        os.unlink(path)
        raise KernelError.of(f"write {path}", error) from error
