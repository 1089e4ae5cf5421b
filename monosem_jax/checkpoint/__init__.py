"""Checkpoints: `Checkpoints` writes and restores them in training, the `load_…` functions read them anywhere."""

from monosem_jax.checkpoint.retention import Retention
from monosem_jax.checkpoint.saved import about, check_step, checkpoint_steps, load_params, load_placed, load_slice
from monosem_jax.checkpoint.steps import Checkpoints, restore_together

__all__ = [
    "Checkpoints", "Retention", "about", "check_step", "checkpoint_steps", "load_params", "load_placed", "load_slice",
    "restore_together",
]  # fmt: skip
