"""Models joined: their rows are those of each, side by side."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from monosem_jax.models.base import site_widths
from monosem_jax.models.joined import join
from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.errors import BadInput
from tests.conftest import TINY, build_lively

WIDE = dataclasses.replace(TINY, d_mlp=2 * TINY.d_mlp)
SITE = "mlp_hidden.0"
TOKENS = np.random.default_rng(0).integers(1, TINY.vocab_size, (3, 9)).astype(np.int32)


@functools.cache
def parts() -> list[TappedModel]:
    return [TappedModel(*build_lively(c, i), s, 0) for i, (c, s) in enumerate(((TINY, "mlp_hidden.0"), (WIDE, SITE)))]


def test_rows_are_those_of_each_model_side_by_side():
    each = parts()
    both = join(each)
    assert both.site == "a:mlp_hidden.0+b:mlp_hidden.0"
    assert site_widths(both.model, both.site) == (TINY.d_mlp, WIDE.d_mlp)
    expected = np.concatenate([np.asarray(m.rows(TOKENS)) for m in each], axis=-1)
    np.testing.assert_array_equal(np.asarray(both.rows(TOKENS)), expected)
    compiled = jax.jit(lambda m, t: m.rows(t))
    np.testing.assert_allclose(np.asarray(compiled(both.on(None), TOKENS)), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(
        np.asarray(both.cut(TOKENS, "b:resid_pre.0")[1]), each[1].cut(TOKENS, "resid_pre.0")[1]
    )
    assert {"a:mlp_hidden.0", "b:resid_pre.0"} <= set(both.model.sites)


def test_what_cannot_be_joined_is_refused():
    each = parts()
    other = TappedModel(*build_lively(dataclasses.replace(TINY, vocab_size=TINY.vocab_size + 1)), SITE, 0)
    with pytest.raises(BadInput, match=r"\(tokens, BOS\) .*: expected one tokenizer"):
        join([each[0], other])
    with pytest.raises(BadInput, match="expected one tokenizer"):
        join([each[0], dataclasses.replace(each[1], bos=1)])
    with pytest.raises(BadInput, match=r"cut at mlp_in.0\+mlp_out.0: expected one site"):
        join([each[0], dataclasses.replace(each[1], site="mlp_in.0+mlp_out.0")])
    for site in ("c:mlp_hidden.0", "mlp_hidden.0", ":mlp_hidden.0", "ab:mlp_hidden.0"):
        with pytest.raises(BadInput, match="expected one of the models a, b, as in a:SITE"):
            join(each).cut(TOKENS, site)
    with pytest.raises(BadInput, match=r"site 'nothing\.0' does not exist"):
        join(each).cut(TOKENS, "a:nothing.0")
