"""Language models of a few thousand parameters whose matrices are large enough that everything matters."""

from __future__ import annotations

import jax
import numpy as np
from tokenizers import Tokenizer, decoders, models

from monosem_jax.models import build_model
from monosem_jax.models.llama import LlamaConfig
from monosem_jax.models.transformer import TransformerConfig

V, BOS = 40, 0
LLAMA = LlamaConfig(
    n_layers=3, d_model=16, d_mlp=24, n_heads=4, n_kv_heads=2, head_dim=6, context_length=64, vocab_size=V,
    windows=(0, 5, 0), tied=True,
)  # fmt: skip
PAPER = TransformerConfig(n_layers=2, d_model=16, d_mlp=32, n_heads=2, context_length=64, vocab_size=V)


def lively(config, seed: int = 0):
    """(model, params) whose matrices are ten times as large as at initialisation."""
    model = build_model(config)
    params = jax.jit(model.init)(jax.random.key(seed), np.zeros((1, 2), np.int32))["params"]
    return model, jax.tree.map(lambda p: np.asarray(p * 10 if p.ndim > 1 else p), params)


def words() -> Tokenizer:
    """Token i is the text "wi ", with <bos> as token 0."""
    made = Tokenizer(models.WordLevel({"<bos>": 0, **{f"w{i} ": i for i in range(1, V)}}, unk_token="<bos>"))
    made.decoder = decoders.Fuse()
    made.add_special_tokens(["<bos>"])
    return made
