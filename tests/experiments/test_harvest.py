"""Harvesting at the command line: its plan, its check, foreign arrays, and a store outside the run directory."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
import tensorstore as ts

from monosem_jax.activations.harvest import HarvestConfig
from monosem_jax.activations.sampling import ContextSampler
from monosem_jax.activations.store.store import Store
from monosem_jax.load import load_run
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import lock
from monosem_jax.runtime.kvstore import Location
from monosem_jax.stages import harvest
from monosem_jax.stages.harvest import HarvestRunConfig
from tests.experiments.tiny import HARVEST, SAE, environment, overrides, run

BAD = np.asarray([17, 1000, 4999])
WIDTH = 8
ARRAY = overrides({"bucket_rows": 2048, "shard_rows": 1024, "dtype": "float32"}, "harvest.")
CONFIG = HarvestConfig(bucket_rows=2048, shard_rows=1024, dtype="float32")
SMALL = HarvestConfig(rows_per_context=8)
TRAIN = overrides(SAE | {"sae.n_features": 16})


def values() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(5000, WIDTH)).astype(np.float32)


@pytest.fixture(scope="module")
def arrays(tmp_path_factory) -> pathlib.Path:
    """A folder with good.npy and bad.npy, which has a NaN in the rows BAD."""
    folder = tmp_path_factory.mktemp("arrays")
    bad = values()
    np.save(folder / "good.npy", bad)
    bad[BAD, 5] = np.nan
    np.save(folder / "bad.npy", bad)
    return folder


@pytest.fixture(scope="module")
def harvested(small_transformer, tmp_path_factory):
    """The flags of a harvest, and its finished directory."""
    flags = [f"--config.transformer={small_transformer}", *overrides(HARVEST | {"n_rows": 0}, "harvest.")]
    workdir = tmp_path_factory.mktemp("harvested") / "run"
    done = run("harvest", f"--workdir={workdir}", *flags)
    assert done.returncode == 0, done.stderr
    return flags, workdir


def assert_holds(store: Store, expected: np.ndarray, numbers: np.ndarray) -> None:
    """The store has just these rows of the array, each with its number, in another order."""
    origin = store.origin(0, store.n_rows)[:, 0].astype(int)
    assert store.manifest["complete"] and np.array_equal(np.sort(origin), numbers)
    assert np.mean(origin == numbers) < 0.01
    assert np.array_equal(store.read(0, store.n_rows), expected[origin])


def error_line(done: subprocess.CompletedProcess) -> str:
    """The one error line of a refused command."""
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return line


def contents(path: pathlib.Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


def test_the_plan_is_what_the_store_then_takes(harvested, tmp_path):
    flags, workdir = harvested
    done = run("harvest", f"--workdir={tmp_path}/new", "--plan", *flags)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "new").exists()
    store = Store(workdir)
    written = [p for p in workdir.rglob("*") if p.is_file() and p.name not in ("config.json", "summary.json", ".lock")]
    size = sum(p.stat().st_size for p in written)
    (gigabytes, files), (rows, width) = (
        re.search(pattern, done.stdout).groups()
        for pattern in (r"disk +([\d.]+) GB in about ([\d,]+) files", r"rows +([\d,]+) of width (\d+), bfloat16")
    )
    assert abs(float(gigabytes) * 1e9 / size - 1) < 0.01
    assert int(files.replace(",", "")) == len(written)
    assert int(rows.replace(",", "")) == store.n_rows and int(width) == store.width
    buckets = -(-store.n_rows // 2048)
    assert (
        f"contexts {len(store.tokens()):,} of {store.manifest['input']['contexts']:,}\nbuckets  {buckets} of 2,048 rows"
        in done.stdout
    )
    assert re.search(r"time +\S+ s at [\d,]+ rows/s", done.stdout)


def test_a_plan_in_a_finished_directory_changes_nothing(harvested):
    flags, workdir = harvested
    before = contents(workdir)
    assert run("harvest", f"--workdir={workdir}", "--plan", *flags).returncode == 0
    assert contents(workdir) == before


def test_a_plan_that_does_not_fit_on_the_disk_is_printed_and_refused(arrays, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Location, "free_bytes", lambda self: 200_000)
    with pytest.raises(BadInput, match=r"takes 0.0002048 GB more, but the disk of .*/new has 0.0002 GB"):
        harvest.dry_run(tmp_path / "new", HarvestRunConfig(source=str(arrays / "good.npy"), harvest=CONFIG))
    assert "disk     0.0002048 GB in about 13 files; free: 0.0002 GB" in capsys.readouterr().out
    assert not (tmp_path / "new").exists()


def test_a_plan_measures_the_rate_even_of_a_single_batch(arrays, tmp_path):
    config = HarvestRunConfig(source=str(arrays / "good.npy"), harvest=CONFIG)
    found = harvest.dry_run(tmp_path, config)
    assert found["rows"] == 5000 and found["rows_per_second"] > 100_000 and found["seconds"] < 0.05


def test_verify_says_that_a_store_is_whole(harvested):
    done = run("harvest", f"--workdir={harvested[1]}", "--verify")
    assert done.returncode == 0 and f"{Store(harvested[1]).n_rows:,} committed rows are whole" in done.stdout


def test_verify_names_the_file_and_the_rows_of_a_flipped_byte(harvested, tmp_path):
    shutil.copytree(harvested[1], tmp_path / "run")
    shard = tmp_path / "run" / "activations" / "c" / "5" / "0"
    data = bytearray(shard.read_bytes())
    data[1234] ^= 4
    shard.write_bytes(data)
    done = run("harvest", f"--workdir={tmp_path}/run", "--verify")
    assert "1 damaged, listed above" in error_line(done)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("damaged: ")]
    assert line.startswith("damaged: activations/c/5/0: rows 5120 to 6143: ")


def test_verify_finds_a_store_that_is_kept_elsewhere(elsewhere):
    config = HarvestRunConfig()
    assert harvest.verify(elsewhere[0], config)["rows"] == harvest.verify(elsewhere[1], config)["rows"] == 5000
    with pytest.raises(BadInput, match=r"store\.json does not exist"):
        harvest.verify(elsewhere[0].parent, config)


def test_rows_of_an_array_that_are_not_finite_are_refused_or_left_out(arrays, tmp_path):
    flags = (f"--workdir={tmp_path}/refused", f"--from={arrays}/bad.npy", *ARRAY)
    refused = error_line(run("harvest", *flags))
    assert "are not finite: 2 of rows 0 to 2047, first at row 17 (in a fresh --workdir, --skip_nonfinite" in refused
    flags = (f"--workdir={tmp_path}/run", f"--from={arrays}/bad.npy", "--skip_nonfinite", *ARRAY)
    done = run("harvest", *flags)
    assert done.returncode == 0 and "3 rows are not finite, first at row 17: left out\n" in done.stdout
    assert_holds(Store(tmp_path / "run"), values(), np.delete(np.arange(5000), BAD))
    assert load_run(tmp_path / "run").summary["skipped_nonfinite"] == 3
    again = run("harvest", *flags)
    assert again.returncode == 0 and "finished: nothing to do" in again.stdout


@pytest.mark.parametrize("kind", ["npy", "safetensors", "zarr", "store"])
def test_a_store_made_from_an_array_holds_its_rows(arrays, tmp_path, kind):
    source = str(arrays / "good.npy")
    if kind == "safetensors":
        safetensors.numpy.save_file({"x": values(), "y": values() + 1}, tmp_path / "a.safetensors")
        source = f"{tmp_path}/a.safetensors:x"
    elif kind == "zarr":
        source = str(tmp_path / "a.zarr")
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": source}}
        ts.open(spec, create=True, dtype="float32", shape=(5000, WIDTH)).result().write(values()).result()
    elif kind == "store":
        source = str(tmp_path / "first")
        harvest.harvest(source, HarvestRunConfig(source=str(arrays / "good.npy"), harvest=CONFIG))
    summary = harvest.harvest(tmp_path / "run", HarvestRunConfig(source=source, harvest=CONFIG))
    expected = Store(source).read(0, 5000) if kind == "store" else values()
    assert_holds(Store(tmp_path / "run"), expected, np.arange(5000))
    assert summary["n_rows"] == 5000 and summary["skipped_nonfinite"] == 0
    assert summary["mean_norm"] == pytest.approx(np.linalg.norm(values(), axis=1).mean(), rel=1e-6)
    with pytest.raises(BadInput, match="converted from an array: it has no tokens"):
        Store(tmp_path / "run").tokens()


def test_another_array_under_the_same_name_is_refused(tmp_path):
    config = HarvestRunConfig(source=str(tmp_path / "a.npy"), harvest=CONFIG)
    np.save(tmp_path / "a.npy", values())
    harvest.harvest(tmp_path / "run", config)
    np.save(tmp_path / "a.npy", values() + 1)
    with pytest.raises(BadInput, match=r"belongs to another configuration \(parents\.source"):
        harvest.harvest(tmp_path / "run", config)


def test_the_same_array_under_another_name_is_the_same_source(arrays, tmp_path, capsys):
    for name in ("a.npy", "b.npy"):
        shutil.copy(arrays / "good.npy", tmp_path / name)
        harvest.harvest(tmp_path / "run", HarvestRunConfig(source=str(tmp_path / name), harvest=CONFIG))
    assert "finished: nothing to do" in capsys.readouterr().out


def test_a_store_says_what_it_was_harvested_from(harvested, small_transformer):
    manifest, transformer = Store(harvested[1]).manifest, load_run(small_transformer)
    assert manifest["model"] == transformer.summary["params_sha256"]
    assert {manifest[k] == transformer.text.manifest[k] for k in ("tokenizer_sha256", "corpus_sha256")} == {True}
    assert (manifest["site"], manifest["context_length"], manifest["rows_per_context"]) == ("mlp_hidden.0", 32, 8)


def test_the_seed_decides_on_contexts_and_places(small_transformer):
    text = load_run(small_transformer).text
    for seed in (0, 1):
        job = harvest.open_harvest_job(HarvestRunConfig(seed=seed, transformer=str(small_transformer), harvest=SMALL))
        expected = ContextSampler(text.tokens("train"), text.bos, 8, seed)
        assert np.array_equal(job.tokens(3, 10), expected.tokens(np.arange(3, 10)))
        assert np.array_equal(job.made.origin(0, 80)[:, 1], expected.positions(np.arange(10)).reshape(-1))
        assert job.n_contexts == len(expected) and job.made.n_rows == 8 * len(expected)


def test_n_rows_takes_the_first_of_an_array(arrays, tmp_path):
    config = HarvestConfig(bucket_rows=1024, shard_rows=1024, dtype="float32", n_rows=2500)
    harvest.harvest(tmp_path / "run", HarvestRunConfig(source=str(arrays / "good.npy"), harvest=config))
    assert_holds(Store(tmp_path / "run"), values(), np.arange(2500))


@pytest.fixture(scope="module")
def elsewhere(arrays, tmp_path_factory):
    """(run directory, store) of an array's harvest whose store was named by a path relative to another directory."""
    tmp = tmp_path_factory.mktemp("elsewhere")
    shutil.copy(arrays / "good.npy", tmp / "good.npy")
    command = [
        sys.executable,
        "-m",
        "monosem_jax.runtime.command",
        "harvest",
        f"--workdir={tmp}/run",
        "--from=good.npy",
    ]
    command += ["--config.store=data/store", *ARRAY]
    done = subprocess.run(command, cwd=tmp, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return tmp / "run", tmp / "data" / "store"


def test_a_store_kept_elsewhere_is_found_from_its_run_directory(elsewhere):
    run_directory, store = elsewhere
    assert sorted(p.name for p in run_directory.iterdir()) == [".lock", "config.json", "summary.json"]
    assert sorted(p.name for p in store.iterdir()) == [".lock", "activations", "origin", "store.json"]
    assert_holds(Store(run_directory), values(), np.arange(5000))
    assert_holds(load_run(run_directory).store, values(), np.arange(5000))


def test_a_store_at_a_url_is_found_from_its_run_directory(arrays, tmp_path):
    config = HarvestRunConfig(source=str(arrays / "good.npy"), store="memory://elsewhere/store", harvest=CONFIG)
    harvest.harvest(tmp_path / "run", config)
    assert_holds(Store(tmp_path / "run"), values(), np.arange(5000))
    assert_holds(Store("memory://elsewhere/store/"), values(), np.arange(5000))


def test_a_dictionary_is_trained_on_a_converted_array_from_its_run_directory(elsewhere, tmp_path):
    done = run("train_sae", f"--workdir={tmp_path}/sae", f"--config.source={elsewhere[0]}", *TRAIN)
    assert done.returncode == 0, done.stderr
    assert np.isfinite(json.loads((tmp_path / "sae" / "summary.json").read_text())["mse"])


def test_two_harvests_do_not_share_a_store(elsewhere, arrays, tmp_path):
    before = contents(elsewhere[1])
    flags = (f"--workdir={tmp_path}/run", f"--from={arrays}/good.npy", f"--config.store={elsewhere[1]}", *ARRAY)
    line = error_line(run("harvest", *flags, "--config.seed=1"))
    assert "holds another store (store.json.seed: 0 -> 1)" in line
    assert contents(elsewhere[1]) == before and not (tmp_path / "run" / "config.json").exists()


def test_a_mistake_found_before_any_work_leaves_the_directory_to_be_used_again(arrays, tmp_path):
    refused = run("harvest", f"--workdir={tmp_path}/run", f"--from={arrays}/good.npy", "--config.harvest.n_rows=5001")
    assert "harvest.n_rows is 5001" in error_line(refused) and "has 5000" in error_line(refused)
    assert not os.path.exists(tmp_path / "run" / "config.json")
    harvest.harvest(tmp_path / "run", HarvestRunConfig(source=str(arrays / "good.npy"), harvest=CONFIG))


def test_more_rows_than_a_transformers_text_gives_are_refused(harvested, tmp_path):
    done = run("harvest", f"--workdir={tmp_path}/run", *harvested[0], "--config.harvest.n_rows=1000000")
    assert re.search(r"harvest\.n_rows is 1000000: expected 8 to \d+, that is rows_per_context 8", error_line(done))


def test_two_harvests_into_one_store_do_not_run_at_the_same_time(arrays, tmp_path):
    config = HarvestRunConfig(source=str(arrays / "good.npy"), store=str(tmp_path / "store"), harvest=CONFIG)
    (tmp_path / "store").mkdir()
    with lock(tmp_path / "store", "store"), pytest.raises(BadInput) as e:
        harvest.harvest(tmp_path / "second", config)
    assert str(e.value) == f"store {tmp_path}/store is in use by another run"
    assert contents(tmp_path / "store") == {".lock": b""} and not (tmp_path / "second" / "config.json").exists()
    harvest.harvest(tmp_path / "second", config)
    assert_holds(Store(tmp_path / "store"), values(), np.arange(5000))


def test_a_harvest_holds_the_lock_of_its_store_while_it_writes_and_only_then(arrays, tmp_path, monkeypatch):
    config = HarvestRunConfig(source=str(arrays / "good.npy"), store=str(tmp_path / "store"), harvest=CONFIG)
    fill, told = harvest.fill_stores, []

    def meanwhile(*args, **options):
        with pytest.raises(BadInput) as e:
            harvest.harvest(tmp_path / "second", config)
        told.append(str(e.value))
        return fill(*args, **options)

    monkeypatch.setattr(harvest, "fill_stores", meanwhile)
    harvest.harvest(tmp_path / "first", config)
    assert told == [f"store {tmp_path}/store is in use by another run"]
    lock(tmp_path / "store", "store").close()


def test_a_store_where_a_file_lies_is_refused(arrays, tmp_path):
    (tmp_path / "file").touch()
    for store in ("file", "file/store"):
        config = HarvestRunConfig(source=str(arrays / "good.npy"), store=str(tmp_path / store), harvest=CONFIG)
        with pytest.raises(BadInput, match=f"^config.store {tmp_path}/{store} cannot be written: "):
            harvest.harvest(tmp_path / "run", config)
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_store_in_its_own_run_directory_and_one_at_a_url_need_no_lock_of_their_own(arrays, tmp_path):
    for store in ("", str(tmp_path / "run"), "memory://locked/store"):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        config = HarvestRunConfig(source=str(arrays / "good.npy"), store=store, harvest=CONFIG)
        harvest.harvest(tmp_path / "run", config)
        assert_holds(Store(tmp_path / "run"), values(), np.arange(5000))
