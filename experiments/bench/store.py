"""The store's benchmarks: reading, harvesting, memory and mixing."""

from __future__ import annotations

import os
import pathlib
import statistics
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench.timing import rates, ratio
from monosem_jax.activations.harvest import HarvestConfig, fill
from monosem_jax.activations.producers import ModelActivations
from monosem_jax.activations.sampling import ContextSampler
from monosem_jax.activations.store.store import Store, open_array
from monosem_jax.activations.stream.order import BLOCK_ROWS
from monosem_jax.activations.stream.stream import RowStream, StreamConfig, open_stream
from monosem_jax.models import build_model
from monosem_jax.models.transformer import TransformerConfig
from monosem_jax.runtime.kvstore import Location
from monosem_jax.runtime.signals import SignalFlag

MODEL = TransformerConfig(n_layers=1, d_model=128, d_mlp=512, n_heads=4, context_length=128, vocab_size=4096)
PER_CONTEXT = 120
SHARD_ROWS, IN_FLIGHT = 65_536, 3
SINGLE_ROWS = 1000
PERMUTATIONS = 200


def one_device() -> Any:
    """A mesh of the first device only: these figures are about one host's reading."""
    from jax.sharding import AxisType, Mesh

    return Mesh(np.asarray(jax.devices()[:1]).reshape(1, 1), ("data", "model"), axis_types=(AxisType.Auto,) * 2)


