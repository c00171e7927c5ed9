"""All modules of pyrunc in one file of code objects: ``pyrunc/_hot.bin``, for the launcher.

Why: `run` imports about 60 modules, and to find, stat, open and read each of them costs as much as to execute it. The file is
read once; a module's code is unmarshalled when it is imported. The modules themselves stay beside it, for everybody else.
"""

from __future__ import annotations

import importlib.util
import marshal
from pathlib import Path

FILE = "_hot.bin"

LOADER = '''
import marshal
import sys
from _frozen_importlib import ModuleSpec


class Bundle:
    """Finds and executes what is in `modules`: name -> (is a package, path below `root`, code)."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        entry = modules.get(name)
        if entry is None:
            return None
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
        exec(marshal.loads(modules[module.__name__][2]), module.__dict__)


sys.meta_path.insert(0, Bundle)
'''


def make(package: Path) -> bytes:
    """The content of the file for the built `package`, good for interpreters with this one's magic number."""
    modules = {}
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package.parent)
        is_package = place.name == "__init__.py"
        name = ".".join(place.parent.parts if is_package else place.with_suffix("").parts)
        # Without docstrings, with line numbers: nothing reads the first, the log of a bug needs the second.
        code = compile(path.read_bytes(), str(place), "exec", dont_inherit=True, optimize=2)
        modules[name] = (is_package, str(place), marshal.dumps(code))
    loader = compile(LOADER, "native/bundle.py", "exec", dont_inherit=True, optimize=2)
    return marshal.dumps((importlib.util.MAGIC_NUMBER, loader, modules))
