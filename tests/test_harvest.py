"""Harvesting: the right rows from the right places, decorrelated, and the same bytes whatever interrupts it."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import monosem_jax.harvest
from monosem_jax.errors import BadInput, Stopped
from monosem_jax.harvest import HarvestConfig, harvest, sample_positions
from monosem_jax.signals import StopFlag
from monosem_jax.store.arrays import Store
from monosem_jax.transformer.model import Transformer, TransformerConfig
from tests.conftest import build_lively

LENGTH, VOCAB, BOS, SEED = 16, 50, 0, 3
SHAPE = {"n_layers": 2, "d_model": 16, "d_mlp": 24, "n_heads": 2, "context_length": LENGTH, "vocab_size": VOCAB}
MODEL = Transformer(TransformerConfig(**SHAPE))
# 6 does not divide 1024: contexts lie across the boundaries of the three buckets.
CONFIG = HarvestConfig(rows_per_context=6, batch_contexts=32, bucket_rows=1024, shard_rows=1024)
BATCHES = 17


def make_tokens(n: int = 502) -> np.ndarray:
    """Contexts with BOS in front and here and there; the last two have too few other tokens."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, VOCAB, (n, LENGTH)).astype(np.uint16)
    tokens[rng.random(tokens.shape) < 0.1] = BOS
    tokens[:, 0] = BOS
    tokens[-2:, 3:] = BOS
    return tokens


TOKENS = make_tokens()


