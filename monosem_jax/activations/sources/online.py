"""Rows that a transformer computes while a dictionary is trained on them."""

from __future__ import annotations

import numpy as np
from jax.sharding import Mesh

from monosem_jax.activations.online import OnlineStream
from monosem_jax.activations.rows import DTYPES
from monosem_jax.activations.sources.base import ActivationSource, SourceRequest
from monosem_jax.models.base import site_widths
from monosem_jax.models.run import open_transformer
from monosem_jax.runtime.input_summary import InputSummary
from monosem_jax.runtime.workdir import parent


def open_online(request: SourceRequest) -> ActivationSource:
    """Activations of `request.transformer` at the site of `request.online`, on the transformer's training text.

    Raises BadInput if the transformer is not a finished run or has no such site.
    """
    run, online = open_transformer(request.transformer), request.online
    widths = site_widths(run.model, online.site)

    summary = InputSummary()

    def stream(mesh: Mesh) -> OnlineStream:
        found = OnlineStream(
            run.model.clone(dtype=request.compute_dtype),
            run.weights,
            run.text.tokens("train"),
            bos=run.text.bos,
            config=online,
            batch_size=request.batch_size,
            seed=request.seed,
            mesh=mesh,
        )
        found.contexts.report(summary)
        return found

    return ActivationSource(
        name=f"rows made online in online.dtype {online.dtype}",
        width=sum(widths),
        dtype=np.dtype(DTYPES[online.dtype]),
        parents={"transformer": parent(run.path, "summary.json")},
        open_stream=stream,
        widths=widths if len(widths) > 1 else (),
        transformer=run,
        site=online.site,
        input=summary,
    )
