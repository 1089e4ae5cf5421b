"""The benchmark suite "harvest": tokens per second of a pretrained model's activations, beside transformers."""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
import shutil
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench import harvest_peer, matmul
from experiments.bench.timing import rates, ratio
from experiments.bench.train import peer_device
from monosem_jax.activations.harvest import HarvestConfig, fill
from monosem_jax.activations.producers import ModelActivations
from monosem_jax.activations.sampling import ContextSampler
from monosem_jax.activations.store.location import Location
from monosem_jax.models.llama import Llama, LlamaConfig
from monosem_jax.runtime.errors import BadInput, check_counts
from monosem_jax.runtime.signals import SignalFlag

BOUND = 1.5  # tokens per second of ours, in those of transformers as users run it
OURS, STORED = "ours", "ours, into a store"
HIDDEN_STATES, HOOK, TRUNCATED = harvest_peer.WAYS
LARGEST_DIFFERENCE = 1e-3  # of the activations' root mean square, between the two sides
SQUARES = (1024, 2048)


@dataclasses.dataclass(frozen=True)
class HarvestBenchConfig:
    """The suite "harvest": a model of SmolLM2-135M's shape with random weights, in fp32."""

    layers: int = 30
    """Layers of the model."""
    middle: int = 15
    """The layer after which the residual stream is read, beside the last one."""
    vocab_size: int = 49_152
    """Tokens."""
    context_length: int = 128
    """Tokens in a context."""
    contexts: int = 32
    """Contexts of a turn."""
    rows_per_context: int = 100
    """Positions that are kept of each context."""
    batches: tuple[int, ...] = (8, 16, 32)
    """Contexts per forward pass that each side may choose from."""
    rounds: int = 3
    """Turns of each side."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        names = ("layers", "middle", "vocab_size", "context_length", "contexts", "rows_per_context", "rounds")
        check_counts(self, "config.harvest.", *names)
        if not self.batches or min(self.batches) < 1 or any(self.contexts % b for b in self.batches):
            raise BadInput(f"config.harvest.batches is {self.batches}: expected divisors of contexts {self.contexts}")
        if self.middle > self.layers or self.rows_per_context >= self.context_length:
            raise BadInput("config.harvest: middle is at most layers, and rows_per_context below context_length")

    @property
    def model(self) -> LlamaConfig:
        """The shape of SmolLM2-135M, with this many layers."""
        return LlamaConfig(
            n_layers=self.layers, d_model=576, d_mlp=1536, n_heads=9, n_kv_heads=3, head_dim=64,
            context_length=self.context_length, vocab_size=self.vocab_size, tied=True,
        )  # fmt: skip

    def flops(self, layers: int) -> float:
        """Of the products of `layers` blocks, per token; attention to all positions of the context."""
        c = self.model
        heads, kv = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
        weights = 2 * c.d_model * heads + 2 * c.d_model * kv + 3 * c.d_model * c.d_mlp
        return layers * (2.0 * weights + 4.0 * self.context_length * heads)


def suite(folder: pathlib.Path, config: HarvestBenchConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (name, figures) for the middle layer and for the last one."""
    missing = harvest_peer.why_missing()
    if missing:
        print(missing)
    module = Llama(config.model)
    params = random_params(module)
    for layers in dict.fromkeys((config.middle, config.layers)):
        bench = Bench(folder, config, module, params, layers, bool(missing))
        yield f"residual stream after layer {layers} of {config.layers}", bench.figures()


def random_params(module: Llama) -> Any:
    """Weights as a model begins, made by NumPy: to compile what makes them takes longer than to measure."""
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]
    rng = np.random.default_rng(0)

    def one(shape: jax.ShapeDtypeStruct) -> np.ndarray:
        if len(shape.shape) < 2:
            return np.ones(shape.shape, np.float32)
        return rng.standard_normal(shape.shape, np.float32) * np.float32(0.02)

    return jax.tree.map(one, shapes)


