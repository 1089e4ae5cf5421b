"""Random streams by name. NumPy pads seeds with zeros, so `default_rng([1, 5])` and `default_rng([1, 5, 0])` are one
stream: numbers alone do not keep streams apart."""

from __future__ import annotations

import hashlib
import json
import zlib

import jax
import numpy as np


def entropy(name: str, *numbers: int) -> int:
    """256 bits from the hash of a stream's name and numbers, such as seed, epoch, lane; other ones give others."""
    text = json.dumps([name, *map(int, numbers)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest(), "little")


def stream(name: str, *numbers: int) -> np.random.Generator:
    """The random generator of this name and these numbers, such as stream("harvest.bucket", seed, bucket)."""
    return np.random.default_rng(entropy(name, *numbers))


def jax_key(name: str, seed: int | jax.Array) -> jax.Array:
    """The key of this name for programs on devices; `seed` may be traced. Steps are folded in where it is used."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
