"""Filling a store: every row once, decorrelated, and the same bytes whatever interrupts it."""

import dataclasses
import pathlib
import types

import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.activations.buckets import write_tokens
from monosem_jax.activations.harvest import HarvestConfig, fill
from monosem_jax.activations.producers import ModelActivations
from monosem_jax.activations.sampling import ContextSampler
from monosem_jax.activations.store.store import Store, open_array
from monosem_jax.models.transformer import Transformer, TransformerConfig
from monosem_jax.runtime.errors import BadInput, Stopped
from monosem_jax.runtime.kvstore import Location
from monosem_jax.runtime.signals import SignalFlag
from tests.conftest import build_lively

LENGTH, VOCAB, BOS, K, SEED = 16, 50, 0, 6, 3
SHAPE = {"n_layers": 1, "d_model": 16, "d_mlp": 24, "n_heads": 2, "context_length": LENGTH, "vocab_size": VOCAB}
MODEL = Transformer(TransformerConfig(**SHAPE))
# 6 does not divide 1024: contexts lie across the boundaries of the three buckets.
CONFIG = HarvestConfig(bucket_rows=1024, shard_rows=1024)
PARENTS = {"site": "mlp_hidden.0", "context_length": LENGTH, "rows_per_context": K, "model": "m", "corpus_sha256": "c"}
N, ROWS, BATCHES = 500, 3000, 17  # contexts, rows, and batches of 32 contexts: 6 in a whole bucket


class Job:
    """The harvest of a small transformer into a path, with a configuration that may be changed."""

    def __init__(self, params, batch: int = 4):
        rng = np.random.default_rng(0)
        tokens = rng.integers(1, VOCAB, (N, LENGTH)).astype(np.uint16)
        tokens[:, 0] = BOS
        self.contexts = ContextSampler(tokens, BOS, K, SEED)
        self.made = ModelActivations(
            MODEL, params, "mlp_hidden.0", self.contexts, k=K, n_contexts=N, dtype="bfloat16", batch_contexts=batch
        )
        self.origin = self.made.origin(0, ROWS)

    def tokens(self, start: int, stop: int) -> np.ndarray:
        return self.contexts.tokens(np.arange(start, stop))

    def __call__(self, path: pathlib.Path, *, seed=SEED, stop=None, advance=None, total=None, **changes) -> Store:
        told = {name: f for name, f in (("advance", advance), ("total", total)) if f}
        fill(
            Location(path), self.made, PARENTS, config=dataclasses.replace(CONFIG, **changes), seed=seed,
            stop=stop or SignalFlag(), tokens=self.tokens, n_contexts=N, **told,
        )  # fmt: skip
        return Store(path)


@pytest.fixture(scope="module")
def run():
    return Job(build_lively(MODEL.config)[1])


@pytest.fixture(scope="module")
def store(run, tmp_path_factory) -> Store:
    return run(tmp_path_factory.mktemp("harvest") / "store")


def contents(path: str | pathlib.Path) -> dict[str, bytes]:
    path = pathlib.Path(path)
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


def rank(run: Job, store: Store) -> np.ndarray:
    """Where each row of a store comes in the order of making."""
    order = {tuple(o): g for g, o in enumerate(run.origin.tolist())}
    return np.asarray([order[tuple(o)] for o in store.origin(0, store.n_rows).tolist()])


