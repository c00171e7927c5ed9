"""The branches of the tree: see the package."""

from __future__ import annotations

from pyrunc.errors import PyruncError, strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class UsageError(PyruncError):
    """The command line is wrong. One that cannot even be parsed has a ``heading``, below which the help is shown: that of
    ``command``, or the global one."""

    code = "usage"
    command: str | None = None
    heading: str | None = None


class NoSuchCommand(UsageError):
    """There is no such command: podman takes the failure of ``checkpoint --help`` for "this runtime cannot do it"."""


class ConfigError(PyruncError):
    """config.json is malformed, against the schema or against a rule. ``faults`` holds (JSON path, text) pairs."""

    code = "config"

    def __init__(self, faults: Iterable[tuple[str, str]] | str, *, prefix: str = "") -> None:
        pairs = [("", faults)] if isinstance(faults, str) else list(faults)
        text = "; ".join(f"{path}: {what}" if path else what for path, what in pairs)
        super().__init__(prefix + text)
        self.faults = pairs
        if pairs and pairs[0][0]:
            self.config_path = pairs[0][0]


class UnsupportedError(PyruncError):
    """Legal, but this host's kernel or this version of pyrunc cannot do it."""

    code = "unsupported"


class StateError(PyruncError):
    """The container's state does not allow the command."""

    code = "state"


class InvalidId(StateError):
    """A container ID is one or more of ``[A-Za-z0-9_+.-]``, not ``.`` or ``..``, at most 255 bytes."""

    code = "invalid_id"


class ContainerExists(StateError):
    code = "exists"


class ContainerMissing(StateError):
    code = "missing"


class ContainerBusy(StateError):
    code = "busy"


class WrongStatus(StateError):
    """``status`` is what the container is, where the command needs something else."""

    code = "wrong_status"

    def __init__(self, message: str, status: str) -> None:
        super().__init__(message)
        self.status = status


class KernelError(PyruncError):
    """A system call failed. The message ends in the errno's text, in lower case as C and Go write it."""

    code = "kernel"

    def __init__(
        self, what: str, errno: int, *, syscall: str | None = None, hint: str | None = None, config_path: str | None = None
    ) -> None:
        super().__init__(f"{what}: {strerror(errno)}", hint=hint, config_path=config_path)
        self.errno = errno
        self.syscall = syscall

    @classmethod
    def of(cls, what: str, error: OSError, *, config_path: str | None = None) -> KernelError:
        """Translate an OSError of Python's or of the shim's at the border."""
        return cls(what, error.errno or 0, config_path=config_path)


class CgroupError(KernelError):
    code = "cgroup"


class SetupError(KernelError):
    """An op failed inside pyrunc-init; launch/ renders it from the plan."""

    code = "setup"


class KilledInSetup(PyruncError):
    """pyrunc-init died without a word; ``signal`` is 0 if it was not by one."""

    code = "killed"
    signal = 0


class ExecutableError(PyruncError):
    """The program cannot be executed; the phrases decide about exit codes 126 and 127 in the callers."""

    code = "executable"


class HookError(PyruncError):
    code = "hook"


class SystemdError(PyruncError):
    code = "systemd"
