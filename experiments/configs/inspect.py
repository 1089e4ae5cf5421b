"""Defaults of `python -m experiments.inspect`."""

from experiments.entry import config_dict
from monosem_jax.stages.inspect import InspectConfig


def get_config():
    return config_dict(InspectConfig())
