"""The source of ``pyrunc._shim``: one cffi extension from every topic in native/shim.

A topic is ``X.c`` with its prototypes in ``X.h`` and, in ``X.cdef``, those of them that Python calls
(declarations as cffi reads them: no preprocessor, constants as ``static const`` or ``#define X ...``).
"""

from __future__ import annotations

from pathlib import Path

MODULE = "pyrunc._shim"


def topics(shim: Path, suffix: str) -> list[Path]:
    """The files of native/shim with this suffix, in an order that does not depend on the file system."""
    return sorted(shim.glob("*" + suffix))


def emit(shim: Path, output: Path) -> None:
    """Write the extension's C source. Raises cffi's CDefError or FFIError when a .cdef is wrong, naming the line."""
    from cffi import FFI

    ffi = FFI()
    for cdef in topics(shim, ".cdef"):
        ffi.cdef(cdef.read_text())
    includes = "".join(f'#include "{header.name}"\n' for header in topics(shim, ".h"))
    ffi.set_source(MODULE, includes)
    output.parent.mkdir(parents=True, exist_ok=True)
    ffi.emit_c_code(str(output))