def test_a_store_holds_every_row_once_with_its_place_and_its_bucket(run, store):
    made = np.concatenate([rows for start in (0, 1024, 2048) for _, (rows,), _ in run.made.batches(start, start + 952)])
    at = rank(run, store)
    assert np.array_equal(np.sort(at), np.arange(ROWS)) and np.array_equal(at // 1024, np.arange(ROWS) // 1024)
    rows = store.read(0, ROWS)
    for bucket in range(3):
        inside = (at >= 1024 * bucket) & (at < 1024 * bucket + 952)
        expected = made[at[inside] - 1024 * bucket + 952 * bucket]
        assert rows.dtype == jnp.bfloat16 and rows[inside].tobytes() == expected.tobytes()


def test_rows_are_the_activations_of_the_stores_own_tokens(run, store):
    context, position = store.origin(0, ROWS).astype(int).T
    params = run.made.params
    acts = MODEL.apply({"params": params}, store.tokens(), "mlp_hidden.0", method=MODEL.to_acts)[1]
    expected = np.asarray(acts)[context, position]
    assert expected.std() > 0.01
    np.testing.assert_allclose(store.read(0, ROWS).astype(np.float32), expected, rtol=2**-8, atol=1e-5)


def test_the_tokens_of_a_store_are_the_harvested_contexts(run, store):
    assert store.tokens().dtype == np.int32 and np.array_equal(store.tokens(), run.tokens(0, N))


def test_tokens_are_written_a_shard_at_a_time(run, tmp_path):
    asked = []

    def tokens(start, stop):
        asked.append((start, stop))
        return np.arange(start, stop)[:, None].repeat(LENGTH, axis=1)

    given = {"tokens": tokens, "n_contexts": 40_000}
    fill(Location(tmp_path), run.made, PARENTS, config=CONFIG, seed=0, stop=SignalFlag(), **given)
    assert asked == [(0, 16_384), (16_384, 32_768), (32_768, 40_000)]
    assert np.array_equal(Store(tmp_path).tokens()[:, 3], np.arange(40_000))


def test_two_processes_write_the_tokens_together(tmp_path):
    asked = []

    def tokens(start, stop):
        asked.append(start)
        return np.arange(start, stop)[:, None]

    for number in (1, 0):
        write_tokens(types.SimpleNamespace(location=Location(tmp_path), process=(number, 2)), tokens, 40_000, 1)
    assert asked == [16_384, 0, 32_768]
    assert np.array_equal(open_array(Location(tmp_path), "tokens").read().result()[:, 0], np.arange(40_000))


def test_the_same_seed_gives_the_same_bytes(run, store, tmp_path):
    assert contents(run(tmp_path / "s").path) == contents(store.path)


def test_another_seed_mixes_in_another_way(run, store, tmp_path):
    other = run(tmp_path / "s", seed=4)
    assert np.mean(rank(run, other) == rank(run, store)) < 0.02


@pytest.mark.parametrize("bucket", [0, 1])
def test_a_harvest_stopped_in_any_bucket_ends_with_the_same_bytes(run, store, tmp_path, bucket):
    stop, done = SignalFlag(), []

    def advance(n):
        done.append(n)
        if sum(done) > 1024 * bucket:
            stop.requested = "SIGTERM"

    with pytest.raises(Stopped, match="SIGTERM"):
        run(tmp_path / "s", advance=advance, stop=stop)
    assert Store(tmp_path / "s").n_rows == 1024 * (bucket + 1)
    assert contents(run(tmp_path / "s").path) == contents(store.path)


def test_a_write_that_fails_is_told_even_when_a_signal_has_come(run, tmp_path, monkeypatch):
    stop, write = SignalFlag(), Location.write

    def failing(location, file, content):
        if file.startswith(".parts") and file.endswith(".json"):
            raise OSError("broken")
        write(location, file, content)

    monkeypatch.setattr(Location, "write", failing)
    with pytest.raises(OSError, match="broken"):
        run(tmp_path / "s", stop=stop, advance=lambda n: setattr(stop, "requested", "SIGTERM" if n else ""))


def dying_at(call: int):
    """An `advance` that raises when it is called for the `call`-th time, counted from 0."""
    calls = iter(range(100))

    def advance(n):
        if next(calls) == call:
            raise RuntimeError("died")

    return advance


@pytest.mark.parametrize("call", [0, 1, 2, 5, 6, 7, 8, 11, 12, 13, 15, BATCHES])
def test_a_harvest_that_dies_between_batches_ends_with_the_same_bytes(run, store, tmp_path, call):
    with pytest.raises(RuntimeError, match="died"):
        run(tmp_path / "s", advance=dying_at(call))
    assert contents(run(tmp_path / "s").path) == contents(store.path)


@pytest.mark.parametrize("call", range(8))  # the first, store.json of no rows, then each bucket's record and store.json
@pytest.mark.parametrize("after", [False, True])
def test_a_harvest_that_dies_around_a_commit_ends_with_the_same_bytes(run, store, tmp_path, call, after):
    write, calls = Location.write, iter(range(100))

    def dying(location, file, content):
        last = next(calls) == call
        if after or not last:
            write(location, file, content)
        if last:
            raise RuntimeError("died")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Location, "write", dying)
        with pytest.raises(RuntimeError, match="died"):
            run(tmp_path / "s")
    assert contents(run(tmp_path / "s").path) == contents(store.path)


