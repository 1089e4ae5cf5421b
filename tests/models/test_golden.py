"""Pretrained architectures against values that `transformers` computed: see tests/models/golden/make.py."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.models.tapped import TappedModel
from tests.models.golden.cases import CASES
from tests.models.parity import Loaded, differences

GOLDEN = pathlib.Path(__file__).parent / "golden"
MOST = 1e-4


@pytest.fixture(scope="module", params=CASES)
def found(request):
    return Loaded(GOLDEN / request.param)


def test_a_model_computes_what_transformers_does(found):
    off = differences(found)
    assert all(value <= MOST for value in off.values()), off


def test_in_bf16_it_is_close(found):
    in_bf16 = Loaded.__new__(Loaded)
    in_bf16.__dict__ |= vars(found) | {"model": found.model.clone(dtype=jnp.bfloat16)}
    logits = jax.jit(lambda tokens: in_bf16.apply(in_bf16.model.__call__, tokens))(found.expected["tokens"])
    spread = found.expected["logits"].std()
    error = np.asarray(logits) - found.expected["logits"]
    assert 0 < np.sqrt((error**2).mean()) <= 0.05 * spread


def test_neither_the_batch_nor_the_mesh_matters(found, mesh8):
    tokens = found.expected["padded/tokens"]
    alone = np.concatenate([found.logits(tokens[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(alone, found.logits(tokens), atol=MOST)
    on = TappedModel(found.model, found.params, found.model.sites[-1], 0).on(mesh8)
    divided = jax.jit(lambda params: found.model.apply({"params": params}, tokens))(on.params)
    np.testing.assert_allclose(divided, alone, atol=MOST)