@pytest.fixture(scope="module", autouse=True)
def _compile_once():
    """Harvests of the same activations share one compiled function: most of the time goes there."""
    make, made = monosem_jax.harvest.make_tap, {}

    def remembered(model, params, site, dtype):
        key = (id(params), site, dtype)
        made[key] = made.get(key) or (make(model, params, site, dtype), params)  # keeps params, and so its id
        return made[key][0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(monosem_jax.harvest, "make_tap", remembered)
        yield


@pytest.fixture(scope="module")
def params():
    return build_lively(MODEL.config)[1]


@pytest.fixture(scope="module")
def run(params):
    """The harvest into a path, with a configuration that may be changed."""

    def run(path: pathlib.Path, *, advance=lambda n: None, stop=None, seed=SEED, **changes) -> Store:
        path.mkdir(exist_ok=True)
        fixed = {"bos": BOS, "identity": {"model": "m", "tokenizer_sha256": "t", "corpus_sha256": "c"}}
        config, stop = dataclasses.replace(CONFIG, **changes), stop or StopFlag()
        harvest(path, MODEL, params, TOKENS, config=config, seed=seed, stop=stop, advance=advance, **fixed)
        return Store(path)

    return run


@pytest.fixture(scope="module")
def store(run, tmp_path_factory) -> Store:
    return run(tmp_path_factory.mktemp("harvest") / "store")


def contents(path: pathlib.Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


def places(store: Store) -> tuple[np.ndarray, np.ndarray]:
    return tuple(store.origin(0, store.n_rows).astype(int).T)


def direct(params, store: Store, site: str) -> np.ndarray:
    """What the model's activations are at the places that the store records."""
    forward = jax.jit(lambda params, tokens: MODEL.apply({"params": params}, tokens, site, method=MODEL.to_acts)[1])
    acts = forward(params, store.tokens())
    return np.asarray(acts)[places(store)]


SITES = ["mlp_hidden.0", "resid_pre.0", "attn_out.0", "resid_mid.1", "mlp_in.1", "mlp_hidden.1", "mlp_out.1"]


@pytest.mark.parametrize("site", SITES)
def test_rows_are_the_activations_at_their_recorded_places(run, params, tmp_path, site):
    store = run(tmp_path / "s", site=site, dtype="float32", n_rows=600)
    expected = direct(params, store, site)
    assert store.width == expected.shape[1] == (24 if "hidden" in site else 16)
    assert expected.std() > 0.01
    np.testing.assert_allclose(store.read(0, store.n_rows), expected, rtol=1e-4, atol=1e-5)


def test_rows_are_kept_as_the_nearest_bfloat16(store, params):
    rows = store.read(0, store.n_rows)
    assert rows.dtype == jnp.bfloat16
    np.testing.assert_allclose(rows.astype(np.float32), direct(params, store, "mlp_hidden.0"), rtol=2**-8, atol=1e-5)


def test_no_place_is_harvested_twice(store):
    assert len(set(zip(*places(store), strict=True))) == store.n_rows == 3000


def test_bos_is_never_harvested(store):
    assert (store.tokens()[places(store)] != BOS).all()


def test_every_context_gives_the_same_number_of_rows(store):
    assert (np.bincount(places(store)[0]) == 6).all()


def test_contexts_with_too_few_tokens_are_left_out(store):
    assert len(store.tokens()) == 500
    assert np.array_equal(np.unique(store.tokens(), axis=0), np.unique(TOKENS[:-2], axis=0))


def test_positions_are_drawn_evenly_from_the_eligible_ones():
    eligible = np.ones((4000, LENGTH), bool)
    eligible[:, ::4] = False
    drawn = np.bincount(sample_positions(eligible, 6, seed=0).ravel(), minlength=LENGTH)
    assert (drawn[::4] == 0).all()
    np.testing.assert_allclose(drawn[eligible[0]], 4000 * 6 / 12, rtol=0.08)


def test_the_draw_of_a_context_does_not_depend_on_how_many_there_are():
    eligible = np.random.default_rng(0).random((3000, LENGTH)) < 0.9
    eligible[:, :6] = True
    assert np.array_equal(sample_positions(eligible, 6, 0)[:1500], sample_positions(eligible[:1500], 6, 0))


def test_fewer_rows_come_from_fewer_contexts(run, tmp_path):
    store = run(tmp_path / "s", n_rows=600)
    assert store.n_rows == 600 and len(store.tokens()) == 100


def test_the_same_seed_gives_the_same_bytes(run, store, tmp_path):
    assert contents(run(tmp_path / "s").path) == contents(store.path)


def test_another_seed_gives_other_places(run, store, tmp_path):
    other = run(tmp_path / "s", seed=4)
    assert not np.array_equal(other.tokens(), store.tokens())
    assert not np.array_equal(places(other)[1], places(store)[1])


@pytest.mark.parametrize("batch", [7, 1000])
def test_the_size_of_a_batch_changes_nothing_but_rounding(run, store, tmp_path, batch):
    other = run(tmp_path / "s", batch_contexts=batch)
    assert np.array_equal(other.origin(0, 3000), store.origin(0, 3000))
    a, b = (s.read(0, 3000).astype(np.float32) for s in (other, store))
    np.testing.assert_allclose(a, b, rtol=2**-7, atol=1e-5)


@pytest.mark.parametrize("bucket", [0, 1])
def test_a_harvest_stopped_after_any_bucket_ends_with_the_same_bytes(run, store, tmp_path, bucket):
    stop, done = StopFlag(), []

    def advance(n):
        done.append(n)
        if sum(done) > 1024 * bucket:
            stop.requested = "SIGTERM"

    with pytest.raises(Stopped, match="SIGTERM"):
        run(tmp_path / "s", advance=advance, stop=stop)
    assert Store(tmp_path / "s").n_rows == 1024 * (bucket + 1)
    assert contents(run(tmp_path / "s").path) == contents(store.path)


def dying_at(call: int):
    """An `advance` that raises when it is called for the `call`-th time, counted from 0."""
    calls = iter(range(100))

    def advance(n):
        if next(calls) == call:
            raise RuntimeError("died")

    return advance


@pytest.mark.parametrize("call", [0, 1, 2, 5, 6, 7, 8, 11, 12, 13, 15, BATCHES])
def test_a_harvest_that_dies_at_any_moment_ends_with_the_same_bytes(run, store, tmp_path, call):
    with pytest.raises(RuntimeError, match="died"):
        run(tmp_path / "s", advance=dying_at(call))
    assert contents(run(tmp_path / "s").path) == contents(store.path)


def test_a_harvest_that_dies_again_and_again_ends_with_the_same_bytes(run, store, tmp_path):
    for call in (3, 14, 0, 8, 11):
        with pytest.raises(RuntimeError, match="died"):
            run(tmp_path / "s", advance=dying_at(call))
    assert contents(run(tmp_path / "s").path) == contents(store.path)


def test_a_finished_harvest_is_left_as_it_is(run, tmp_path):
    path = run(tmp_path / "s").path
    stamps = {p: p.stat().st_mtime_ns for p in path.rglob("*")}
    run(path)
    assert {p: p.stat().st_mtime_ns for p in path.rglob("*")} == stamps


def test_a_reader_of_an_unfinished_store_sees_the_committed_rows(run, store, tmp_path):
    seen = []

    def advance(n):
        try:
            unfinished = Store(tmp_path / "s")
        except BadInput:  # nothing is committed yet
            return
        assert not unfinished.manifest["complete"]
        assert unfinished.n_rows == unfinished.manifest["rows_written"]
        assert np.array_equal(unfinished.read(0, 3000), store.read(0, unfinished.n_rows))
        assert np.array_equal(unfinished.origin(0, 3000), store.origin(0, unfinished.n_rows))
        seen.append(unfinished.n_rows)

    run(tmp_path / "s", advance=advance)
    assert set(seen) == {1024} or set(seen) == {1024, 2048}


def test_progress_counts_every_row_once(run, tmp_path):
    done = []
    run(tmp_path / "s", advance=done.append)
    assert sum(done) == 3000 and len(done) == 1 + BATCHES


def test_progress_begins_with_the_rows_of_earlier_runs(run, tmp_path):
    run(tmp_path / "s")
    done = []
    run(tmp_path / "s", advance=done.append)
    assert done == [3000]


def test_rows_of_one_context_lie_all_over_their_bucket(store):
    context = places(store)[0][:1024]
    distances = []
    for c in np.unique(context):
        at = np.flatnonzero(context == c)
        distances += np.abs(at[:, None] - at[None])[np.triu_indices(len(at), 1)].tolist()
    assert abs(np.mean(distances) / (1024 / 3) - 1) < 0.1  # a random permutation has a third of the bucket


def test_buckets_are_permuted_each_in_its_own_way(store):
    first, second = (np.argsort(places(store)[0][i : i + 952], kind="stable") for i in (0, 1024))
    assert np.mean(first == second) < 0.02


def test_the_manifest_says_what_was_harvested(store):
    manifest = store.manifest
    assert manifest["complete"] and manifest["n_rows"] == manifest["rows_written"] == 3000
    assert (manifest["site"], manifest["seed"], manifest["rows_per_context"]) == ("mlp_hidden.0", SEED, 6)
    assert (manifest["model"], manifest["tokenizer_sha256"], manifest["corpus_sha256"]) == ("m", "t", "c")


def test_mean_norm_and_mean_square_are_those_of_the_rows(store):
    rows = store.read(0, store.n_rows).astype(np.float64)
    assert store.manifest["mean_norm"] == pytest.approx(np.linalg.norm(rows, axis=1).mean(), rel=1e-6)
    assert store.manifest["mean_square"] == pytest.approx(np.square(rows).mean(), rel=1e-6)


REFUSED = {
    "rows_per_context is 16: no context of 16": {"rows_per_context": 16},
    "n_rows is 3006: expected 6 to 3000": {"n_rows": 3006},
    "n_rows is 5: expected 6 to 3000": {"n_rows": 5},
    "n_rows is -6": {"n_rows": -6},
    "site 'mlp_hidden.2' does not exist": {"site": "mlp_hidden.2"},
    "site 'mlp' does not exist": {"site": "mlp"},
    "dtype is 'int8'": {"dtype": "int8"},
    "rows_per_context is 0": {"rows_per_context": 0},
    "bucket_rows is 0": {"bucket_rows": 0},
    "must be a multiple .* and that of 1024": {"bucket_rows": 1000, "shard_rows": 1000},
    "bucket_rows 3072 must be a multiple of harvest.shard_rows 2048": {"bucket_rows": 3072, "shard_rows": 2048},
}


@pytest.mark.parametrize("message", REFUSED)
def test_impossible_values_are_refused_by_name(run, tmp_path, message):
    with pytest.raises(BadInput, match=message):
        run(tmp_path / "s", **REFUSED[message])
    assert not (tmp_path / "s" / "store.json").exists()


def test_activations_that_are_not_finite_are_refused_with_their_place(params, tmp_path):
    broken = {**params, "embed": {"embedding": params["embed"]["embedding"].at[7].set(jnp.nan)}}
    stop = StopFlag()
    with pytest.raises(BadInput, match=r"at mlp_hidden\.0 are not finite, first at context \d+ position \d+"):
        harvest(tmp_path, MODEL, broken, TOKENS, bos=BOS, config=CONFIG, seed=SEED, identity={}, stop=stop)
