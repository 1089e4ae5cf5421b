"""Every shipped configuration is valid for its experiment, and its docstring says how to use it."""

import dataclasses
import functools
import importlib
import pathlib

import pytest

from experiments import config_files
from experiments.help_text import sections
from monosem_jax.runtime.config import from_dict, to_dict
from monosem_jax.runtime.field_docs import field_docs

ROOT = pathlib.Path(__file__).parents[2]
NAMES = config_files.shipped()
PROGRAMS = sorted(
    [f"experiments.{p.stem}" for p in (ROOT / "experiments").glob("*.py") if "\nEXPERIMENT = " in p.read_text()]
    + ["experiments.bench.__main__", "launch.compile_check.__main__"]
)
# Packages whose keys get their meanings in other changes: delete a name when it has them.
WITHOUT_MEANINGS = ("monosem_jax.sae.",)


@functools.cache
def config_class(program: str) -> type:
    return importlib.import_module(program).EXPERIMENT.config_class()


CASES = [f"{name}{colon}" for name in NAMES for colon in ("", *(f":{v}" for v in config_files.variants(name)))]


@pytest.mark.parametrize("spec", CASES)
def test_a_shipped_configuration_is_possible(spec):
    config = config_files.load(spec)
    values = to_dict(config)
    if "source" in values:
        values["source"] = "store"
    from_dict(type(config), values).check()


def chosen_by_flags(program):
    return [flag.config for flag in importlib.import_module(program).EXPERIMENT.flags.values()]


@pytest.mark.parametrize("name", NAMES)
def test_a_configuration_file_says_how_to_use_it(name):
    doc = importlib.import_module(f"experiments.configs.{name}").__doc__
    kinds = [p for p in PROGRAMS if config_class(p) is type(config_files.load(name)) or name in chosen_by_flags(p)]
    assert any(f"python -m {program} " in doc for program in kinds)
    default = any(importlib.import_module(p).EXPERIMENT.config == name or name in chosen_by_flags(p) for p in kinds)
    assert default or f"--config={name}" in doc


def config_classes(config) -> set[type]:
    inside = [v for f in dataclasses.fields(config) if dataclasses.is_dataclass(v := getattr(config, f.name))]
    return {type(config)}.union(*map(config_classes, inside))


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_key_and_section_has_a_meaning(program):
    classes = [c for c in config_classes(config_class(program)()) if not c.__module__.startswith(WITHOUT_MEANINGS)]
    missing = [(c.__name__, f.name) for c in classes for f in dataclasses.fields(c) if f.name not in field_docs(c)]
    assert not missing


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_a_flag_sets_is_a_key(program):
    """Of the stage that the flag chooses, where it chooses one."""
    experiment = importlib.import_module(program).EXPERIMENT
    for name, flag in experiment.flags.items():
        given = {**{n: f.default for n, f in experiment.flags.items()}, name: "x"}
        classes = (experiment.config_class(), experiment.config_class(given))
        known = {key.name for of in classes for s in sections(of()) for key in s.keys}
        assert set(flag.sets) <= known, name
    assert not experiment.config or isinstance(config_files.load(experiment.config), config_class(program))


def test_sizes_are_those_of_the_paper():
    sizes = [config_files.load(f"a{i}").sae.n_features for i in range(6)]
    assert sizes == [512, 4096, 16_384, 32_768, 65_536, 131_072]
    together = config_files.load("sweep_sizes").sweep
    assert list(together.sizes) == sizes and together.seeds == (0,)


def test_model_b_is_model_a_with_another_seed():
    a, b = (config_files.load(f"transformer_{x}") for x in "ab")
    assert a.seed != b.seed and dataclasses.replace(b, seed=a.seed) == a


@pytest.mark.parametrize("name", ["synthetic", "sweep_family"])
def test_a_variant_trains_the_architecture_of_its_name(name):
    for variant in config_files.variants(name):
        assert config_files.load(f"{name}:{variant}").sae.architecture == variant
