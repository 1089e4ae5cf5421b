"""Fixtures shared by several tests of the programs."""

import pytest

from tests.experiments.tiny import TRANSFORMER, overrides, run, small_corpus


@pytest.fixture(scope="session")
def small_transformer(tmp_path_factory):
    """The run directory of a transformer trained for a few steps."""
    tmp = tmp_path_factory.mktemp("small_transformer")
    values = TRANSFORMER | {"train.steps": 20, "text.corpus": small_corpus(tmp / "docs.jsonl")}
    done = run("train_transformer", f"--workdir={tmp}/run", *overrides(values))
    assert done.returncode == 0, done.stderr
    return tmp / "run"
