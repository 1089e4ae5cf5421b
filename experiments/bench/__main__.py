"""Benchmarks on this machine: both sides of every comparison in one run, as a table and as DIR/bench.json.

  python -m experiments.bench --workdir=runs/bench --suite=store
  python -m experiments.bench --workdir=runs/bench --suite=train --peers

store: reading, harvesting, mixing, memory. Needs about 3 GB of disk and ten minutes; --config.rows=1048576 halves both.
train: training steps by size of the dictionary against matmul peaks; the loop with rows from the disk, from device
memory and from a transformer; several dictionaries together; start-up; memory. Takes about --config.train.minutes (9);
parts that do not fit are named. --peers: also the training steps of SAELens and dictionary_learning, if they are
installed (pip install -e '.[peers]').
family: training steps of every architecture against the ReLU one. --peers: other libraries' trainers on the rows of
--config.family.source, and what their dictionaries reconstruct beside ours (--config.family.sweeps): 24 trainings.
scan: a scan of all features against the bare encoding of the same tokens and against SAEDashboard's way, which reads
the text again for every 128 features; memory on short and long texts. Takes about five minutes.
browser: browsers of 4,096 and 131,072 made-up features: records per second, memory, sizes; and, where Playwright and
Chromium are, the time until pages show something, and frames per second of scrolling. Needs 4 GB of disk, ten minutes.
harvest: activations of a model of SmolLM2's shape, at a middle layer and at the last one, in tokens per second and as a
share of the matmul peak; beside transformers in PyTorch, if both are installed (pip install -e '.[parity]'). Takes ten
minutes on two cores; --config.harvest.layers=6 --config.harvest.middle=3 takes two.
"""

from experiments.entry import Experiment, Flag, launch


def stage(flags):
    from experiments.bench import suites

    return suites.run


FLAGS = {
    "suite": Flag("Which benchmarks: store, train, family, scan, browser or harvest.", sets=("suite",)),
    "peers": Flag(
        "With --suite=train or family: other libraries' trainers too.", bool, sets=("train.peers", "family.peers")
    ),
}
EXPERIMENT = Experiment(__doc__, stage, flags=FLAGS)

if __name__ == "__main__":
    launch(EXPERIMENT)
