"""Rows made online: the transformer's activations at positions of the text, each used once, in an order that is a
function of the batch index."""

from __future__ import annotations

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from monosem_jax.activations.online import OnlineConfig, OnlineStream, _join
from monosem_jax.activations.sampling import ContextSampler
from monosem_jax.models.transformer import Transformer, TransformerConfig
from monosem_jax.runtime.errors import BadInput
from tests.conftest import build_lively, mesh_of

C, T, K, BATCH, BOS = 64, 12, 5, 16, 0
PASS = C * K // BATCH  # 20 batches; a filling is a quarter of that: 16 lanes with 1 context each, then 2, 3, 4
CONFIG = OnlineConfig("resid_pre.0", K, buffer_rows=BATCH * K, batch_contexts=16, dtype="float32")


def text(n: int = C) -> np.ndarray:
    """[n,T] contexts in which every place has a token of its own, but for BOS at the first and two other positions."""
    tokens = np.arange(n * T).reshape(n, T) + 1
    tokens[:, 0] = BOS
    np.put_along_axis(tokens, np.random.default_rng(0).integers(1, T, (n, 2)), BOS, axis=1)
    return tokens.astype(np.uint16)


@pytest.fixture(scope="module")
def telling():
    """(model, params) whose activations at resid_pre.0 are the numbers of the tokens, one digit of 256 an element."""
    model = Transformer(TransformerConfig(1, 4, 8, 1, T, C * T + 1))
    params = jax.tree.map(np.asarray, jax.jit(model.init)(jax.random.key(0), np.zeros((1, 2), np.int32))["params"])
    number = np.arange(C * T + 1)
    table = np.stack([number // 256, number % 256, 0 * number, -number % 256], axis=1).astype(np.float32)
    return model, {**params, "embed": {"embedding": table}}


def online(telling, mesh: Mesh | None = None, tokens=None, seed=0, batch=BATCH, **changes) -> OnlineStream:
    return OnlineStream(
        *telling, text() if tokens is None else tokens, bos=BOS, config=dataclasses.replace(CONFIG, **changes),
        batch_size=batch, seed=seed, mesh=mesh or mesh_of(1, 1),
    )  # fmt: skip


def numbers(rows) -> np.ndarray:
    """The tokens that rows of `telling` are the activations of."""
    rows = np.asarray(rows, np.float32).astype(int)
    found = rows[..., 0] * 256 + rows[..., 1]
    assert not rows[..., 2].any() and np.array_equal(rows[..., 3], -found % 256)
    return found


def layout(lanes: int, contexts: int, filling: int, seed: int = 0) -> np.ndarray:
    """[lanes, contexts · K] the tokens that a filling is made of, each lane's in the order of the text's contexts."""
    which = np.arange(filling * lanes * contexts, (filling + 1) * lanes * contexts)
    all_contexts = ContextSampler(text(), BOS, K, seed)
    tokens, positions = all_contexts.tokens(which), all_contexts.positions(which)
    return np.take_along_axis(tokens, positions, axis=1).reshape(lanes, contexts * K)


@pytest.fixture(scope="module")
def passes(telling):
    """[2 · PASS, BATCH] the tokens of two passes over the text, 4 fillings each."""
    return numbers(online(telling)(0, 2 * PASS))


def test_bos_is_never_taken(passes):
    assert (passes != BOS).all()


def test_a_pass_takes_rows_per_context_distinct_places_of_every_context(passes):
    for seen in (passes[:PASS], passes[PASS:]):
        assert len(np.unique(seen)) == seen.size
        assert np.array_equal(np.bincount((seen.ravel() - 1) // T, minlength=C), np.full(C, K))


def test_the_next_pass_takes_other_places_in_another_order(passes):
    first, second = passes[:PASS], passes[PASS:]
    assert 0.3 < np.isin(second, first).mean() < 0.8  # 5 of 9 to 11
    assert not np.array_equal((first - 1) // T, (second - 1) // T)


def test_contexts_without_enough_tokens_are_left_out(telling):
    tokens = text()
    tokens[::2, K:] = BOS  # K - 1 tokens, or fewer
    seen = numbers(online(telling, tokens=tokens)(0, PASS))
    assert ((seen - 1) // T % 2 == 1).all()


def test_a_filling_is_the_next_contexts_of_the_text_and_each_lane_has_its_own(telling):
    stream = online(telling, batch=8, batch_contexts=16, buffer_rows=16 * K + 1)  # 8 lanes of 4: 2 calls of 2 contexts
    n = 4 * K
    for filling in range(3):
        seen = numbers(stream(filling * n, n)).T
        assert np.array_equal(np.sort(seen, axis=1), np.sort(layout(8, 4, filling), axis=1))


def test_rows_that_do_not_make_a_batch_are_left_out_and_the_next_filling_begins(telling):
    stream = online(telling, batch=128, buffer_rows=128)  # 64 lanes with 2 slots each: 2 batches of 5 rows a lane
    for filling in range(2):
        seen = np.concatenate([numbers(stream(i, 1)) for i in (2 * filling, 2 * filling + 1)])
        lanes = layout(64, 1, filling)
        assert len(np.unique(seen)) == seen.size
        for lane in range(64):
            assert np.isin(seen[:, 2 * lane : 2 * lane + 2], lanes[lane]).all()


def orders(telling, filling: int, seed: int = 0) -> np.ndarray:
    """[8,40] where in the layout of its lane each row of a filling comes from."""
    seen = numbers(online(telling, batch=8, buffer_rows=8 * 8 * K, seed=seed)(filling * 8 * K, 8 * K)).T
    return np.stack(
        [[list(lane).index(x) for x in s] for s, lane in zip(seen, layout(8, 8, filling, seed), strict=True)]
    )


def test_a_lane_is_mixed_over_its_whole_filling(telling):
    found = orders(telling, 0)
    contexts = found // K
    assert np.mean([len(np.unique(c[: len(c) // 4])) for c in contexts]) > 5  # of 8; 2 if they came as they lie
    assert np.abs([np.corrcoef(o, np.arange(len(o)))[0, 1] for o in found]).mean() < 0.3
    assert (np.diff(found) == 1).mean() < 0.1


def test_every_lane_filling_and_seed_has_an_order_of_its_own(telling):
    found = np.concatenate([orders(telling, 0), orders(telling, 1), orders(telling, 0, seed=1)])
    assert len({tuple(o) for o in found}) == len(found)


def test_another_seed_takes_other_places(telling, passes):
    seen = numbers(online(telling, seed=1)(0, 5))
    assert np.isin(seen, passes[:5]).mean() < 0.5


def test_batches_are_the_same_wherever_one_begins_and_how_many_one_asks_for(telling, passes):
    rng = np.random.default_rng(0)
    for _ in range(20):
        start, n = int(rng.integers(0, 2 * PASS - 12)), int(rng.integers(1, 13))  # up to 4 fillings
        assert np.array_equal(numbers(online(telling)(start, n)), passes[start : start + n]), (start, n)


def test_batches_of_several_rows_a_lane_do_not_overlap(telling):
    """64 lanes with one context each: two of their five rows make a batch, and a filling two batches."""
    whole = numbers(online(telling, batch=128, buffer_rows=128)(0, 4))
    for start in range(4):
        assert np.array_equal(numbers(online(telling, batch=128, buffer_rows=128)(start, 1))[0], whole[start])
    for filling in (whole[:2], whole[2:]):
        assert len(np.unique(filling)) == 256


def test_batches_can_be_asked_for_in_any_order(telling, passes):
    stream, rng = online(telling), np.random.default_rng(1)
    for _ in range(40):
        start, n = int(rng.integers(0, 2 * PASS - 12)), int(rng.integers(1, 13))
        assert np.array_equal(numbers(stream(start, n)), passes[start : start + n]), (start, n)


def test_a_place_far_into_the_text_takes_no_longer_to_reach(telling):
    seen = numbers(online(telling)(10**6 * PASS, PASS))
    assert np.array_equal(np.bincount((seen.ravel() - 1) // T, minlength=C), np.full(C, K))


def test_a_filling_is_made_once_while_batches_of_it_are_asked_for(telling):
    stream, made = online(telling), []
    fill = stream._fill
    stream._fill = lambda *a: made.append(1) or fill(*a)
    for i in (0, 1, 4, 5, 6, 9):
        stream(i, 1)
    assert len(made) == 2


def test_the_sample_is_the_first_rows(telling, passes):
    assert np.array_equal(numbers(online(telling).sample(20)), passes.reshape(-1)[:20])


def test_the_sample_is_a_filling_where_more_is_asked_for(telling, passes):
    assert np.array_equal(numbers(online(telling).sample(10**6)), passes.reshape(-1)[: BATCH * K])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_batches_have_the_configured_type_and_shape(telling, dtype):
    found = online(telling, dtype=dtype)(3, 4)
    assert found.dtype == jnp.dtype(dtype) and found.shape == (4, BATCH, 4)


def test_rows_are_those_of_a_forward_pass_over_the_whole_context():
    """One row at each of eight places of every context, each found at one place by its values."""
    model, params = build_lively(TransformerConfig(2, 16, 32, 2, T, 40))
    tokens = np.random.default_rng(0).integers(1, 40, (32, T))
    tokens[:, 0] = tokens[::3, 5] = BOS
    tokens[:, 1] = np.arange(32) + 1  # two contexts that begin alike would have the same row there
    _, acts = model.apply({"params": params}, tokens, "mlp_hidden.1", method=model.to_acts)
    real = np.asarray(acts)[tokens != BOS]
    stream = online((model, params), tokens=tokens, site="mlp_hidden.1", rows_per_context=8, buffer_rows=256)
    rows = np.asarray(stream(0, 16)).reshape(256, -1)
    distance = np.abs(rows[:, None] - real[None]).max(-1)
    at = distance.argmin(1)
    assert np.take_along_axis(distance, at[:, None], 1).max() < 1e-5 * np.abs(real).max()
    assert len(np.unique(at)) == 256
    assert np.array_equal(np.bincount(np.nonzero(tokens != BOS)[0][at]), np.full(32, 8))


@pytest.fixture(scope="module")
def lively():
    """(model, params, tokens) in which attention and MLP matter."""
    return (*build_lively(TransformerConfig(1, 16, 32, 2, T, 40)), np.random.default_rng(0).integers(1, 40, (32, T)))


def lively_stream(lively, mesh: Mesh) -> OnlineStream:
    return online(lively[:2], mesh, lively[2], site="mlp_hidden.0", buffer_rows=100)


def test_every_mesh_gives_the_same_batches(lively, any_mesh8):
    one, many = (lively_stream(lively, m) for m in (mesh_of(1, 1), any_mesh8))
    for start, n in ((0, 4), (3, 13), (41, 2)):
        a, b = one(start, n), many(start, n)
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-5, atol=1e-6)
        assert b.sharding.is_equivalent_to(NamedSharding(any_mesh8, PartitionSpec(None, "data")), 3)


def test_every_mesh_chooses_the_same_places(telling, any_mesh8, passes):
    stream = online(telling, any_mesh8)
    assert np.array_equal(numbers(stream(3, 13)), passes[3:16])
    assert np.array_equal(numbers(stream.sample(100)), passes.reshape(-1)[: BATCH * K])


COLLECTIVE = re.compile(
    r"(all-(gather|reduce|to-all)|collective-permute|reduce-scatter|collective-broadcast)(-start)?\("
)


def compiled(f, *arguments, **options) -> str:
    return jax.jit(f, **options).lower(*arguments).compile().as_text()


@pytest.mark.parametrize("shape", [(8, 1), (2, 4)])
def test_nothing_is_sent_between_devices(lively, shape, monkeypatch):
    """The programs as they are called, found by what they are given."""
    stream, found = lively_stream(lively, mesh_of(*shape)), {}

    def spy(name: str, f):
        def call(*arguments):
            found[name] = f.lower(*arguments).compile().as_text()
            return f(*arguments)

        return call

    monkeypatch.setattr(stream, "_fill", spy("fill", stream._fill))
    monkeypatch.setattr(stream, "_draw", spy("draw", stream._draw))
    monkeypatch.setattr("monosem_jax.activations.online._join", spy("join", _join))
    stream(3, 13)
    assert found.keys() == {"fill", "draw", "join"} and all("HloModule" in program for program in found.values())
    assert not [name for name, program in found.items() if COLLECTIVE.search(program)]


def test_what_is_sent_between_devices_would_be_noticed():
    x = jax.device_put(np.ones((8, 2)), NamedSharding(mesh_of(8, 1), PartitionSpec("data")))
    whole = NamedSharding(mesh_of(8, 1), PartitionSpec())
    assert COLLECTIVE.search(compiled(jnp.sum, x)) and COLLECTIVE.search(compiled(lambda x: x, x, out_shardings=whole))


def test_each_device_holds_its_part_of_the_buffer(telling):
    buffer = online(telling, mesh_of(8, 1))._buffer
    assert {s.data.nbytes for s in buffer.addressable_shards} == {buffer.nbytes // 8}


BAD = {
    "no rows of a context": ({"rows_per_context": 0}, r"online\.rows_per_context is 0: at least 1"),
    "no buffer": ({"buffer_rows": 0}, r"online\.buffer_rows is 0: at least 1"),
    "no contexts at a time": ({"batch_contexts": -1}, r"online\.batch_contexts is -1: at least 1"),
    "unknown dtype": ({"dtype": "float64"}, r"online\.dtype is 'float64': expected bfloat16, float32, float16"),
    "unknown site": ({"site": "mlp_hidden.1"}, r"site 'mlp_hidden\.1' does not exist"),
    "buffer below a batch": ({"buffer_rows": 15}, r"online\.buffer_rows 15 is smaller than train\.batch_size 16"),
    "more rows than tokens": ({"rows_per_context": T}, r"rows_per_context is 12: no context of 12 has that many"),
    "lanes that devices do not divide": ({"batch": 4}, r"train\.batch_size 4 .* 4 lanes.* the 8 data shards"),
}


@pytest.mark.parametrize("name", BAD)
def test_an_impossible_value_is_refused_with_its_name(telling, name):
    changes, message = BAD[name]
    with pytest.raises(BadInput, match=message):
        online(telling, mesh_of(8, 1), **changes)
