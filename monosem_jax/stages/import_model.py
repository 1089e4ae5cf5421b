"""A pretrained model and a text → a directory that stands for a transformer in every later stage."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from monosem_jax.models.pretrained import MODEL, Pretrained, open_pretrained
from monosem_jax.runtime.config import check_bounds, check_seed, field
from monosem_jax.runtime.edge import stage
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.processes import first_process
from monosem_jax.runtime.progress import progress
from monosem_jax.runtime.workdir import RunDir
from monosem_jax.stages.train_transformer import make_heldout_loss
from monosem_jax.text.bigram import bigram_loss
from monosem_jax.text.directory import Text
from monosem_jax.text.pack import TextConfig, check_same, prepare_text


@dataclasses.dataclass(frozen=True)
class ImportModelConfig:
    """Which model is imported, and the text that it reads from then on."""

    seed: int = 0
    """Decides, unless text.seed does, which documents are held out and in which order all are packed."""
    model: str = field("", place=MODEL)
    """A Hugging Face directory (config.json, *.safetensors, tokenizer.json), a .gguf file, hub:ORG/NAME, or the name of
    a packaged model: smollm2, glassllm."""
    text: TextConfig = TextConfig()
    """The text, tokenized with the model's own tokenizer."""
    context_length: int = field(128, at_least=2)
    """Tokens in a context, BOS included; at most what the model was trained on."""
    evaluate_contexts: int = field(64, at_least=0)
    """Held-out contexts on which the loss in the summary is measured; 0: all."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        check_seed(self.seed)
        check_bounds(self, "config.")
        self.text.check()
        if not self.model:
            raise BadInput("config.model is empty: expected a model's directory or file, hub:ORG/NAME, or smollm2")
        if self.text.tokenizer:
            raise BadInput(f"text.tokenizer is {self.text.tokenizer}: a pretrained model reads with its own tokenizer")


@stage
def import_model(workdir: str | pathlib.Path, config: ImportModelConfig) -> dict[str, Any]:
    """Makes `workdir` stand for a pretrained model that reads a text, and returns the summary. No weight is copied."""
    config.check()
    begin = time.perf_counter()
    found = open_pretrained(config.model)
    if config.context_length > found.config.context_length:
        raise BadInput(
            f"config.context_length is {config.context_length}: the model was trained on contexts of at most "
            f"{found.config.context_length}"
        )
    found.check()
    with RunDir(workdir, "import_model", config, {}, ImportModelConfig()) as rundir:
        if rundir.finished:
            check_same(rundir.path / "text", own_text(rundir.path, config))
        return rundir.once(lambda: _import(rundir, config, found, begin))


def _import(rundir: RunDir, config: ImportModelConfig, found: Pretrained, begin: float) -> dict[str, Any]:
    own = own_text(rundir.path, config)
    if first_process():
        found.tokenizer.save(own.tokenizer)
    text = prepare_text(rundir.path / "text", own, config.context_length, config.seed)
    return {**_losses(found, text, config.evaluate_contexts), "model": found.source.where,
            "architecture": found.config.architecture, "params_sha256": found.sha256,
            "wall_seconds": time.perf_counter() - begin}  # fmt: skip


def own_text(path: pathlib.Path, config: ImportModelConfig) -> TextConfig:
    """The text's configuration with the model's tokenizer, which lies in the run directory `path`."""
    return dataclasses.replace(config.text, tokenizer=str(path / "tokenizer.json"))


def _losses(found: Pretrained, text: Text, contexts: int) -> dict[str, Any]:
    """The loss on held-out contexts beside that of the bigram baseline on the same."""
    heldout = np.asarray(text.tokens("heldout"))
    heldout = heldout[np.linspace(0, len(heldout) - 1, min(contexts or len(heldout), len(heldout))).astype(int)]
    params = found.params(put=jax.device_put)
    with progress(len(heldout), "evaluate the model", "contexts") as bar:
        loss = make_heldout_loss(found.model(jnp.float32), heldout, 16)(params, bar.update)
    return {
        "heldout_loss": loss,
        "bigram_loss": bigram_loss(text.tokens("train"), heldout, text.manifest["vocab_size"]),
        "heldout_tokens": int(heldout[:, 1:].size),
        "parameters": sum(int(np.size(p)) for p in jax.tree.leaves(params)),
    }
