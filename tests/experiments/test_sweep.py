"""A sweep gives the same members as training each alone, from one read of the rows."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from monosem_jax import load_run
from monosem_jax.activations.sources.base import ActivationSource
from monosem_jax.activations.stream.stream import StreamConfig
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.workdir import RunDir
from monosem_jax.sae import trainer as dictionaries
from monosem_jax.sae.architectures.relu import ReluConfig
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.stages import sweep, train_sae
from monosem_jax.training.config import GuardConfig, TrainConfig
from tests.activations.sources.tiny import assert_same_run
from tests.experiments.tiny import overrides, run
from tests.small_loop import Crash, crash

SIZES, L1, SEEDS = (16, 32), (0.004, 3.0), (3, 5)  # with 3.0 features die, and are resampled
STEPS, BATCH = 24, 64
TRAIN = TrainConfig(
    steps=STEPS, batch_size=BATCH, learning_rate=0.15, steps_per_dispatch=4, log_every=4, evaluate_every=8,
    checkpoint_every=8, guard=GuardConfig(stop_after=3), mesh="data=8",
)  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("rows") / "x.npy"
    np.save(path, np.maximum(np.random.default_rng(0).normal(size=(4096, 12)), 0).astype(np.float32))
    return str(path)


def config(source: str, **changes) -> sweep.SweepRunConfig:
    grid = sweep.SweepConfig(SIZES, L1, SEEDS)
    values = {
        "source": source, "seed": 7, "sae": ReluConfig(input_scale="unit_rms"), "train": TRAIN, "sweep": grid,
        "resample": ResampleConfig(steps=(10,), window=5, n_inputs=6 * BATCH),
    }  # fmt: skip
    return sweep.SweepRunConfig(**{**values, **changes})


@pytest.fixture(scope="module")
def reads() -> list[tuple[int, int]]:
    """(first batch, number) of every read of `whole`."""
    return []


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory, reads):
    """(directory, summary) of a sweep that nothing disturbed."""
    path, stream = tmp_path_factory.mktemp("whole"), ActivationSource.stream

    def counting(self, *args):
        found = stream(self, *args)
        call = type(found).__call__
        patch.setattr(type(found), "__call__", lambda s, a, n: reads.append((a, n)) or call(s, a, n))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ActivationSource, "stream", counting)
        return path, sweep.sweep(path, config(source, stream=StreamConfig("disk")))


def test_the_grid_is_every_size_with_every_coefficient_and_seed(whole, source):
    found = {(r["n_features"], r["l1_coefficient"], r["seed"]) for r in whole[1]["members"]}
    assert found == {(f, l1, s) for f in SIZES for l1 in L1 for s in SEEDS}
    assert len(whole[1]["members"]) == 8 == len(config(source).members())


def test_a_member_has_the_bits_of_the_same_dictionary_trained_alone(whole, source, tmp_path):
    for name in ("f16_l3_s5", "f32_l0.004_s3"):
        alone = config(source).members()[name]
        assert (alone.seed, alone.data_seed) == (int(name[-1]), 7)
        train_sae.train_sae(tmp_path / name, alone)
        assert_same_run(tmp_path / name, whole[0] / "members" / name)


def test_members_differ_and_features_were_resampled(whole, source, tmp_path):
    runs = load_run(whole[0]).members
    assert len({r.params["W_enc"].tobytes() for r in runs.values()}) == 8
    without = config(source, resample=ResampleConfig(steps=())).members()["f16_l3_s3"]
    train_sae.train_sae(tmp_path, without)
    assert np.abs(load_run(tmp_path).params["W_dec"] - runs["f16_l3_s3"].params["W_dec"]).max() > 0.1


def test_a_members_directory_is_one_of_train_sae(whole, source, capsys):
    path = whole[0] / "members" / "f16_l0.004_s3"
    summary = train_sae.train_sae(path, config(source).members()["f16_l0.004_s3"])
    assert "is finished: nothing to do" in capsys.readouterr().out
    assert summary == json.loads((path / "summary.json").read_text())
    assert load_run(path).encode(np.zeros(12)).shape == (16,)


def test_the_table_is_on_disk_and_in_python(whole):
    path, summary = whole
    with open(path / "sweep.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    assert {r["name"] for r in rows} == {r["name"] for r in summary["members"]}
    by_name = {r["name"]: r for r in summary["members"]}
    for row in rows:
        assert float(row["mse"]) == pytest.approx(by_name[row["name"]]["mse"], rel=1e-3)
        member = load_run(path).members[row["name"]].summary
        assert by_name[row["name"]]["l0"] == member["l0"]
    assert {p.name for p in path.iterdir() if p.suffix} >= {
        "pareto_dense.png",
        "pareto_dense.svg",
        "pareto_mse.png",
        "pareto_mse.svg",
        "sizes.png",
        "sizes.svg",
    }
    assert load_run(path).table == summary["members"]


def test_a_finished_sweep_does_nothing(whole, source, capsys):
    assert sweep.sweep(whole[0], config(source)) == whole[1]
    assert "is finished: nothing to do" in capsys.readouterr().out


def test_every_batch_is_read_once_for_all_members_and_inputs_of_resampling_twice(whole, reads):
    trained = [n for r in dict.fromkeys(reads) for n in range(r[0], sum(r)) if r not in {(10, 4), (14, 2)}]
    extra = [r for r in reads if reads.count(r) > 1]
    assert set(extra) <= {(10, 4), (14, 2)} and reads.count((14, 2)) == 3  # twice for the event, once to train
    assert sorted([*trained, *range(10, 16)]) == list(range(STEPS))


def test_a_killed_sweep_ends_with_the_same_bits(whole, source, tmp_path, monkeypatch):
    silent = dictionaries._silent

    def crashing(train):
        numbers = silent(train)
        return lambda s: (int(s.step) == 16 and crash()) or numbers(s)

    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(dictionaries, "_silent", crashing)
        sweep.sweep(tmp_path, config(source))
    summary = sweep.sweep(tmp_path, config(source))
    assert summary["resumed_from_step"] == 8
    assert summary["members"] == whole[1]["members"]
    for name in config(source).members():
        assert_same_run(tmp_path / "members" / name, whole[0] / "members" / name)


def test_a_sweep_killed_while_members_are_evaluated_goes_on_with_the_others(whole, source, tmp_path, monkeypatch):
    summarize, done = train_sae.summarize, []

    def crashing(*args):
        if len(done) == 3:
            crash()
        done.append(args)
        return summarize(*args)

    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(train_sae, "summarize", crashing)
        sweep.sweep(tmp_path, config(source))
    finished = [p.parent.name for p in (tmp_path / "members").glob("*/summary.json")]
    assert len(finished) == 3
    before = {n: (tmp_path / "members" / n / "summary.json").stat().st_mtime_ns for n in finished}
    summary = sweep.sweep(tmp_path, config(source))
    assert summary["resumed_from_step"] == STEPS and summary["members"] == whole[1]["members"]
    assert before == {n: (tmp_path / "members" / n / "summary.json").stat().st_mtime_ns for n in finished}


def test_a_process_that_writes_no_summaries_lists_the_members_too(whole, source, tmp_path, monkeypatch):
    """All but the first of several processes, on whose machines the files may appear later or never."""
    monkeypatch.setattr(RunDir, "finish", lambda rundir, summary: summary)
    summary = sweep.sweep(tmp_path, config(source, sweep=sweep.SweepConfig((16,), (0.004,), (3,))))
    assert not list(tmp_path.rglob("summary.json"))
    assert summary["members"] == [r for r in whole[1]["members"] if r["name"] == "f16_l0.004_s3"]


@pytest.fixture(scope="module")
def diverged(source, tmp_path_factory):
    """(directory, summary) of a sweep in which one coefficient is so large that no step is finite."""
    path = tmp_path_factory.mktemp("diverged")
    return path, sweep.sweep(path, config(source, sweep=sweep.SweepConfig((16,), (0.004, 3e38, 3.0), (3,))))


def test_a_member_that_diverges_is_frozen_and_reported(diverged, capsys):
    path, summary = diverged
    assert summary["diverged"] == ["f16_l3e+38_s3"]
    lost = load_run(path).members["f16_l3e+38_s3"]
    assert lost.summary["diverged_at_step"] == TRAIN.guard.stop_after and lost.summary["steps_skipped"] == STEPS
    first = load_run(lost.path, step=0)
    for name, p in lost.params.items():
        np.testing.assert_array_equal(p, first.params[name])
    with open(path / "sweep.csv", newline="") as f:
        rows = {r["name"]: r["diverged_at_step"] for r in csv.DictReader(f)}
    assert {n for n, at in rows.items() if at} == {"f16_l3e+38_s3"}


def test_the_others_are_not_harmed(diverged, source, tmp_path):
    for name in ("f16_l0.004_s3", "f16_l3_s3"):
        train_sae.train_sae(tmp_path / name, config(source).members()[name])
        assert_same_run(tmp_path / name, diverged[0] / "members" / name)


def test_a_sweep_of_which_nothing_is_left_stops_with_one_line(source, tmp_path):
    lost = config(source, sweep=sweep.SweepConfig((16, 32), (3e38,), (0,)))
    with pytest.raises(BadInput, match=r"3 steps in a row up to step 3 .* not finite"):
        sweep.sweep(tmp_path, lost)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (sweep.SweepConfig(sizes=()), "sweep.sizes is empty"),
        (sweep.SweepConfig(seeds=(1, 2, 1)), "sweep.seeds has 1 more than once"),
        (sweep.SweepConfig(l1_coefficients=(0.1, 0.1)), "sweep.l1_coefficients has 0.1 more than once"),
        (sweep.SweepConfig(sizes=(16, 0)), "sae.n_features is 0"),
        (sweep.SweepConfig(seeds=(-1,)), "sweep.seeds is -1"),
        (sweep.SweepConfig(l1_coefficients=(-0.1,)), "sae.l1_coefficient is -0.1"),
    ],
)
def test_an_impossible_grid_is_refused_before_anything_is_written(source, tmp_path, grid, message):
    with pytest.raises(BadInput, match=message):
        sweep.sweep(tmp_path / "new", config(source, sweep=grid))
    assert not (tmp_path / "new").exists()


def test_members_have_as_many_digits_as_tell_them_apart_and_others_the_name_that_they_had(source):
    grid = sweep.SweepConfig((16,), (0.00123456781, 0.00123456789, 0.0012, 3.0), (0,))
    expected = ["l0.0012345678", "l0.0012345679", "l0.0012", "l3"]
    assert list(config(source, sweep=grid).members()) == [f"f16_{value}_s0" for value in expected]


def test_sizes_that_the_mesh_does_not_divide_are_named(source, tmp_path):
    train = dataclasses.replace(TRAIN, mesh="data=2,model=4")
    with pytest.raises(BadInput, match="18 is not divisible by the 4 model shards"):
        sweep.sweep(tmp_path, config(source, train=train, sweep=sweep.SweepConfig((16, 18))))


def test_the_plan_says_what_it_will_take_and_writes_nothing(source, tmp_path, capsys):
    for given in (sweep.DryRunConfig(), sweep.DryRunConfig(mfu=0.5, peak_tflops=0.1)):
        sweep.dry_run(tmp_path / "new", config(source, plan=given))
        out = capsys.readouterr().out
        assert out.count("\n") > 12 and "read once for all 8" in out and f"{STEPS * BATCH:,}" in out
    assert "50 % of 0.1 TFLOP/s" in out
    assert not (tmp_path / "new").exists()


def test_the_command_trains_plans_and_finds_itself_finished(source, tmp_path):
    flags = [
        f"--workdir={tmp_path / 'sweep'}", f"--config.source={source}",
        *overrides({
            "sweep.sizes": "(16,32)", "sweep.seeds": "(0,)", "sweep.l1_coefficients": "(0.01,)", "train.steps": 8,
            "train.batch_size": 64, "train.steps_per_dispatch": 4, "resample.steps": "()",
        }),
    ]  # fmt: skip
    planned = run("sweep", *flags, "--plan", "--config.plan.mfu=0.5", "--config.plan.peak_tflops=1")
    assert planned.returncode == 0 and "features" in planned.stdout and not (tmp_path / "sweep").exists()
    done = run("sweep", *flags)
    assert done.returncode == 0, done.stderr
    assert "sweep.csv" in done.stdout and (tmp_path / "sweep" / "pareto_mse.svg").exists()
    again = run("sweep", *flags)
    assert again.returncode == 0 and "nothing to do" in again.stdout
    other = run("sweep", *flags, "--config.sweep.seeds=(1,)")
    assert other.returncode == 2 and "config.sweep.seeds" in other.stderr and "Traceback" not in other.stderr
