"""llama.cpp's architectures: what its tensors and keys are called at Hugging Face, and what its converter changes."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from monosem_jax.runtime.errors import BadInput

LAYER = re.compile(r"blk\.(\d+)\.(.+)")
LARGEST_GEMMA = {"gemma2": 46, "gemma3": 62}  # layers of the 27B models, whose queries are scaled otherwise
LOCAL, GLOBAL = "sliding_attention", "full_attention"


@dataclasses.dataclass(frozen=True)
class Metadata:
    """The metadata of a file, under its architecture's prefix, and the shapes of its tensors by llama.cpp's names."""

    where: str
    architecture: str
    values: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]

    def count(self, key: str, default: int | None = None) -> int:
        """A whole number; of one for each layer it is the one that all have."""
        value, name = self.values.get(f"{self.architecture}.{key}", default), f"{self.architecture}.{key}"
        if isinstance(value, np.ndarray) and value.size:
            if (value != value[0]).any():
                raise BadInput(f"{self.where}: {name} differs between layers, {value[:8].tolist()}: expected one value")
            value = value[0].item()
        if value is None:
            raise BadInput(f"{self.where} has no key {name}")
        if type(value) is not int or value < 0:
            raise BadInput(f"{self.where}: {name} is {str(value)[:40]}: expected a whole number")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number."""
        value, name = self.values.get(f"{self.architecture}.{key}", default), f"{self.architecture}.{key}"
        if value is None:
            raise BadInput(f"{self.where} has no key {name}")
        if type(value) not in (int, float) or not math.isfinite(value):
            raise BadInput(f"{self.where}: {name} is {str(value)[:40]}: expected a number")
        # What was 1e-5 before it became fp32 becomes that again.
        return float(np.format_float_positional(np.float32(value), unique=True))

    def get(self, key: str, default: Any = None) -> Any:
        """A value as it is."""
        return self.values.get(f"{self.architecture}.{key}", default)

    def rows(self, tensor: str) -> int:
        """The length of a tensor's first axis."""
        if not self.shapes.get(tensor):
            raise BadInput(f"{self.where} has no tensor {tensor}")
        return self.shapes[tensor][0]


@dataclasses.dataclass(frozen=True)
class Dialect:
    """An architecture of llama.cpp's. `layers`, `outside` and `inside`: stems of names. `turned`: the matrices that are
    stored [in, out] at Hugging Face, and [out, in] here. `shifted`: norms have 1 added. `order(stem, rows, config)`:
    which of our file's rows each row at Hugging Face is, where they differ."""

    config: Callable[[Metadata], dict[str, Any]]
    outside: Mapping[str, str]
    inside: Mapping[str, str]
    layers: str = "model.layers"
    turned: tuple[str, ...] = ()
    shifted: bool = False
    order: Callable[[str, int, Mapping[str, Any]], np.ndarray | None] | None = None

    def name(self, theirs: str) -> str:
        """The name at Hugging Face of a tensor."""
        stem, _, kind = theirs.rpartition(".")
        found = LAYER.fullmatch(stem)
        if found is None:
            return f"{self.outside[stem]}.{kind}" if stem in self.outside else theirs
        return f"{self.layers}.{found[1]}.{self.inside[found[2]]}.{kind}" if found[2] in self.inside else theirs


def stem_of(theirs: str) -> str:
    """The name of a tensor without its layer and kind."""
    stem = theirs.rpartition(".")[0]
    found = LAYER.fullmatch(stem)
    return found[2] if found else stem


def _rope(m: Metadata) -> dict[str, Any]:
    """`rope_theta` and `rope_scaling`."""
    found: dict[str, Any] = {"rope_theta": m.number("rope.freq_base", 10_000.0)}
    kind = m.get("rope.scaling.type", "linear" if m.get("rope.scale_linear") is not None else "none")
    if kind == "linear":
        found["rope_scaling"] = {
            "rope_type": "linear",
            "factor": m.number("rope.scaling.factor", m.number("rope.scale_linear", 1.0)),
        }
    elif kind == "yarn":
        scaling = {"rope_type": "yarn", "factor": m.number("rope.scaling.factor"),
                   "original_max_position_embeddings": m.count("rope.scaling.original_context_length")}  # fmt: skip
        optional = {"attention_factor": "attn_factor", "beta_fast": "beta_fast", "beta_slow": "beta_slow"}
        for ours, theirs in optional.items():
            if m.get(f"rope.scaling.yarn_{theirs}") is not None:
                scaling[ours] = m.number(f"rope.scaling.yarn_{theirs}")
        found["rope_scaling"] = scaling
    elif kind != "none":
        raise BadInput(f"{m.where}: rope.scaling.type is {str(kind)[:40]}: expected none, linear or yarn")
    return found


