"""Directories of small models with random weights, as Hugging Face publishes models."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from monosem_jax.models import build_model
from monosem_jax.models.pretrained import Pretrained
from monosem_jax.models.weights import find_table, hf
from monosem_jax.models.weights.place import shapes_of

LLAMA = {
    "model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 8,
    "num_attention_heads": 8, "num_key_value_heads": 2, "max_position_embeddings": 64, "vocab_size": 96,
    "rope_theta": 500.0,
}  # fmt: skip
# As SmolLM2's: 3 devices divide them, 2 and 4 do not.
THREE = LLAMA | {"num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True}
GEMMA = LLAMA | {
    "model_type": "gemma3_text", "sliding_window": 4, "sliding_window_pattern": 2, "rope_local_base_freq": 100.0,
    "query_pre_attn_scalar": 12, "final_logit_softcapping": 20.0,
}  # fmt: skip


def write_model(folder: pathlib.Path, config: dict[str, Any], dtype: Any = np.float32) -> Pretrained:
    """A model of this config.json with random weights, in two files, opened."""
    table, rng = find_table(config, str(folder)), np.random.default_rng(0)
    ours = table.config(config)
    ours.check()
    tensors = {}
    for path, shape in shapes_of(build_model(ours)).items():
        source = table.parameters(ours)[path]
        scale = 0.1 if len(shape) > 1 else 0.3
        tensors[source.name] = (scale * rng.standard_normal(shape[::-1] if source.transposed else shape)).astype(dtype)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    names = sorted(tensors)
    files = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in files.items():
        save_file({name: np.ascontiguousarray(tensors[name]) for name in part}, folder / file)
    weight_map = {name: file for file, part in files.items() for name in part}
    (folder / hf.INDEX).write_text(json.dumps({"weight_map": weight_map}))
    return Pretrained(str(folder), hf.Directory(folder))


class Noted:
    """A source that notes what is read of it: (name, shape of the part)."""

    def __init__(self, source):
        self._source = source
        self.read_parts: list[tuple[str, tuple[int, ...]]] = []

    def read(self, name, index=None):
        found = self._source.read(name, index)
        self.read_parts.append((name, found.shape))
        return found

    def __getattr__(self, name):
        return getattr(self._source, name)
