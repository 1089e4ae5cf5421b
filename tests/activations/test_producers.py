"""Rows made on demand: the right activations from the right positions, and any range can be made by itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import monosem_jax.activations.producers
from monosem_jax.activations.producers import ArrayProducer, DropRows, ModelActivations
from monosem_jax.activations.rows import DTYPES
from monosem_jax.activations.sampling import ContextSampler
from monosem_jax.models.llama import Llama, LlamaConfig
from monosem_jax.models.sharding import bytes_per_device
from monosem_jax.models.transformer import Transformer, TransformerConfig
from monosem_jax.runtime.errors import BadInput
from tests.conftest import build_lively

LENGTH, VOCAB, BOS, K, SEED = 16, 50, 0, 6, 3
SHAPE = {"n_layers": 2, "d_model": 16, "d_mlp": 24, "n_heads": 2, "context_length": LENGTH, "vocab_size": VOCAB}
MODEL = Transformer(TransformerConfig(**SHAPE))
N = 90  # contexts of 16 usable tokens or fewer, in batches of 8 x 4 or 1 x 4
ROWS = N * K


def make_tokens() -> np.ndarray:
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, VOCAB, (120, LENGTH)).astype(np.uint16)
    tokens[:, 8:][rng.random((120, 8)) < 0.2] = BOS
    tokens[:, 0] = BOS
    return tokens


TOKENS = make_tokens()


@pytest.fixture(scope="module")
def params():
    return build_lively(MODEL.config)[1]


@pytest.fixture(scope="module")
def make(params):
    """TransformerRows of a site, each made once."""
    made = {}

    def make(site="mlp_hidden.0", dtype="float32", batch=4) -> ModelActivations:
        if (site, dtype, batch) not in made:
            contexts = ContextSampler(TOKENS, BOS, K, SEED)
            made[site, dtype, batch] = ModelActivations(
                MODEL, params, site, contexts, k=K, n_contexts=N, dtype=dtype, batch_contexts=batch
            )
        return made[site, dtype, batch]

    return make


@pytest.fixture
def one_device(monkeypatch):
    """Whatever is made has one local device."""
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
    monkeypatch.setattr(jax, "local_device_count", lambda: 1)


def gather(made, start: int = 0, stop: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Rows and sums of squares of a range, whose batches lie one after another."""
    stop = made.n_rows if stop is None else stop
    rows, squares, at = [], [], start
    for first, (values,), square in made.batches(start, stop):
        assert first == at and len(values) == len(square) > 0
        assert square.dtype == np.float64 and square.shape == (len(values), len(made.widths))
        rows.append(values)
        squares.append(square)
        at += len(values)
    assert at == stop
    return np.concatenate(rows), np.concatenate(squares)[:, 0]


def direct(params, made: ModelActivations, site: str) -> np.ndarray:
    """What the model's activations are at the recorded places, from one pass over all contexts."""
    forward = jax.jit(lambda params, tokens: MODEL.apply({"params": params}, tokens, site, method=MODEL.to_acts)[1])
    tokens = ContextSampler(TOKENS, BOS, K, SEED).tokens(np.arange(N))
    context, position = made.origin(0, made.n_rows).astype(int).T
    assert (tokens[context, position] != BOS).all()
    return np.asarray(forward(params, tokens))[context, position]


SITES = ["mlp_hidden.0", "resid_pre.0", "attn_out.0", "resid_mid.1", "mlp_in.1", "mlp_hidden.1", "mlp_out.1"]


