"""Harvests a transformer's activations into a store.

  python -m experiments.harvest --workdir=runs/store --config.transformer=runs/transformer_a
  python -m experiments.harvest --workdir=runs/resid --config.transformer=runs/transformer_a \
      --config.harvest.site=resid_mid.0 --config.harvest.rows_per_context=50
"""

from experiments.entry import launch

if __name__ == "__main__":
    launch("harvest", "HarvestRunConfig", "harvest.py")
