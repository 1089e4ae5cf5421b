"""Does resampling earn its place? One dictionary with the paper's resampling, with Kaiming re-initialisation, without.

  for v in paper kaiming none; do
    python -m experiments.train_sae --workdir=runs/resampling_$v --config=experiments/configs/resampling.py:$v \\
        --config.source=runs/quickstart/store
  done

Two minutes each on two CPU cores. BUILD_NOTES.md has the table.
"""

from experiments.entry import config_dict
from monosem_jax.resample import ResampleConfig
from monosem_jax.sae.relu import ReluConfig
from monosem_jax.stages.train_sae import SaeRunConfig
from monosem_jax.train import TrainConfig


def get_config(variant="paper"):
    config = SaeRunConfig(
        sae=ReluConfig(n_features=2048, l1_coefficient=0.004, input_scale="unit_rms"),
        train=TrainConfig(
            steps=10_000,
            batch_size=256,
            learning_rate=1e-3,
            # Resampling many features at once sends the gradient up a hundredfold, and Adam's second moments remember
            # that for 1 / (1 - b2) steps: a thousandth of the paper's run, a tenth of this one at 0.999.
            b2=0.99,
            steps_per_dispatch=50,
            log_every=500,
            evaluate_every=500,
            checkpoint_every=2000,
        ),
        resample=ResampleConfig(
            steps=() if variant == "none" else tuple(0.08 * i for i in range(1, 9)),
            window=0.04,
            n_inputs=12_800,
            method="kaiming" if variant == "kaiming" else "paper",
        ),
    )
    return config_dict(config)
