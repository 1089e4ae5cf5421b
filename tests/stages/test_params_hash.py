"""The hash by which a store knows the transformer that it was made from."""

from __future__ import annotations

import hashlib

import numpy as np

from monosem_jax.stages.train_transformer import params_hash

PARAMS = {"up": {"kernel": np.ones((2, 3), np.float32)}, "down": {"kernel": np.zeros((2, 3), np.float32)}}


def test_it_is_the_same_in_every_order():
    assert params_hash(PARAMS) == params_hash(dict(reversed(PARAMS.items())))


def test_names_and_numbers_count():
    swapped = {"up": PARAMS["down"], "down": PARAMS["up"]}
    renamed = {"over": PARAMS["up"], "down": PARAMS["down"]}
    other = {**PARAMS, "down": {"kernel": np.full((2, 3), 1e-30, np.float32)}}
    assert len({params_hash(p) for p in (PARAMS, swapped, renamed, other)}) == 4


def test_it_is_the_one_that_stores_on_disks_have():
    known = hashlib.sha256(b"['down']['kernel']" + bytes(24) + b"['up']['kernel']" + np.ones(6, "<f4").tobytes())
    assert params_hash(PARAMS) == known.hexdigest()
