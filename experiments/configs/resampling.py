"""Does resampling earn its place? The quickstart's dictionary with the paper's resampling, with Kaiming draws, without.

  for v in paper kaiming none; do
    python -m experiments.train_sae --workdir=runs/resampling_$v --config=experiments/configs/resampling.py:$v \\
        --config.source=runs/quickstart/store
  done

A minute and a half each on two CPU cores. BUILD_NOTES.md has the table.
"""

from experiments.configs import quickstart


def get_config(variant="paper"):
    config = quickstart.get_config().sae
    if variant == "none":
        config.resample.steps = ()
    config.resample.method = "kaiming" if variant == "kaiming" else "paper"
    return config
