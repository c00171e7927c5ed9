"""``checkpoint``: a container's processes into files, by CRIU."""

from __future__ import annotations

from pyrunc.cgroups import frozen, layout, reopen
from pyrunc.errors import KernelError, PyruncError, UnsupportedError, WrongStatus
from pyrunc.kernel import json, os
from pyrunc.kernel.files import write_new
from pyrunc.launch import criu_messages as m
from pyrunc.launch.notify import DIRECTORY as NOTIFY_DIRECTORY, INSIDE
from pyrunc.runtime.images import DESCRIPTORS, EXTERNAL_NAMESPACES, Images, capable, check_config, external_mounts
from pyrunc.runtime.process import own_config
from pyrunc.state.status import PAUSED, RUNNING, status
from pyrunc.state.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.launch.criu import Criu
    from pyrunc.log import Context
    from pyrunc.state.record import Record
    from pyrunc.state.store import Container

LOG = "dump.log"
SYMLINKS = 40
"""As many as the kernel follows, path_resolution(7)."""


def checkpoint(
    ctx: Context, id: str, *, image_path: str, work_path: str | None, parent_path: str | None, leave_running: bool,
    pre_dump: bool, status_fd: int | None, page_server: tuple[str, int] | None, manage_cgroups_mode: str, **flags: bool,
) -> None:  # fmt: skip
    """Save a running or paused container in `image_path`, and unless it is left running remove it.

    Raises UnsupportedError (no criu, rootless), ContainerMissing, WrongStatus, KernelError, CriuError with the end of CRIU's
    log; the container then goes on as before.
    """
    if status_fd is not None:
        _check_writable(status_fd)
    criu = capable(ctx.rootless)
    container = Store(ctx.root).open(id, lock=True)
    try:
        record = container.record
        now = status(record, container.fd, lambda: frozen(record.cgroup))
        if now not in (RUNNING, PAUSED):
            raise WrongStatus(f"container cannot be checkpointed in {now} state", now)
        config = own_config(container)
        check_config(config, own_mounts="mount" in record.namespaces)
        if os.path.exists(f"{container.path}/{NOTIFY_DIRECTORY}"):
            raise UnsupportedError(f"the container was made with a socket of sd_notify(3), {INSIDE}, which CRIU cannot save")
        if pre_dump:
            criu.require_feature("mem_track", "--pre-dump")
        if flags.get("lazy_pages"):
            criu.require_feature("lazy_pages", "--lazy-pages")
        chosen: dict[str, Any] = {"leave_running": leave_running, **flags}
        if page_server:
            chosen["ps"] = {"address": page_server[0], "port": page_server[1]}
        if parent_path:
            chosen.update(parent_img=parent_path, track_mem=True)
        with Images(
            image_path=image_path, work_path=work_path, log=LOG, make=True, manage_cgroups_mode=manage_cgroups_mode, flags=chosen
        ) as images:
            _dump(criu, container, config, images, m.PRE_DUMP if pre_dump else m.DUMP, status_fd)
        if not (leave_running or pre_dump):
            from pyrunc.runtime.after import end, remove

            end(ctx, container)
            remove(ctx, container)
    finally:
        if container.fd >= 0:
            container.close()


def _dump(
    criu: Criu, container: Container, config: dict[str, Any], images: Images, kind: int, status_fd: int | None
) -> None:
    record = container.record
    paths = reopen(record.cgroup).paths
    options = images.options(record.annotations, record.rootfs)
    options.update(pid=record.pid, freeze_cgroup=paths.get("freezer", paths.get("")), external=_namespaces(record))
    if kind == m.DUMP:
        options["ext_mnt"] = _mounts(container, config)
        descriptors = json.dumps(record.external_descriptors).encode("ascii")
        _replace(images.fds[0], DESCRIPTORS, descriptors)

    def ready(pid: int, fd: int | None) -> None:
        if status_fd is not None:
            try:
                os.write(status_fd, b"\0")
            except OSError as error:
                raise KernelError.of(f"--status-fd {status_fd}", error) from error
            finally:
                os.close(status_fd)

    criu.ask(kind, answers={"status-ready": ready}, opts=options)


def _check_writable(fd: int) -> None:
    import fcntl

    try:
        writable = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    except OSError as error:
        raise KernelError.of(f"--status-fd {fd}", error) from error
    if not writable:
        raise PyruncError(f"--status-fd {fd} is not open for writing")


def _replace(directory: int, name: str, data: bytes) -> None:
    """A directory may hold the images of an earlier checkpoint."""
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise KernelError.of(f"remove {name}", error) from error
    write_new(directory, name, data)


def _namespaces(record: Record) -> list[str]:
    """CRIU's ``--external TYPE[inode]:name`` for what others have made and will have there again."""
    found = []
    for kind, name in EXTERNAL_NAMESPACES.items():
        if record.namespaces.get(kind):
            file = "net" if kind == "network" else kind
            try:
                inode = os.stat(f"/proc/{record.pid}/ns/{file}").st_ino
            except OSError as error:
                raise KernelError.of(f"look at the container's {kind} namespace", error) from error
            found.append(f"{file}[{inode}]:{name}")
    return found


def _mounts(container: Container, config: dict[str, Any]) -> list[dict[str, str]]:
    """Where they are mounted now, links followed, with their names for `restore`."""
    record = container.record
    manager = reopen(record.cgroup)
    view = manager.mount_view(layout(), private="cgroup" in record.namespaces)
    root = f"/proc/{record.pid}/root"
    found = []
    for name, source in external_mounts(config, record.bundle, view):
        place = _resolve(root, name)
        if source != "/dev/null" or _is_device(root + place):
            found.append({"key": place, "val": name})
    return found


def _is_device(path: str) -> bool:
    """A masked file is /dev/null, a masked directory an empty one, which CRIU makes itself."""
    try:
        return os.lstat(path).st_mode & 0o170000 == 0o020000
    except OSError:
        return False


def _resolve(root: str, path: str) -> str:
    """The path without links, as the container sees it; what is not there stays as it is."""
    done, left, links = "", path.split("/"), 0
    while left:
        part = left.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            done = os.path.dirname(done).rstrip("/")
            continue
        try:
            link = os.readlink(f"{root}{done}/{part}")
        except OSError:
            done += "/" + part
            continue
        links += 1
        if links > SYMLINKS:
            return path
        done, left = "" if link.startswith("/") else done, [*link.split("/"), *left]
    return done or "/"
