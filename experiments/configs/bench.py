"""Defaults of `python -m experiments.bench`."""

from experiments.bench.suites import BenchConfig
from experiments.entry import config_dict


def get_config():
    return config_dict(BenchConfig())
