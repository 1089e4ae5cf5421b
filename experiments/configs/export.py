"""Defaults of `python -m experiments.export`."""

from experiments.entry import config_dict
from monosem_jax.stages.export import ExportConfig


def get_config():
    return config_dict(ExportConfig())
