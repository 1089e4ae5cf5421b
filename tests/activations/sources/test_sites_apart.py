"""A harvest of several sites into run directories of their own, and the dictionaries trained on them."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest

from monosem_jax import load_run, load_store
from monosem_jax.activations.harvest import HarvestConfig
from monosem_jax.activations.sources import open_source
from monosem_jax.activations.sources.base import SourceRequest
from monosem_jax.activations.store.store import Store, find_stores
from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.architectures.transcoder import TranscoderConfig
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.stages import harvest, train_sae
from tests.activations.sources.tiny import F, K, M, assert_same_run, config

D = 16
SITES = {"mlp_in.0": D, "mlp_hidden.0": M, "mlp_out.0": D}
SMALL = HarvestConfig(",".join(SITES), K, bucket_rows=1024, shard_rows=1024, dtype="float32")
CLOCK = {"rows_per_second", "wall_seconds"}


def of(root: pathlib.Path, changes: dict | None = None, **own) -> harvest.HarvestRunConfig:
    given = dataclasses.replace(SMALL, **(changes or {}))
    return harvest.HarvestRunConfig(0, str(root / "transformer"), given, **own)


@pytest.fixture(scope="module")
def apart(root, tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("apart") / "run"
    harvest.harvest(path, of(root))
    return path


def contents(path: pathlib.Path) -> dict:
    """Every file, without what only a clock says or where the directory lies."""
    found = {}
    for p in sorted(path.rglob("*")):
        if p.name in ("config.json", "summary.json"):
            values = json.loads(p.read_text())
            for parent in values.get("parents", {}).values():
                parent.pop("relative")
            found[str(p.relative_to(path))] = json.dumps(_without_clock(values))
        elif p.is_file():
            found[str(p.relative_to(path))] = p.read_bytes()
    return found


def _without_clock(values):
    if isinstance(values, dict):
        return {k: _without_clock(v) for k, v in values.items() if k not in CLOCK}
    return values


@pytest.mark.parametrize("site", SITES)
def test_each_site_has_the_run_directory_of_a_harvest_of_its_own(root, apart, tmp_path, site):
    harvest.harvest(tmp_path / "run", of(root, {"site": site}))
    assert contents(apart / site) == contents(tmp_path / "run")
    assert load_run(apart / site).transformer.path == root / "transformer"
    assert Store(apart / site).width == SITES[site]


def test_the_stores_are_found_from_the_directory_of_all(root, apart):
    run = load_store(apart)
    assert list(run.stores) == list(SITES)
    assert [s.width for s in run.stores.values()] == list(SITES.values())
    assert run.summary["sites"].keys() == SITES.keys() and run.summary["n_rows"] == run.stores["mlp_in.0"].n_rows
    one = load_store(root / "store")
    assert list(one.stores) == ["mlp_hidden.0"] and one.stores["mlp_hidden.0"].n_rows == one.store.n_rows
    with pytest.raises(BadInput, match=r"holds a store for each of mlp_in\.0, mlp_hidden\.0, mlp_out\.0"):
        run.store  # noqa: B018
    with pytest.raises(
        BadInput, match=r"apart.*/run holds a store for each of several sites: expected one of them, as"
    ):
        open_source(SourceRequest(str(apart)))
    assert find_stores(root / "store") == find_stores(root / "array.npy") == find_stores(root) == {}


def test_a_finished_harvest_is_left_as_it_is(root, apart, capsys):
    stamps = {p: p.stat().st_mtime_ns for p in apart.rglob("*") if p.name != ".lock"}
    harvest.harvest(apart, of(root))
    assert {p: p.stat().st_mtime_ns for p in apart.rglob("*") if p.name != ".lock"} == stamps
    assert "is finished: nothing to do" in capsys.readouterr().out


def test_a_harvest_that_was_ended_before_its_summaries_is_finished(root, apart, tmp_path, monkeypatch):
    class Died(Exception):
        pass

    finish, calls = harvest.RunDir.finish, iter(range(10))

    def dying(self, summary):
        if next(calls) == 1:
            raise Died
        return finish(self, summary)

    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr(harvest.RunDir, "finish", dying)
        harvest.harvest(tmp_path / "run", of(root))
    assert len(list(tmp_path.glob("run/*/summary.json"))) == 1 and not (tmp_path / "run/summary.json").exists()
    harvest.harvest(tmp_path / "run", of(root))
    assert contents(tmp_path / "run") == contents(apart)


def test_the_plan_and_the_check_are_of_all_stores(root, apart, tmp_path, capsys):
    plan = harvest.dry_run(tmp_path / "new", of(root))
    written = [p for p in apart.rglob("*") if p.is_file() and p.name not in ("config.json", "summary.json", ".lock")]
    assert plan["files"] == len(written) and plan["sites"] == SITES and plan["width"] == sum(SITES.values())
    assert plan["bytes"] == pytest.approx(sum(p.stat().st_size for p in written), rel=0.1)
    shown = capsys.readouterr().out
    assert all(f"store    {tmp_path}/new/{site}\n" in shown for site in SITES) and not list(tmp_path.iterdir())
    found = harvest.verify(apart, harvest.HarvestRunConfig())
    assert found == {"rows": 3 * Store(apart / "mlp_in.0").n_rows, "damages": []}


def test_the_check_names_the_store_that_is_damaged(root, tmp_path, capsys):
    harvest.harvest(tmp_path / "run", of(root))
    shard = tmp_path / "run" / "mlp_out.0" / "activations" / "c" / "0" / "0"
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    with pytest.raises(BadInput, match="1 damaged, listed above"):
        harvest.verify(tmp_path / "run", harvest.HarvestRunConfig())
    assert f"damaged: {tmp_path}/run/mlp_out.0: activations/c/0/0: rows 0 to 1023" in capsys.readouterr().err


def test_stores_at_another_place_are_found_from_their_run_directories(root, apart, tmp_path):
    for place in (str(tmp_path / "elsewhere"), "memory://apart/here/"):
        run = tmp_path / f"run{len(place)}"
        harvest.harvest(run, of(root, store=place))
        for site in SITES:
            store = Store(run / site)
            assert store.location.name == f"{place.rstrip('/')}/{site}" and not (run / site / "activations").exists()
            np.testing.assert_array_equal(store.read(0, 99), Store(apart / site).read(0, 99))
        assert list(load_store(run).stores) == list(SITES)


def test_one_of_the_sites_trains_a_dictionary_with_its_own_input_scale(root, apart, tmp_path):
    scales = []
    for site in SITES:
        summary = train_sae.train_sae(tmp_path / site, config(apart / site))
        run = load_run(tmp_path / site)
        assert run.site == site and summary["ce_reconstructed"] > 0 and run.transformer.path == root / "transformer"
        scales.append(json.loads((tmp_path / site / "input.json").read_text())["input_scale"])
        assert scales[-1] == pytest.approx(Store(apart / site).manifest["mean_square"] ** -0.5)
    assert len(set(scales)) == 3


def test_two_of_the_sites_train_the_transcoder_of_a_store_of_both(root, apart, tmp_path):
    given = {"sae": TranscoderConfig(n_features=F, k=4), "resample": ResampleConfig(steps=())}
    harvest.harvest(tmp_path / "both", of(root, {"site": "mlp_in.0+mlp_out.0"}))
    train_sae.train_sae(tmp_path / "a", config(tmp_path / "both", **given))
    train_sae.train_sae(tmp_path / "b", config(f"{apart / 'mlp_in.0'},{apart / 'mlp_out.0'}", **given))
    assert_same_run(tmp_path / "a", tmp_path / "b")


def test_a_site_that_the_model_lacks_is_refused_before_any_work(root, tmp_path):
    with pytest.raises(BadInput, match=r"site 'mlp_in\.7' does not exist"):
        harvest.harvest(tmp_path / "run", of(root, {"site": "mlp_in.0,mlp_in.7"}))
    assert not (tmp_path / "run").exists()


def test_the_forward_pass_is_computed_in_the_type_asked_for(root, apart, tmp_path):
    harvest.harvest(tmp_path / "run", of(root, {"compute_dtype": "bfloat16"}))
    for site in SITES:
        exact, rounded = Store(apart / site), Store(tmp_path / "run" / site)
        assert rounded.manifest["compute_dtype"] == "bfloat16" and "compute_dtype" not in exact.manifest
        np.testing.assert_array_equal(rounded.origin(0, 999), exact.origin(0, 999))
        a, b = exact.read(0, exact.n_rows), rounded.read(0, exact.n_rows)
        error = np.linalg.norm(a - b) / np.linalg.norm(a)
        assert 1e-5 < error < 0.02, (site, error)
    with pytest.raises(BadInput, match=r"harvest\.compute_dtype is 'float16': expected float32, bfloat16"):
        HarvestConfig(compute_dtype="float16").check()
    with pytest.raises(BadInput, match=r"another configuration .*compute_dtype"):
        harvest.harvest(tmp_path / "run", of(root))
