"""The evidence for every feature of a dictionary, beside neurons, a control and random directions.

  python -m experiments.analyze --workdir=runs/a1_analysis --config.run=runs/a1
  python -m experiments.analyze --workdir=runs/a1_analysis --config.run=runs/a1 --config.control=runs/control_sae
  python -m experiments.analyze --workdir=runs/sizes_analysis --config.run=runs/sizes
  python -m experiments.analyze --workdir=runs/a1_analysis --ratings=mine.json,yours.json

It writes records/ (a record of every feature), tables (proxies.json, judges.json …), evidence.md with all of them, and
rating.json: features and neurons, mixed, for people to rate. --ratings reads their ratings back. A sweep is analyzed
dictionary by dictionary, and the figures stand in its table and plots.
"""

from experiments.entry import Experiment, Flag, launch


def stage(flags):
    from monosem_jax.stages import analyze, rate

    return rate.rate if flags["ratings"] else analyze.analyze


FLAGS = {
    "ratings": Flag("Files of ratings of a finished analysis (--workdir), with commas between.", sets=("ratings",)),
}
EXPERIMENT = Experiment(__doc__, stage, flags=FLAGS)

if __name__ == "__main__":
    launch(EXPERIMENT)
