"""sd_notify(3) for a container: that its program is ready is told to the service manager of whoever called us.

    program  --READY=1-->  /run/notify/notify.sock  ==  <root>/<id>/notify/notify.sock  -->  us  -->  $NOTIFY_SOCKET

Nothing else of the container's is passed on: with MAINPID= it could hand any process of the host's to its service, and what
comes after READY is not ours to wait for. Loaded only when $NOTIFY_SOCKET is set.
"""

from __future__ import annotations

import _socket
import select
from sys import byteorder

from pyrunc import errors
from pyrunc.kernel import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

DIRECTORY, SOCKET = "notify", "notify.sock"
INSIDE = "/run/notify"
VARIABLE = "NOTIFY_SOCKET"

MESSAGE_BYTES = 4096
BARRIER_MS = 30_000
"""How long the manager may take to close the barrier, as sd_notify_barrier(3)'s callers allow it."""
SEND_SECONDS = 10
"""How long it may take none of our messages, its queue being full: a manager that is stopped."""

SUN_PATH = 107
POLLIN = 1


def announced(config: dict[str, Any], container: int, path: str) -> dict[str, Any]:
    """The config of a container that finds the socket. `container` is its directory under --root, open, and `path` that name.

    Without a mount namespace there is nothing to mount, and the config stays as it is. Raises KernelError.
    """
    if "mount" not in {entry["type"] for entry in (config.get("linux") or {}).get("namespaces") or ()}:
        return config
    try:
        os.mkdir(DIRECTORY, 0o755, dir_fd=container)
        os.chmod(DIRECTORY, 0o755, dir_fd=container)  # whatever the umask says: the program may be of any user
    except OSError as error:
        raise errors.KernelError.of(f"create {path}/{DIRECTORY}", error) from error
    options = ["bind", "ro", "nosuid", "noexec", "nodev"]
    mount = {"destination": INSIDE, "type": "bind", "source": f"{path}/{DIRECTORY}", "options": options}
    env = [*(config["process"].get("env") or ()), f"{VARIABLE}={INSIDE}/{SOCKET}"]
    return {**config, "mounts": [*(config.get("mounts") or ()), mount], "process": {**config["process"], "env": env}}


def listen(container: int, warn: Callable[[str], None]) -> Notifier | None:
    """Bind the socket of the container with this open directory; None for one that was not told of it. Raises KernelError."""
    try:
        directory = os.open(DIRECTORY, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=container)
    except FileNotFoundError:
        return None
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
    try:
        try:
            os.unlink(SOCKET, dir_fd=directory)  # of a `start` that was killed before it started anything
        except FileNotFoundError:
            pass
        socket.bind(f"/proc/self/fd/{directory}/{SOCKET}")
        os.chmod(SOCKET, 0o777, dir_fd=directory)
    except OSError as error:
        socket.close()
        raise errors.KernelError.of(f"bind the container's {SOCKET}", error) from error
    finally:
        os.close(directory)
    return Notifier(socket, warn)


class Notifier:
    """The socket, and the one message that is waited for. What goes wrong on the manager's side is a warning."""

    def __init__(self, socket: _socket.socket, warn: Callable[[str], None]) -> None:
        self.fd = socket.fileno()
        self._socket = socket
        self._warn = warn

    def wait(self, pid: int, pidfd: int) -> None:
        """Until the container is ready, which the manager has then heard of, or until it has ended."""
        poll = select.poll()
        poll.register(self.fd, POLLIN)
        poll.register(pidfd, POLLIN)
        heard = False
        while not heard:
            ready = [fd for fd, _ in poll.poll()]
            heard = self.fd in ready and self.pass_on(pid, stays=False)
            if pidfd in ready:
                break
        self.close()

    def pass_on(self, main: int, *, stays: bool) -> bool:
        """Read what there is; True when READY was in it, which the manager is told with `main` as the service's process.

        A process that does not stay must know that it was heard: the manager attributes a message by its sender's pid.
        """
        while True:
            try:
                message = self._socket.recv(MESSAGE_BYTES)
            except BlockingIOError:
                return False
            for line in message.split(b"\n"):
                if line.startswith(b"READY="):
                    self._tell(line, main, stays)
                    return True

    def close(self) -> None:
        self._socket.close()
        self.fd = -1

    def _tell(self, ready: bytes, main: int, stays: bool) -> None:
        name = os.getenv(VARIABLE) or ""
        manager = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        try:
            _connect(manager, name)
            manager.settimeout(SEND_SECONDS)
            manager.send(ready)
            manager.send(b"MAINPID=%d" % main)
            if not stays:
                self._barrier(manager)
        except TimeoutError:
            self._warn(f"the service manager took no message at {name} within {SEND_SECONDS} s")
        except OSError as error:
            self._warn(errors.KernelError.of(f"tell {name} that the container is ready", error).message)
        finally:
            manager.close()

    def _barrier(self, manager: _socket.socket) -> None:
        """sd_notify(3), BARRIER=1: the manager closes the descriptor when it comes to this message."""
        ours, theirs = os.pipe()
        try:
            try:
                manager.sendmsg([b"BARRIER=1"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, theirs.to_bytes(4, byteorder))])
            finally:
                os.close(theirs)
            poll = select.poll()
            poll.register(ours, 0)
            if not poll.poll(BARRIER_MS):
                self._warn(f"the service manager did not answer within {BARRIER_MS // 1000} s")
        finally:
            os.close(ours)


def _connect(socket: _socket.socket, name: str) -> None:
    """``@`` stands for an abstract name's NUL, systemd.exec(5). A long path is reached through its directory."""
    if name.startswith("@"):
        # In bytes: the first phase of the launcher's interpreter (native/launcher) encodes no text that has a NUL.
        socket.connect(b"\0" + os.fsencode(name[1:]))
        return
    if len(os.fsencode(name)) <= SUN_PATH:
        socket.connect(os.fsencode(name))
        return
    directory = os.open(os.path.dirname(name) or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        socket.connect(os.fsencode(f"/proc/self/fd/{directory}/{os.path.basename(name)}"))
    finally:
        os.close(directory)
