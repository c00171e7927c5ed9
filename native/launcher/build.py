"""Build the launcher ``pyrunc``: a program with the interpreter inside, or a script for the interpreter.

The program (launcher.c) starts in two thirds of the time. It is made where it is known to work and can be linked: CPython of
a version in KNOWN with its static library. All others, and who sets PYRUNC_LAUNCHER=script, get the script. Both go through
the same door (door.py.in).
"""

from __future__ import annotations

import marshal
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
KNOWN = ((3, 11),)
"""The versions whose second phase was tried. The functions for it are CPython's own, and not promised to stay."""
SHEBANG_MAX = 255
"""The kernel reads no longer first line of a script (BINPRM_BUF_SIZE, execve(2))."""
FLAGS = ["-std=gnu11", "-O2", "-fno-pie", "-no-pie", "-s", "-Wl,-z,relro,-z,now"]


class NotKnown(Exception):
    """Why there will be no program."""


def interpreter() -> str:
    """The base interpreter, whatever environment the build runs in."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def script(places: list[str], sites: list[str]) -> str:
    """The launcher as a script. `places` are where, seen from the prefix of its own bin directory, the package may be; `sites`
    the directories of the base interpreter's packages. Raises ValueError for an interpreter that a first line cannot name."""
    first = f"#!{interpreter()} -ISXutf8\n"
    if len(os.fsencode(first)) > SHEBANG_MAX or any(letter.isspace() for letter in interpreter()):
        raise ValueError(f"the path of the interpreter cannot stand in a script's first line: {interpreter()!r}")
    return first + door(places, sites)


def program(compiler: list[str], warnings: list[str], places: list[str], sites: list[str]) -> bytes:
    """The launcher as a program, tried. Raises NotKnown."""
    if os.environ.get("PYRUNC_LAUNCHER") == "script":
        raise NotKnown("a script is wished")
    if sys.implementation.name != "cpython" or sys.version_info[:2] not in KNOWN:
        raise NotKnown(f"not tried with {sys.implementation.name} {sys.version_info.major}.{sys.version_info.minor}")
    with tempfile.TemporaryDirectory() as place:
        output = Path(place, "pyrunc")
        # Both phases, where no pyrunc can be found, not even an installed one: a failed import ends the second.
        link(output, compiler, warnings, [], [])
        said = subprocess.run([output, "version"], capture_output=True, text=True).stderr
        if "No module named 'pyrunc'" not in said:
            raise NotKnown(f"it does not work: {said}")
        link(output, compiler, warnings, places, sites)
        return output.read_bytes()


def link(output: Path, compiler: list[str], warnings: list[str], places: list[str], sites: list[str]) -> None:
    """Compile and link. Raises NotKnown."""
    library = Path(sysconfig.get_config_var("LIBPL") or "", sysconfig.get_config_var("LIBRARY") or "")
    if not library.is_file():
        raise NotKnown(f"the interpreter's static library is missing: {library}")
    with tempfile.TemporaryDirectory() as place:
        Path(place, "door.h").write_text(declarations(places, sites))
        command = [
            *compiler, *FLAGS, *warnings, f"-I{place}", f"-I{sysconfig.get_path('include')}", "-o", str(output),
            str(HERE / "launcher.c"), str(library), *libraries(), "-Wl,--export-dynamic",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise NotKnown(f"it cannot be linked:\n{done.stderr}")


def libraries() -> list[str]:
    """What the interpreter's built-in modules need: into the program, for each shared library is loaded at each start."""
    words = " ".join(sysconfig.get_config_var(name) or "" for name in ("MODLIBS", "SYSLIBS")).split()
    found = dict.fromkeys(word for word in words if word.startswith("-l"))
    return [word if word in ("-lm", "-ldl") else f"-l:lib{word[2:]}.a" for word in found] + ["-ldl"]


def door(places: list[str], sites: list[str]) -> str:
    """The Python of both."""
    text = (HERE / "door.py.in").read_text()
    return text.replace("@PLACES@", repr(places)).replace("@SITES@", repr(sites))


def declarations(places: list[str], sites: list[str]) -> str:
    """door.h."""
    library = [sysconfig.get_path("stdlib"), sysconfig.get_config_var("DESTSHARED")]
    lazy = (HERE / "lazy.py.in").read_text().replace("@PATHS@", repr(library))
    code = marshal.dumps(compile(f"{lazy}\n{door(places, sites)}", "pyrunc", "exec", dont_inherit=True, optimize=2))
    wide = {
        "INTERPRETER": interpreter(), "STDLIB": library[0], "EXTENSIONS": library[1],
        "PREFIX": sys.base_prefix, "EXEC_PREFIX": sys.base_exec_prefix,
    }  # fmt: skip
    lines = [f"static const unsigned char DOOR[] = {{{','.join(map(str, code))}}};"]
    lines += [f"#define {name} {wide_literal(value)}" for name, value in wide.items()]
    return "\n".join(lines) + "\n"


def wide_literal(text: str) -> str:
    """A string literal of C: wchar_t, no escape longer than its three digits."""
    letters = (f"\\{ord(letter):03o}" if letter in '"\\' else letter for letter in text)
    return 'L"' + "".join(letter if letter.isascii() else f"\\U{ord(letter):08x}" for letter in letters) + '"'