def _shape(m: Metadata) -> dict[str, Any]:
    """What all architectures but GPT-2 have."""
    if m.count("expert_count", 0):
        raise BadInput(f"{m.where} is a mixture of {m.count('expert_count')} experts: expected one MLP in each layer")
    return {
        "num_hidden_layers": m.count("block_count"),
        "hidden_size": m.count("embedding_length"),
        "intermediate_size": m.count("feed_forward_length"),
        "num_attention_heads": m.count("attention.head_count"),
        "max_position_embeddings": m.count("context_length"),
        "vocab_size": m.rows("token_embd.weight"),
        "tie_word_embeddings": "output.weight" not in m.shapes,
        **_rope(m),
    }


def _grouped(m: Metadata, kind: str) -> dict[str, Any]:
    """The configuration of the architectures with RMS norms and grouped queries."""
    found = _shape(m)
    heads = found["num_attention_heads"]
    head_dim = m.count("attention.key_length", m.count("embedding_length") // max(heads, 1))
    for key, expected in (("attention.value_length", head_dim), ("rope.dimension_count", head_dim)):
        if m.count(key, expected) != expected:
            raise BadInput(f"{m.where}: {m.architecture}.{key} is {m.count(key)}: expected {expected}, as of keys")
    return {
        **found,
        "model_type": kind,
        "num_key_value_heads": m.count("attention.head_count_kv", heads),
        "head_dim": head_dim,
        "rms_norm_eps": m.number("attention.layer_norm_rms_epsilon"),
    }


def _llama(m: Metadata, kind: str) -> dict[str, Any]:
    found = _grouped(m, kind)
    scale = 1 / math.sqrt(max(found["head_dim"], 1))
    if abs(m.number("attention.scale", scale) / scale - 1) > 1e-4:
        raise BadInput(f"{m.where}: {m.architecture}.attention.scale is {m.get('attention.scale')}: expected {scale}")
    if kind == "llama":
        found["attention_bias"] = "blk.0.attn_q.bias" in m.shapes
        found["mlp_bias"] = "blk.0.ffn_up.bias" in m.shapes
        if window := m.count("attention.sliding_window", 0):
            found |= {"model_type": "mistral", "sliding_window": window}
    return found


def _gemma(m: Metadata, kind: str) -> dict[str, Any]:
    found = _grouped(m, "gemma3_text" if kind == "gemma3" else kind)
    heads, layers = found["num_attention_heads"], found["num_hidden_layers"]
    largest = layers == LARGEST_GEMMA.get(kind)
    found["query_pre_attn_scalar"] = found["hidden_size"] // max(heads, 1) if largest else found["head_dim"]
    found["hidden_activation"] = found["hidden_act"] = "gelu_pytorch_tanh"
    found["sliding_window"] = m.count("attention.sliding_window", 4096 if kind == "gemma2" else 0)
    pattern = m.get("attention.sliding_window_pattern")
    if isinstance(pattern, np.ndarray):
        found["layer_types"] = [LOCAL if local else GLOBAL for local in pattern.tolist()]
    elif kind == "gemma3":
        every = m.count("attention.sliding_window_pattern", 6)
        found["sliding_window_pattern"] = every if found["sliding_window"] else 1
    if kind == "gemma2":
        found["attn_logit_softcapping"] = m.number("attn_logit_softcapping", 50.0)
    cap = m.number("final_logit_softcapping", 30.0 if kind == "gemma2" else 0.0)
    found["final_logit_softcapping"] = cap or None
    found["rope_local_base_freq"] = m.number("rope.freq_base_swa", 10_000.0)
    return found


def _gpt2(m: Metadata) -> dict[str, Any]:
    return {
        "model_type": "gpt2",
        "n_layer": m.count("block_count"),
        "n_embd": m.count("embedding_length"),
        "n_inner": m.count("feed_forward_length"),
        "n_head": m.count("attention.head_count"),
        "n_positions": m.rows("position_embd.weight"),
        "vocab_size": m.rows("token_embd.weight"),
        "layer_norm_epsilon": m.number("attention.layer_norm_epsilon"),
        "activation_function": "gelu_new",
        "tie_word_embeddings": "output.weight" not in m.shapes,
    }


def _neox(m: Metadata) -> dict[str, Any]:
    found, head_dim = _shape(m), m.count("embedding_length") // max(m.count("attention.head_count"), 1)
    rotary = m.count("rope.dimension_count", head_dim)
    return {
        **found,
        "model_type": "gpt_neox",
        "rotary_pct": (rotary + 0.5) / max(head_dim, 1),  # rounded down where it is used
        "rotary_emb_base": found["rope_theta"],
        "use_parallel_residual": bool(m.get("use_parallel_residual", True)),
        "layer_norm_eps": m.number("attention.layer_norm_epsilon"),
        "hidden_act": "gelu",
    }


def _pairs_apart(stem: str, rows: int, config: Mapping[str, Any]) -> np.ndarray | None:
    """Rows of W_q and W_k: rotary pairs lie side by side here, half a head apart at Hugging Face."""
    heads = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}.get(stem)
    if heads is None or config[heads] < 1 or rows % (2 * config[heads]):
        return None
    return np.arange(rows).reshape(config[heads], -1, 2).swapaxes(1, 2).reshape(-1)


