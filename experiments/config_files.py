"""Finds and runs the configuration that `--config=NAME[:variant]` or `--config=FILE.py[:variant]` names."""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.util
import inspect
import os
import pathlib
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.machinery import SourceFileLoader
from types import ModuleType
from typing import Any

from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.locations import is_url, local_path

CONFIGS = pathlib.Path(__file__).parent / "configs"


def shipped() -> list[str]:
    """The names of the configurations that come with the program."""
    return sorted(p.stem for p in CONFIGS.glob("*.py") if p.stem != "__init__")


def variants(name: str) -> tuple[str, ...]:
    """The variants of a shipped configuration."""
    return getattr(importlib.import_module(f"experiments.configs.{name}"), "VARIANTS", ())


def with_value(cls: type, key: str, values: Sequence[Any]) -> str:
    """The shipped configuration for `cls` whose dotted `key` has the first of `values` that any has; "" if none has."""
    names: dict[Any, str] = {}
    for name in shipped():
        found = load(name)
        if type(found) in cls.__mro__:
            names.setdefault(functools.reduce(getattr, key.split("."), found), name)
    return next((names[value] for value in values if value in names), "")


def load(spec: str) -> Any:
    """What `get_config` of the configuration returns: a frozen dataclass, a ConfigDict or nested dictionaries.

    A file that exists comes before a shipped one, unless only a bare name is given: `topk` is always the shipped one,
    and `experiments/configs/topk.py` is found from any folder. Raises BadInput when there is no such configuration or
    variant, or when the file fails.
    """
    name, colon, variant = spec.partition(":")
    local_path(spec if is_url(spec) else name, "--config")  # refuses what is not a path on this machine
    module = _run(spec, _module, name)
    if not callable(getattr(module, "get_config", None)):
        raise BadInput(f"--config={spec}: {name} has no function get_config()")
    _check_variant(spec, module, variant if colon else None)
    return _run(spec, module.get_config, *([variant] if colon else []))


def _module(name: str) -> ModuleType:
    path = pathlib.Path(name).expanduser()
    names = shipped()
    bare = path.name == name and path.suffix != ".py"
    if path.is_file() and not (bare and name in names):
        return _of_file(path)
    ours = bare or path.name == name or path.parts[-3:-1] == ("experiments", "configs")
    if ours and path.stem in names:
        return importlib.import_module(f"experiments.configs.{path.stem}")
    if path.exists():
        raise BadInput(f"--config={name} is a directory: expected a Python file or the name of a configuration")
    near = difflib.get_close_matches(path.stem, names, n=3, cutoff=0.5)
    hint = f"nearest: {', '.join(near)}" if near else f"shipped: {', '.join(names)}"
    raise BadInput(f"--config={name}: neither the path of a file nor a shipped configuration; {hint}")


def _of_file(path: pathlib.Path) -> ModuleType:
    loader = SourceFileLoader("config_file", str(path))  # whatever the suffix is
    found = importlib.util.spec_from_file_location("config_file", path, loader=loader)
    assert found
    module = sys.modules["config_file"] = importlib.util.module_from_spec(found)  # dataclasses in it look there
    loader.exec_module(module)
    return module


def _check_variant(spec: str, module: ModuleType, variant: str | None) -> None:
    parameters = inspect.signature(module.get_config).parameters.values()
    if variant is None:
        if any(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters):
            raise BadInput(f"--config={spec}: this configuration needs a variant: --config={spec}:VARIANT")
        return
    if not parameters:
        raise BadInput(f"--config={spec}: this configuration has no variants")
    known = getattr(module, "VARIANTS", None)
    if known is not None and variant not in known:
        raise BadInput(f"--config={spec}: unknown variant {variant!r}, expected {', '.join(filter(None, known))}")


def _run(spec: str, function: Callable[..., Any], *arguments: str) -> Any:
    """Calls a function of the user's; an error becomes one line with the place in the file."""
    file = os.path.expanduser(spec.partition(":")[0])
    try:
        return function(*arguments)
    except BadInput:
        raise
    except Exception as e:
        places = traceback.extract_tb(e.__traceback__)
        place = next((p for p in reversed(places) if p.filename == file), places[-1])
        where = (e.filename, e.lineno) if isinstance(e, SyntaxError) else (place.filename, place.lineno)
        text = e.msg if isinstance(e, SyntaxError) else " ".join(str(e).split())
        raise BadInput(f"--config={spec}: {type(e).__name__} at {where[0]}:{where[1]}: {text}") from None
