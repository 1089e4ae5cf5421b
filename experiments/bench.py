"""Benchmarks on this machine: both sides of every comparison in one run, as a table and as DIR/bench.json.

  python -m experiments.bench --workdir=runs/bench --suite=store

Needs about 3 GB of disk and ten minutes; --config.rows=1048576 halves both.
"""

from absl import flags

from experiments.entry import launch

flags.DEFINE_string("suite", None, "Which benchmarks: store.")


def with_suite(config, parsed):
    """Puts --suite into the configuration."""
    if parsed.suite:
        config.suite = parsed.suite
    return config


if __name__ == "__main__":
    launch("bench", "BenchConfig", "bench.py", with_suite)
