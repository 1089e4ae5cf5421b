"""Whether commands of the documentation would be accepted: everything is parsed as in use, and nothing is done.

Reads a JSON list of argument lists from stdin, each a module and its flags; writes a JSON list of complaints, "" for
a command that is fine. Each is a fork of this process, which has imported JAX and started nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import json
import os
import pathlib
import runpy
import sys
import types
from collections.abc import Callable
from typing import NoReturn

from monosem_jax.stages.train_sae import SaeRunConfig

STAGES = "monosem_jax.stages", "experiments.bench", "launch.compile_check"
WITHOUT_SOURCE = "monosem_jax.stages.sweep.compare", "launch.compile_check.check.run"


def stand_in(function: Callable[..., object]) -> Callable[..., NoReturn]:
    """What a function of a stage is replaced by: it was reached, so the flags are right; are their values too?"""
    name = f"{function.__module__}.{function.__name__}"

    @functools.wraps(function)  # the class of a configuration is read from the annotations
    def accepted(*arguments: object, **more: object) -> NoReturn:
        for value in (*arguments, *more.values()):
            if isinstance(value, SaeRunConfig) and name in WITHOUT_SOURCE:
                value = dataclasses.replace(value, source="store")
            if dataclasses.is_dataclass(value) and hasattr(value, "check"):
                value.check()
        os._exit(0)

    return accepted


def stages() -> list[types.ModuleType]:
    """The modules whose functions do the work of an experiment, imported."""
    found = []
    for package in STAGES:
        folder = pathlib.Path(importlib.import_module(package).__file__).parent
        names = sorted(p.stem for p in folder.glob("*.py") if not p.stem.startswith("__"))
        found += [importlib.import_module(f"{package}.{name}") for name in names]
    return found


def disarm(modules: list[types.ModuleType]) -> None:
    """Replaces the public functions of the modules."""
    for module in modules:
        for name, value in vars(module).copy().items():
            if inspect.isfunction(value) and not name.startswith("_") and value.__module__ == module.__name__:
                setattr(module, name, stand_in(value))


def perform(module: str, flags: list[str]) -> None:
    """Runs a command up to where its work would begin."""
    if module == "launch.local":
        command = importlib.import_module(module).parse(flags)[1]
        return perform(command[0], command[1:])
    if module == "launch.drill":
        drill = importlib.import_module(module)
        drill.drills = stand_in(drill.drills)
        drill.main(flags)
    sys.argv = [module, *flags]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def complaint(command: list[str]) -> str:
    """What a command says when it is not accepted; "" when it is."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        os.dup2(write, 1)
        os.dup2(write, 2)
        sys.stdout = sys.stderr = os.fdopen(write, "w", buffering=1)
        try:
            perform(command[0], command[1:])
            print("it did nothing")
        except SystemExit as e:
            os._exit(e.code if isinstance(e.code, int) else 1)
        except BaseException as e:
            print(f"{type(e).__name__}: {e}")
        os._exit(1)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read().strip()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return "" if code == 0 else said or f"exit code {code}"


if __name__ == "__main__":
    disarm(stages())
    print(json.dumps([complaint(command) for command in json.load(sys.stdin)]))
