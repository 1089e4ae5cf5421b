"""Text → tokenizer → packed contexts → a trained transformer."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from monosem_jax.models import build_model, find_model
from monosem_jax.models.base import LanguageModel, token_losses
from monosem_jax.models.objective import language_objective
from monosem_jax.models.transformer import TransformerConfig
from monosem_jax.runtime.config import check_seed
from monosem_jax.runtime.edge import stage
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.mesh import device_get_global
from monosem_jax.runtime.progress import progress
from monosem_jax.runtime.rng import jax_key
from monosem_jax.runtime.workdir import RunDir
from monosem_jax.text.batches import TokenBatches, context_batches
from monosem_jax.text.bigram import bigram_loss
from monosem_jax.text.directory import Text
from monosem_jax.text.pack import TextConfig, check_same, prepare_text
from monosem_jax.training.config import TrainConfig
from monosem_jax.training.loop import Ensemble, FitResult, Report, fit
from monosem_jax.training.optimizer import optimizer
from monosem_jax.training.step import State, create_state

PEEK = 256  # contexts of a split for the losses during training; the summary's loss uses the whole held-out split
RULES = {"*": PartitionSpec()}  # the model is small: data parallelism with replicated parameters


@dataclasses.dataclass(frozen=True)
class TransformerRunConfig:
    """Everything that decides a transformer. The paper's model B is model A with another seed."""

    seed: int = 0
    """Decides the initial values, the order of the batches and, unless text.seed does, the text."""
    text: TextConfig = TextConfig()
    """Text and tokenizer."""
    transformer: TransformerConfig = TransformerConfig()
    """The model."""
    train: TrainConfig = TrainConfig()
    """The training loop."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        check_seed(self.seed)
        self.text.check()
        find_model(self.transformer.architecture)
        self.transformer.check()
        self.train.check()
        if self.train.micro_batches != 1:
            raise BadInput(
                f"train.micro_batches is {self.train.micro_batches}: a transformer is trained without, expected 1"
            )


@stage
def train_transformer(workdir: str | pathlib.Path, config: TransformerRunConfig) -> dict[str, Any]:
    """Trains a transformer in `workdir`, or resumes there, and returns the summary."""
    config.check()
    begin = time.perf_counter()
    mesh = config.train.open_mesh()
    with RunDir(workdir, "train_transformer", config, {}, TransformerRunConfig()) as rundir:
        if rundir.finished:
            check_same(rundir.path / "text", config.text)
        return rundir.once(lambda: _train(rundir, config, mesh, begin))


def _train(rundir: RunDir, config: TransformerRunConfig, mesh: Mesh, begin: float) -> dict[str, Any]:
    """Prepares the text, trains, and returns the summary."""
    batch_size, length = config.train.batch_size, config.transformer.context_length
    text = prepare_text(rundir.path / "text", config.text, length, config.seed, batch_size=batch_size)
    shape = dataclasses.replace(config.transformer, vocab_size=text.manifest["vocab_size"])
    model = build_model(shape, config.train.dtype())
    tx = optimizer(config.train)
    train_tokens, heldout = text.tokens("train"), np.asarray(text.tokens("heldout"))

    def initial() -> State:
        params = model.init(jax_key("transformer.init", config.seed), train_tokens[:1].astype(np.int32))["params"]
        return State.create(params, tx, stats={}, hyper={}, key=jax_key("transformer.train", config.seed))

    group = Ensemble(create_state(initial, RULES, mesh), language_objective(model), tx, [rundir], RULES, mesh)
    result = fit(
        [group],
        config=config.train,
        batches=TokenBatches(train_tokens, batch_size, config.seed, mesh),
        reports=[_losses_on_text(model, text, config.train.evaluate_every)],
        unit="tokens",
        unit_per_batch=batch_size * text.manifest["context_length"],
        description="transformer",
    )
    return _summary(model, device_get_global(result.states[0].params), text, heldout, config, result, begin)


def _losses_on_text(model: LanguageModel, text: Text, every: int) -> Report:
    """The report, every so many steps, of the loss on a part of every split that is not trained on. Steps and learning
    rates are chosen by `validation_loss`; `heldout_loss` is logged as it always was."""
    splits = {split: np.asarray(text.tokens(split)) for split in text.splits if split != "train"}
    losses = {
        f"{split}_loss": make_heldout_loss(model, tokens[:: max(1, len(tokens) // PEEK)])
        for split, tokens in splits.items()
    }
    return Report(every, lambda s: {name: loss(s.params) for name, loss in losses.items()}, tuple(losses))


def _summary(
    model: LanguageModel,
    params: Any,
    text: Text,
    heldout: np.ndarray,
    config: TransformerRunConfig,
    result: FitResult,
    begin: float,
) -> dict[str, Any]:
    per_step = config.train.batch_size * text.manifest["context_length"]
    with progress(len(heldout), "evaluate the transformer", "contexts") as bar:
        loss = make_heldout_loss(model, heldout)(params, bar.update)
    with progress(1, "bigram baseline", "fit", delay=0) as bar:
        baseline = bigram_loss(text.tokens("train"), heldout, text.manifest["vocab_size"])
        bar.update()
    return {
        "heldout_loss": loss,
        "bigram_loss": baseline,
        "heldout_tokens": int(heldout[:, 1:].size),
        "parameters": sum(int(p.size) for p in jax.tree.leaves(params)),
        "params_sha256": params_hash(params),
        "tokens_trained": config.train.steps * per_step,
        "tokens_per_second": result.steps * per_step / max(result.seconds, 1e-9),
        "resumed_from_step": config.train.steps - result.steps,
        "checkpoint_stall_seconds": result.mean_stall,
        "wall_seconds": time.perf_counter() - begin,
    }


def make_heldout_loss(model: LanguageModel, tokens: np.ndarray, batch: int = 64):
    """The function params → mean loss in nats over all predictions in `tokens` [C,T]. Its second argument, if given, is
    called with the numbers of contexts done."""

    @jax.jit
    def batch_loss(params, tokens, weight):
        losses = token_losses(model.apply({"params": params}, tokens), tokens)
        return (losses * weight[:, None]).sum()

    def mean_loss(params: Any, advance: Callable[[int], Any] = lambda n: None) -> float:
        total = 0.0
        for t, w in context_batches(tokens, min(batch, len(tokens))):
            total += float(batch_loss(params, t, w))
            advance(int(w.sum()))
        return total / tokens[:, 1:].size

    return mean_loss


def params_hash(params: Any) -> str:
    """The sha256 of all parameters and their names, by which a store identifies its model."""
    h = hashlib.sha256()
    for path, leaf in sorted(jax.tree_util.tree_leaves_with_path(params), key=lambda x: jax.tree_util.keystr(x[0])):
        h.update(jax.tree_util.keystr(path).encode())
        h.update(np.ascontiguousarray(leaf, np.float32).tobytes())
    return h.hexdigest()
