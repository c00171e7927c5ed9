"""The build: what pyproject.toml cannot say.

One ``pip install .`` makes, besides the Python modules, the cffi extension ``pyrunc._shim``, the static ``pyrunc/pyrunc-init``,
the generated modules, the launcher for the base interpreter, man pages and completions.
``python3 setup.py build_inplace`` makes the same, but for the last two, inside the source tree, with ``build/pyrunc`` as the
launcher of that tree.
"""

from __future__ import annotations

import fcntl
import functools
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from distutils.command.build_scripts import build_scripts
from distutils.command.install_data import install_data
from pathlib import Path
from typing import Any, NoReturn

from setuptools import Command, Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
NATIVE = ROOT / "native"
SHIM = NATIVE / "shim"
sys.path.insert(0, str(ROOT))

from native import build_shim, gen_consts  # noqa: E402
from native.launcher import build as build_launcher  # noqa: E402

WARNINGS = ["-Wall", "-Wextra", "-Werror"]
INIT_FLAGS = [
    *["-std=gnu11", "-Os", "-ffreestanding", "-nostdlib", "-static", "-fno-pie", "-no-pie", "-fno-stack-protector"],
    *["-fno-asynchronous-unwind-tables", "-Wl,--build-id=none,-z,noexecstack", "-s", *WARNINGS, f"-I{NATIVE}"],
]
HEADERS = {"stdio.h": "libc6-dev", "linux/openat2.h": "linux-libc-dev", "Python.h": "python3-dev"}


def fail(line: str) -> NoReturn:
    """End the build with one line for the user."""
    raise SystemExit(f"pyrunc: {line}")


@functools.cache
def compiler() -> list[str]:
    """The C compiler's command, once it is known to be there with every header that the build includes."""
    command = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "gcc")
    if not shutil.which(command[0]):
        fail(f"no C compiler ({command[0]}) was found: apt-get install gcc")
    if not includes(command, *HEADERS):
        for header, package in HEADERS.items():
            if not includes(command, header):
                fail(f"{header} is missing: apt-get install {package}")
    return command


def includes(command: list[str], *headers: str) -> bool:
    """True when the preprocessor finds the headers."""
    text = "".join(f"#include <{header}>\n" for header in headers)
    python = [f"-I{sysconfig.get_path(name)}" for name in ("include", "platinclude")]
    return subprocess.run([*command, *python, "-E", "-"], input=text.encode(), capture_output=True).returncode == 0


def write(path: Path, content: bytes | str, mode: int = 0o644) -> None:
    """Replace a file in one step, for those who run it meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content if isinstance(content, bytes) else content.encode())
    temporary.chmod(mode)
    temporary.replace(path)


def build_init(output: Path) -> None:
    temporary = output.with_name(f".{output.name}.{os.getpid()}")
    sources = [str(source) for source in sorted((NATIVE / "init").glob("*.c"))]
    if subprocess.run([*compiler(), *INIT_FLAGS, "-o", str(temporary), *sources]).returncode:
        fail("pyrunc-init does not compile")
    temporary.replace(output)


def build_accept(output: Path) -> None:
    if subprocess.run([sys.executable, str(ROOT / "spec/generate.py"), str(output)]).returncode:
        fail("spec/generate.py could not generate the accept path")


def build_opcodes(output: Path) -> None:
    from native import gen_opcodes

    write(output, gen_opcodes.generate())


def build_consts(output: Path) -> None:
    write(output, gen_consts.generate(compiler()))


PRODUCTS: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "config/_accept.py": (build_accept, ["spec/generate.py", "spec/*.json"]),
    "kernel/consts.py": (build_consts, ["native/gen_consts.py"]),
    "plan/opcodes.py": (build_opcodes, ["native/gen_opcodes.py", "native/plan.h"]),
    "pyrunc-init": (build_init, ["native/init/*.[ch]", "native/plan.h", "setup.py"]),
}


def build_products(package: Path, *, fresh: bool) -> None:
    """Make what is generated or linked, below `package`; all of it if `fresh`, else what is older than its sources."""
    for name, (build, patterns) in PRODUCTS.items():
        sources = [source for pattern in patterns for source in ROOT.glob(pattern)]
        output = package / name
        if fresh or not output.exists() or output.stat().st_mtime < max(source.stat().st_mtime for source in sources):
            build(output)


def build_bundle(package: Path) -> None:
    command = [sys.executable, "-X", "no_debug_ranges", str(NATIVE / "bundle.py"), str(package), str(package / "_hot.bin")]
    if subprocess.run(command).returncode:
        fail("the modules cannot be compiled into one file")


def launcher(places: list[str]) -> bytes:
    """The file ``pyrunc``. `places` are where, seen from the prefix of its own bin directory, the package may be."""
    sites = base_sites(build_launcher.interpreter())
    try:
        return build_launcher.program(compiler(), WARNINGS, places, sites)
    except build_launcher.NotKnown as reason:
        print(f"pyrunc: the launcher is a script, which starts more slowly: {reason}", file=sys.stderr)
    try:
        return build_launcher.script(places, sites).encode()
    except ValueError as error:
        fail(str(error))


def base_sites(interpreter: str) -> list[str]:
    """The base interpreter's own site directories, in which a distribution's cffi and jsonschema are."""
    ask = "import site; print(*site.getsitepackages(), sep='\\n')"
    return subprocess.run([interpreter, "-I", "-c", ask], capture_output=True, text=True, check=True).stdout.splitlines()


def install_places() -> list[str]:
    """Where pip puts packages below a prefix: everywhere, and on Debian, whose pip and dpkg have names of their own."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return [f"/{sys.platlibdir}/{version}/site-packages", f"/lib/{version}/dist-packages", "/lib/python3/dist-packages"]


