"""Imports a few modules of a large package without the rest of it.

SAELens's trainer imports a model library, a dataset library and the client of a logging service. That takes 7 s and
needs dozens of packages that a machine without a network may lack. Its training step needs none of them.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import logging
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


@contextlib.contextmanager
def partial(bare: Sequence[str], absent: Sequence[str], given: Mapping[str, str] | None = None) -> Iterator[None]:
    """A context in which the `bare` packages are imported without their `__init__`, the `absent` packages that are not
    installed are placeholders, and each module in `given` has the content of another module instead of its own.

    On exit sys.modules is restored, so that the packages can be imported normally later.
    """
    given = given or {}
    tops = {name.split(".")[0] for name in (*bare, *given)}
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] in tops}
    finder = _Absent(absent)
    sys.meta_path.append(finder)  # last, so that installed packages are found by the other finders first
    try:
        for name in bare:
            sys.modules[name] = _bare(name)
        for name, other in given.items():
            sys.modules[name] = importlib.import_module(other)
        yield
    finally:
        sys.meta_path.remove(finder)
        for name, module in list(sys.modules.items()):
            if name.split(".")[0] in tops or isinstance(module, _Placeholder):
                del sys.modules[name]
        sys.modules.update(before)


def _bare(name: str) -> types.ModuleType:
    """A package that only locates its modules, with the version and the logger that they read from it."""
    parent = name.rpartition(".")[0]
    spec = importlib.machinery.PathFinder.find_spec(name, sys.modules[parent].__path__ if parent else None)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    module = types.ModuleType(name)
    module.__path__, module.logger = list(spec.submodule_search_locations), logging.getLogger(name)
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        module.__version__ = importlib.metadata.version(name.split(".")[0])
    return module


class _Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, names: Sequence[str]):
        self._names = set(names)

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        found = name.split(".")[0] in self._names
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if found else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Placeholder(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


class _Placeholder(types.ModuleType):
    """A module from which any name can be imported; every name is a dummy class."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Nothing


class _Anything(type):
    """The metaclass of a class for which every attribute is the class itself."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return cls


class _Nothing(metaclass=_Anything):
    def __init__(self, *args: Any, **kwargs: Any):
        pass
