"""The control of the paper: a model whose weights have lost everything but their distribution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from monosem_jax.runtime.rng import stream

JOINED = {"qkv": 3}  # layers that hold several matrices side by side along the last axis, and how many


def shuffled(params: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The parameters with the entries of each weight matrix in random order; vectors (biases, scales) stay as they are.

    Embedding and unembedding are matrices too, and W_Q, W_K and W_V are three, although one array holds them. Each
    array has a random stream of its own, by its name, so that it does not depend on which others there are. (Paper,
    "Random transformer": "randomly shuffle the entries of each weight matrix".)
    """

    def one(path: Any, leaf: Any) -> np.ndarray:
        array, names = np.asarray(leaf), [str(key.key) for key in path]
        if array.ndim < 2:
            return array.copy()
        draws = stream(f"transformer.shuffle.{'/'.join(names)}", seed)
        n = next((JOINED[name] for name in names if name in JOINED), 1)
        parts = np.split(array, n, axis=-1)
        return np.concatenate([draws.permutation(p.reshape(-1)).reshape(p.shape) for p in parts], axis=-1)

    return jax.tree_util.tree_map_with_path(one, dict(params))
