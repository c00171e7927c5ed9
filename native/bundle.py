"""All modules of pyrunc in one file of code objects: ``pyrunc/_hot.bin``, for the launcher.

Why: `run` imports about 60 modules, and to find, stat, open and read each of them costs as much as to execute it. The file is
opened once; what a command always imports is one piece of it. The modules themselves stay beside it, for everybody else.
"""

from __future__ import annotations

import ast
import importlib.machinery
import marshal
import subprocess
import sys
from pathlib import Path
from types import CodeType
from typing import Any

LOADER = '''
import _imp
import marshal
import posix
import sys
from _frozen_importlib import ModuleSpec


def spec_of(name, is_package):
    place = root + "/" + name.replace(".", "/")
    spec = ModuleSpec(name, Bundle, origin=place + ("/__init__.py" if is_package else ".py"), is_package=is_package)
    if is_package:
        spec.submodule_search_locations.append(place)
    return spec


class Bundle:
    """Finds and executes modules that are imported one by one: what `orders` has not foreseen."""

    index = None  # name -> (is a package, place, size)

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name in extensions:
            return Extension.find(name, path or sys.path)
        if not name.startswith("pyrunc"):
            return None
        if cls.index is None:
            cls.index = cls._read(*index)
        entry = cls.index.get(name)
        return entry and spec_of(name, entry[0])

    @staticmethod
    def create_module(spec):
        return None

    @classmethod
    def exec_module(cls, module):
        module.__file__ = module.__spec__.origin
        exec(cls._read(*cls.index[module.__name__][1:]), module.__dict__)

    @staticmethod
    def _read(at, size):
        fd = posix.open(root + "/pyrunc/_hot.bin", posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            return marshal.loads(posix.pread(fd, size, begin + at))
        finally:
            posix.close(fd)


class Extension:
    """Compiled modules, found by asking for the file: the import system would list each directory on the way first."""

    @classmethod
    def find(cls, name, places):
        file = "/" + name.rpartition(".")[2] + suffix
        for place in places:
            try:
                posix.stat(place + file)
            except OSError:
                continue
            return ModuleSpec(name, cls, origin=place + file)
        return None  # for the import system to find: of another suffix

    create_module = staticmethod(_imp.create_dynamic)

    @staticmethod
    def exec_module(module):
        module.__file__ = module.__spec__.origin
        _imp.exec_dynamic(module)


def preload(at, size):
    """Execute modules in an order in which each finds what it imports: without the import system's own work per module.

    All are there from the start, because a package may import its own parts before it is done.
    """
    loaded = []
    for name, is_package, code in marshal.loads(posix.pread(bundle, size, begin + at)):
        module = sys.modules[name] = type(sys)(name)
        # An import asks the spec whether its module is complete: without one it would make and drop an AttributeError.
        module.__spec__ = spec = spec_of(name, is_package)
        module.__file__ = spec.origin
        parent, _, leaf = name.rpartition(".")
        module.__package__ = parent
        if is_package:
            module.__package__ = name
            module.__path__ = spec.submodule_search_locations
        loaded.append((module, code, parent, leaf))
    for module, code, parent, leaf in loaded:
        exec(code, module.__dict__)
        if parent:
            setattr(sys.modules[parent], leaf, module)


# After built-in and frozen modules, before who looks on a path.
sys.meta_path.insert(2, Bundle)
for word in sys.argv[1:]:
    if word in orders:
        preload(*orders[word][posix.access("/sys/fs/cgroup/cgroup.controllers", posix.F_OK)])
        break
'''


