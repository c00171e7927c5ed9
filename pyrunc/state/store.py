"""The directory of each container under ``--root``, and the lock that keeps two commands from changing one container.

The lock is flock(2) on the directory itself: it goes with its holder, however that dies, and leaves nothing to clean up.
Commands that only look take no lock, because `Container.save` replaces the record as a whole.
"""

from __future__ import annotations

import time
from errno import ELOOP, ENOENT
from stat import S_ISFIFO

from pyrunc import errors
from pyrunc.kernel import os
from pyrunc.kernel.files import read_bounded, write_new
from pyrunc.state.ids import check_id
from pyrunc.state.record import Record
from pyrunc.state.status import EXEC_FIFO

STATE_FILE = "state.json"
NEXT_FILE = ".state.json"
EXEC_REPLY = "exec.reply"
"""The way back of EXEC_FIFO: by it a container that was told to start says what became of that."""

RECORD_BYTES = 16 << 20
LOCK_SECONDS = 10.0

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MISSING = "container does not exist"
_REMEDY = "pyrunc delete --force {} removes it"


class Store:
    """The containers below `root`, an absolute path that need not exist until the first `create`."""

    __slots__ = ("root",)

    def __init__(self, root: str) -> None:
        self.root = root

    def create(self, id: str) -> Container:
        """Make the directory of a new container, without a record, locked. Raises InvalidId, ContainerExists, KernelError."""
        check_id(id)
        path = f"{self.root}/{id}"
        while True:
            self._mkdir(path)
            try:
                return self.open(id, lock=True)
            except errors.ContainerMissing:
                # A `delete --force` found the new directory before it was locked, and took it for a remainder.
                continue

    def open(self, id: str, *, lock: bool) -> Container:
        """The container of this ID; with `lock`, nobody else changes it until it is closed.

        Raises InvalidId, ContainerMissing, KernelError, and ContainerBusy when the lock is not to be had in LOCK_SECONDS.
        """
        check_id(id)
        path = f"{self.root}/{id}"
        try:
            container = Container(id, path, os.open(path, _DIRECTORY))
        except (FileNotFoundError, NotADirectoryError):
            raise errors.ContainerMissing(_MISSING) from None
        except OSError as error:
            if error.errno == ELOOP:
                raise errors.ContainerMissing(_MISSING) from None
            raise errors.KernelError.of(f"open {path}", error) from error
        if lock:
            try:
                container.lock()
            except BaseException:
                container.close()
                raise
        return container

    def ids(self) -> list[str]:
        """The IDs in order; also those of containers without a readable record. Empty without a root. Raises KernelError."""
        try:
            with os.scandir(self.root) as entries:
                names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise errors.KernelError.of(f"read directory {self.root}", error) from error
        return sorted(filter(_is_id, names))

    def _mkdir(self, path: str) -> None:
        try:
            try:
                os.mkdir(path, 0o711)
            except FileNotFoundError:
                # systemd clears a user's runtime directory of what is old, except where the sticky bit is set.
                private = os.getenv("XDG_RUNTIME_DIR")
                _make_directories(self.root, 0o1700 if private and self.root.startswith(private) else 0o700)
                os.mkdir(path, 0o711)
        except FileExistsError:
            hint = _REMEDY.format(os.path.basename(path)) if not os.path.exists(f"{path}/{STATE_FILE}") else None
            raise errors.ContainerExists("container with given ID already exists", hint=hint) from None
        except OSError as error:
            raise errors.KernelError.of(f"create directory {path}", error) from error


