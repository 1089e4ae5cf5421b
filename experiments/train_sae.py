"""Trains a sparse autoencoder on a store or a .npy array of activations, and evaluates it.

python -m experiments.train_sae --workdir=runs/a1 --config.source=runs/store
python -m experiments.train_sae --workdir=runs/mine --config.source=activations.npy --config.sae.n_features=2048
"""

from experiments.entry import launch

if __name__ == "__main__":
    launch("train_sae", "SaeRunConfig", "a1.py")
