"""``pyrunc version`` and ``--version``. Callers read the first three lines by their position, as runc's."""

from __future__ import annotations

import sys

import pyrunc
from pyrunc.cli.emit import out
from pyrunc.cli.options import Command, Given

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.log import Context

COMMAND = Command("version", "", "print the version", "Prints what --version prints.", least=0, most=0)


def execute(ctx: Context, given: Given) -> int:
    out(text())
    return 0


def text() -> str:
    """The lines of ``--version``: our own, the build's commit, the spec's, then what we stand on."""
    lines = [
        f"pyrunc version {pyrunc.__version__}",
        f"commit: {getattr(pyrunc, '__commit__', 'unknown')}",
        f"spec: {pyrunc.SPEC_VERSION}",
        f"python: {sys.version.split()[0]}",
    ]
    seccomp = _libseccomp()
    if seccomp:
        lines.append(f"libseccomp: {seccomp}")
    return "\n".join(lines) + "\n"


def _libseccomp() -> str:
    """The version of the libseccomp that would be loaded, seccomp_version(3); empty if there is none."""
    import ctypes

    try:
        version = ctypes.CDLL("libseccomp.so.2").seccomp_version
    except (OSError, AttributeError):
        return ""
    version.restype = ctypes.POINTER(ctypes.c_uint * 3)
    return ".".join(map(str, version().contents))
