"""GGUF files of small models, written with llama.cpp's own table of names and what its converter does to tensors."""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import gguf
import numpy as np

from monosem_jax.models.weights import hf

ARCHITECTURES = {"gemma3_text": "gemma3", "gpt_neox": "gptneox", "mistral": "llama"}
F32 = gguf.GGMLQuantizationType.F32


def permute(weights: np.ndarray, heads: int) -> np.ndarray:
    """As in llama.cpp's convert_hf_to_gguf.py: rotary pairs side by side."""
    return (
        weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:])
        .swapaxes(1, 2)
        .reshape(weights.shape)
    )


def converted(name: str, array: np.ndarray, config: Mapping[str, Any]) -> np.ndarray:
    """A tensor as the converter writes it."""
    kind = config["model_type"]
    if kind in ("llama", "mistral") and ".q_proj." in name:
        return permute(array, config["num_attention_heads"])
    if kind in ("llama", "mistral") and ".k_proj." in name:
        return permute(array, config["num_key_value_heads"])
    if kind.startswith("gemma"):
        # llama.cpp divides queries by the root of head_dim: another scalar is in the weights here
        scale = math.sqrt(config["head_dim"] / config.get("query_pre_attn_scalar", config["head_dim"]))
        if kind == "gemma3_text" and "q_norm" in name:
            return (array + 1) * np.float32(scale)
        if kind == "gemma2" and ".q_proj." in name:
            return array * np.float32(scale)
        return array + 1 if name.endswith("norm.weight") else array
    if kind == "gpt2" and name.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")):
        return array.T
    if kind == "gpt_neox" and ".query_key_value." in name:
        parts = array.reshape(config["num_attention_heads"], 3, -1, *array.shape[1:])
        return np.concatenate([parts[:, i].reshape(-1, *array.shape[1:]) for i in range(3)])
    return array


def rope_factors(scaling: Mapping[str, Any], width: int) -> np.ndarray:
    """The divisors that the converter writes for Llama 3, pair by pair."""
    factor, low, high = (scaling[k] for k in ("factor", "low_freq_factor", "high_freq_factor"))
    original, factors = scaling["original_max_position_embeddings"], []
    for i in range(0, width, 2):
        wavelength = 2 * math.pi * scaling["rope_theta"] ** (i / width)
        smooth = (original / wavelength - low) / (high - low)
        between = 1 / ((1 - smooth) / factor + smooth)
        factors.append(1 if wavelength < original / high else factor if wavelength > original / low else between)
    return np.asarray(factors, np.float32)


def add_shape(writer: gguf.GGUFWriter, c: Mapping[str, Any]) -> None:
    """The keys that the converter writes for an architecture."""
    gpt2 = c["model_type"] == "gpt2"
    writer.add_block_count(c["n_layer" if gpt2 else "num_hidden_layers"])
    writer.add_context_length(c["n_positions" if gpt2 else "max_position_embeddings"])
    writer.add_embedding_length(c["n_embd" if gpt2 else "hidden_size"])
    writer.add_feed_forward_length(c["n_inner" if gpt2 else "intermediate_size"])
    writer.add_head_count(c["n_head" if gpt2 else "num_attention_heads"])
    if "rms_norm_eps" in c or "head_dim" in c:
        writer.add_head_count_kv(c["num_key_value_heads"])
        writer.add_layer_norm_rms_eps(c.get("rms_norm_eps", 1e-6))
        if c.get("head_dim"):
            writer.add_key_length(c["head_dim"])
            writer.add_value_length(c["head_dim"])
    else:
        writer.add_layer_norm_eps(c.get("layer_norm_epsilon", c.get("layer_norm_eps")))
    for key, add in (("attn_logit_softcapping", writer.add_attn_logit_softcapping),
                     ("final_logit_softcapping", writer.add_final_logit_softcapping)):  # fmt: skip
        if c.get(key):
            add(c[key])
    if c["model_type"].startswith("gemma") and c.get("sliding_window"):
        writer.add_sliding_window(c["sliding_window"])
    if c["model_type"] == "gemma3_text":
        writer.add_array(
            "gemma3.attention.sliding_window_pattern", [k == "sliding_attention" for k in c["layer_types"]]
        )
    if c["model_type"] == "gpt_neox":
        share = c["rope_parameters"].get("partial_rotary_factor", 0.25)
        writer.add_rope_dimension_count(int(share * (c["hidden_size"] // c["num_attention_heads"])))
        writer.add_parallel_residual(c["use_parallel_residual"])


def add_rope(writer: gguf.GGUFWriter, c: Mapping[str, Any]) -> None:
    """The keys for rotary positions, and Llama 3's tensor."""
    rope = c.get("rope_parameters") or {"rope_theta": c.get("rope_theta", 10_000.0)}
    if "sliding_attention" in rope:
        writer.add_rope_freq_base_swa(rope["sliding_attention"]["rope_theta"])
        rope = rope["full_attention"]
    writer.add_rope_freq_base(rope.get("rope_theta", 10_000.0))
    kind = rope.get("rope_type", "default")
    if kind in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(kind))
        writer.add_rope_scaling_factor(rope["factor"])
    if kind == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        optional = {"beta_fast": writer.add_rope_scaling_yarn_beta_fast,
                    "beta_slow": writer.add_rope_scaling_yarn_beta_slow,
                    "attention_factor": writer.add_rope_scaling_yarn_attn_factor}  # fmt: skip
        for key, add in optional.items():
            if rope.get(key) is not None:
                add(rope[key])
    if kind == "llama3":
        writer.add_tensor("rope_freqs.weight", rope_factors(rope, c["head_dim"]))


def gguf_of(
    folder: pathlib.Path,
    path: pathlib.Path,
    kind: Callable[[str, np.ndarray], gguf.GGMLQuantizationType] = lambda name, array: F32,
    extra: Callable[[gguf.GGUFWriter], None] = lambda writer: None,
    **options: Any,
) -> pathlib.Path:
    """Writes the model of a Hugging Face directory as GGUF. `kind`: the type of each tensor; `extra` adds keys."""
    config = json.loads((folder / "config.json").read_text())
    theirs = ARCHITECTURES.get(config["model_type"], config["model_type"])
    number = next(a for a, name in gguf.MODEL_ARCH_NAMES.items() if name == theirs)
    names = gguf.get_tensor_name_map(number, config.get("num_hidden_layers", config.get("n_layer")))
    writer = gguf.GGUFWriter(path, theirs, **options)
    add_shape(writer, config)
    add_rope(writer, config)
    extra(writer)
    source = hf.Directory(folder)
    for name in source.shapes:
        array = converted(name, np.asarray(source.read(name), np.float32), config)
        to = kind(name, array)
        there = names.get_name(name, try_suffixes=(".weight", ".bias"))
        writer.add_tensor(there, gguf.quants.quantize(np.ascontiguousarray(array), to), raw_dtype=to)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
