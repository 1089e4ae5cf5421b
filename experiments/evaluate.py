"""Evaluates a trained dictionary, at any of its checkpoints, on the held-out or validation text of its transformer.

python -m experiments.evaluate --workdir=runs/a1_eval --config.run=runs/a1
python -m experiments.evaluate --workdir=runs/a1_start --config.run=runs/a1 --config.step=0
python -m experiments.evaluate --workdir=runs/a1_chosen --config.run=runs/a1 --config.evaluate.split=validation
"""

from experiments.entry import Experiment, launch


def stage(flags):
    from monosem_jax.stages import evaluate

    return evaluate.evaluate


EXPERIMENT = Experiment(__doc__, stage)

if __name__ == "__main__":
    launch(EXPERIMENT)
