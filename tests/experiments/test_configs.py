"""Every shipped configuration can be built and is possible."""

import importlib
import pathlib

import pytest

from experiments import configs
from monosem_jax.runtime.config import from_dict

STAGES = {"quickstart": "QuickstartConfig", "evaluate": "EvaluateRunConfig", "analyze": "AnalyzeRunConfig"}
STAGES |= {
    "report": "ReportRunConfig",
    "harvest": "HarvestRunConfig",
    "bench": "BenchConfig",
    "sweep": "SweepRunConfig",
    "export": "ExportConfig",
    "inspect": "InspectConfig",
}
NAMES = sorted(p.stem for p in pathlib.Path(configs.__file__).parent.glob("*.py") if p.stem != "__init__")


def stage_of(name: str) -> str:
    if name in STAGES:
        return name
    return {"transformer": "train_transformer", "sweep": "sweep"}.get(name.split("_")[0], "train_sae")


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_configuration_is_possible(name):
    stage = stage_of(name)
    module = importlib.import_module(f"monosem_jax.stages.{stage}")
    class_name = {"train_transformer": "TransformerRunConfig", "train_sae": "SaeRunConfig", **STAGES}[stage]
    values = importlib.import_module(f"experiments.configs.{name}").get_config().to_dict()
    if stage in ("train_sae", "sweep"):
        values["source"] = "store"
    config = from_dict(getattr(module, class_name), values)
    if hasattr(config, "check"):
        config.check()


@pytest.mark.parametrize("name", NAMES)
def test_a_configuration_file_says_how_to_use_it(name):
    doc = importlib.import_module(f"experiments.configs.{name}").__doc__
    assert "python -m experiments." in doc


def test_sizes_are_those_of_the_paper():
    sizes = [importlib.import_module(f"experiments.configs.a{i}").get_config().sae.n_features for i in range(6)]
    assert sizes == [512, 4096, 16_384, 32_768, 65_536, 131_072]
    together = importlib.import_module("experiments.configs.sweep_sizes").get_config().sweep
    assert list(together.sizes) == sizes and together.seeds == (0,)


def test_model_b_is_model_a_with_another_seed():
    a, b = (importlib.import_module(f"experiments.configs.transformer_{x}").get_config().to_dict() for x in "ab")
    assert a.pop("seed") != b.pop("seed")
    assert a == b
