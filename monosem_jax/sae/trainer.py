"""What the training of one dictionary and of a sweep share: rows, groups of members, figures at the end."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from monosem_jax.activations.scale import input_scale
from monosem_jax.activations.sources import ActivationSource, check_finite
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import write_json
from monosem_jax.runtime.mesh import device_get_global, device_put_sharded
from monosem_jax.runtime.processes import first_process
from monosem_jax.runtime.rng import jax_key
from monosem_jax.runtime.workdir import RunDir
from monosem_jax.sae import architectures as sae_lib
from monosem_jax.sae.cost_model import choose_mesh
from monosem_jax.sae.objective import dictionary_objective, dictionary_optimizer
from monosem_jax.sae.ops.geometric_median import geometric_median
from monosem_jax.sae.resample import Resampler, make_resampling
from monosem_jax.training.loop import Ensemble, FitResult, Report, fit
from monosem_jax.training.step import State, TrainConfig, create_state

MEDIAN_ROWS = 32_768

FEATURES_TOGETHER = 16_384  # on a device


@dataclasses.dataclass
class TrainingInputs:
    """Rows to train on, and what was found out about them before: the scale that they are multiplied by (each of the
    `parts` that they consist of by its own), and the geometric median [M] and the variance [M] of what results."""

    source: ActivationSource
    mesh: Mesh
    stream: Any
    scale: Any
    median: jax.Array
    variance: Any = None
    parts: tuple[int, ...] = ()

    @property
    def width(self) -> int:
        return self.median.shape[0]

    @classmethod
    def unseen(
        cls, config: Any, width: int, mesh: Mesh, widths: tuple[int, ...] = (), source: Any = None
    ) -> TrainingInputs:
        """Of rows of which only the width is known, for programs that are only compiled or timed."""
        parts = sae_lib.build(config.sae, width, jnp.float32, widths).parts
        scale = 1.0 if len(parts) == 1 else [1.0] * len(parts)
        return cls(source, mesh, None, scale, np.zeros(width, np.float32), np.ones(width), parts)


def open_mesh(config: Any, source: ActivationSource, n_features: int) -> Mesh:
    """The configured mesh, or the one with the least traffic between devices."""
    train = config.train
    if train.mesh:
        mesh = train.open_mesh()
    else:
        data, model = choose_mesh(jax.device_count(), n_features, source.width, train.batch_size)
        mesh = train.open_mesh(f"data={data},model={model}")
    if n_features % mesh.shape["model"]:
        raise BadInput(f"sae.n_features {n_features} is not divisible by the {mesh.shape['model']} model shards")
    return mesh


def prepare(config: Any, source: ActivationSource, mesh: Mesh, *, checked: bool) -> TrainingInputs:
    """Opens the stream of a `train_sae.SaeRunConfig` and looks at its first rows. `checked`: an array was already read
    through once for numbers that are not finite. Raises BadInput when rows are not."""
    if source.unchecked and not checked:
        check_finite(source.rows, config.source)
    stream = source.stream(config, mesh)
    sample = stream.sample(MEDIAN_ROWS).astype(np.float32)
    bad = np.count_nonzero(~np.isfinite(sample).all(axis=1))
    if bad:
        how = f" in online.dtype {config.online.dtype}" if source.rows is None else ""
        raise BadInput(f"{config.source}: {bad} of the first {len(sample)} rows are not finite{how}")
    parts = sae_lib.build(config.sae, source.width, jnp.float32, source.widths).parts
    scale = input_scale(config.sae.input_scale, source, sample, parts)
    sample *= np.repeat(np.float32(scale), parts) if len(parts) > 1 else scale
    divided = PartitionSpec("data") if len(sample) % mesh.shape["data"] == 0 else PartitionSpec()
    median = jax.jit(geometric_median, out_shardings=NamedSharding(mesh, PartitionSpec()))
    variance = np.var(sample, axis=0, dtype=np.float64)
    return TrainingInputs(
        source, mesh, stream, scale, median(device_put_sharded(sample, mesh, divided)), variance, parts
    )


def write_input_record(run: RunDir, material: TrainingInputs) -> None:
    """Writes what `load_run` must know of the rows."""
    if first_process():
        record = {"input_scale": material.scale, "site": material.source.site, "width": material.width}
        if len(material.parts) > 1:
            record["widths"] = list(material.parts)
        write_json(run.path / "input.json", record)


def make_ensemble(
    configs: Sequence[Any], runs: Sequence[RunDir], material: TrainingInputs
) -> tuple[Ensemble, Resampler]:
    """Members that differ in seed and in what `sae.hyper()` says only, at their beginning, and what resamples them."""
    first, mesh, rules = configs[0], material.mesh, sae_lib.RULES
    sae = sae_lib.build(first.sae, material.width, first.train.dtype(), material.parts)
    tx = dictionary_optimizer(first.train, sae)
    seeds = jnp.asarray([c.seed for c in configs], jnp.uint32)
    hyper = {name: jnp.asarray([getattr(c.sae, name) for c in configs], jnp.float32) for name in first.sae.hyper()}
    own = (seeds, hyper)

    def initial(seed, hyper):
        return initial_state(sae, tx, material, seed, hyper)

    together = vmap_size(first.sae.n_features // mesh.shape["model"]) if len(configs) > 1 else 0
    if together:
        state = create_state(initial, rules, mesh, *own)
    else:
        state = create_state(lambda: initial(*jax.tree.map(lambda x: x[0], own)), rules, mesh)
    group = Ensemble(state, make_objective(first, sae, mesh), tx, runs, rules, mesh, together)
    _, window = first.resample.resolve(first.train)
    return group, Resampler(sae, mesh, rules, window=window, method=first.resample.method, together=together)


def vmap_size(features_per_device: int) -> int:
    """How many members are worth computing at a time: narrow ones leave an accelerator idle, wide ones fill its memory,
    and a CPU gains nothing from it and loses the ways around what is zero."""
    return 1 if jax.default_backend() == "cpu" else max(FEATURES_TOGETHER // features_per_device, 1)


def make_objective(config: Any, sae: Any, mesh: Mesh) -> Any:
    """The objective of a `train_sae.SaeRunConfig`."""
    return dictionary_objective(
        sae, mesh, sparse=config.sae.sparse, l1_warmup=config.sae.warmup_steps(config.train.steps),
        micro_batches=config.train.micro_batches,
    )  # fmt: skip


def initial_state(sae: Any, tx: Any, material: TrainingInputs, seed: Any, hyper: dict[str, Any]) -> State:
    """Parameters as the architecture begins, the decoder bias at the geometric median of (scaled) activations where it
    says so."""
    params = sae.initial(jax_key("sae.init", seed))
    if sae.AT_MEDIAN:
        params = {**params, "b_dec": sae.wanted(jnp.asarray(material.median, jnp.float32))}
    hyper = {name: jnp.float32(value) for name, value in hyper.items()}
    hyper["input_scale"] = jnp.asarray(material.scale, jnp.float32)
    if sae.ERROR == "variance":
        hyper["variance"] = jnp.mean(sae.wanted(jnp.asarray(material.variance, jnp.float32)))
    return State.create(params, tx, stats=sae.initial_stats(), hyper=hyper, key=jax_key("sae.train", seed))


def train(
    groups: Sequence[tuple[Ensemble, Resampler]], config: Any, material: TrainingInputs, description: str
) -> FitResult:
    """Trains all groups on the same batches, resampling as the configuration says."""
    steps, _ = config.resample.resolve(config.train)
    resampling = make_resampling([r for _, r in groups], steps, config.resample.n_inputs, config.train)
    return fit(
        [group for group, _ in groups],
        config=config.train,
        batches=material.stream,
        transforms=[resampling] if steps else [],
        reports=[Report(config.train.evaluate_every, _silent(config.train))],
        description=description,
    )


def _silent(train: TrainConfig):
    """The report on features that have not fired for as long as between two reports."""
    count = jax.jit(lambda s: jnp.sum(s.step - s.stats["last_fired"] >= train.evaluate_every, axis=-1))
    return lambda state: {"silent": device_get_global(count(state))}
