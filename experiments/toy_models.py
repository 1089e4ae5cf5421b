"""Toy Models of Superposition, and whether dictionaries find the features that are known there: a few minutes on two
CPU cores.

  python -m experiments.toy_models --workdir=runs/toys
  python -m experiments.toy_models --workdir=runs/toys_tiny --config=toy_models:tiny    (a minute, rougher pictures)
  python -m experiments.toy_models --workdir=runs/toys_paper --config=toy_models:paper  (the paper's sizes: for a GPU)

It writes its tables to toy.json, figures as PNG and SVG, and the trained weights to NAME.npz.
"""

from experiments.entry import Experiment, launch


def stage(flags):
    from monosem_jax.stages import toy_models

    return toy_models.toy_models


EXPERIMENT = Experiment(__doc__, stage, config="toy_models")

if __name__ == "__main__":
    launch(EXPERIMENT)
