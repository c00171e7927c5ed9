"""All modules of pyrunc in one file of code objects: ``pyrunc/_hot.bin``, for the launcher.

Why: `run` imports about 60 modules, and to find, stat, open and read each of them costs as much as to execute it. The file is
opened once; a module's code is read when it is imported. The modules themselves stay beside it, for everybody else.
"""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
import marshal
import subprocess
import sys
from pathlib import Path

LOADER = '''
import marshal
import posix
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import ExtensionFileLoader, spec_from_file_location


def run(module, fd):
    _, _, at, size = modules[module.__name__]
    exec(marshal.loads(posix.pread(fd, size, begin + at)), module.__dict__)


class Bundle:
    """Finds and executes what is in `modules`: name -> (is a package, path below `root`, place after `begin`, size)."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        entry = modules.get(name)
        if entry is None:
            return extension(name, path or sys.path) if name in extensions else None
        spec = ModuleSpec(name, Bundle, origin=root + "/" + entry[1], is_package=entry[0])
        spec.has_location = True
        if entry[0]:
            spec.submodule_search_locations.append(spec.origin.rpartition("/")[0])
        return spec

    @staticmethod
    def create_module(spec):
        return None

    @staticmethod
    def exec_module(module):
        fd = posix.open(root + "/pyrunc/_hot.bin", posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            run(module, fd)
        finally:
            posix.close(fd)


def extension(name, places):
    """A compiled module, found by asking for its file: the import system would list each directory on the way first."""
    file = "/" + name.rpartition(".")[2] + suffix
    for place in places if name not in sys.builtin_module_names else ():
        try:
            posix.stat(place + file)
        except OSError:
            continue
        return spec_from_file_location(name, place + file, loader=ExtensionFileLoader(name, place + file))
    return None  # for the import system to find: a part of the interpreter, or of another suffix


def preload(names):
    """Execute modules in an order in which each finds what it imports: without the import system's own work per module.

    All are there from the start, because a package may import its own parts before it is done.
    """
    for name in names:
        package, path, _, _ = modules[name]
        module = sys.modules[name] = type(sys)(name)
        module.__file__ = root + "/" + path
        module.__package__ = name if package else name.rpartition(".")[0]
        if package:
            module.__path__ = [module.__file__.rpartition("/")[0]]
    for name in names:
        run(sys.modules[name], bundle)
        parent, _, leaf = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], leaf, sys.modules[name])


sys.meta_path.insert(0, Bundle)
for word in sys.argv[1:]:
    if word in orders:
        preload(orders[word][posix.access("/sys/fs/cgroup/cgroup.controllers", posix.F_OK)])
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
    making = tuple(f"cgroups.{name}" for name in ("devices", "hierarchies", version, *making, "view"))
    making += ("kernel.host", "config._accept")
    return {
        "create": making, "run": (*making, "launch.foreground"),
        "exec": (*reopened, "launch.foreground"), "start": freezer, "state": freezer, "delete": reopened, "kill": (),
    }  # fmt: skip


VERSIONS = (beside("v1", ("limits_v1",)), beside("v2", ("limits_v2", "bpf", "delegation")))


TRACE = '''
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
'''

SUFFIX = importlib.machinery.EXTENSION_SUFFIXES[0]
EXTENSIONS = ("_cffi_backend", "_json", "fcntl", "pyrunc._shim", "select")
"""What the commands load of compiled modules. Some interpreters have a few of them built in."""


def order_of(command: str, further: tuple[str, ...], package: Path) -> list[str]:
    """The modules that `command` always loads, each after those that it imports itself. The shim may not be built yet."""
    modules = [f"pyrunc.{name}" for name in ("cli.main", f"cli.{command}", f"runtime.{command}", *further)]
    words = [sys.executable, "-ISB", "-c", TRACE, str(package.parent), *modules]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    # One object for each name is one copy of it in the file.
    return [sys.intern(name) for name in done.stdout.split()]


def make(package: Path) -> bytes:
    """The content of the file for the built `package`, good for interpreters with this one's magic number.

    Eight bytes say how long the marshalled (magic number, loader, what the loader is to know) is, the code objects follow.
    """
    modules = {}
    codes = bytearray()
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package.parent)
        is_package = place.name == "__init__.py"
        name = ".".join(place.parent.parts if is_package else place.with_suffix("").parts)
        # Without docstrings and types, with line numbers: nothing reads the first, the log of a bug needs the second.
        tree = Lean().visit(ast.parse(path.read_bytes(), str(place)))
        code = compile(ast.fix_missing_locations(tree), str(place), "exec", dont_inherit=True, optimize=2)
        data = marshal.dumps(code)
        modules[sys.intern(name)] = (is_package, str(place), len(codes), len(data))
        codes += data
    loader = compile(LOADER, "native/bundle.py", "exec", dont_inherit=True, optimize=2)
    orders = {command: [order_of(command, version[command], package) for version in VERSIONS] for command in VERSIONS[0]}
    known = {"modules": modules, "orders": orders, "extensions": EXTENSIONS, "suffix": SUFFIX}
    head = marshal.dumps((importlib.util.MAGIC_NUMBER, loader, known))
    return len(head).to_bytes(8, "little") + head + codes


if __name__ == "__main__":
    # Without the columns of each instruction (-X no_debug_ranges), which only a traceback with source would show.
    Path(sys.argv[2]).write_bytes(make(Path(sys.argv[1])))
