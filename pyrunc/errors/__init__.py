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
    ├── KilledInSetup         pyrunc-init died without a word
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
    from pyrunc.errors.tree import (
        CgroupError as CgroupError,
        ConfigError as ConfigError,
        ContainerBusy as ContainerBusy,
        ContainerExists as ContainerExists,
        ContainerMissing as ContainerMissing,
        ExecutableError as ExecutableError,
        HookError as HookError,
        InvalidId as InvalidId,
        KernelError as KernelError,
        KilledInSetup as KilledInSetup,
        NoSuchCommand as NoSuchCommand,
        SetupError as SetupError,
        StateError as StateError,
        SystemdError as SystemdError,
        UnsupportedError as UnsupportedError,
        UsageError as UsageError,
        WrongStatus as WrongStatus,
    )


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


def __getattr__(name: str) -> object:
    """The branches are made when one of them is needed, which on the way to success none is: all classes together take
    as long as all of the command line. Modules on the hot path write ``errors.KernelError`` therefore."""
    import pyrunc.errors.tree as tree

    return getattr(tree, name)


def strerror(number: int) -> str:
    """The errno's text as callers match it: ``os.strerror`` with a small first letter."""
    text = strerror_of(number)
    return text[:1].lower() + text[1:] if text[1:2].islower() else text
