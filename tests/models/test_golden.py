"""Pretrained architectures against values that `transformers` computed: see tests/models/golden/make.py."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import monosem_jax as mj
from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.errors import BadInput
from tests.models.golden.cases import CASES
from tests.models.parity import Loaded, differences

GOLDEN = pathlib.Path(__file__).parent / "golden"
MOST = 1e-4


@pytest.fixture(scope="module", params=CASES)
def found(request):
    return Loaded(GOLDEN / request.param)


SOME = pytest.mark.parametrize("found", ["gpt2", "gpt_neox", "gemma3", "llama", "qwen3"], indirect=True)


def test_a_model_computes_what_transformers_does(found):
    off = differences(found)
    assert all(value <= MOST for value in off.values()), off


@pytest.mark.parametrize("found", ["gpt2", "llama"], indirect=True)
def test_without_a_tokenizer_a_model_reads_token_ids(found):
    """None of these directories has one."""
    model = mj.load_model(str(found.folder))
    tokens = found.expected["tokens"]
    carry, acts = model.to_acts(tokens, "blocks.1.hook_resid_post")
    assert found.off("site/resid_post.1", acts) <= MOST
    assert found.off("logits", model.from_acts(carry, acts, "resid_post.1")) <= MOST
    for ask in (lambda: model.tokenizer, lambda: model.tapped("resid_post.1"), lambda: model.generate("a", 1)):
        with pytest.raises(BadInput, match=r"golden/\w+ has no tokenizer.json: expected one beside config.json"):
            ask()


@SOME
def test_in_bf16_it_is_close(found):
    in_bf16 = Loaded.__new__(Loaded)
    in_bf16.__dict__ |= vars(found) | {"model": found.model.clone(dtype=jnp.bfloat16)}
    logits = jax.jit(lambda tokens: in_bf16.apply(in_bf16.model.__call__, tokens))(found.expected["tokens"])
    spread = found.expected["logits"].std()
    error = np.asarray(logits) - found.expected["logits"]
    assert 0 < np.sqrt((error**2).mean()) <= 0.05 * spread


@SOME
def test_neither_the_batch_nor_the_mesh_matters(found, mesh8):
    tokens = found.expected["padded/tokens"]
    alone = np.concatenate([found.logits(tokens[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(alone, found.logits(tokens), atol=MOST)
    on = TappedModel(found.model, found.params, found.model.sites[-1], 0).on(mesh8)
    divided = jax.jit(lambda params: found.model.apply({"params": params}, tokens))(on.params)
    np.testing.assert_allclose(divided, alone, atol=MOST)
