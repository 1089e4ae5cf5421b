"""Training steps: rows per second by size of the dictionary, against matmul peaks and other libraries; stacked members.

FLOPs are those of the five dense products, 10 B M F, whatever a step really does: a step that visits only active
features can be faster than the peak.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench import matmul, peers
from experiments.bench.budget import TimedWork, repeated, take_turns
from experiments.bench.material import make_bench_rows, sparse_params
from experiments.bench.store import one_device
from experiments.bench.timing import ratio
from monosem_jax.sae.architectures import RULES, build
from monosem_jax.sae.architectures.relu import ReluConfig
from monosem_jax.sae.objective import dictionary_objective, dictionary_optimizer
from monosem_jax.sae.ops import sparse_matmul
from monosem_jax.training.config import TrainConfig
from monosem_jax.training.loop import Ensemble
from monosem_jax.training.metrics import Mean
from monosem_jax.training.step import State, create_state

L1 = 0.004
# Lower bounds by platform and number of features. If a target is a cost, the ratio is its inverse.
PEAK = "matmul peak (MFU)"
BOUNDS = {
    ("cpu", 4096): {"SAELens": 1.6, "dictionary_learning": 1.35, PEAK: 0.9},
    ("gpu", 4096): {"SAELens": 5.0, PEAK: 0.5},
    ("gpu", 131_072): {PEAK: 0.65},
}
STACKED = {8: 2.0}
OTHER_DTYPE = "ours, fp32"  # on accelerators, for comparison with the peers' default dtype


@dataclasses.dataclass(frozen=True)
class StepSizes:
    """The sizes of a timing: width of rows, batch size, steps per dispatch, and seconds per turn."""

    batch: int
    steps: int
    dtype: Any
    turn_seconds: float
    rounds: int
    width: int = 512


def our_group(
    n_features: int, width: int, dtype: Any, *, members: int = 1, together: int = 0, sparse: str = "auto",
    params: Any = None, learning_rate: float = 1e-5,
) -> Ensemble:  # fmt: skip
    """Dictionaries as in training, on one device, at initialisation or with the given parameters. Several are stacked,
    and `together` of them are computed at a time. The learning rate is so small that their L0 does not change."""
    mesh, config = one_device(), TrainConfig(learning_rate=learning_rate)
    relu = ReluConfig(n_features=n_features, sparse=sparse)
    sae, rules = build(relu, width, dtype), RULES
    tx = dictionary_optimizer(config, sae)

    def initial(seed):
        key = jax.random.key(seed)
        start = sae.initial(key)
        hyper = {"l1_coefficient": jnp.float32(L1), "input_scale": jnp.float32(1.0)}
        return State.create(start, tx, stats=sae.initial_stats(), hyper=hyper, key=key)

    seeds = (jnp.arange(members),) if members > 1 else ()
    state = create_state(initial if seeds else lambda: initial(0), rules, mesh, *seeds)
    if params is not None:
        copy = lambda p, old: jax.device_put(jnp.array(jnp.broadcast_to(p, old.shape)), old.sharding)  # noqa: E731
        state = state.replace(params=jax.tree.map(copy, params, state.params))
    objective = dictionary_objective(sae, mesh, sparse=sparse)
    return Ensemble(state, objective, tx, [], rules, mesh, together if members > 1 else 0)


class OurStep:
    """Runs dispatches on the same block of rows, one after the other."""

    def __init__(self, group: Ensemble, rows: jax.Array):
        self._dispatch = group.compile(TrainConfig())
        self._state, self._rows = group.state, rows
        group.state = None  # its memory is donated

    def __call__(self, times: int) -> jax.Array:
        for _ in range(times):
            self._state, self._result = self._dispatch(self._state, self._rows)
        return self._state.step

    def mean(self, name: str) -> Any:
        """A metric of the last dispatch, per row; one value per member if there are several."""
        mean = self._result.metrics[name]
        assert isinstance(mean, Mean)
        return np.asarray(mean.total / mean.count).tolist()


def steps(n_features: int, sizes: StepSizes, seconds: float, *, with_peers: bool) -> dict[str, Any]:
    """Training rates of a dictionary of this size, in turns with bare matrix products and other libraries' steps."""
    begin = time.perf_counter()
    rows = make_bench_rows(sizes.steps, sizes.batch, sizes.width, jnp.bfloat16)
    ours, units = _ours(n_features, sizes, rows), sizes.steps * sizes.batch
    turns = {name: TimedWork(way, units, sizes.turn_seconds) for name, way in ours.items()}
    l0 = {name: [way.mean("l0")] for name, way in ours.items()}
    works = {"the five products alone": matmul.five(sizes.steps, sizes.batch, sizes.width, n_features, sizes.dtype)}
    works |= matmul.products(sizes.batch, sizes.width, n_features, sizes.dtype, _squares())
    turns |= {name: TimedWork(repeated(once), flops, sizes.turn_seconds / 3) for name, (once, flops) in works.items()}
    others, untimed = _others(n_features, sizes, rows) if with_peers else ({}, {})
    turns |= others
    rounds, found = take_turns(turns, sizes.rounds, seconds - (time.perf_counter() - begin))
    for name, way in ours.items():
        l0[name].append(way.mean("l0"))
    return {
        "batch": sizes.batch,
        "steps_per_dispatch": sizes.steps,
        "rounds": rounds,
        "l0": l0,
        **_figures(found, n_features, sizes, ours, others, works),
        **({"not_timed": untimed} if untimed else {}),
    }


