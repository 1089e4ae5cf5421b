"""A dictionary of any architecture, trained on rows in memory as `train_sae` trains, but without a directory."""

from __future__ import annotations

import jax
import numpy as np
from jaxtyping import Float

from monosem_jax.activations.sources.base import ActivationSource
from monosem_jax.activations.stream.stream import open_stream
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.arguments import finite_numbers
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.mesh import make_mesh
from monosem_jax.runtime.progress import SHORT, progress
from monosem_jax.sae import trainer
from monosem_jax.sae.architectures import build
from monosem_jax.sae.config import SaeConfig
from monosem_jax.sae.published import PublishedSAE
from monosem_jax.sae.resample import ResampleConfig, make_resampling
from monosem_jax.training.config import TrainConfig
from monosem_jax.training.loop import DispatchSchedule


class MemoryRows:
    """An array [n,M] with the interface of a store."""

    def __init__(self, rows: Float[np.ndarray, "n M"]):
        self.rows = np.asarray(finite_numbers("a dictionary", rows, "n", "M"))
        (self.n_rows, self.width), self.dtype = self.rows.shape, self.rows.dtype

    def read(self, start: int, stop: int) -> Float[np.ndarray, "B M"]:
        return self.rows[start:stop]


@pinned()
def train_on_rows(
    rows: Float[np.ndarray, "n M"],
    config: SaeConfig,
    train: TrainConfig,
    resample: ResampleConfig | None = None,
    seed: int = 0,
) -> PublishedSAE:
    """Trains a dictionary on one device, without checkpoints and logs, and publishes it for raw rows.

    Args:
      resample: None: dead features are not resampled.

    Raises BadInput on settings that do not fit, on rows that are all zero or not finite, and when training diverges.
    """
    config.check()
    train.check()
    held = MemoryRows(rows)
    sae, mesh = build(config, held.width, train.dtype()), make_mesh("data=1,model=1", jax.devices()[:1])
    schedule = (resample or ResampleConfig(steps=())).resolve(train)
    if schedule.steps and config.recipe().row_losses is None:
        raise BadInput(f"resample.steps is {schedule.steps}: {config.architecture} is trained without, expected ()")
    source = ActivationSource(
        name="rows in memory",
        width=held.width,
        dtype=held.dtype,
        parents={},
        open_stream=lambda mesh: open_stream(held, train.batch_size, seed, mesh),
        n_rows=held.n_rows,
    )
    stream, statistics = trainer.prepare(source, sae.parts, config.input_scale, mesh, checked=True)
    made = trainer.make_ensemble(sae, [trainer.SaeMember(seed, config)], statistics, mesh, train, schedule)
    resampling = make_resampling([made.resampler], schedule.steps, schedule.n_inputs, train)
    dispatch, spans = made.ensemble.compile(train), DispatchSchedule(train, schedule.steps, ())
    state, step = made.ensemble.state, 0
    with progress(train.steps, config.architecture, "steps", delay=SHORT) as bar:
        while step < train.steps:
            if step in schedule.steps:
                [state] = resampling.apply([state], step, stream)
            n = spans.span(step)
            state, result = dispatch(state, stream(step, n))
            step += n
            bar.update(n)
            if (frozen := int(result.frozen_at)) >= 0:
                raise BadInput(f"{config.architecture} diverged at step {frozen}: lower the learning rate")
    return PublishedSAE(sae, sae.unscale(sae.to_inference(state.params, state.stats), statistics.scale))
