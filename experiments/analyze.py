"""Writes records of a dictionary's features: top contexts, logit effects, correlation with the text's labels.

python -m experiments.analyze --workdir=runs/a1_analysis --config.run=runs/a1
"""

from experiments.entry import Experiment, launch


def stage(flags):
    from monosem_jax.stages import analyze

    return analyze.run


EXPERIMENT = Experiment(__doc__, stage)

if __name__ == "__main__":
    launch(EXPERIMENT)
