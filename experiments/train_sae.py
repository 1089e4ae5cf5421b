"""Trains a sparse autoencoder on a store or an array of activations, and evaluates it.

python -m experiments.train_sae --workdir=runs/a1 --config.source=runs/store
python -m experiments.train_sae --workdir=runs/topk --config=topk --config.source=runs/store
python -m experiments.train_sae --workdir=runs/mine --config.source=activations.npy --config.sae.n_features=2048
"""

from experiments.entry import Experiment, launch


def stage(flags):
    from monosem_jax.stages import train_sae

    return train_sae.run


EXPERIMENT = Experiment(__doc__, stage, config="a1")

if __name__ == "__main__":
    launch(EXPERIMENT)
