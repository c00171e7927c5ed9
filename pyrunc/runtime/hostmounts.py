"""The mounts of a container that has no mount namespace of its own: they are made in the runtime's, and must not stay there.

Before the first is made, the record keeps which mounts there were: those stay. What is mounted below the root file system
beyond them is the container's, whoever in it has mounted it, and goes when its processes are gone.
"""

from __future__ import annotations

from pyrunc import errors
from pyrunc.kernel import os, sys
from pyrunc.kernel.host import mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.kernel.host import Mount
    from pyrunc.log import Context

PASSES = 64
"""Mounts that hide one another go one a pass; with more than so many on one place it would be a race with somebody."""


def remember(rootfs: str) -> dict[str, Any]:
    """What `detach` must know: the mount namespace, by the inode of its file in /proc, and the numbers of the mounts that are
    there already. Only of those below the root, because the kernel gives numbers that have become free again. Raises KernelError.
    """
    try:
        root = _open(rootfs)
    except OSError as error:
        raise errors.KernelError.of(f"root.path: {rootfs}", error, config_path="root.path") from error
    try:
        return {"namespace": _namespace(), "before": [mount.id for mount in _below(_place(root))]}
    finally:
        os.close(root)


def detach(ctx: Context, rootfs: str, remembered: dict[str, Any]) -> None:
    """Detach what is mounted strictly below `rootfs` and was not before. What cannot be is told in the debug log.

    Seen from another mount namespace than the creator's nothing is touched: the numbers mean other mounts there. Raises
    KernelError where procfs cannot be read.
    """
    if remembered["namespace"] != _namespace():
        ctx.log.debug(f"{rootfs}: what is mounted below it is in another mount namespace, and stays")
        return
    try:
        root = _open(rootfs)
    except OSError as error:
        ctx.log.debug(f"{rootfs}: {os.strerror(error.errno or 0)}: nothing is unmounted below it")
        return
    try:
        top = _place(root)
        before = frozenset(remembered["before"])
        for _ in range(PASSES):
            left = [mount for mount in _below(top) if mount.id not in before]
            if not left or not _pass(root, [(mount.id, mount.point[len(top) :]) for mount in left]):
                break
        for mount in left:
            ctx.log.debug(f"{mount.point}: cannot be unmounted")
    finally:
        os.close(root)


def _pass(root: int, found: list[tuple[int, str]]) -> bool:
    """Whether any of them, (number, path below `root`), could be detached: the youngest first, when all are private."""
    for id, path in found:
        _unmount(root, path, id, detach=False)
    return sum(_unmount(root, path, id, detach=True) for id, path in reversed(found)) > 0


def _unmount(root: int, path: str, id: int, *, detach: bool) -> bool:
    try:
        sys.unmount_below(root, path, id, detach=detach)
    except OSError:
        return False  # hidden by another, or gone with the one that it was on
    return True


def _open(rootfs: str) -> int:
    return os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _place(root: int) -> str:
    """Where it is by the names that mountinfo has, with a slash behind: links on the way to the bundle are followed."""
    return os.readlink(f"/proc/self/fd/{root}").rstrip("/") + "/"


def _below(top: str) -> list[Mount]:
    return [mount for mount in mounts() if mount.point.startswith(top)]


def _namespace() -> int:
    try:
        return os.stat("/proc/self/ns/mnt").st_ino
    except OSError as error:
        raise errors.KernelError.of("stat /proc/self/ns/mnt", error) from error
