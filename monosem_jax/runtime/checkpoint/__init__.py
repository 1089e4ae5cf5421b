"""Checkpoints: `Checkpoints` writes and restores them in training, the `load_…` functions read them anywhere."""

from monosem_jax.runtime.checkpoint.manager import Checkpoints, restore_together
from monosem_jax.runtime.checkpoint.read import (
    check_step,
    checkpoint_steps,
    load_params,
    load_placed,
    load_slice,
    read_metadata,
)
from monosem_jax.runtime.checkpoint.retention import Retention

__all__ = [
    "Checkpoints",
    "Retention",
    "check_step",
    "checkpoint_steps",
    "load_params",
    "load_placed",
    "load_slice",
    "read_metadata",
    "restore_together",
]  # fmt: skip
