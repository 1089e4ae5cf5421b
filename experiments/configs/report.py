"""Defaults of `python -m experiments.report`."""

from experiments.entry import config_dict
from monosem_jax.stages.report import ReportRunConfig


def get_config():
    return config_dict(ReportRunConfig())