class Container:
    """The open directory of one container. ``fd`` is its descriptor; after `close` nothing here may be used."""

    __slots__ = ("fd", "id", "path", "_record")

    def __init__(self, id: str, path: str, fd: int) -> None:
        self.id = id
        self.path = path
        self.fd = fd
        self._record: Record | None = None

    @property
    def record(self) -> Record:
        """Read when first asked for.

        Raises ContainerMissing if there is none (a create that was killed at once, or a delete that comes to its end),
        StateError if it is damaged, KernelError.
        """
        if self._record is None:
            self._record = self._load()
        return self._record

    def save(self, record: Record) -> None:
        """Replace the record, for readers in one step. Raises KernelError."""
        self.prepare(record)
        self.commit(record)

    def prepare(self, record: Record) -> None:
        """The part of `save` that can be done before its time: the file is written, under another name. Raises KernelError."""
        write_new(self.fd, NEXT_FILE, record.to_json())

    def commit(self, record: Record) -> None:
        """Make what was prepared the record. Raises KernelError."""
        try:
            os.rename(NEXT_FILE, STATE_FILE, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except OSError as error:
            raise errors.KernelError.of(f"write {self.path}/{STATE_FILE}", error) from error
        self._record = record

    def lock(self) -> None:
        """Wait until no other command has the container, for LOCK_SECONDS; a record read before is forgotten.

        Raises ContainerBusy, and ContainerMissing if the container was removed in the meantime.
        """
        import fcntl  # a file of its own to load, and most commands take no lock

        deadline, delay = time.monotonic() + LOCK_SECONDS, 0.0005
        while True:
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise errors.ContainerBusy(f"container {self.id} is busy{_holder(self.fd)}") from None
            except OSError as error:
                raise errors.KernelError.of(f"lock {self.path}", error) from error
            time.sleep(delay)
            delay = min(delay * 2, 0.02)
        self._record = None
        try:
            named = os.stat(self.path, follow_symlinks=False)
        except FileNotFoundError:
            raise errors.ContainerMissing(_MISSING) from None
        if not os.path.samestat(named, os.fstat(self.fd)):
            raise errors.ContainerMissing(_MISSING)

    def unlock(self) -> None:
        """Let other commands have the container while this one goes on with it, as a foreground `run` does."""
        import fcntl

        fcntl.flock(self.fd, fcntl.LOCK_UN)

    def make_fifos(self) -> tuple[int, int]:
        """Make EXEC_FIFO and EXEC_REPLY, of mode 0600, and open both for reading and writing, close-on-exec.

        Init inherits the descriptors, so it needs no permission, whoever it will be. Raises KernelError.
        """
        try:
            os.mkfifo(EXEC_FIFO, 0o600, dir_fd=self.fd)
            os.mkfifo(EXEC_REPLY, 0o600, dir_fd=self.fd)
        except OSError as error:
            raise errors.KernelError.of(f"create the fifos in {self.path}", error) from error
        go = self.open_fifo(EXEC_FIFO, os.O_RDWR)
        try:
            return go, self.open_fifo(EXEC_REPLY, os.O_RDWR)
        except BaseException:
            os.close(go)
            raise

    def open_fifo(self, name: str, flags: int) -> int:
        """A close-on-exec descriptor of a fifo in the directory, opened with `flags`. Raises KernelError, StateError."""
        try:
            fd = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)
        except OSError as error:
            raise errors.KernelError.of(f"open {self.path}/{name}", error) from error
        if not S_ISFIFO(os.fstat(fd).st_mode):
            os.close(fd)
            raise errors.StateError(f"{self.path}/{name} is no fifo")
        return fd

    def remove_fifos(self) -> None:
        """The container has started: from now on it counts as running. Absence is fine. Raises KernelError."""
        for name in (EXEC_REPLY, EXEC_FIFO):
            try:
                os.unlink(name, dir_fd=self.fd)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise errors.KernelError.of(f"remove {self.path}/{name}", error) from error

    def remove(self) -> None:
        """Remove the directory and all in it; for the holder of the lock. The ID is free again. Works without a record.

        The record goes last, so that a removal that is interrupted can be repeated. Nothing is followed out of the
        directory: neither symbolic links nor mounts. Raises StateError for a mount, KernelError.
        """
        try:
            _empty(self.fd, self.path, keep=STATE_FILE)
            try:
                os.unlink(STATE_FILE, dir_fd=self.fd)
            except FileNotFoundError:
                pass
            os.rmdir(self.path)
        except OSError as error:
            raise errors.KernelError.of(f"remove {self.path}", error) from error

    def close(self) -> None:
        """Give up the descriptor and with it the lock."""
        os.close(self.fd)
        self.fd = -1

    def _load(self) -> Record:
        try:
            record = Record.from_json(read_bounded(STATE_FILE, RECORD_BYTES, at=self.fd))
            if record.id != self.id:
                raise ValueError(f"it is the record of {record.id!r}")
        except ValueError as error:
            raise errors.StateError(f"{self.path}/{STATE_FILE} is damaged: {error}", hint=_REMEDY.format(self.id)) from error
        except errors.KernelError as error:
            if error.errno == ENOENT:
                raise errors.ContainerMissing(f"{_MISSING}: {self.path} holds no record", hint=_REMEDY.format(self.id)) from None
            raise error.within(f"container {self.id}") from None
        return record


def _is_id(name: str) -> bool:
    try:
        check_id(name)
    except errors.StateError:
        return False
    return True


def _make_directories(path: str, mode: int) -> None:
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        return
    except FileNotFoundError:
        _make_directories(os.path.dirname(path), mode)
        _make_directories(path, mode)


def _empty(directory: int, path: str, keep: str = "") -> None:
    """Remove all but `keep` from a directory of which we have the descriptor; `path` is for messages."""
    with os.scandir(directory) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries if entry.name != keep]
    for name, is_directory in found:
        if not is_directory:
            os.unlink(name, dir_fd=directory)
            continue
        below = os.open(name, _DIRECTORY, dir_fd=directory)
        try:
            if _mount_id(below) != _mount_id(directory):
                raise errors.StateError(f"{path}/{name} is a mount point", hint=f"umount {path}/{name}")
            _empty(below, f"{path}/{name}")
        finally:
            os.close(below)
        os.rmdir(name, dir_fd=directory)


def _mount_id(fd: int) -> bytes:
    """proc_pid_fdinfo(5); unlike the device number it also tells a bind mount from the same file system."""
    info = read_bounded(f"/proc/self/fdinfo/{fd}", 4096)
    return next(line for line in info.splitlines() if line.startswith(b"mnt_id:"))


def _holder(fd: int) -> str:
    """Who has the lock, from proc_locks(5), as the end of a message; empty if it cannot be told."""
    held = os.fstat(fd)
    wanted = f"{os.major(held.st_dev):02x}:{os.minor(held.st_dev):02x}:{held.st_ino}"
    try:
        with open("/proc/locks") as locks:
            # number, kind, mode, access, process, file, start, end; who waits has an arrow for its kind
            lines = [line.split() for line in locks]
        pid = next(fields[4] for fields in lines if fields[1] == "FLOCK" and fields[5] == wanted)
        with open(f"/proc/{pid}/cmdline", "rb") as cmdline:
            command = os.fsdecode(cmdline.read(200)).replace("\0", " ").strip()
    except (OSError, LookupError, StopIteration):
        return ""
    return f": process {pid} ({command}) holds its lock"
