"""Several sites harvested in one pass: aligned stores with the bytes of separate harvests, whatever interrupts them."""

import dataclasses
import pathlib

import numpy as np
import pytest

from monosem_jax.activations.harvest import HarvestConfig, bucket_bytes, fill, fill_stores, store_bytes
from monosem_jax.activations.producers import ModelActivations
from monosem_jax.activations.sampling import ContextSampler
from monosem_jax.activations.store.store import Store
from monosem_jax.models.transformer import Transformer, TransformerConfig
from monosem_jax.runtime.errors import BadInput, Stopped
from monosem_jax.runtime.kvstore import Location
from monosem_jax.runtime.signals import SignalFlag
from tests.conftest import build_lively

LENGTH, VOCAB, BOS, K, SEED, N = 16, 50, 0, 6, 3, 350
ROWS = N * K  # 2,100: two whole buckets and a part of one
SHAPE = {"n_layers": 2, "d_model": 16, "d_mlp": 24, "n_heads": 2, "context_length": LENGTH, "vocab_size": VOCAB}
MODEL = Transformer(TransformerConfig(**SHAPE))
SITES = ("mlp_hidden.1", "resid_pre.0", "mlp_out.1")  # not in the order of the computation
CONFIG = HarvestConfig(",".join(SITES), bucket_rows=1024, shard_rows=1024)
WIDTHS = (24, 16, 16)


class Job:
    """The harvest of a small transformer."""

    def __init__(self, params):
        rng = np.random.default_rng(0)
        self.values = rng.integers(1, VOCAB, (N, LENGTH)).astype(np.uint16)
        self.values[:, 0] = BOS
        self.params = params

    def made(self, site: str, apart: bool, dtype: str = "bfloat16", params=None) -> ModelActivations:
        self.contexts = ContextSampler(self.values, BOS, K, SEED)
        options = {"k": K, "n_contexts": N, "dtype": dtype, "batch_contexts": 4}
        return ModelActivations(MODEL, params or self.params, site, self.contexts, **options, apart=apart)

    def options(self, **changes) -> dict:
        given = {"seed": SEED, "stop": SignalFlag(), "n_contexts": N}
        given["tokens"] = lambda start, stop: self.contexts.tokens(np.arange(start, stop))
        return {**given, **changes}

    def together(self, path: pathlib.Path, made=None, config: HarvestConfig = CONFIG, **changes) -> dict[str, Store]:
        outputs = [(Location(path / site), manifest(site)) for site in SITES]
        made = made or self.made("+".join(SITES), True)
        found = fill_stores(outputs, made, config=config, **self.options(**changes))
        assert [m["site"] for m in found] == list(SITES) and all(m["complete"] for m in found)
        return {site: Store(path / site) for site in SITES}

    def alone(self, path: pathlib.Path, site: str) -> Store:
        config = dataclasses.replace(CONFIG, site=site)
        fill(Location(path), self.made(site, False), manifest(site), config=config, **self.options())
        return Store(path)


def manifest(site: str) -> dict:
    parents = {"context_length": LENGTH, "rows_per_context": K, "model": "m", "corpus_sha256": "c"}
    return {"site": site, **parents}


@pytest.fixture(scope="module")
def job():
    return Job(build_lively(MODEL.config)[1])


@pytest.fixture(scope="module")
def folder(job, tmp_path_factory) -> pathlib.Path:
    """The stores of all sites, from a harvest left alone."""
    folder = tmp_path_factory.mktemp("together")
    job.together(folder)
    return folder


