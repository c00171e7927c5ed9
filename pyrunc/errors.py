"""Every error that pyrunc tells its user, as one tree.

    PyruncError
    ├── UsageError            the command line is wrong
    │   └── NoSuchCommand
    ├── ConfigError           config.json (or a process file) is wrong; holds every fault found
    ├── UnsupportedError      the request is legal, this host or this pyrunc cannot do it
    ├── StateError            the container is not in a state that allows the command
    │   ├── InvalidId
    │   ├── ContainerExists
    │   ├── ContainerMissing
    │   ├── ContainerBusy     another command holds the container's lock
    │   └── WrongStatus       stopped, running, paused ... when it must not be
    ├── KernelError           a system call of the runtime itself failed
    │   ├── CgroupError
    │   └── SetupError        an op of pyrunc-init failed: (op, where, errno, detail)
    ├── ExecutableError       the program to run is missing, a directory, not executable
    ├── HookError             a hook failed or ran out of time
    └── SystemdError          systemd refuses a request, or does not answer

The message is the whole story on one line: callers show only that line and match phrases in it, so phrases listed
in tests/unit/test_phrases.py are an interface. The other attributes become extra keys of the JSON log.
"""

from __future__ import annotations

from posix import strerror as strerror_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class PyruncError(Exception):
    """Base of the tree. ``code`` is a stable name for machines; the rest is None where it does not apply.

    ``config_path`` is a JSON path in config.json (``linux.resources.pids.limit``), ``stage`` the step of the life
    cycle, ``op`` the plan's op, ``syscall`` and ``errno`` the kernel's answer, ``hint`` what to do about it.
    """

    code = "error"
    stage: str | None = None
    op: str | None = None
    syscall: str | None = None
    errno: int | None = None
    config_path: str | None = None
    hint: str | None = None

    def __init__(self, message: str, *, hint: str | None = None, config_path: str | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint
        if config_path is not None:
            self.config_path = config_path

    @property
    def message(self) -> str:
        """The one line for people, without a trailing newline."""
        return str(self.args[0])

    def within(self, context: str) -> PyruncError:
        """Put `context` before the message, in place, as in ``raise error.within("exec failed")``."""
        self.args = (f"{context}: {self.message}",)
        return self


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


class ExecutableError(PyruncError):
    """The program cannot be executed; the phrases decide about exit codes 126 and 127 in the callers."""

    code = "executable"


class HookError(PyruncError):
    code = "hook"


class SystemdError(PyruncError):
    code = "systemd"


def strerror(number: int) -> str:
    """The errno's text as callers match it: ``os.strerror`` with a small first letter."""
    text = strerror_of(number)
    return text[:1].lower() + text[1:] if text[1:2].islower() else text
