"""Defaults of `python -m experiments.analyze`."""

from experiments.entry import config_dict
from monosem_jax.stages.analyze import AnalyzeRunConfig


def get_config():
    return config_dict(AnalyzeRunConfig())
