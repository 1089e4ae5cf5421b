"""Defaults of `python -m experiments.bench`."""

from experiments.entry import config_dict
from monosem_jax.stages.bench import BenchConfig


def get_config():
    return config_dict(BenchConfig())
