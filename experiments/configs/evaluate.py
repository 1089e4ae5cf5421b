"""Defaults of `python -m experiments.evaluate`."""

from experiments.entry import config_dict
from monosem_jax.stages.evaluate import EvaluateRunConfig


def get_config():
    return config_dict(EvaluateRunConfig())
