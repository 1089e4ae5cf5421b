"""Generation: the same texts as a plain loop over whole contexts, whatever is in the batch and however long it is."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.models import sampling, writing
from monosem_jax.models.loaded import LoadedModel, Texts
from monosem_jax.models.weights.conventions import Conventions
from monosem_jax.models.writing import Edit
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.rng import jax_key
from tests.models.small_models import BOS, LLAMA, PAPER, V, lively, words

PROMPTS = [[BOS, 5, 9, 3, 30, 31, 7], [BOS], [BOS, 8, 8]]


def loaded(config, ends=()) -> LoadedModel:
    model, params = lively(config)
    return LoadedModel(model, params, lambda: Texts(words(), BOS, Conventions((BOS,), ends)))


@pytest.fixture(scope="module", params=[LLAMA, PAPER], ids=["llama", "transformer"])
def of(request) -> LoadedModel:
    return loaded(request.param)


def narrowed(logits: np.ndarray, top_p: float, top_k: int) -> np.ndarray:
    """The logits [V] of the tokens that may be drawn, from a sort; the others are -inf."""
    order = np.argsort(-logits, kind="stable")
    order = order[: top_k or len(order)]
    p = np.exp(logits[order].astype(np.float64) - logits[order[0]])
    before = np.cumsum(p / p.sum()) - p / p.sum()
    kept = order[before < (top_p if top_p < 1 else np.inf)]
    out = np.full_like(logits, -np.inf)
    out[kept] = logits[kept]
    return out


LENGTH = 32  # of the contexts of the plain loop, so that it is compiled once


def plain(of: LoadedModel, prompt, n: int, number: int = 0, *, temperature, top_p=1.0, top_k=0, seed=0, edit=None):
    """The tokens of one text, each from a pass over the whole text so far (what stands after it has no influence)."""
    tokens, key = np.full(LENGTH, BOS, np.int32), jax.random.fold_in(jax_key("generate", seed), number)
    tokens[: len(prompt)] = prompt
    for j in range(n):
        t = len(prompt) + j
        held = (tokens != BOS) & (np.arange(LENGTH) >= (len(prompt) if edit and edit.positions == "generated" else 0))
        logits = np.asarray(_whole(of, edit, tokens[None], held[None]))[0, t - 1]
        if temperature:
            scores = jnp.asarray(narrowed(logits / np.float32(temperature), top_p, top_k))
            tokens[t] = jax.random.categorical(jax.random.fold_in(key, j), scores)
        else:
            tokens[t] = np.argmax(logits)
    return tokens[len(prompt) : len(prompt) + n].tolist()


def _whole(of: LoadedModel, edit, tokens, held):
    if edit is None:
        return of.logits(tokens)
    carry, acts = of.to_acts(tokens, edit.site)
    return of.from_acts(carry, jnp.where(held[..., None], edit.function(edit.values, acts), acts), edit.site)


@pytest.mark.parametrize(
    "how", [{"temperature": 0}, {"temperature": 1.5, "seed": 3}, {"temperature": 2.0, "top_p": 0.7, "top_k": 12}]
)
def test_texts_are_those_of_a_plain_loop_without_memory(of, how):
    found = of.generate(PROMPTS, 9, samples=2, **how)
    expected = [plain(of, p, 9, number, **how) for p in PROMPTS for number in range(2)]
    assert [t.tolist() for t in found.tokens] == expected
    assert [p.tolist() for p in found.prompts] == [p for p in PROMPTS for _ in range(2)]
    if how["temperature"]:
        assert len({tuple(t) for t in expected}) == 6


def test_long_prompts_are_read_in_parts(of, monkeypatch):
    monkeypatch.setattr(writing, "CHUNK", 8)
    monkeypatch.setattr(writing, "SHORTEST", 4)
    long = [BOS, *range(1, 22)]
    found = of.generate([long, PROMPTS[0]], 5, temperature=0)
    assert [t.tolist() for t in found.tokens] == [plain(of, p, 5, temperature=0) for p in (long, PROMPTS[0])]
    assert [writing.size(n) for n in (0, 1, 4, 5, 8, 9, 17)] == [0, 4, 4, 8, 8, 16, 24]


def test_a_text_does_not_depend_on_the_others_nor_on_how_many_run_together(of, monkeypatch):
    alone = of.generate(PROMPTS[0], 8, seed=5)
    assert alone.tokens[0].tolist() == of.generate(PROMPTS, 8, seed=5, samples=3).tokens[0].tolist()
    together = of.generate(PROMPTS, 8, seed=5, samples=3)
    monkeypatch.setattr(writing, "ROWS", 2)
    few = of.generate(PROMPTS, 8, seed=5, samples=3)
    assert [t.tolist() for t in few.tokens] == [t.tolist() for t in together.tokens]
    assert few.texts == together.texts
    other = of.generate(PROMPTS, 8, seed=6, samples=3)
    assert [t.tolist() for t in other.tokens] != [t.tolist() for t in together.tokens]


@pytest.mark.parametrize(
    ("top_p", "top_k"), [(0.5, 0), (0.9, 0), (1.0, 3), (0.6, 5), (1e-6, 0), (0.999, 100), (1.0, 0)]
)
def test_the_tokens_that_may_be_drawn_are_those_of_a_sort(top_p, top_k):
    logits = np.random.default_rng(0).normal(size=(20, 100)).astype(np.float32) * 3
    found = sampling.restricted(jnp.asarray(logits), top_p, top_k)
    np.testing.assert_array_equal(found, np.stack([narrowed(row, top_p, top_k) for row in logits]))


def test_tokens_that_are_equally_probable_stay_together():
    logits = np.array([[2.0, 1.0, 1.0, -5.0]], np.float32)
    assert np.isfinite(sampling.restricted(logits, 1.0, 2))[0].tolist() == [True, True, True, False]
    assert np.isfinite(sampling.restricted(logits, 0.7, 0))[0].tolist() == [True, True, True, False]


def test_draws_have_the_probabilities_of_the_logits():
    logits = jnp.asarray(np.tile([0.0, 1.0, 2.0, -1.0], (20_000, 1)), jnp.float32)
    ends, never = jnp.full(sampling.ENDS, -1), jnp.asarray([1])
    rules = sampling.Rules(jnp.float32(2.0), jnp.float32(1), jnp.int32(0), ends, never)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), jnp.arange(20_000))
    p = np.exp([0, -np.inf, 1.0, -0.5])
    share = np.bincount(sampling.draw(logits, keys, rules), minlength=4) / 20_000
    np.testing.assert_allclose(share, p / p.sum(), atol=0.01)


def test_texts_end_with_the_tokens_and_strings_that_end_them():
    of = loaded(PAPER)
    tokens = of.generate(PROMPTS[0], 20, seed=2).tokens[0].tolist()
    end = tokens[6]
    first = tokens.index(end)
    own = of.texts()._replace(conventions=Conventions((BOS,), (end,)))
    stopped = dataclasses.replace(of, texts=lambda: own)
    found = stopped.generate(PROMPTS[0], 20, seed=2)
    assert found.tokens[0].tolist() == tokens[:first] and found.ended == (True,)
    assert found.text == written(tokens[:first])
    assert stopped.generate(PROMPTS[0], 20, seed=2, stop=None).tokens[0].tolist() == tokens
    assert of.generate(PROMPTS[0], 20, seed=2, stop=end).tokens[0].tolist() == tokens[:first]
    text = written(tokens)
    stop = text[len(text) // 2 :][:6]  # within words
    found = of.generate(PROMPTS[0], 20, seed=2, stop=[stop, "never"])
    assert found.text == text[: text.index(stop)] and found.ended == (True,)
    n = len(found.tokens[0])
    assert found.tokens[0].tolist() == tokens[:n]
    assert stop in written(tokens[:n]) and stop not in written(tokens[: n - 1])


def written(tokens) -> str:
    return "".join(f"w{t} " for t in tokens if t != BOS)


def _add(values, acts):
    return acts + values


@pytest.mark.parametrize(
    ("site", "positions"), [("resid_post.0", "generated"), ("blocks.1.hook_mlp_out", "all"), ("attn_z.1", "all")]
)
def test_edits_reach_the_tokens_asked_for_and_later_tokens_see_them(of, site, positions):
    width = of.model.width(site)
    edit = Edit(site, _add, np.random.default_rng(0).normal(size=width).astype(np.float32) * 3, positions)
    found = of.generate(PROMPTS, 8, seed=1, edit=edit)
    assert [t.tolist() for t in found.tokens] == [plain(of, p, 8, temperature=1, seed=1, edit=edit) for p in PROMPTS]
    without = of.generate(PROMPTS, 8, seed=1)
    assert [t.tolist() for t in found.tokens] != [t.tolist() for t in without.tokens]


def test_texts_as_prompts_get_what_texts_begin_with():
    of = loaded(PAPER)
    a = of.generate("w5 ", 4, temperature=0)
    assert a.prompts[0].tolist() == [BOS, 5] == of.tokens("w5 ").tolist()
    both = of.generate(["w5 ", "w6 "], 4, temperature=0)
    assert both.tokens[0].tolist() == a.tokens[0].tolist() and len(both.texts) == 2
    with pytest.raises(BadInput, match="2 texts were generated: take one of"):
        _ = both.text
    assert of.generate(np.asarray([[BOS, 5], [BOS, 6]]), 4, temperature=0).texts == both.texts


def test_impossible_requests_are_refused_in_one_line():
    of = loaded(PAPER)
    for change, message in (
        ({"prompt": [BOS] * 60, "n": 5}, "a prompt has 60 tokens: with 5 more it is longer than a context, 64"),
        ({"prompt": []}, "no prompt"),
        ({"prompt": [[]]}, "a prompt has no tokens"),
        ({"prompt": [V]}, f"token {V}: expected 0 to {V - 1}"),
        ({"prompt": [0.5]}, "tokens of dtype float64"),
        ({"n": 0}, "n is 0: expected 1 or more"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": np.nan}, "temperature is nan"),
        ({"top_p": 0.0}, "top_p is 0.0: expected above 0, at most 1"),
        ({"top_k": -1}, "top_k is -1: expected 0 or more"),
        ({"samples": 0}, "samples is 0"),
        ({"stop": V}, f"stop token {V}: expected 0 to"),
        ({"stop": ""}, "strings that are not empty"),
        ({"edit": Edit("resid_post.9", _add)}, "resid_post.9"),
        ({"edit": Edit("resid_pre.0+resid_post.0", _add)}, "expected one site"),
        ({"edit": Edit("resid_pre.0", _add, positions="some")}, "positions are 'some'"),
    ):
        given = {"prompt": [BOS], "n": 3, **change}
        with pytest.raises(BadInput, match=message):
            of.generate(given.pop("prompt"), given.pop("n"), **given)
