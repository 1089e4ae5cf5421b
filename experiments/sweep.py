"""Trains dictionaries of several sizes, L1 coefficients and seeds together, reading every batch of activations once.

python -m experiments.sweep --workdir=runs/sweep --config.source=runs/store --plan
python -m experiments.sweep --workdir=runs/sweep --config.source=runs/store --config.sweep.sizes="(512,1024)"
python -m experiments.sweep --workdir=runs/l1 --config=experiments/configs/sweep_l1.py --config.source=runs/store

Every member has a run directory of its own, members/NAME, as experiments.train_sae would have made it. Ends with a
table, sweep.csv, and plots: L0 against loss recovered and against squared error, size against dead features.
"""

from absl import flags

from experiments.entry import launch

flags.DEFINE_bool("plan", False, "Print what the sweep would take (memory, FLOPs, time), and write nothing.")

if __name__ == "__main__":
    launch("sweep", "SweepRunConfig", "sweep_sizes.py", action=lambda parsed: "plan" if parsed.plan else "run")