def contents(path: pathlib.Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("site", SITES)
def test_each_store_has_the_bytes_of_a_harvest_of_its_site_alone(job, folder, tmp_path, site):
    job.alone(tmp_path / "s", site)
    assert contents(tmp_path / "s") == contents(folder / site)
    assert np.asarray(Store(folder / site).read(0, ROWS), np.float32).std() > 0.01


def test_row_i_of_all_stores_is_of_the_same_token(folder):
    stores = [Store(folder / site) for site in SITES]
    assert [s.width for s in stores] == list(WIDTHS) and {s.n_rows for s in stores} == {ROWS}
    for s in stores[1:]:
        np.testing.assert_array_equal(s.origin(0, ROWS), stores[0].origin(0, ROWS))
        np.testing.assert_array_equal(s.tokens(), stores[0].tokens())


def test_each_store_has_the_means_of_its_own_rows(folder):
    found = []
    for site in SITES:
        store = Store(folder / site)
        rows = store.read(0, ROWS).astype(np.float64)
        assert store.manifest["mean_square"] == pytest.approx(np.square(rows).mean(), rel=1e-6)
        assert store.manifest["mean_norm"] == pytest.approx(np.linalg.norm(rows, axis=1).mean(), rel=1e-6)
        found.append(store.manifest["mean_square"])
    assert len(set(found)) == len(SITES)


def dying_at(call: int):
    calls = iter(range(1000))

    def advance(n):
        if next(calls) == call:
            raise RuntimeError("died")

    return advance


@pytest.mark.parametrize("call", [0, 1, 5, 6, 7, 8, 12])
def test_a_harvest_that_dies_between_batches_ends_with_the_same_bytes(job, folder, tmp_path, call):
    with pytest.raises(RuntimeError, match="died"):
        job.together(tmp_path, advance=dying_at(call))
    job.together(tmp_path)
    assert contents(tmp_path) == contents(folder)


# For each store: the first file, store.json of no rows; then of every bucket a record and store.json, in any order.
@pytest.mark.parametrize("call", range(24))
def test_a_harvest_that_dies_between_the_commits_of_its_stores_ends_with_the_same_bytes(
    job, folder, tmp_path, monkeypatch, call
):
    write, calls = Location.write, iter(range(1000))

    def dying(location, file, content):
        write(location, file, content)
        if next(calls) == call:
            raise RuntimeError("died")

    with monkeypatch.context() as patch:
        patch.setattr(Location, "write", dying)
        with pytest.raises(RuntimeError, match="died"):
            job.together(tmp_path)
    job.together(tmp_path)
    assert contents(tmp_path) == contents(folder)


def test_a_store_that_is_behind_is_filled_and_the_others_are_left_as_they_are(job, folder, tmp_path):
    stop, done = SignalFlag(), []

    def advance(n):
        done.append(n)
        stop.requested = "SIGTERM" if sum(done) else ""

    with pytest.raises(Stopped, match="SIGTERM"):
        job.together(tmp_path, advance=advance, stop=stop)
    assert {Store(tmp_path / site).n_rows for site in SITES} == {1024}
    job.alone(tmp_path / SITES[0], SITES[0])  # one store is finished, two have a bucket
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / SITES[0] / "activations").rglob("*")}
    told, done = [], []
    job.together(tmp_path, total=told.append, advance=done.append)
    assert told == [ROWS] and done[0] == 1024 and sum(done) == ROWS  # the last two buckets are made once more
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / SITES[0] / "activations").rglob("*")} == stamps
    assert contents(tmp_path) == contents(folder)


def test_a_finished_harvest_makes_no_row(job, folder):
    before = contents(folder)
    made = job.made("+".join(SITES), True)
    made.batches = None  # not called
    job.together(folder, made)
    assert contents(folder) == before


def test_a_store_of_something_else_is_refused_before_any_is_begun(job, tmp_path):
    job.alone(tmp_path / SITES[2], SITES[2])
    with pytest.raises(BadInput, match=rf"{SITES[2]} holds another store .*seed: 3 -> 4"):
        job.together(tmp_path, seed=4)
    assert sorted(p.name for p in tmp_path.iterdir()) == [SITES[2]]


