"""Defaults of `python -m experiments.harvest`."""

from experiments.entry import config_dict
from monosem_jax.stages.harvest import HarvestRunConfig


def get_config():
    return config_dict(HarvestRunConfig())
