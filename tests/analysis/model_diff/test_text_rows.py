"""Rows of a text are the model's activations at its tokens, whatever is read at a time."""

import numpy as np
import pytest

from monosem_jax.analysis.model_diff.text_rows import TextRows
from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.errors import BadInput
from tests.conftest import TINY, build_lively

BOS = 0


def test_any_range_of_rows_is_that_of_the_whole_text():
    tapped = TappedModel(*build_lively(TINY, 0), "mlp_hidden.0", BOS)
    tokens = np.random.default_rng(0).integers(1, TINY.vocab_size, (7, 6)).astype(np.int32)
    tokens[:, 0] = tokens[2, 3] = tokens[4] = BOS  # one context has nothing but BOS
    expected = np.asarray(tapped.rows(tokens))[tokens != BOS]
    rows = TextRows(tapped, tokens, batch=2)
    assert (rows.n_rows, rows.width, rows.dtype) == (len(expected), TINY.d_mlp, np.float32) and len(expected) == 29
    for start in range(rows.n_rows + 1):
        for stop in (start, start + 1, start + 7, rows.n_rows, rows.n_rows + 5):
            np.testing.assert_allclose(rows.read(start, stop), expected[start:stop], rtol=1e-5, atol=1e-6)
    with pytest.raises(BadInput, match="no tokens but BOS"):
        TextRows(tapped, tokens[4:5])
    with pytest.raises(BadInput, match="the rows of a text"):
        TextRows(tapped, tokens + TINY.vocab_size)
