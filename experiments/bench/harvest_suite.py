"""The benchmark suite "harvest": tokens per second of a pretrained model's activations, beside transformers."""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
import shutil
import statistics
from collections.abc import Callable, Iterator
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
    batches: tuple[int, ...] = (4, 8, 16, 32)
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
    params = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]
    params = jax.tree.map(np.asarray, params)
    for layers in dict.fromkeys((config.middle, config.layers)):
        bench = Bench(folder, config, module, params, layers, bool(missing))
        yield f"residual stream after layer {layers} of {config.layers}", bench.figures()


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
        products = self.products()
        everything = {**ways, **{name: lambda work=work, n=n: _once(work, n) for name, (work, n) in products.items()}}
        found = rates(everything, self.config.rounds)
        tokens = {name: statistics.median(found[name]) for name in ways}
        peak = max(statistics.median(found[name]) for name in products)
        flops = self.config.flops(self.layers)
        theirs = [name for name in ways if name.startswith("transformers")]
        whole = [name for name in theirs if "truncated" not in name]
        ratios: dict[str, tuple[float, float | None]] = {
            "share of the matmul peak, ours": (tokens[OURS] * flops / peak, None),
            "into a store / ours": (ratio(found, STORED, OURS), None),
        }
        if theirs:
            best = max(whole, key=tokens.__getitem__)
            ratios["ours / transformers as users run it"] = (ratio(found, OURS, best), BOUND)
            ratios["ours / transformers, truncated"] = (ratio(found, OURS, theirs[-1]), None)
            ratios["share of the matmul peak, truncated"] = (tokens[theirs[-1]] * flops / peak, None)
        return {
            "tokens_per_second": tokens,
            "chosen": chosen,
            "matmul_peak": {"tflops": peak / 1e12, "tflop_per_token": flops / 1e12},
            "ratios": ratios,
        }

    def choose(self) -> tuple[dict[str, Callable[[], float]], dict[str, str]]:
        """Every way at the batch size (and PyTorch's number of threads) at which one turn was fastest."""
        options = self.options()
        everything = {(name, at): way for name, ways in options.items() for at, way in ways.items()}
        once = rates({f"{name}|{at}": way for (name, at), way in everything.items()}, 1)
        best = {name: max(ways, key=lambda at, name=name: once[f"{name}|{at}"][0]) for name, ways in options.items()}
        ways = {name: options[name][at] for name, at in best.items()}
        batch = int(best[OURS].split()[0])
        return {**ways, STORED: lambda: self.store(batch)}, best

    def options(self) -> dict[str, dict[str, Callable[[], float]]]:
        """way -> settings -> what takes a turn and returns the number of tokens."""
        found = {OURS: {f"{b} contexts": functools.partial(self.ours, b) for b in self.config.batches}}
        if self.alone:
            return found
        cores = len(os.sched_getaffinity(0))
        threads = sorted({cores, max(cores // 2, 1)}) if peer_device() == "cpu" else [cores]
        for name, way in self.peer.ways().items():
            found[name] = {
                f"{b} contexts, {n} threads": functools.partial(self.theirs, way, b, n)
                for b in self.config.batches
                for n in threads
            }
        return found

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


def _once(work: Callable[[], Any], flops: float) -> float:
    jax.block_until_ready(work())
    return flops
