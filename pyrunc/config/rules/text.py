"""Rules for strings that reach the kernel, shared by the rooms of the configuration.

Every function appends to `faults`, the list of (JSON path, text) that becomes one ConfigError. A null counts as absent.
"""

from __future__ import annotations

from pyrunc.kernel import os
from pyrunc.kernel.json import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Faults = list[tuple[str, str]]


def quote(text: str) -> str:
    """`text` in double quotes, on one line and in ASCII, whatever it holds."""
    return dumps(text)


def clean(path: str) -> str:
    """`path` seen from the container's root: absolute, without ``.``, ``..`` and doubled slashes, links not followed."""
    return os.path.normpath("/" + path.lstrip("/"))


def fit(text: str) -> bool:
    """Whether the kernel can be given `text`: no NUL, which would end it early (CVE-2021-43784), and encodable."""
    if "\0" in text:
        return False
    if text.isascii():
        return True
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def check_text(faults: Faults, at: str, text: str | None) -> bool:
    """A string without NUL and without half of a surrogate pair. Answers whether it is sound."""
    if not text or fit(text):
        return True
    faults.append((at, "must not contain NUL" if "\0" in text else "must be encodable as UTF-8"))
    return False


def check_texts(faults: Faults, at: str, texts: Sequence[str] | None) -> None:
    """The same for a list, in one look as long as nothing is wrong."""
    if texts and not fit("\n".join(texts)):
        for i, text in enumerate(texts):
            check_text(faults, f"{at}[{i}]", text)


def check_absolute(faults: Faults, at: str, path: str) -> bool:
    """An absolute path. Answers whether it is sound."""
    if path.startswith("/"):
        return check_text(faults, at, path)
    faults.append((at, f"must be an absolute path, is {quote(path)}" if path else "must not be empty"))
    return False


def check_absolutes(faults: Faults, at: str, paths: Sequence[str] | None) -> None:
    for i, path in enumerate(paths or ()):
        if path[:1] != "/":
            check_absolute(faults, f"{at}[{i}]", path)
    check_texts(faults, at, paths)


def check_env(faults: Faults, at: str, env: Sequence[str] | None) -> None:
    """Entries are NAME=value with a name. Values are often secrets, so no message shows one."""
    for i, entry in enumerate(env or ()):
        if entry.find("=") < 1:
            faults.append((f"{at}[{i}]", "must be NAME=value with a name that is not empty"))
    check_texts(faults, at, env)


def member(at: str, key: str) -> str:
    """The JSON path of a map's entry, whose key may hold dots: ``linux.sysctl["net.core.somaxconn"]``."""
    return f"{at}.{key}" if key.isidentifier() and key.isascii() else f"{at}[{quote(key)}]"


def one_of(names: Iterable[str]) -> str:
    return "must be one of " + ", ".join(names)
