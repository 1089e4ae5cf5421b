"""The .npz files of glassllm: its arrays under Hugging Face's names, as a small model of the Llama family."""

from __future__ import annotations

import functools
import json
import pathlib
import re
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from monosem_jax.models.weights.base import Index, halved, heads_of
from monosem_jax.models.weights.files import LocalFile
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import read_json

NAMES = {
    "norm1.gamma": "input_layernorm.weight", "norm2.gamma": "post_attention_layernorm.weight",
    "attn.W_Q": "self_attn.q_proj.weight", "attn.W_K": "self_attn.k_proj.weight",
    "attn.W_V": "self_attn.v_proj.weight", "attn.W_O": "self_attn.o_proj.weight", "ffn.W1": "mlp.gate_proj.weight",
    "ffn.W3": "mlp.up_proj.weight", "ffn.W2": "mlp.down_proj.weight",
}  # fmt: skip
SPECIAL = ["<pad>", "<unk>", "<bos>", "<eos>"]


class Archive:
    """The arrays of a .npz. Its matrices are [in, out], transposed to what Hugging Face
    has, and rotary pairs lie side by side."""

    def __init__(self, path: pathlib.Path):
        self.path = path

    @property
    def where(self) -> str:
        return str(self.path)

    @functools.cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        try:
            with np.load(self.path, allow_pickle=False) as found:
                return {_name(name): found[name] for name in found.files}
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as e:
            raise BadInput(f"{self.path} is not a readable .npz of glassllm: {' '.join(str(e).split())}") from None

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """Its settings as a config.json."""
        try:
            own = json.loads(str(self._arrays["__config__"]))
            width, heads = own["d_model"], own["n_heads"]
            return {
                "model_type": "llama", "num_hidden_layers": own["n_layers"], "hidden_size": width,
                "intermediate_size": self.shapes["model.layers.0.mlp.gate_proj.weight"][0],
                "num_attention_heads": heads, "num_key_value_heads": own["n_kv_heads"], "head_dim": width // heads,
                "max_position_embeddings": own["max_len"], "vocab_size": own["vocab_size"],
                "rms_norm_eps": own["eps"], "rope_theta": own["rope_base"], "tie_word_embeddings": True,
            }  # fmt: skip
        except (KeyError, TypeError, ValueError) as e:
            raise BadInput(f"{self.path}: its __config__ is not one of glassllm: {type(e).__name__}: {e}") from None

    @functools.cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {n: a.shape[::-1] if _turned(n) else a.shape for n, a in self._arrays.items()}

    @property
    def files(self) -> list[LocalFile]:
        return [LocalFile(self.path)]

    def check(self, name: str) -> None:
        if (kind := self._arrays[name].dtype).kind != "f":
            raise BadInput(f"{self.path}: {name} has dtype {kind}: expected floating-point numbers")

    def read(self, name: str, index: Index | None = None) -> np.ndarray:
        found = self._arrays[name].T if _turned(name) else self._arrays[name]
        found = halved(found, heads) if (heads := heads_of(name, self.config)) else found
        return found if index is None else found[index]

    @property
    def has_tokenizer(self) -> bool:
        """Whether there is a tokenizer with them: it belongs to the format."""
        return True

    def tokenizer(self) -> Tokenizer:
        """Its tokenizer: pairs of characters merged within words, after NFC, with ▁ for a space."""
        file = self.path.with_suffix(".tokenizer.json")
        own = read_json(file, dict, ("alphabet", "merges"))
        try:
            merges = [(str(a), str(b)) for a, b in own["merges"]]
            words = [*SPECIAL, *map(str, own["alphabet"]), *(a + b for a, b in merges)]
            made = Tokenizer(models.BPE({w: i for i, w in enumerate(words)}, merges, unk_token="<unk>"))
        except Exception as e:  # the library raises bare Exception
            raise BadInput(f"{file} is not a tokenizer of glassllm: {' '.join(str(e).split())}") from None
        made.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(" ", "▁")])
        made.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n|▁*[^▁\n]+|▁+"), "isolated")
        made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
        made.add_special_tokens(SPECIAL)
        return made


def _name(theirs: str) -> str:
    found = re.fullmatch(r"blocks\.(\d+)\.(.+)", theirs)
    if found and found[2] in NAMES:
        return f"model.layers.{found[1]}.{NAMES[found[2]]}"
    return {"E": "model.embed_tokens.weight", "norm_f.gamma": "model.norm.weight"}.get(theirs, theirs)


def _turned(name: str) -> bool:
    return name.endswith("_proj.weight")
