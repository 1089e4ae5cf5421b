"""Modules of a package without the rest of it: which code runs, what replaces the rest, and what stays imported."""

import importlib
import sys

import pytest

from experiments.bench.partial_import import partial

FILES = {
    "large/__init__.py": "raise RuntimeError('all of it')",
    "large/part/__init__.py": "raise RuntimeError('all of the part')",
    "large/part/step.py": """
import heavy
from heavy.tools import Client, field
from large import logger
from large.model import Root
import installed

class Config:
    value: "Client | None" = field(default=3)

def log(x):
    return heavy.Histogram(x)
""",
    "large/model.py": "raise RuntimeError('the model')",
    "large/root.py": "class Root: pass",
    "installed.py": "here = True",
}


@pytest.fixture
def large(tmp_path, monkeypatch):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("installed", None)


def load():
    with partial(("large", "large.part"), ("heavy", "installed"), {"large.model": "large.root"}):
        return importlib.import_module("large.part.step")


def test_a_module_comes_without_its_packages_and_without_what_is_not_installed(large):
    step = load()
    assert step.Root.__module__ == "large.root"
    assert step.logger.name == "large"
    assert isinstance(step.log([1]), step.Client)  # a placeholder takes everything
    assert step.installed.here  # what is there is no placeholder


def test_afterwards_the_package_is_imported_as_it_is(large):
    load()
    assert not [name for name in sys.modules if name.split(".")[0] in ("large", "heavy")]
    with pytest.raises(RuntimeError, match="all of it"):
        importlib.import_module("large")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("heavy")


def test_what_was_imported_before_is_there_again(large, monkeypatch):
    before = type(sys)("large")
    monkeypatch.setitem(sys.modules, "large", before)
    load()
    assert sys.modules["large"] is before


def test_a_package_that_is_not_there_is_named(large):
    with pytest.raises(ModuleNotFoundError, match="small"), partial(("small",), ()):
        pass
    assert not [finder for finder in sys.meta_path if type(finder).__name__ == "_Absent"]
