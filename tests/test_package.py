"""The package as a notebook sees it: names are complete, imported when they are used, and stages are functions."""

import ast
import dataclasses
import inspect
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import monosem_jax as mj
from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.architectures.relu import ReluConfig
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.training.step import TrainConfig

STAGES = (
    "analyze", "compare", "evaluate", "export", "harvest", "inspect", "quickstart", "report", "shuffle_transformer",
    "suite", "sweep", "toy_models", "train_sae", "train_transformer",
)  # fmt: skip


def test_importing_the_package_imports_no_library():
    code = "import sys, monosem_jax; print(sorted({'jax', 'numpy', 'orbax', 'flax', 'absl'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_names_are_what_type_checkers_are_told():
    tree = ast.parse(pathlib.Path(mj.__file__).read_text(encoding="utf-8"))
    (block,) = [n for n in tree.body if isinstance(n, ast.If)]
    told = {alias.asname or alias.name: node.module for node in block.body for alias in node.names}
    assert sorted(told) == mj.__all__ and set(told) <= set(dir(mj))
    for name, module in told.items():
        found = getattr(mj, name)
        assert name == "report" or (found.__module__, found.__name__) == (module, name)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_is_a_function_of_a_directory_and_a_configuration(name):
    assert list(inspect.signature(getattr(mj, name)).parameters) == ["workdir", "config"]


@pytest.mark.parametrize("before", ["", "import monosem_jax.report.browser.site", "from monosem_jax import report"])
def test_the_report_can_be_called_whatever_was_imported_before(before, tmp_path):
    code = f"import monosem_jax as mj\n{before}\nmj.report({str(tmp_path)!r}, mj.ReportRunConfig())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr
    assert told.rstrip().endswith(
        "BadInput: config.analysis is empty: expected the directory of a finished analyze run"
    )


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'monosem_jax' has no attribute 'train_seo'"):
        mj.train_seo  # noqa: B018


def test_a_notebook_trains_evaluates_and_finds_the_run_finished(tmp_path, capsys):
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).normal(size=(600, 8)).astype(np.float32))
    config = mj.SaeRunConfig(
        source=str(tmp_path / "rows.npy"), sae=ReluConfig(n_features=16), resample=ResampleConfig(steps=()),
        train=TrainConfig(steps=2, batch_size=16, steps_per_dispatch=2, checkpoint_every=2),
    )  # fmt: skip
    summary = mj.train_sae(tmp_path / "run", config)
    assert summary == mj.load_run(tmp_path / "run").summary and summary["rows_trained"] == 32
    capsys.readouterr()
    assert mj.train_sae(tmp_path / "run", config) == summary
    assert capsys.readouterr().out == f"{tmp_path / 'run'} is finished: nothing to do\n"
    with pytest.raises(BadInput, match="belongs to another configuration"):
        mj.train_sae(tmp_path / "run", dataclasses.replace(config, seed=1))
