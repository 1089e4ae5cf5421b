"""Trains dictionaries of several sizes, L1 coefficients and seeds together, reading every batch of activations once.

python -m experiments.sweep --workdir=runs/sweep --config.source=runs/store --plan
python -m experiments.sweep --workdir=runs/sweep --config.source=runs/store --config.sweep.sizes="(512,1024)"
python -m experiments.sweep --workdir=runs/l1 --config=experiments/configs/sweep_l1.py --config.source=runs/store
python -m experiments.sweep --workdir=runs/family --compare

Every member has a run directory of its own, members/NAME, as experiments.train_sae would have made it. Ends with a
table, sweep.csv, and plots: L0 against loss recovered and against squared error, size against dead features.
--compare puts all sweeps in a folder into one table and figure.
"""

from absl import flags

from experiments.entry import launch

flags.DEFINE_bool("compare", False, "Table and figures of all finished sweeps in the folder --workdir.")
flags.DEFINE_bool("plan", False, "Print what the sweep would take (memory, FLOPs, time), and write nothing.")


def action(parsed):
    """Which function of the stage is meant."""
    return "compare" if parsed.compare else "dry_run" if parsed.plan else ""


if __name__ == "__main__":
    launch("sweep", "SweepRunConfig", "sweep_sizes.py", action=action)