@pytest.mark.parametrize("site", SITES)
def test_rows_are_the_activations_at_their_recorded_places(make, params, site):
    made = make(site)
    expected = direct(params, made, site)
    assert (made.n_rows, made.width) == expected.shape == (ROWS, 24 if "hidden" in site else 16)
    assert expected.std() > 0.01
    rows, squares = gather(made)
    np.testing.assert_allclose(rows, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(squares, np.square(expected, dtype=np.float64).sum(axis=1), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_rows_are_rounded_to_the_nearest_value_of_their_dtype(make, dtype):
    full, rows = gather(make())[0], gather(make(dtype=dtype))
    assert rows[0].dtype == DTYPES[dtype]
    expected = full.astype(DTYPES[dtype]).astype(np.float32)
    assert np.mean(rows[0].astype(np.float32) == expected) > 0.99  # but for ties that rounding in fp32 moves
    np.testing.assert_allclose(rows[0].astype(np.float32), expected, rtol=2 * jnp.finfo(dtype).eps, atol=1e-6)
    np.testing.assert_allclose(rows[1], np.square(rows[0].astype(np.float64)).sum(axis=1), rtol=1e-5)  # of those kept


def test_every_context_gives_k_rows_in_its_order(make):
    origin = make().origin(0, ROWS)
    assert origin.dtype == np.uint32 and np.array_equal(origin[:, 0], np.arange(ROWS) // K)
    assert np.array_equal(origin[:, 1], ContextSampler(TOKENS, BOS, K, SEED).positions(np.arange(N)).reshape(-1))


def test_the_origin_of_a_range_is_that_part_of_the_whole(make):
    whole = make().origin(0, ROWS)
    for start, stop in [(0, 1), (5, 7), (6, 12), (17, 400), (ROWS - 1, ROWS)]:
        assert np.array_equal(make().origin(start, stop), whole[start:stop])


@pytest.mark.parametrize("start", [0, 1, K, 4 * K + 5, 32 * K, 33 * K - 1, ROWS - 1])
def test_a_range_made_alone_has_the_bits_of_a_longer_one_that_begins_there(make, start):
    rows, squares = gather(make(), start)
    for length in (1, K - 1, K, 32 * K, 32 * K + 1, 63 * K, ROWS):
        stop = min(start + length, ROWS)
        alone = gather(make(), start, stop)
        assert alone[0].tobytes() == rows[: stop - start].tobytes()
        assert alone[1].tobytes() == squares[: stop - start].tobytes()


@pytest.mark.parametrize("start", [1, K, 7 * K + 2])
def test_where_a_range_begins_changes_nothing_but_rounding(make, start):
    np.testing.assert_allclose(gather(make(), start)[0], gather(make())[0][start:], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 20])
def test_the_size_of_a_batch_changes_nothing_but_rounding(make, batch):
    other = make(batch=batch)
    assert np.array_equal(other.origin(0, ROWS), make().origin(0, ROWS))
    np.testing.assert_allclose(gather(other)[0], gather(make())[0], rtol=1e-5, atol=1e-6)


def test_one_device_makes_the_rows_of_eight_to_rounding(make, params, one_device):
    contexts = ContextSampler(TOKENS, BOS, K, SEED)
    single = ModelActivations(
        MODEL, params, "mlp_hidden.0", contexts, k=K, n_contexts=N, dtype="float32", batch_contexts=4
    )
    sizes = [len(squares) for *_, squares in single.batches(0, ROWS)]
    assert sizes[0] == 4 * K and next(len(s) for *_, s in make().batches(0, ROWS)) == 32 * K
    for start, stop in [(0, ROWS), (7, 100)]:
        found, expected = gather(single, start, stop), gather(make(), start, stop)
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-4, atol=1e-6)


LLAMA = Llama(LlamaConfig(vocab_size=VOCAB, d_model=32, d_mlp=48, head_dim=8, context_length=LENGTH))


# The embedding of 50 tokens is not divisible by 4, and two heads of keys are not cut where heads of queries are whole.
@pytest.mark.parametrize(("parts", "share"), [(2, 0.504), (4, 0.467), (8, 0.282)])
def test_a_model_divided_over_devices_makes_the_rows_of_a_whole_one_to_rounding(parts, share):
    params = jax.device_get(LLAMA.init(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"])
    params = jax.tree.map(lambda p: 10 * p if p.ndim > 1 else p, params)
    sizes, found = [], []
    for model_parallel in (1, parts):
        contexts = ContextSampler(TOKENS, BOS, K, SEED)
        made = ModelActivations(
            LLAMA, params, "resid_post.1+mlp_hidden.0", contexts, k=K, n_contexts=N, dtype="float32",
            batch_contexts=32 * model_parallel // parts, apart=True, model_parallel=model_parallel,
        )  # fmt: skip
        rows = [(np.concatenate(both, axis=-1), squares) for _, both, squares in made.batches(0, ROWS)]
        found.append([np.concatenate(x) for x in zip(*rows, strict=True)])
        sizes.append(bytes_per_device(made.params))
    assert found[0][0].std() > 0.05
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[1][1], found[0][1], rtol=1e-4)
    whole, divided = (max(size.values()) for size in sizes)
    assert len(set(sizes[1].values())) == 1 and divided / whole == pytest.approx(share, abs=0.01)


def test_devices_that_cannot_be_grouped_are_refused():
    with pytest.raises(BadInput, match=r"harvest\.model_parallel is 3: expected a divisor of the 8 devices of this"):
        ModelActivations(
            LLAMA, {}, "resid_post.1", ContextSampler(TOKENS, BOS, K, SEED), k=K, n_contexts=N, dtype="float32",
            batch_contexts=4, model_parallel=3,
        )  # fmt: skip


def test_a_place_is_named_by_context_and_position(make):
    assert make().place(make().origin(7, 8)[0]) == f"context 1 position {make().origin(7, 8)[0, 1]}"


def test_a_site_that_does_not_exist_is_refused(make):
    with pytest.raises(BadInput, match=r"site 'mlp_hidden\.2' does not exist"):
        make("mlp_hidden.2")


class Numbers:
    """An array whose row i is [i, 1/(i+1)]."""

    width, dtype = 2, np.dtype(np.float32)

    def __init__(self, n_rows: int = 1000):
        self.n_rows = n_rows

    def read(self, start: int, stop: int) -> np.ndarray:
        assert 0 <= start < stop <= self.n_rows
        i = np.arange(start, stop, dtype=np.float64)
        return np.stack([i, 1 / (i + 1)], axis=1).astype(np.float32)


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(monosem_jax.activations.producers, "ARRAY_BATCH", 16)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_rows_of_an_array_are_its_rows_in_the_wanted_dtype(small_batches, dtype):
    made = ArrayProducer(Numbers(), dtype)
    assert (made.n_rows, made.width) == (1000, 2)
    expected = Numbers().read(0, 1000).astype(DTYPES[dtype])
    for start, stop in [(0, 1000), (3, 4), (16, 32), (15, 100), (990, 1000)]:
        rows, squares = gather(made, start, stop)
        assert rows.dtype == DTYPES[dtype] and rows.tobytes() == expected[start:stop].tobytes()
        np.testing.assert_allclose(squares, np.square(rows.astype(np.float64)).sum(axis=1), rtol=1e-12)
        assert np.array_equal(made.origin(start, stop), [[i, 0] for i in range(start, stop)])
    assert made.origin(0, 2).dtype == np.uint32 and made.place(made.origin(17, 18)[0]) == "row 17"


def test_what_is_too_large_for_the_new_dtype_is_not_finite():
    with np.errstate(over="raise"):
        squares = gather(ArrayProducer(Numbers(100_000), "float16"))[1]
    assert np.array_equal(np.flatnonzero(~np.isfinite(squares)), np.arange(65_520, 100_000))


def test_the_square_of_a_large_finite_row_is_finite():
    class Large(Numbers):
        def read(self, start, stop):
            return np.full((stop - start, 2), 3e38, np.float32)

    assert np.isfinite(gather(ArrayProducer(Large(), "float32"))[1]).all()


def test_an_array_with_more_rows_than_can_be_numbered_is_refused():
    assert ArrayProducer(Numbers(1 << 32), "float32").origin((1 << 32) - 1, 1 << 32)[0, 0] == (1 << 32) - 1
    with pytest.raises(BadInput, match=r"has 4294967297 rows: a store records row numbers below 2\*\*32"):
        ArrayProducer(Numbers((1 << 32) + 1), "float32")


LEFT_OUT = {
    "none": [],
    "the first": [0],
    "the last": [99],
    "both ends": [0, 1, 98, 99],
    "a whole batch": range(16, 32),
    "several batches and more": range(10, 70),
    "all but one": [i for i in range(100) if i != 47],
    "every second": range(0, 100, 2),
    "in any order": [50, 3, 99, 4, 20],
    "random ones": np.random.default_rng(0).choice(100, 60, replace=False),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_kept_rows_are_what_boolean_indexing_leaves(small_batches, name):
    left_out = np.asarray(LEFT_OUT[name], np.int64)
    keep = np.ones(100, bool)
    keep[left_out] = False
    array = ArrayProducer(Numbers(100), "float32")
    made, n = DropRows(array, left_out), int(keep.sum())
    rows, squares = (part[keep] for part in gather(array))
    assert (made.n_rows, made.width) == (n, 2)
    cuts = sorted({0, 1, n // 3, n // 2, n - 1, n})
    for start in cuts:
        for stop in cuts:
            if 0 <= start < stop:
                found = gather(made, start, stop)
                assert np.array_equal(found[0], rows[start:stop]) and np.array_equal(found[1], squares[start:stop])
                assert np.array_equal(made.origin(start, stop)[:, 0], np.flatnonzero(keep)[start:stop])
    assert made.place(made.origin(0, 1)[0]) == f"row {np.flatnonzero(keep)[0]}"


def test_kept_rows_of_a_transformer_keep_their_places(make):
    keep = np.random.default_rng(0).random(ROWS) < 0.5
    made = DropRows(make(), np.flatnonzero(~keep))
    assert gather(made)[0].tobytes() == gather(make())[0][keep].tobytes()
    assert np.array_equal(made.origin(0, made.n_rows), make().origin(0, ROWS)[keep])