def test_a_row_that_is_not_finite_at_one_site_is_left_out_at_all(job, tmp_path):
    made = job.made("+".join(SITES), True)
    batches, origin = made.batches, made.origin(0, ROWS)

    def damaged(start, stop):
        for first, parts, squares in batches(start, stop):
            for row in range(first, first + len(squares)):
                if row % 100 == 7:
                    squares[row - first, row // 100 % len(SITES)] = np.nan
            yield first, parts, squares

    made.batches = damaged
    with pytest.raises(BadInput, match=r"activations at (mlp_hidden\.1|resid_pre\.0|mlp_out\.1) are not finite"):
        job.together(tmp_path / "refused", made)
    stores = job.together(tmp_path / "kept", made, dataclasses.replace(CONFIG, skip_nonfinite=True))
    kept = np.delete(origin, np.arange(7, ROWS, 100), axis=0)
    for store in stores.values():
        found = store.origin(0, store.n_rows)
        assert len(found) == len(kept) and set(map(tuple, found.tolist())) == set(map(tuple, kept.tolist()))
        np.testing.assert_array_equal(found, stores[SITES[0]].origin(0, store.n_rows))


def test_the_memory_for_buckets_is_shared_by_all_stores():
    shard = 1 << 16
    for widths in ((512,), (512, 128, 2048)):
        row = sum(bucket_bytes(1, width, "bfloat16") for width in widths)
        rows = HarvestConfig(memory_gb=20.0).buckets(1 << 40, *widths)[0]
        assert 2 * rows * row + 4 * shard * row <= 20e9 < 2 * (rows + shard) * row + 4 * shard * row
    with pytest.raises(BadInput, match=r"holds buckets of \d+ rows of width 512\+128\+2048: at least"):
        HarvestConfig(memory_gb=1.0).buckets(1 << 40, 512, 128, 2048)


def test_stores_that_together_do_not_fit_on_the_disk_are_refused(job, tmp_path, monkeypatch):
    sizes = [store_bytes(ROWS, width, "bfloat16", N, LENGTH) for width in WIDTHS]
    monkeypatch.setattr(Location, "free_bytes", lambda self: sum(sizes) - 1)
    with pytest.raises(BadInput, match=r"the 3 stores take 0\.\d+ GB more, but the disk of"):
        job.together(tmp_path)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(Location, "free_bytes", lambda self: sum(sizes))
    job.together(tmp_path)


WRONG = {
    "mlp_in.0,mlp_in.0": r"has 'mlp_in.0' twice",
    "mlp_in.0,mlp_out.0, mlp_in.0": r"has 'mlp_in.0' twice",
    "mlp_in.0,": r"has a site without a name",
    ",mlp_in.0": r"has a site without a name",
    "mlp_in.0+mlp_out.0,resid_pre.0": r"expected either ',' .* or '\+' .*, not both",
}


@pytest.mark.parametrize("site", WRONG)
def test_an_impossible_list_of_sites_is_refused(site):
    with pytest.raises(BadInput, match=WRONG[site]):
        HarvestConfig(site).check()


SITES_OF_TWO_LAYERS = {
    "mlp_in.0, mlp_out.0": ("mlp_in.0", "mlp_out.0"),
    "mlp_in.0+mlp_out.0": ("mlp_in.0+mlp_out.0",),
    "resid_post.*": ("resid_post.0", "resid_post.1"),
    "mlp_out.*,resid_pre.1": ("mlp_out.0", "mlp_out.1", "resid_pre.1"),
    "blocks.1.hook_mlp_out,blocks.*.hook_resid_post": ("mlp_out.1", "resid_post.0", "resid_post.1"),
    "blocks.1.hook_mlp_out": ("mlp_out.1",),
}


@pytest.mark.parametrize("site", SITES_OF_TWO_LAYERS)
def test_sites_are_those_between_commas_and_a_star_is_every_layer(site):
    assert HarvestConfig(site).sites_in(2) == SITES_OF_TWO_LAYERS[site]


def test_a_site_named_and_meant_by_a_star_is_refused():
    with pytest.raises(BadInput, match=r"has 'mlp_out\.1' twice"):
        HarvestConfig("mlp_out.*,blocks.1.hook_mlp_out").sites_in(2)
