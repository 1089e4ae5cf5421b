"""Trains dictionaries of several sizes, L1 coefficients and seeds together, reading every batch of activations once.

  python -m experiments.sweep --workdir=runs/sweep --config.source=runs/store --plan
  python -m experiments.sweep --workdir=runs/sweep --config.source=runs/store --config.sweep.sizes="(512,1024)"
  python -m experiments.sweep --workdir=runs/l1 --config=sweep_l1 --config.source=runs/store
  python -m experiments.sweep --workdir=runs/family --compare

Every member has a run directory of its own, members/NAME, as experiments.train_sae would have made it. Ends with a
table, sweep.csv, and plots: L0 against loss recovered and against squared error, size against dead features.
--compare puts all sweeps in a folder into one table and figure.
"""

from experiments.entry import Experiment, Flag, launch


def stage(flags):
    from monosem_jax.stages import sweep

    return sweep.compare if flags["compare"] else sweep.dry_run if flags["plan"] else sweep.run


FLAGS = {
    "compare": Flag("Table and figures of all finished sweeps in the folder --workdir.", bool, False),
    "plan": Flag("Print what the sweep would take (memory, FLOPs, time), and write nothing.", bool, False),
}
EXPERIMENT = Experiment(__doc__, stage, config="sweep_sizes", flags=FLAGS)

if __name__ == "__main__":
    launch(EXPERIMENT)
