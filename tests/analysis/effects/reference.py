"""A transformer and a dictionary in float64 NumPy, written out from the formulas."""

from __future__ import annotations

import numpy as np


def layer_norm(x, p):
    x = x - x.mean(axis=-1, keepdims=True)
    scaled = x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + 1e-6)
    return scaled * np.asarray(p["scale"], np.float64) + np.asarray(p["bias"], np.float64)


def attention(x, block, n_heads: int):
    """[T,D] → [T,D] with rotary positions, one head and one query at a time."""
    length, d_model = x.shape
    width = d_model // n_heads
    half = width // 2
    q, k, v = np.split(x @ np.asarray(block["qkv"]["kernel"], np.float64), 3, axis=-1)
    out = np.zeros_like(x)
    for h in range(n_heads):
        cols = slice(h * width, (h + 1) * width)

        def turned(a, t):
            angle = t * 10_000.0 ** (-np.arange(half) / half)
            left, right = a[:half], a[half:]
            return np.concatenate([
                left * np.cos(angle) - right * np.sin(angle), left * np.sin(angle) + right * np.cos(angle)
            ])  # fmt: skip

        for t in range(length):
            scores = [turned(q[t, cols], t) @ turned(k[s, cols], s) / np.sqrt(width) for s in range(t + 1)]
            weight = np.exp(np.asarray(scores) - max(scores))
            out[t, cols] = weight / weight.sum() @ v[: t + 1, cols]
    return out @ np.asarray(block["attn_proj"]["kernel"], np.float64)


def forward(params, tokens, n_heads: int, held=lambda layer, acts: acts):
    """[T,V] the logits of one context; `held` (layer, hidden layer of its MLP [T,M]) gives what replaces it."""
    x = np.asarray(params["embed"]["embedding"], np.float64)[tokens]
    for layer in range(sum(name.startswith("blocks_") for name in params)):
        block = params[f"blocks_{layer}"]
        x = x + attention(layer_norm(x, block["ln_attn"]), block, n_heads)
        up = layer_norm(x, block["ln_mlp"]) @ np.asarray(block["up"]["kernel"], np.float64)
        acts = held(layer, np.maximum(up + np.asarray(block["up"]["bias"], np.float64), 0))
        down = block["down"]
        x = x + acts @ np.asarray(down["kernel"], np.float64) + np.asarray(down["bias"], np.float64)
    return layer_norm(x, params["ln_final"]) @ np.asarray(params["unembed"]["kernel"], np.float64)


def losses(scores, tokens):
    """[T-1] in nats."""
    scores = scores[:-1]
    top = scores.max(axis=-1)
    total = top + np.log(np.exp(scores - top[:, None]).sum(axis=-1))
    return total - scores[np.arange(len(scores)), tokens[1:]]


def encode(sae, x):
    """[T,F] of a ReLU dictionary."""
    p = {name: np.asarray(value, np.float64) for name, value in sae.items()}
    return np.maximum((x - p["b_dec"]) @ p["W_enc"] + p["b_enc"], 0)