def test_a_harvest_that_dies_again_and_again_ends_with_the_same_bytes(run, store, tmp_path):
    for call in (3, 8, 0, 8, 2):  # in the buckets 0, 1, 1, 2, 2
        with pytest.raises(RuntimeError, match="died"):
            run(tmp_path / "s", advance=dying_at(call))
    assert contents(run(tmp_path / "s").path) == contents(store.path)


def test_a_finished_harvest_is_left_as_it_is(run, tmp_path):
    path = pathlib.Path(run(tmp_path / "s").path)
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
        assert np.array_equal(unfinished.read(0, ROWS), store.read(0, unfinished.n_rows))
        assert np.array_equal(unfinished.origin(0, ROWS), store.origin(0, unfinished.n_rows))
        seen.append(unfinished.n_rows)

    run(tmp_path / "s", advance=advance)
    assert set(seen) == {1024} or set(seen) == {1024, 2048}


def test_progress_counts_every_row_once(run, tmp_path):
    told, done = [], []
    run(tmp_path / "s", advance=done.append, total=told.append)
    assert told == [ROWS] and done[0] == 0 and sum(done) == ROWS and len(done) == 1 + BATCHES


def test_progress_begins_with_the_rows_of_earlier_runs(run, tmp_path):
    with pytest.raises(RuntimeError):
        run(tmp_path / "s", advance=dying_at(16))
    told, done = [], []
    run(tmp_path / "s", advance=done.append, total=told.append)
    assert told == [ROWS] and done[0] == 2048 and sum(done) == ROWS


def test_rows_of_one_context_lie_all_over_their_bucket(run, store):
    context = rank(run, store)[:1024] // K
    distances = []
    for c in np.unique(context):
        at = np.flatnonzero(context == c)
        distances += np.abs(at[:, None] - at[None])[np.triu_indices(len(at), 1)].tolist()
    assert abs(np.mean(distances) / (1024 / 3) - 1) < 0.1  # a random permutation has a third of the bucket


def test_buckets_are_permuted_each_in_its_own_way(run, store):
    first, second = rank(run, store)[:1024], rank(run, store)[1024:2048] - 1024
    assert np.mean(first == second) < 0.02


def test_the_manifest_says_what_was_harvested(store):
    manifest = store.manifest
    assert manifest["complete"] and manifest["n_rows"] == manifest["rows_written"] == ROWS
    assert {k: manifest[k] for k in PARENTS} == PARENTS
    expected = {"seed": SEED, "width": 24, "dtype": "bfloat16", "bucket_rows": 1024}
    assert {k: manifest[k] for k in expected} == expected


def test_mean_norm_and_mean_square_are_those_of_the_rows(store):
    rows = store.read(0, ROWS).astype(np.float64)
    assert store.manifest["mean_norm"] == pytest.approx(np.linalg.norm(rows, axis=1).mean(), rel=1e-6)
    assert store.manifest["mean_square"] == pytest.approx(np.square(rows).mean(), rel=1e-6)


OTHERS = {
    "seed: 3 -> 4": {"seed": 4},
    "bucket_rows: 1024 -> 2048": {"bucket_rows": 2048},
    "dtype: 'bfloat16' -> 'float16'": {"dtype": "float16"},
}


@pytest.mark.parametrize("difference", OTHERS)
@pytest.mark.parametrize("finished", [False, True])
def test_a_store_of_something_else_is_refused_and_left_as_it_is(run, tmp_path, difference, finished):
    if finished:
        run(tmp_path / "s")
    else:
        with pytest.raises(RuntimeError):
            run(tmp_path / "s", advance=dying_at(15))
    before = contents(tmp_path / "s")
    with pytest.raises(BadInput, match=f"holds another store .*{difference}"):
        run(tmp_path / "s", **OTHERS[difference])
    assert contents(tmp_path / "s") == before


def test_a_store_of_a_newer_format_is_refused(run, tmp_path):
    (tmp_path / "store.json").write_text('{"format": 99}')
    with pytest.raises(BadInput, match="has store format 99: this version reads 1 to 3"):
        run(tmp_path)
    assert contents(tmp_path).keys() == {"store.json"}