def _by_head(stem: str, rows: int, config: Mapping[str, Any]) -> np.ndarray | None:
    """Rows for queries, keys and values: all of one after the other here, by head at Hugging Face."""
    heads = config["num_attention_heads"]
    if stem != "attn_qkv" or heads < 1 or rows % (3 * heads):
        return None
    return np.arange(rows).reshape(3, heads, -1).swapaxes(0, 1).reshape(-1)


OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
INSIDE = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm", "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
POST_NORMS = INSIDE | {
    "post_attention_norm": "post_attention_layernorm", "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}  # fmt: skip


def _family(config: Callable[[Metadata, str], dict[str, Any]], kind: str, inside: Any = INSIDE, **more: Any) -> Dialect:
    return Dialect(lambda m: config(m, kind), OUTSIDE, inside, **more)


# `general.architecture` → its dialect.
DIALECTS: dict[str, Dialect] = {
    "llama": _family(_llama, "llama", order=_pairs_apart),
    "qwen2": _family(_llama, "qwen2"),
    "qwen3": _family(_llama, "qwen3"),
    "gemma": _family(_gemma, "gemma", shifted=True),
    "gemma2": _family(_gemma, "gemma2", POST_NORMS, shifted=True),
    "gemma3": _family(_gemma, "gemma3", POST_NORMS, shifted=True),
    "gpt2": Dialect(
        _gpt2,
        {"token_embd": "transformer.wte", "position_embd": "transformer.wpe", "output_norm": "transformer.ln_f",
         "output": "lm_head"},
        {"attn_norm": "ln_1", "ffn_norm": "ln_2", "attn_qkv": "attn.c_attn", "attn_output": "attn.c_proj",
         "ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"},
        layers="transformer.h",
        turned=("attn_qkv", "attn_output", "ffn_up", "ffn_down"),
    ),
    "gptneox": Dialect(
        _neox,
        {"token_embd": "gpt_neox.embed_in", "output_norm": "gpt_neox.final_layer_norm", "output": "embed_out"},
        {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
         "attn_qkv": "attention.query_key_value", "attn_output": "attention.dense", "ffn_up": "mlp.dense_h_to_4h",
         "ffn_down": "mlp.dense_4h_to_h"},
        layers="gpt_neox.layers",
        order=_by_head,
    ),
}  # fmt: skip


def llama3_scaling(factors: np.ndarray, theta: float, longest: int) -> dict[str, Any] | None:
    """The `rope_scaling` of Llama 3 whose divisors of each pair's angle are `factors` [R/2]: the metadata do not have
    it. None if there is none with the published low_freq_factor 1 and high_freq_factor 4."""
    plain = theta ** -(np.arange(len(factors)) / len(factors))
    factor = float(factors.max(initial=1.0))
    lengths = [2**k for k in range(3, 24)]
    for original in sorted(lengths, key=lambda n: (n >= longest, abs(n - 8192))):
        keep = np.clip((original * plain / (2 * math.pi) - 1) / 3, 0, 1)
        if np.allclose(1 / (keep + (1 - keep) / factor), factors, rtol=1e-3):
            return {"rope_type": "llama3", "factor": factor, "original_max_position_embeddings": original,
                    "low_freq_factor": 1.0, "high_freq_factor": 4.0}  # fmt: skip
    return None
