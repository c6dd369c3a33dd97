"""Let a ``model.py`` import the files beside it, each model its own.

The file is run as a package whose one folder is its own, under a name that no other module has.
``import helper`` in it, or in a file beside it, gives ``<package>.helper`` where such a file is
there: two models with a ``helper.py`` each, or two versions of one model, share nothing. It holds
for imports at the top and for those inside functions, whenever and in whatever thread they run:
Python asks ``__import__`` of the module that the function is from.

A file beside ``model.py`` goes before an installed module of the same name, as in a script. A
folder without ``__init__.py`` (data, as a rule) does not.

Not reached: ``importlib.import_module("helper")``, which does not say who asks (write
``import_module(".helper", __package__)``), and pickles that name such a module.
"""

import builtins
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Final

_real_import: Final = builtins.__import__


class Package:
    """The modules of one model, in ``sys.modules`` from :meth:`run` until :meth:`forget`."""

    def __init__(self, name: str, file: Path) -> None:
        self.name = name
        self._file = file
        self._folder = str(file.parent)
        self._beside: dict[str, bool] = {}
        self._builtins = {**vars(builtins), "__import__": self._import}

    def run(self) -> ModuleType:
        """The module of the file, freshly run.

        Raises:
            BaseException: whatever it raises; nothing is left of it
        """
        made = spec_from_file_location(
            self.name,
            self._file,
            loader=_Loader(self.name, str(self._file), self._builtins),
            submodule_search_locations=[self._folder],
        )
        assert made is not None, self._file
        assert made.loader is not None, self._file
        module = module_from_spec(made)
        sys.modules[self.name] = module
        sys.modules[f"{self.name}.{self._file.stem}"] = module  # `import model` in a file beside it
        _finder.packages[self.name] = self
        try:
            made.loader.exec_module(module)
        except BaseException:
            self.forget()
            raise
        return module

    def forget(self) -> None:
        """Nothing finds its modules any more."""
        _finder.packages.pop(self.name, None)
        for name in [each for each in list(sys.modules) if _is_of(each, self.name)]:
            sys.modules.pop(name, None)

    def find(self, name: str, path: Sequence[str] | None) -> ModuleSpec | None:
        """A module of this package: it imports as the package does."""
        found = PathFinder.find_spec(name, path)
        if found is not None and type(found.loader) is SourceFileLoader:
            found.loader = _Loader(name, found.loader.path, self._builtins)
        return found

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002 -- as Python calls it
        locals: Mapping[str, Any] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        first = name.partition(".")[0]
        # An empty list is how C code asks, for the code that runs: it means the shared module.
        if level or isinstance(fromlist, list) or not self._is_beside(first):
            return _real_import(name, globals, locals, fromlist, level)
        found = _real_import(f"{self.name}.{name}", globals, locals, fromlist, 0)
        return found if fromlist else sys.modules[f"{self.name}.{first}"]

    def _is_beside(self, first: str) -> bool:
        if first not in self._beside:
            self._beside[first] = self._look_for(first)
        return self._beside[first]

    def _look_for(self, first: str) -> bool:
        if first == self._file.stem:
            return True
        found = PathFinder.find_spec(first, [self._folder])
        if found is None:
            return False
        if found.origin is not None:
            return True
        try:
            return find_spec(first) is None
        except ValueError:  # it is there, and was made by hand
            return False


def _is_of(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


class _Loader(SourceFileLoader):
    """Runs a file with builtins of its package's own."""

    def __init__(self, name: str, path: str, own: dict[str, Any]) -> None:
        super().__init__(name, path)
        self._own = own

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = self._own
        super().exec_module(module)


class _Finder(MetaPathFinder):
    """Finds the modules of all packages here; asked before the others, for names of ours alone."""

    def __init__(self) -> None:
        self.packages: dict[str, Package] = {}

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,  # noqa: ARG002 -- the protocol's
    ) -> ModuleSpec | None:
        package = self.packages.get(fullname.partition(".")[0])
        return package.find(fullname, path) if package else None


_finder: Final = _Finder()
sys.meta_path.insert(0, _finder)
