"""Load JSON: config.json, process files, resources. What pyrunc itself has written is for kernel/json.py.

On the hot path: the C half of the json module does the work without its Python half, and the generated
accept path judges the document. Only a refusal loads more, to say what is wrong and where.
"""

from __future__ import annotations

from pyrunc import errors
from pyrunc.errors import strerror
from pyrunc.kernel import json, os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

LIMIT = 16 << 20  # bytes; containerd's and podman's largest are some tens of KiB
BLANK = " \t\n\r"
SHOWN_FAULTS = 50  # callers such as conmon read at most 8 KiB of the message


def load_config(path: str) -> tuple[dict[str, Any], bytes, bool]:
    """Load a bundle's configuration and put it into normal form (docs/schema.md); also the file's bytes, and whether that is
    the form in which they are.

    Raises ConfigError with every fault that the schema finds; the rules beyond it are pyrunc.config.rules'.
    """
    from pyrunc.config._accept import accept_config, changes

    name = os.path.basename(path)
    try:
        text = read(path)
    except FileNotFoundError as error:
        directory = os.path.dirname(path)
        if directory and not os.path.exists(directory):
            raise errors.ConfigError(f"open {directory}: {strerror(error.errno or 0)}") from None
        raise errors.ConfigError(f"JSON specification file {name} not found") from None
    except OSError as error:
        raise errors.ConfigError(f"read {path}: {strerror(error.errno or 0)}") from None
    before = len(changes)
    document = _document(text, name, "config", accept_config)
    return document, text, len(changes) == before


def load_process(path: str) -> dict[str, Any]:
    """Load a process file, as exec --process takes it: the config's `process` alone. Raises ConfigError."""
    from pyrunc.config._accept_process import accept_process

    try:
        text = read(path)
    except OSError as error:
        raise errors.ConfigError(f"open {path}: {strerror(error.errno or 0)}") from None
    return _document(text, path, "process", accept_process)


def load_resources(text: bytes, name: str) -> dict[str, Any]:
    """Parse the `linux.resources` that update takes; `name` is what messages call it. Raises ConfigError."""
    from pyrunc.config._accept import accept_resources

    return _document(text, name, "resources", accept_resources)


def check_resources(document: dict[str, Any], name: str) -> dict[str, Any]:
    """Judge `linux.resources` that were not read from JSON. Raises ConfigError."""
    from pyrunc.config._accept import accept_resources

    return _judged(document, name, "resources", accept_resources)


def loads(text: bytes, name: str) -> Any:
    """Parse any JSON. Unlike Go's, nothing may follow the value, and unlike Python's, NaN and Infinity are no values.

    An escaped lone surrogate stays one: so `kernel.json.dumps` carries a path of arbitrary bytes through a file of our own.
    Raises ConfigError with `name`, line and column (both from 1, in characters).
    """
    return _parse(text, name)[0]


def read(path: str) -> bytes:
    """The bytes of a file, pipe or device. Raises OSError, and ConfigError beyond LIMIT."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        chunks = []
        left = LIMIT
        while chunk := os.read(fd, 1 << 15):  # pieces that the allocator keeps
            chunks.append(chunk)
            left -= len(chunk)
            if left < 0:
                raise errors.ConfigError(f"{path}: larger than {LIMIT >> 20} MiB")
    finally:
        os.close(fd)
    return b"".join(chunks)


def _document(text: bytes, name: str, kind: str, accept: Callable[[object], bool]) -> dict[str, Any]:
    document, string = _parse(text, name)
    # To look for one character is ten times as quick as for two.
    if "\\" in string and "\\u" in string:
        from pyrunc.config.faults import fault, lone_surrogate

        if (at := lone_surrogate(string)) >= 0:
            # Python would make it a string that is no text, and one of \udc80 to \udcff a byte of the author's choice.
            raise fault(name, string, at, "expected text, found half of a surrogate pair")
    return _judged(document, name, kind, accept)


def _judged(document: Any, name: str, kind: str, accept: Callable[[object], bool]) -> dict[str, Any]:
    if not accept(document):
        from pyrunc.config.validate import explain

        faults = explain(document, kind)
        if len(faults) > SHOWN_FAULTS:
            faults[SHOWN_FAULTS:] = [("", f"and {len(faults) - SHOWN_FAULTS} more")]
        raise errors.ConfigError(faults, prefix=f"{name}: ")
    accepted: dict[str, Any] = document
    return accepted


def _parse(text: bytes, name: str) -> tuple[Any, str]:
    try:
        string = text.decode()
        start = len(string) - len(string.lstrip(BLANK))
        value, end = json.scan(string, start)
    except RecursionError:
        raise errors.ConfigError(f"{name}: nested too deeply") from None
    except (ValueError, StopIteration) as error:
        from pyrunc.config.faults import explained

        raise explained(name, text, error) from None
    if rest := string[end:].lstrip(BLANK):
        from pyrunc.config.faults import beyond

        raise beyond(name, string, rest)
    return value, string