class BuildPy(build_py):  # type: ignore[misc]
    def run(self) -> None:
        package = Path(self.build_lib, "pyrunc")
        # What an earlier build left there would be packed as well.
        shutil.rmtree(package, ignore_errors=True)
        super().run()
        build_products(package, fresh=True)
        for schema in sorted(ROOT.glob("spec/*.schema.json")):
            write(package / "schemas" / schema.name, schema.read_bytes())
        build_bundle(package)


class BuildExt(build_ext):  # type: ignore[misc]
    def build_extension(self, ext: Any) -> None:
        compiler()
        source = Path(self.build_temp, "_shim.c")
        try:
            build_shim.emit(SHIM, source)
        except ModuleNotFoundError:
            fail("cffi is missing: apt-get install python3-cffi")
        ext.sources = [str(source), *map(str, build_shim.topics(SHIM, ".c"))]
        ext.depends = [*map(str, build_shim.topics(SHIM, ".h")), *map(str, build_shim.topics(SHIM, ".cdef"))]
        super().build_extension(ext)


class BuildScripts(build_scripts):
    # distutils would rewrite the first line, and pip after it, and both lose the options.
    def run(self) -> None:
        write(Path(self.build_dir, "pyrunc"), launcher(install_places()), 0o755)


class InstallData(install_data):
    """Man pages and completions, made from the option tables."""

    def run(self) -> None:
        import manual

        place = Path(self.get_finalized_command("build").build_temp, "manual")
        self.data_files = []
        for name, text in manual.files().items():
            write(place / name, text)
            self.data_files.append((os.path.dirname(name), [str(place / name)]))
        super().run()


class BuildInplace(Command):  # type: ignore[misc]
    """The developer's build: everything into the source tree, one build at a time."""

    description = "build everything into the source tree and build/pyrunc to run it"
    user_options: list[tuple[str, str | None, str]] = []

    def initialize_options(self) -> None: ...

    def finalize_options(self) -> None: ...

    def run(self) -> None:
        (ROOT / "build").mkdir(exist_ok=True)
        with open(ROOT / "build/.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            write(ROOT / "build/pyrunc", launcher([""]), 0o755)
            command = self.reinitialize_command("build_ext", inplace=True)
            command.ensure_finalized()
            command.run()
            build_products(ROOT / "pyrunc", fresh=False)


setup(
    license="Apache-2.0",  # not in pyproject.toml, whose form for it differs between Debian 12's setuptools and today's
    cmdclass={
        "build_py": BuildPy,
        "build_ext": BuildExt,
        "build_scripts": BuildScripts,
        "build_inplace": BuildInplace,
        "install_data": InstallData,
    },
    ext_modules=[
        Extension(
            build_shim.MODULE,
            sources=[],
            include_dirs=[str(SHIM), str(NATIVE)],
            libraries=["dl"],
            extra_compile_args=["-std=gnu11", "-O2", *WARNINGS],
            extra_link_args=["-s"],
        )
    ],
    scripts=["native/launcher/door.py.in"],
    data_files=[("share", [])],  # InstallData knows what; without an entry it is not called
)
