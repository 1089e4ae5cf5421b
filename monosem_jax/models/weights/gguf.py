"""A GGUF file: weights in one of many quantisations, configuration and tokenizer, read with the package `gguf`.

Tensors have the names of llama.cpp; they are given those of Hugging Face. In the Llama architecture llama.cpp stores
the rows of W_q and W_k in another order (pairs of rotary positions side by side), which is undone.
"""

from __future__ import annotations

import functools
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from monosem_jax.models.weights.base import Index, halved, heads_of
from monosem_jax.models.weights.gguf_tokenizer import make_tokenizer
from monosem_jax.runtime.errors import BadInput

LAYER = re.compile(r"blk\.(\d+)\.(.+)")
OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
INSIDE = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm", "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
PERMUTED = ("llama",)


class File:
    """The tensors of a GGUF file. A tensor is dequantised to fp32 whole; the last one is kept for further parts."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        self._last: tuple[str, np.ndarray] | None = None

    @property
    def where(self) -> str:
        return str(self.path)

    @functools.cached_property
    def _reader(self) -> Any:
        try:
            import gguf
        except ImportError:
            raise BadInput(f"{self.path}: reading GGUF needs the package gguf: pip install gguf") from None
        try:
            return gguf.GGUFReader(self.path)
        except OSError as e:
            raise BadInput(f"{self.path} cannot be read: {e.strerror or e}") from None
        except Exception as e:  # the package raises ValueError, IndexError and others on damaged files
            raise BadInput(f"{self.path} is not a readable GGUF file: {' '.join(str(e).split())[:200]}") from None

    def field(self, key: str, default: Any = None) -> Any:
        """A value of its metadata."""
        found = self._reader.get_field(key)
        return default if found is None else found.contents()

    @functools.cached_property
    def architecture(self) -> str:
        return str(self.field("general.architecture", ""))

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """Its metadata as a config.json of Hugging Face."""
        a = self.architecture

        def value(key: str, default: Any = None) -> Any:
            return self.field(f"{a}.{key}", default)

        heads = value("attention.head_count")
        return {
            "model_type": a,
            "num_hidden_layers": value("block_count"),
            "hidden_size": value("embedding_length"),
            "intermediate_size": value("feed_forward_length"),
            "num_attention_heads": heads,
            "num_key_value_heads": value("attention.head_count_kv", heads),
            "head_dim": value("attention.key_length", value("rope.dimension_count")),
            "max_position_embeddings": value("context_length"),
            "vocab_size": self.shapes["model.embed_tokens.weight"][0],
            "rms_norm_eps": value("attention.layer_norm_rms_epsilon"),
            "rope_theta": value("rope.freq_base", 10_000.0),
            "tie_word_embeddings": "lm_head.weight" not in self.shapes,
        }

    @functools.cached_property
    def _tensors(self) -> dict[str, Any]:
        return {_name(t.name): t for t in self._reader.tensors}

    @functools.cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {name: tuple(int(n) for n in reversed(t.shape)) for name, t in self._tensors.items()}

    def read(self, name: str, index: Index | None = None) -> np.ndarray:
        if self._last is None or self._last[0] != name:
            self._last = (name, self._whole(name))
        found = self._last[1]
        return found if index is None else found[index]

    def tokenizer(self) -> Tokenizer:
        """Its tokenizer, from the metadata."""
        return make_tokenizer(self.field, self.where)

    def _whole(self, name: str) -> np.ndarray:
        import gguf

        tensor = self._tensors[name]
        try:
            array = gguf.dequantize(tensor.data, tensor.tensor_type).reshape(self.shapes[name])
        except NotImplementedError:
            kind = tensor.tensor_type.name
            raise BadInput(f"{self.path}: {tensor.name} is quantised as {kind}, which gguf cannot dequantise") from None
        heads = heads_of(name, self.config) if self.architecture in PERMUTED else 0
        return halved(array, heads) if heads else array


def _name(theirs: str) -> str:
    """The name of a tensor of llama.cpp at Hugging Face."""
    stem, _, kind = theirs.rpartition(".")
    found = LAYER.fullmatch(stem)
    if found is None:
        return f"{OUTSIDE.get(stem, stem)}.{kind}"
    return f"model.layers.{found[1]}.{INSIDE.get(found[2], found[2])}.{kind}"