@dataclasses.dataclass(frozen=True, eq=False)
class Bench:
    """Both sides of the comparison at the site after `layers` blocks."""

    folder: pathlib.Path
    config: HarvestBenchConfig
    module: Llama
    params: Any
    layers: int
    alone: bool

    @functools.cached_property
    def contexts(self) -> ContextSampler:
        """Random tokens; 0 is BOS."""
        c = self.config
        tokens = np.random.default_rng(0).integers(1, c.vocab_size, (c.contexts, c.context_length)).astype(np.uint32)
        tokens[:, 0] = 0
        return ContextSampler(tokens, 0, c.rows_per_context, 0)

    def figures(self) -> dict[str, Any]:
        """Tokens per second of every way, each with its best batch and number of threads, and the ratios."""
        ways, chosen = self.choose()
        if not self.alone:
            self.check_equal()
        products = {name: Metered(functools.partial(_once, *work)) for name, work in self.products().items()}
        found = rates({**ways, **products}, self.config.rounds)
        processor = {name: way.last(self.config.rounds) for name, way in {**ways, **products}.items()}
        figures: dict[str, Any] = {"chosen": chosen, "ratios": {}}
        for clock, of_clock, told in (("second", found, ""), ("processor_second", processor, ", by processor time")):
            medians = {name: statistics.median(values) for name, values in of_clock.items()}
            figures[f"tokens_per_{clock}"] = {name: medians[name] for name in ways}
            figures["ratios"] |= {f"{what}{told}": x for what, x in self.ratios(of_clock, medians, products).items()}
        figures["tflop_per_token"] = f"{self.config.flops(self.layers) / 1e12:.4g}"
        return figures

    def ratios(
        self, found: dict[str, list[float]], medians: dict[str, float], products: Iterable[str]
    ) -> dict[str, tuple[float, float | None]]:
        """What the rates `found` say, each with its bound."""
        peak, flops = max(medians[name] for name in products), self.config.flops(self.layers)
        ratios: dict[str, tuple[float, float | None]] = {
            "share of the matmul peak, ours": (medians[OURS] * flops / peak, None),
            "into a store / ours": (ratio(found, STORED, OURS), None),
        }
        if not self.alone:
            whole = max((HIDDEN_STATES, HOOK), key=medians.__getitem__)
            ratios["ours / transformers as users run it"] = (ratio(found, OURS, whole), BOUND)
            ratios["ours / transformers, truncated"] = (ratio(found, OURS, TRUNCATED), None)
            ratios["share of the matmul peak, truncated"] = (medians[TRUNCATED] * flops / peak, None)
        return ratios

    def choose(self) -> tuple[dict[str, Metered], dict[str, str]]:
        """Every way at the batch size and, in PyTorch, the number of threads at which one turn was fastest."""
        ours = {f"{b} contexts": functools.partial(self.ours, b) for b in self.config.batches}
        best = _fastest(ours, uncounted=1)
        batch, chosen = int(best.split()[0]), {OURS: best}
        ways = {OURS: Metered(ours[best]), STORED: Metered(functools.partial(self.store, batch))}
        if self.alone:
            return ways, chosen
        cores, theirs = len(os.sched_getaffinity(0)), self.peer.ways()
        threads = sorted({cores, max(cores // 2, 1)}) if peer_device() == "cpu" else [cores]
        settings = {f"{b} contexts, {n} threads": (b, n) for b in self.config.batches for n in threads}
        best = _fastest({at: functools.partial(self.theirs, theirs[HOOK], *bn) for at, bn in settings.items()})
        found = {name: Metered(functools.partial(self.theirs, way, *settings[best])) for name, way in theirs.items()}
        return {**ways, **found}, {**chosen, "transformers": best}

    @functools.cached_property
    def peer(self) -> harvest_peer.Peer:
        """The same model in transformers."""
        return harvest_peer.Peer(self.config.model, self.params, self.layers, peer_device())

    @functools.cache  # noqa: B019  a bench lives as long as the process
    def made(self, batch: int) -> ModelActivations:
        """The rows of our harvest."""
        c = self.config
        return ModelActivations(
            self.module, self.params, f"resid_post.{self.layers - 1}", self.contexts,
            k=c.rows_per_context, n_contexts=c.contexts, dtype="bfloat16", batch_contexts=batch,
        )  # fmt: skip

    def ours(self, batch: int) -> float:
        """All rows on the host, as our harvest makes them."""
        made = self.made(batch)
        for _ in made.batches(0, made.n_rows):
            pass
        return float(self.config.contexts * self.config.context_length)

    def store(self, batch: int) -> float:
        """A whole harvest into a store."""
        made, c = self.made(batch), self.config
        manifest = {"site": "", "context_length": c.context_length, "model": "bench"}
        fill(
            Location(self.folder / "store"), made, manifest, config=HarvestConfig(), seed=0, stop=SignalFlag(),
            tokens=lambda a, b: self.contexts.tokens(np.arange(a, b)), n_contexts=c.contexts,
        )  # fmt: skip
        shutil.rmtree(self.folder / "store")
        return float(c.contexts * c.context_length)

    def theirs(self, way: harvest_peer.Way, batch: int, threads: int) -> float:
        """The same rows from transformers."""
        self.peer.threads(threads)
        for c in range(0, self.config.contexts, batch):
            which = np.arange(c, c + batch)
            way(self.contexts.tokens(which), self.contexts.positions(which))
        return float(self.config.contexts * self.config.context_length)

    def check_equal(self) -> None:
        """Raises RuntimeError unless both sides compute the same activations."""
        tokens = self.contexts.tokens(np.arange(2))
        site = f"resid_post.{self.layers - 1}"
        ours = np.asarray(self.module.apply({"params": self.params}, tokens, site, method=self.module.to_acts)[1])
        theirs = self.peer.activations(tokens)
        worst = float(np.abs(ours - theirs).max() / np.sqrt(np.mean(np.square(ours))))
        if not worst <= LARGEST_DIFFERENCE:
            raise RuntimeError(f"the activations of both sides differ by {worst:.3g} of their root mean square")

    def products(self) -> dict[str, matmul.Work]:
        """The products whose fastest is the matmul peak."""
        c, batch = self.config, max(self.config.batches)
        return matmul.products(batch * c.context_length, c.model.d_model, c.model.d_mlp, jnp.float32, SQUARES)


class Metered:
    """A way of a comparison that also notes its units per second of processor time, of all threads together: what
    others do on the machine meanwhile counts little in it."""

    def __init__(self, way: Callable[[], float]):
        self._way = way
        self._rates: list[float] = []

    def __call__(self) -> float:
        begin = time.process_time()
        units = self._way()
        self._rates.append(units / (time.process_time() - begin))
        return units

    def last(self, n: int) -> list[float]:
        """The rates of the last n turns."""
        return self._rates[-n:]


def _fastest(ways: Mapping[str, Callable[[], float]], uncounted: int = 0) -> str:
    """The way with the fastest turn of one each."""
    found = rates(dict(ways), 1, uncounted=uncounted)
    return max(found, key=lambda name: found[name][0])


def _once(work: Callable[[], Any], flops: float) -> float:
    jax.block_until_ready(work())
    return flops