def make_source(n_rows: int, dtype: str, model: TransformerConfig = MODEL, batch: int = 64) -> ModelActivations:
    """Activations of an untrained transformer on random tokens; their norms differ from context to context."""
    rng = np.random.default_rng(0)
    n = -(-n_rows // PER_CONTEXT)
    topic = rng.integers(1, model.vocab_size - 64, (n, 1))  # nearby tokens, so that rows of a context are similar
    tokens = (topic + rng.integers(0, 64, (n, model.context_length))).astype(np.uint16)
    tokens[:, 0] = 0
    module = build_model(model)
    params = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]
    scale = np.exp(np.random.default_rng(1).normal(size=(model.vocab_size // 64 + 1)))[
        np.arange(model.vocab_size) // 64
    ]
    params["embed"]["embedding"] *= jnp.asarray(scale[:, None], jnp.float32)
    params = jax.tree.map(lambda p: p * 5 if p.ndim > 1 else p, params)
    contexts = ContextSampler(tokens, 0, PER_CONTEXT, 0)
    site = f"mlp_hidden.{model.n_layers - 1}"
    return ModelActivations(
        module, params, site, contexts, k=PER_CONTEXT, n_contexts=n, dtype=dtype, batch_contexts=batch
    )


def make_store(path: pathlib.Path, made: ModelActivations, config: HarvestConfig) -> dict[str, Any]:
    """Harvests, resuming an earlier run if there is one, and returns the manifest."""
    manifest = {
        "site": config.site, "context_length": made.contexts.length, "rows_per_context": PER_CONTEXT, "model": "bench",
        "tokenizer_sha256": "", "corpus_sha256": "",
    }  # fmt: skip
    n = made.n_rows // PER_CONTEXT
    return fill(
        Location(path), made, manifest, config=config, seed=0, stop=SignalFlag(), n_contexts=n,
        tokens=lambda a, b: made.contexts.tokens(np.arange(a, b)),
    )  # fmt: skip


def reading(
    path: pathlib.Path, *, batch: int, steps: int, rounds: int, window_blocks: int, cold: bool
) -> dict[str, Any]:
    """Rows/s of plain read(), bare TensorStore, the stream in order and shuffled, and single random rows.

    `cold`: the operating system is asked to drop the files from its cache before each turn (the disk's own host may
    still cache them).
    """
    store = Store(path)
    files = sorted(p for p in (path / "activations" / "c").rglob("*") if p.is_file())
    mesh = one_device()
    n = store.n_rows // (batch * steps) * (batch * steps)
    buffer = bytearray(1 << 23)

    def forget() -> None:
        if cold:
            for file in files:
                fd = os.open(file, os.O_RDONLY)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(fd)

    def plain() -> float:
        forget()
        for file in files:
            with open(file, "rb", buffering=0) as f:
                while f.readinto(buffer):
                    pass
        return store.n_rows

    def bare(rows: int) -> float:
        forget()
        array, pending = open_array(Location(path), "activations"), []
        for start in range(0, store.n_rows, rows):
            pending.append(array[start : min(start + rows, store.n_rows)].read())
            if len(pending) > IN_FLIGHT:
                pending.pop(0).result()
        for p in pending:
            p.result()
        return store.n_rows

    def single() -> float:
        forget()
        array = open_array(Location(path), "activations")
        for i in np.random.default_rng(0).integers(0, store.n_rows, SINGLE_ROWS):
            array[int(i)].read().result()
        return SINGLE_ROWS

    def stream(shuffle: bool) -> float:
        forget()
        config = StreamConfig(kind="disk", window_blocks=window_blocks)
        return drain(open_stream(store, batch, 0, mesh, config=config, shuffle=shuffle), n // batch, steps)

    ways = {
        "plain read()": plain,
        "bare TensorStore, by shard": lambda: bare(SHARD_ROWS),
        "bare TensorStore, by block": lambda: bare(BLOCK_ROWS),
        "stream in order": lambda: stream(False),
        "stream shuffled": lambda: stream(True),
        "single random rows": single,
    }
    found = rates(ways, rounds)
    medians = {name: statistics.median(v) for name, v in found.items()}
    bare_way = max((w for w in ways if w.startswith("bare")), key=medians.__getitem__)  # compare with the faster one
    return {
        "rows_per_second": medians,
        "ratios": {
            "in order / bare TensorStore": (ratio(found, "stream in order", bare_way), 0.8),
            "in order / plain read()": (ratio(found, "stream in order", "plain read()"), 0.6),
            "shuffled / in order": (ratio(found, "stream shuffled", "stream in order"), 0.8),
            "shuffled / single random rows": (ratio(found, "stream shuffled", "single random rows"), None),
        },
    }


def drain(stream: RowStream, n_batches: int, steps: int) -> int:
    """Reads batches as the training loop does, one block ahead in the background; returns the number of rows."""
    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(stream, 0, steps)
        for i in range(steps, n_batches + 1, steps):
            block = ahead.result()
            if i < n_batches:
                ahead = pool.submit(stream, i, steps)
            jax.block_until_ready(block)
    return n_batches * stream.order.batch_size


def harvesting(folder: pathlib.Path, *, n_rows: int, rounds: int) -> dict[str, Any]:
    """Rows/s of harvesting to disk, and of the bare forward pass to the tap on the same contexts."""
    made = make_source(n_rows, "bfloat16")
    model, n = build_model(MODEL), made.n_rows // PER_CONTEXT
    tokens = [made.contexts.tokens(np.minimum(np.arange(c, c + 64), n - 1)) for c in range(0, n, 64)]
    site, params = "mlp_hidden.0", jax.device_put(jax.tree.map(np.asarray, made.params), jax.devices()[0])
    forward = jax.jit(lambda p, t: model.apply({"params": p}, t, site, method=model.to_acts)[1])
    turn = iter(range(1000))

    def bare() -> float:
        last = None
        for t in tokens:
            ahead = forward(params, t)
            if last is not None:
                last.block_until_ready()
            last = ahead
        last.block_until_ready()
        return made.n_rows

    def write() -> float:
        config = HarvestConfig(rows_per_context=PER_CONTEXT, bucket_rows=1 << 16, shard_rows=1 << 16)
        return make_store(folder / f"harvest-{next(turn)}", made, config)["n_rows"]

    found = rates({"forward pass": bare, "harvest": write}, rounds)
    return {
        "rows_per_second": {name: statistics.median(v) for name, v in found.items()},
        "ratios": {"harvest / forward pass": (ratio(found, "harvest", "forward pass"), 0.8)},
    }


def memory(folder: pathlib.Path, *, n_rows: int, sizes: tuple[int, ...] = (1, 4, 16)) -> dict[str, Any]:
    """Peak memory in MB of a process that harvests and of one that streams stores of n_rows times each of `sizes`."""
    found: dict[str, list[float]] = {"harvest": [], "stream": []}
    for size in sizes:
        for what, peaks in found.items():
            command = [
                sys.executable,
                "-m",
                "experiments.bench.peak_memory",
                what,
                str(folder / f"x{size}"),
                str(n_rows * size),
            ]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            peaks.append(float(done.stdout.split()[-1]))
    return {
        "sizes": list(sizes),
        "peak_mb": found,
        "ratios": {f"{what}: x{sizes[-1]} / x{sizes[0]}": (p[-1] / p[0], None) for what, p in found.items()},
    }


def mixing(store: Store, batch: int, window_blocks: int) -> dict[str, Any]:
    """How well rows are mixed, on disk and as streamed: the share of neighbours from the same context, and the
    correlation of neighbours' norms.

    Each value is compared with the 95 % quantile over random permutations of the same rows.
    """
    n = store.n_rows
    contexts = np.concatenate([store.origin(a, b)[:, 0] for a, b in _slabs(n)])
    norms = np.concatenate([np.linalg.norm(store.read(a, b).astype(np.float32), axis=1) for a, b in _slabs(n)])
    stream = open_stream(store, batch, 0, one_device(), config=StreamConfig("disk", window_blocks))
    streamed = stream.order.indices(0, batch, 0, n // batch).reshape(-1)
    rng = np.random.default_rng(0)
    random = [_neighbours(contexts, norms, rng.permutation(n)) for _ in range(PERMUTATIONS)]
    bound = np.quantile(np.abs(random), 0.95, axis=0)
    places = {"on disk": np.arange(n), "as streamed": streamed}
    values = {name: _neighbours(contexts, norms, order) for name, order in places.items()}
    unmixed = _neighbours(contexts, norms, np.argsort(contexts, kind="stable"))
    return {
        "rows": n,
        "permutations_95": {"same context": float(bound[0]), "norm correlation": float(bound[1])},
        "unmixed": {"same context": unmixed[0], "norm correlation": unmixed[1]},
        "values": {name: {"same context": v[0], "norm correlation": v[1]} for name, v in values.items()},
        "ratios": {
            f"{what}, {name} / 95 % of permutations": (float(abs(v[i]) / bound[i]), 2.0)
            for name, v in values.items()
            for i, what in enumerate(("same context", "norm correlation"))
        },
    }


def _neighbours(contexts: np.ndarray, norms: np.ndarray, order: np.ndarray) -> tuple[float, float]:
    c, x = contexts[order], norms[order].astype(np.float64)
    return float(np.mean(c[1:] == c[:-1])), float(np.corrcoef(x[1:], x[:-1])[0, 1])


def _slabs(n: int) -> Iterator[tuple[int, int]]:
    return ((a, min(a + SHARD_ROWS, n)) for a in range(0, n, SHARD_ROWS))
