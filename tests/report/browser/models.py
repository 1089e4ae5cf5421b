"""Small random models with dictionaries of every kind, for the page's engine."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from monosem_jax.analysis import feature_sets
from monosem_jax.models.tapped import TappedModel
from monosem_jax.models.transformer import Transformer, TransformerConfig
from monosem_jax.sae import architectures
from monosem_jax.sae.architectures.abs_topk import AbsTopKConfig
from monosem_jax.sae.architectures.batchtopk import BatchTopKConfig
from monosem_jax.sae.architectures.crosscoder import CrosscoderConfig
from monosem_jax.sae.architectures.gated import GatedConfig
from monosem_jax.sae.architectures.jumprelu import JumpReluConfig
from monosem_jax.sae.architectures.matryoshka import MatryoshkaConfig
from monosem_jax.sae.architectures.relu import ReluConfig
from monosem_jax.sae.architectures.topk import TopKConfig
from monosem_jax.sae.architectures.transcoder import TranscoderConfig
from monosem_jax.sae.published import PublishedSAE
from monosem_jax.text.tokenizer import train_tokenizer

F, T = 48, 20
CONFIG = TransformerConfig(n_layers=2, d_model=16, d_mlp=24, n_heads=2, context_length=T)
TEXTS = ["the quick brown fox jumps over the lazy dog, the end. "] * 3 + [
    "ACGTACGT שלום עולם 12345 naïve café 日本語 🙂🙃 it's they'll"
] * 2

# name → (site, configuration); every site of a layer and every published form occurs.
CASES: dict[str, tuple[str, Any]] = {
    "relu": ("mlp_hidden.1", ReluConfig(n_features=F)),
    "topk": ("resid_pre.1", TopKConfig(n_features=F, k=5)),
    "abs_topk": ("attn_out.0", AbsTopKConfig(n_features=F, k=5)),
    "gated": ("resid_mid.1", GatedConfig(n_features=F)),
    "jumprelu": ("mlp_in.0", JumpReluConfig(n_features=F)),
    "batchtopk": ("mlp_hidden.0", BatchTopKConfig(n_features=F, k=5)),
    "matryoshka": ("mlp_out.1", MatryoshkaConfig(n_features=F, activation="topk", k=5)),
    "transcoder": ("mlp_in.0+mlp_out.0", TranscoderConfig(n_features=F, skip=True, k=5, activation="topk")),
    # Its effect, at the last one, lies before what it reads.
    "crosscoder": ("resid_mid.1+resid_pre.0", CrosscoderConfig(n_features=F, activation="batchtopk", k=5)),
}


@functools.cache
def tokenizer():
    return train_tokenizer(TEXTS, 300)


@functools.cache
def transformer() -> tuple[Transformer, Any]:
    """A model whose parameters are all random, biases and scales too, of a size that leaves no part without effect."""
    model = Transformer(dataclasses.replace(CONFIG, vocab_size=len(tokenizer().get_vocab())))
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, T), jnp.int32))["params"]
    rng = np.random.default_rng(18)

    def one(path: Any, leaf: Any) -> np.ndarray:
        name = jax.tree_util.keystr(path)
        spread = 1.0 if "embedding" in name else 0.3 if leaf.ndim == 1 else 1.5 / leaf.shape[0] ** 0.5
        return np.asarray(rng.normal(size=leaf.shape) * spread + ("scale" in name), np.float32)

    return model, jax.tree_util.tree_map_with_path(one, shapes)


def dictionary(name: str) -> tuple[TappedModel, PublishedSAE]:
    """The model cut at the site of a case, and a random published dictionary whose features fire now and then."""
    site, config = CASES[name]
    model, params = transformer()
    tapped = TappedModel(model, params, site, bos=0)
    parts = tuple(model.width(s) for s in site.split("+"))
    module = architectures.build(config, sum(parts), jnp.float32, parts if len(parts) > 1 else ())
    rng = np.random.default_rng(len(name))
    trained = jax.eval_shape(module.initial, jax.random.key(0))
    found = {k: rng.normal(size=v.shape) * (0.3 if v.ndim == 1 else v.shape[0] ** -0.5) for k, v in trained.items()}
    found["b_enc"] = found["b_enc"] - 0.5
    if "log_threshold" in found:
        found["threshold"] = np.exp(found.pop("log_threshold") - 1)
    if name in ("batchtopk", "crosscoder"):
        found["threshold"] = np.abs(rng.normal(size=F))
    found["W_dec"] /= np.linalg.norm(found["W_dec"], axis=1, keepdims=True)
    return tapped, PublishedSAE(module, {k: np.asarray(v, np.float32) for k, v in found.items()})


def contexts(n: int = 3) -> np.ndarray:
    """[n,T] random tokens, BOS first, and once in the middle."""
    tokens = np.random.default_rng(3).integers(1, transformer()[0].config.vocab_size, (n, T)).astype(np.int32)
    tokens[:, 0] = 0
    tokens[0, T // 2] = 0
    return tokens


def from_stored(arrays: dict[str, np.ndarray]) -> tuple[Any, dict[str, np.ndarray]]:
    """(the transformer's parameters as Flax names them, the dictionary's), from arrays as files have them."""
    params: dict[str, Any] = {
        "embed": {"embedding": arrays["embed"]},
        "unembed": {"kernel": arrays["unembed"].T},
    }
    published = {}
    for name, array in arrays.items():
        block, _, rest = name.partition(".")
        if block.startswith("blocks_"):
            part, _, kind = rest.partition(".")
            of = params.setdefault(block, {}).setdefault(part, {})
            of[kind or "kernel"] = array if kind else array.T
        elif block == "ln_final":
            params.setdefault(block, {})[rest] = array
        elif name not in params:
            published[name] = array.T if name in ("W_enc", "W_skip") else array
    return params, published


def feature_set(tapped: TappedModel, sae: PublishedSAE) -> feature_sets.FeatureSet:
    return feature_sets.dictionary("features", tapped, sae)