class Lean(ast.NodeTransformer):
    """Takes away what is there for type checkers only: a third of what would have to be unmarshalled."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.returns = None
        self.generic_visit(node)
        return node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt:
        self.generic_visit(node)
        return ast.copy_location(ast.Assign([node.target], node.value) if node.value else ast.Pass(), node)

    def visit_If(self, node: ast.If) -> ast.stmt:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" and not node.orelse:
            return ast.copy_location(ast.Pass(), node)
        self.generic_visit(node)
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.stmt:
        return ast.copy_location(ast.Pass(), node) if node.module == "__future__" else node


def beside(version: str, making: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Command -> what it loads beside its own two modules, on every host with cgroups of this version or on most.

    `making` is what only this version's limits and devices need. The loader guesses the version: what it has not foreseen is
    loaded when it is imported."""
    freezer = ("cgroups.freezer",)
    reopened = (*freezer, "cgroups.manager", f"cgroups.{version}")
    deleting = (*reopened, "runtime.kill")
    making = tuple(f"cgroups.{name}" for name in ("devices", "hierarchies", version, *making, "view"))
    making += ("kernel.host", "config._accept")
    return {
        "create": making, "run": (*making, "launch.foreground"),
        "exec": (*reopened, "launch.foreground"), "start": freezer, "state": freezer, "delete": deleting, "kill": (),
    }  # fmt: skip


VERSIONS = (beside("v1", ("limits_v1",)), beside("v2", ("limits_v2", "bpf", "delegation")))


TRACE = """
import sys, _frozen_importlib_external as external
sys.path.append(sys.argv[1])
sys.modules["pyrunc._shim"] = shim = type(sys)("pyrunc._shim")
shim.ffi = shim.lib = None
plain = external._LoaderBasics.exec_module
def traced(self, module):
    plain(self, module)
    if module.__name__.partition(".")[0] == "pyrunc":
        print(module.__name__)
external._LoaderBasics.exec_module = traced
for name in sys.argv[2:]:
    __import__(name)
"""

SUFFIX = importlib.machinery.EXTENSION_SUFFIXES[0]
EXTENSIONS = ("_cffi_backend", "_json", "_struct", "fcntl", "pyrunc._shim", "select")
"""What the commands load of compiled modules. Some interpreters have a few of them built in."""


def order_of(command: str, further: tuple[str, ...], package: Path) -> list[str]:
    """The modules that `command` always loads, each after those that it imports itself. The shim may not be built yet."""
    modules = [f"pyrunc.{name}" for name in ("cli.main", f"cli.{command}", f"runtime.{command}", *further)]
    words = [sys.executable, "-ISB", "-c", TRACE, str(package.parent), *modules]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    # One object for each name is one copy of it in the file.
    return [sys.intern(name) for name in done.stdout.split()]


def compiled(path: Path, place: str) -> CodeType:
    """Without docstrings and types, with line numbers: nothing reads the first, the log of a bug needs the second."""
    tree = ast.fix_missing_locations(Lean().visit(ast.parse(path.read_bytes(), place)))
    code = compile(tree, place, "exec", dont_inherit=True, optimize=2)
    assert isinstance(code, CodeType)
    return code


def make(package: Path) -> bytes:
    """The content of the file for the built `package`, good for interpreters of this version.

    Eight bytes say how long the marshalled (version, loader, what the loader is to know) is. What follows is marshalled, too:
    for each command that starts often all of its modules, in one piece, because what they share is then read once; each module;
    the index.
    """
    codes = {}
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package.parent)
        is_package = place.name == "__init__.py"
        name = sys.intern(".".join(place.parent.parts if is_package else place.with_suffix("").parts))
        codes[name] = (name, is_package, compiled(path, str(place)))
    body = bytearray()
    pieces: dict[bytes, tuple[int, int]] = {}

    def add(value: Any) -> tuple[int, int]:
        data = marshal.dumps(value)
        if data not in pieces:
            pieces[data] = (len(body), len(data))
            body.extend(data)
        return pieces[data]

    orders = {
        command: [add([codes[name] for name in order_of(command, version[command], package)]) for version in VERSIONS]
        for command in VERSIONS[0]
    }
    index = add({name: (is_package, *add(code)) for name, is_package, code in codes.values()})
    loader = marshal.dumps(compile(LOADER, "native/bundle.py", "exec", dont_inherit=True, optimize=2))
    known = {"orders": orders, "index": index, "extensions": EXTENSIONS, "suffix": SUFFIX}
    head = marshal.dumps((sys.implementation.cache_tag, loader, known))
    return len(head).to_bytes(8, "little") + head + body


if __name__ == "__main__":
    # Without the columns of each instruction (-X no_debug_ranges), which only a traceback with source would show.
    Path(sys.argv[2]).write_bytes(make(Path(sys.argv[1])))