def _ours(n_features: int, sizes: StepSizes, rows: jax.Array) -> dict[str, OurStep]:
    """Our variants by name. On accelerators, and for small dictionaries, all products are dense."""
    group = lambda **more: our_group(n_features, sizes.width, more.pop("dtype", sizes.dtype), **more)  # noqa: E731
    params = sparse_params(rows[0], n_features, 32.0)
    ways = {"ours": group(params=params)}
    if jax.default_backend() == "cpu" and sparse_matmul.worthwhile((sizes.batch, n_features), sizes.width):
        ways["ours, dense products"] = group(params=params, sparse="never")
        if n_features == 4096:
            ways["ours, at initialisation"] = group()
    elif n_features == 4096 and sizes.dtype != jnp.float32:
        ways[OTHER_DTYPE] = group(params=params, dtype=jnp.float32)
    return {name: OurStep(g, rows) for name, g in ways.items()}


def _others(n_features: int, sizes: StepSizes, rows: jax.Array) -> tuple[dict[str, TimedWork], dict[str, str]]:
    """The peers' variants on some of the same rows, and why some peers cannot be timed."""
    few = np.asarray(rows[:4], np.float32)
    turns, untimed = {}, {}
    for name, way in peers.ways(few, n_features, peer_device(), compile_too=n_features == 4096).items():
        try:
            turns[name] = TimedWork(way, few.shape[0] * few.shape[1], sizes.turn_seconds)
        except RuntimeError as e:  # out of memory, or no compiler for torch.compile
            untimed[name] = " ".join(str(e).split())[:200]
    return turns, untimed


def peer_device() -> str:
    """PyTorch's name for the device that JAX computes on."""
    return {"gpu": "cuda"}.get(jax.default_backend(), jax.default_backend())


def _squares() -> tuple[int, ...]:
    return (1024, 2048) if jax.default_backend() == "cpu" else (4096, 8192, 16_384)


def _figures(found: Any, n_features: int, sizes: StepSizes, ours: Any, others: Any, works: Any) -> dict[str, Any]:
    """Medians, and ratios with their bounds."""
    flops, bounds = 10.0 * sizes.width * n_features, BOUNDS.get((jax.default_backend(), n_features), {})
    medians = {name: statistics.median(v) for name, v in found.items()}
    peak = max(works, key=medians.__getitem__)
    trained = [*ours, *others]
    ratios = {}
    for way in ours:
        held = {} if way == OTHER_DTYPE else bounds
        ratios[f"{way} / {PEAK}"] = (flops * ratio(found, way, peak), held.get(PEAK))
        ratios |= {f"{way} / {other}": (ratio(found, way, other), held.get(other)) for other in others}
    ratios |= {f"{other} / {PEAK}": (flops * ratio(found, other, peak), None) for other in others}
    return {
        "rows_per_second": {name: medians[name] for name in trained},
        "tflops": {name: medians[name] * (flops if name in trained else 1.0) / 1e12 for name in medians},
        "matmul_peak": {"tflops": medians[peak] / 1e12, "is": peak},
        "ratios": ratios,
    }


def stacked(
    counts: tuple[int, ...], n_features: int, sizes: StepSizes, seconds: float, *, together: int
) -> dict[str, Any]:
    """Rows per second summed over members trained together; a higher sum means a lower cost per member."""
    begin, names = time.perf_counter(), {n: f"{n} member{'s' * (n > 1)}" for n in counts}
    rows = make_bench_rows(sizes.steps, sizes.batch, sizes.width, jnp.bfloat16)
    params = sparse_params(rows[0], n_features, 32.0)
    turns = {}
    for n in counts:
        way = OurStep(
            our_group(n_features, sizes.width, sizes.dtype, members=n, together=together, params=params), rows
        )
        turns[names[n]] = TimedWork(way, n * sizes.steps * sizes.batch, sizes.turn_seconds)
    rounds, found = take_turns(turns, sizes.rounds, seconds - (time.perf_counter() - begin))
    alone = names[min(counts)]
    return {
        "batch": sizes.batch,
        "features": n_features,
        "rounds": rounds,
        "rows_per_second": {name: statistics.median(v) for name, v in found.items()},
        "ratios": {
            f"{names[n]} together / one after another": (ratio(found, names[n], alone), STACKED.get(n))
            for n in counts if names[n] != alone
        },
    }  # fmt: skip


def steps_per_dispatch(n_features: int, batch: int, width: int, peak_tflops: float) -> int:
    """The number of steps for a dispatch of about 30 ms on an accelerator or 0.2 s on a CPU; at most 100."""
    aim = 0.2 if jax.default_backend() == "cpu" else 0.03
    return min(100, max(1, math.ceil(aim * peak_tflops * 1e12 / (10 * batch * width * n_features))))
