"""Rows whose true features are known."""

from __future__ import annotations

from monosem_jax.activations.sources.base import ActivationSource, SourceRequest, hold_out_rows, rows_to_train_on
from monosem_jax.activations.stream.stream import open_stream
from monosem_jax.activations.synthetic import SyntheticRows, recovery
from monosem_jax.runtime.mesh import device_get_global


def open_synthetic(request: SourceRequest) -> ActivationSource:
    """Rows of `request.synthetic`; a dictionary is scored by the share of the true features that it found."""
    rows = SyntheticRows(request.synthetic)
    heldout = hold_out_rows(rows, request.batch_size)
    trained = rows_to_train_on(rows, heldout)
    return ActivationSource(
        name="synthetic",
        width=rows.width,
        dtype=rows.dtype,
        parents={},
        open_stream=lambda mesh: open_stream(trained, request.batch_size, request.seed, mesh, config=request.stream),
        n_rows=rows.n_rows,
        heldout=heldout,
        score=lambda W_dec: recovery(rows.directions, device_get_global(W_dec)),
    )
