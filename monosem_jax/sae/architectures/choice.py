"""The activation function that `sae.activation` names, with its penalty."""

from __future__ import annotations

from monosem_jax.sae.activation_fns import ActivationFn, BatchTopK, ReLU, TopK
from monosem_jax.sae.config import AnyConfig
from monosem_jax.sae.penalties import L1, AuxK, Penalty


def chosen(config: AnyConfig) -> tuple[ActivationFn, Penalty]:
    """(activation function, penalty): L1 for ReLU, AuxK for the others. Raises BadInput on an unknown name."""
    config.check_key("activation")
    aux = AuxK(config.aux_coefficient, config.k_aux, config.dead_rows)
    table: dict[str, tuple[ActivationFn, Penalty]] = {
        "relu": (ReLU(), L1()),
        "topk": (TopK(config.k), aux),
        "batchtopk": (BatchTopK(config.k, config.threshold_decay), aux),
    }
    return table[config.activation]
