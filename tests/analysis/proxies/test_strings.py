from __future__ import annotations

import numpy as np
import pytest

from monosem_jax.analysis.proxies.strings import IMPOSSIBLE, SIGN, Alphabet, best_ending_here
from monosem_jax.analysis.proxies.text import TokenBytes
from monosem_jax.text.tokenizer import train_tokenizer


def slow_best(gain: np.ndarray, real: np.ndarray, shortest: int) -> np.ndarray:
    out = np.zeros(gain.shape)
    for c, t in np.ndindex(*gain.shape):
        if not real[c, t]:
            continue
        first = t
        while first > 0 and real[c, first - 1]:
            first -= 1
        runs = [gain[c, s : t + 1].sum() for s in range(first, t + 2 - shortest)]
        out[c, t] = max(runs) if runs else min(gain[c, t], 0)
    return out


@pytest.mark.parametrize("shortest", [1, 2])
def test_the_maximum_is_that_over_all_strings_that_end_at_a_token(shortest):
    rng = np.random.default_rng(shortest)
    gain, real = rng.normal(size=(20, 15)), rng.random((20, 15)) > 0.15
    np.testing.assert_allclose(best_ending_here(gain, real, shortest), slow_best(gain, real, shortest), atol=1e-12)


def test_an_alphabet_is_the_papers_likelihood_ratio_of_the_best_string():
    tokenizer = train_tokenizer(["ACGT GATTACA ACGTACGT the act"] * 4, 290)
    bytes_of = TokenBytes(tokenizer, 0)
    text = "the GATTACA\nACGTACGT act"
    ids = tokenizer.encode(text).ids
    log_p = np.log(np.random.default_rng(0).dirichlet(np.ones(len(bytes_of))))
    proxy = Alphabet.of("dna", SIGN, ("ATCG", "atcg"), 1 / 4, 2, bytes_of.text, log_p)
    got = proxy.values(bytes_of.block(np.asarray([[0, *ids]])))[0, 1:]
    pieces = [bytes_of.text[i] for i in ids]
    for t in range(1, len(ids)):
        runs = []
        for first in range(t):
            s = "".join(pieces[first : t + 1])
            for letters in ("ATCG", "atcg"):
                likelihood = sum(np.log(1 / 4 if c in letters else IMPOSSIBLE) for c in s)
                runs.append(likelihood - sum(log_p[i] for i in ids[first : t + 1]))
        assert got[t] == pytest.approx(max(runs))
    assert proxy.strongest(1)[0][0].strip().isalpha() and "1/4" in proxy.about
