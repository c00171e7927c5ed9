"""The part of `os` that a command needs on its way to success, straight from posix(3): with the abstract base classes behind
`os.environ`, to import the original costs a tenth of an interpreter's start. Names and meanings are the original's.
"""

from __future__ import annotations

import posix

from pyrunc import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from posix import *
    from posix import _exit as _exit

# `from posix import *` would look up and store its 300 names one by one, which takes three times as long.
globals().update({**vars(posix), **globals()})


def getenv(name: str) -> str | None:
    """A variable of the environment, None where it is not set."""
    value = posix.environ.get(fsencode(name))
    return None if value is None else fsdecode(value)


def fsencode(text: str | bytes) -> bytes:
    """The bytes of a path: UTF-8, what is not UTF-8 as it came (surrogateescape)."""
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def fsdecode(data: str | bytes) -> str:
    """The inverse of `fsencode`."""
    return data if isinstance(data, str) else data.decode("utf-8", "surrogateescape")


class path:
    """The part of `os.path`; paths are text."""

    @staticmethod
    def join(first: str, *rest: str) -> str:
        for part in rest:
            if part.startswith("/"):
                first = part
            elif not first or first.endswith("/"):
                first += part
            else:
                first += "/" + part
        return first

    @staticmethod
    def dirname(name: str) -> str:
        head = name[: name.rfind("/") + 1]
        return head.rstrip("/") or head

    @staticmethod
    def basename(name: str) -> str:
        return name[name.rfind("/") + 1 :]

    @staticmethod
    def normpath(name: str) -> str:
        """Without ``.``, ``..`` and doubled slashes, by the letters alone: links are not followed."""
        absolute = name.startswith("/")
        if absolute and "//" not in name and "/." not in name and (not name.endswith("/") or name == "/"):
            return name  # as nearly all are
        parts: list[str] = []
        for part in name.split("/"):
            if part == ".." and (parts and parts[-1] != ".." or absolute):
                parts[-1:] = []
            elif part not in ("", "."):
                parts.append(part)
        # POSIX lets two leading slashes mean something else; Linux does not use it, and os.path keeps them.
        lead = ("//" if name.startswith("//") and not name.startswith("///") else "/") if absolute else ""
        return lead + "/".join(parts) or "."

    @staticmethod
    def abspath(name: str) -> str:
        """Raises KernelError for a relative name in a directory that is gone."""
        if name.startswith("/"):
            return path.normpath(name)
        try:
            return path.normpath(path.join(posix.getcwd(), name))
        except OSError as error:
            raise errors.KernelError.of(f"working directory, for the path {name}", error) from error

    @staticmethod
    def relpath(name: str, start: str) -> str:
        """From an absolute directory to what lies in it or beside it."""
        here, there = path.abspath(start).split("/")[1:], path.abspath(name).split("/")[1:]
        here, there = [part for part in here if part], [part for part in there if part]
        common = 0
        while common < min(len(here), len(there)) and here[common] == there[common]:
            common += 1
        return "/".join([".."] * (len(here) - common) + there[common:]) or "."

    @staticmethod
    def exists(name: str) -> bool:
        return path._mode(name) != 0

    @staticmethod
    def isdir(name: str) -> bool:
        return path._mode(name) & 0o170000 == 0o040000

    @staticmethod
    def _mode(name: str) -> int:
        try:
            return posix.stat(name).st_mode
        except (OSError, ValueError):
            return 0

    @staticmethod
    def samestat(one: posix.stat_result, other: posix.stat_result) -> bool:
        return one.st_ino == other.st_ino and one.st_dev == other.st_dev
