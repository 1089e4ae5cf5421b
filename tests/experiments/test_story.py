"""The quickstart as a user meets it: from nothing, again, killed, and stopped politely."""

import json
import random
import signal
import time

import pytest

from monosem_jax.report.browser.container import unpacked
from tests.experiments.tiny import quickstart_flags, run, small_corpus, start

# What must not depend on how often a run was interrupted; the rest are times and rates.
FIGURES = {
    "transformer": ("heldout_loss", "bigram_loss", "params_sha256"),
    "store": ("n_rows", "mean_norm", "mean_square"),
    "sae": ("loss_recovered_zero", "loss_recovered_mean", "ce_reconstructed", "l0", "mse", "dead"),
    "analysis": ("categories", "categories_feature_better"),
}


def figures(workdir):
    stages = json.loads((workdir / "summary.json").read_text())["stages"]
    return {(stage, name): stages[stage][name] for stage, names in FIGURES.items() for name in names}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return small_corpus(tmp_path_factory.mktemp("corpus") / "docs.jsonl")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, corpus):
    """A quickstart that ran undisturbed: (workdir, completed process)."""
    workdir = tmp_path_factory.mktemp("quickstart") / "run"
    done = run("quickstart", f"--workdir={workdir}", f"--corpus={corpus}", *quickstart_flags())
    assert done.returncode == 0, done.stderr
    return workdir, done


def test_the_quickstart_leaves_a_finished_directory_per_stage_and_a_report(finished):
    workdir, done = finished
    for stage in ("transformer", "store", "sae", "analysis", "report"):
        assert (workdir / stage / "summary.json").exists(), stage
    (shown,) = unpacked(workdir / "report" / "data" / "site.js")["dictionaries"]
    assert shown["id"] == "sae" and shown["sets"]["features"]["records"] >= 30
    assert (workdir / "report" / "data" / "sae" / "features" / "00000.js").exists()
    assert str(workdir / "report" / "index.html") in done.stdout
    assert "loss recovered" in done.stdout


def test_running_it_again_says_finished_and_changes_nothing(finished, corpus):
    workdir, _ = finished
    before = {p: p.stat().st_mtime_ns for p in workdir.rglob("*") if p.is_file() and p.name != ".lock"}
    again = run("quickstart", f"--workdir={workdir}", f"--corpus={corpus}", *quickstart_flags())
    assert again.returncode == 0
    assert "finished: nothing to do" in again.stdout
    assert before == {p: p.stat().st_mtime_ns for p in workdir.rglob("*") if p.is_file() and p.name != ".lock"}


def test_another_configuration_in_the_same_directory_is_refused_with_the_difference(finished, corpus):
    workdir, _ = finished
    other = run("quickstart", f"--workdir={workdir}", f"--corpus={corpus}", *quickstart_flags(), "--config.sae.seed=5")
    assert other.returncode == 2
    assert "config.sae.seed: 0 -> 5" in other.stderr
    assert "Traceback" not in other.stderr


@pytest.mark.drill
def test_stopped_once_and_killed_at_random_times_it_ends_with_the_same_bits(finished, corpus, tmp_path):
    workdir, rng = tmp_path / "run", random.Random(0)
    flags = (f"--workdir={workdir}", f"--corpus={corpus}", *quickstart_flags())
    process = start("quickstart", *flags)
    while not (workdir / "transformer" / "checkpoints" / "0").exists():
        time.sleep(0.05)
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 75
    assert "SIGTERM" in err and "Traceback" not in err
    kills = 0
    while kills < 4:
        process = start("quickstart", *flags)
        deadline = time.monotonic() + rng.uniform(2, 4.5)
        while time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.05)
        if process.poll() is not None:
            break
        process.kill()
        process.communicate()
        kills += 1
    done = run("quickstart", *flags)
    assert done.returncode == 0, done.stderr
    assert kills >= 2
    assert figures(workdir) == figures(finished[0])
