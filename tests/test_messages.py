"""What error messages name exists: every flag, every key of a configuration, every command, file and variable."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import pathlib
import re
from typing import Any

import pytest

from experiments import config_files
from experiments.overrides import leaves
from launch import local
from monosem_jax.runtime import command, processes
from monosem_jax.runtime.config import to_dict
from monosem_jax.sae.architectures import ARCHITECTURES

ROOT = pathlib.Path(__file__).parents[1]
FILES = sorted(p for folder in ("monosem_jax", "experiments", "launch") for p in (ROOT / folder).rglob("*.py"))
FILES = [p for p in FILES if "drills" not in p.parts]  # nobody but us reads what they say
PROGRAMS = (
    "experiments.bench.__main__",
    "launch.compile_check.__main__",
    *(
        f"experiments.{p.stem}"
        for p in sorted((ROOT / "experiments").glob("*.py"))
        if "\nEXPERIMENT = " in p.read_text()
    ),
)
ERRORS = {"BadInput", "NewerFormat", "end"}  # the calls whose arguments a user sees
GAP = "…"  # what is put into a message at run time
GUESSES = r"\b(usually|probably|perhaps|maybe|may be|might|likely|presumably)\b"


def text_of(node: ast.AST) -> str:
    """The literal text of an expression, with a gap for every value."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.FormattedValue):
        inside = text_of(node.value)
        return inside if inside.strip(GAP) else GAP
    return "".join(text_of(child) for child in ast.iter_child_nodes(node)) or GAP


def messages() -> list[tuple[str, str]]:
    """(place, text) of everything in a function that refuses: a hint is often put together before the raise."""
    found = []
    for file in FILES:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for function in (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)):
            calls = {getattr(n.func, "id", "") for n in ast.walk(function) if isinstance(n, ast.Call)}
            if not calls & ERRORS and "message" not in (ast.get_docstring(function) or ""):
                continue
            docs = function.body[0].value if ast.get_docstring(function) else None
            for node in ast.walk(function):
                if isinstance(node, (ast.JoinedStr, ast.Constant)) and node is not docs and " " in text_of(node):
                    found.append((f"{file.relative_to(ROOT)}:{node.lineno}", text_of(node)))
    return found


MESSAGES = messages()


@functools.cache
def experiments() -> list[Any]:
    return [importlib.import_module(name).EXPERIMENT for name in PROGRAMS]


@functools.cache
def flags() -> set[str]:
    own = {name for e in experiments() for name in (*e.arguments, *e.flags)}
    launched = re.findall(r'"--(\w+)"', pathlib.Path(local.__file__).read_text())
    return own | {"config", "help", "flag", *launched} | OTHERS


@functools.cache
def keys() -> set[str]:
    """All keys that any experiment has, with those of every architecture: "train.steps", and sections: "train"."""
    found: set[str] = set()
    for e in experiments():
        found |= leaves(to_dict(e.config_class()())).keys()
    for kind in ARCHITECTURES.values():
        found |= {f"sae.{f.name}" for f in dataclasses.fields(kind)}
    return found | {key.rpartition(".")[0] for key in found}


def exists(key: str) -> bool:
    """Whether a key, maybe in a section of a section (train.steps of sae.train.steps), is one."""
    key = key.removeprefix("config.")
    return key == "json" or any(known == key or known.endswith(f".{key}") for known in keys())


OTHERS = {"topology", "xla_force_host_platform_device_count"}  # of the compile check, of XLA
SECTIONS = "config|train|sae|text|harvest|transformer|evaluate|resample|stream|online|synthetic|sweep|plan|analyze"
NAMED = {
    "flag": (
        r"--([a-zA-Z_]+)(?![\w.-])",
        lambda name: name in flags(),
    ),
    "key in a flag": (r"--config\.([a-z_0-9.]*[a-z_0-9])", lambda key: exists(key) or key == "key"),
    "key": (
        rf"(?<![\w./-])((?:{SECTIONS})\.[a-z_0-9.]*[a-z_0-9])(?![\w(])",
        lambda k: k == "config.json" or exists(k.removeprefix("config.")),
    ),
    "configuration": (r"--config=([a-z]\w*+)(?![/.])", lambda name: name in config_files.shipped()),
    "experiment": (r"experiments\.([a-z_]+)", lambda name: f"experiments.{name}" in command.find(ROOT)),
    "variable": (r"\b((?:MONOSEM|JAX|CUDA|XLA)_[A-Z_]*[A-Z])\b", lambda name: name in VARIABLES),
}
VARIABLES = {
    *processes.VARIABLES,
    "MONOSEM_WATCH_PORT",
    "MONOSEM_WATCHDOG",
    "MONOSEM_HEARTBEAT_SECONDS",
    "JAX_NUM_CPU_DEVICES",
    "JAX_PLATFORMS",
    "CUDA_VISIBLE_DEVICES",
    "XLA_FLAGS",
}


def test_the_messages_are_found():
    named = [name for _, text in MESSAGES for pattern, _ in NAMED.values() for name in re.findall(pattern, text)]
    assert len(MESSAGES) > 200 and {"train.batch_size", "workdir", "MONOSEM_WATCH_PORT", "harvest"} <= set(named)


@pytest.mark.parametrize("what", NAMED)
def test_what_a_message_names_exists(what):
    pattern, known = NAMED[what]
    found = [(place, name) for place, text in MESSAGES for name in re.findall(pattern, text)]
    missing = [f"{place}: {name}" for place, name in found if not known(name)]
    assert not missing, "\n".join(missing)


def test_a_message_tells_what_was_found_not_what_it_usually_is():
    guesses = [f"{place}: {text}" for place, text in MESSAGES if re.search(GUESSES, text)]
    assert not guesses, "\n".join(guesses)


def test_every_architecture_has_a_configuration_of_its_name():
    for name in ARCHITECTURES:
        file = "a1" if name == "relu" else name  # as sae.config says
        assert config_files.load(file).sae.architecture == name


@pytest.mark.parametrize(
    "text",
    ["--colour", "train.colour", "--config.train.colour=1", "--config=nowhere", "experiments.nowhere", "JAX_COLOUR"],
)
def test_what_does_not_exist_is_noticed(text):
    assert any(not known(name) for pattern, known in NAMED.values() for name in re.findall(pattern, text))
