"""Rows with known features, and the count of recovered features, which is not an artefact."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax import load_run
from monosem_jax.activations.synthetic import BLOCK, SyntheticConfig, SyntheticRows, recovery
from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.architectures.topk import TopKConfig
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.stages import train_sae
from monosem_jax.training.config import ScheduleConfig, TrainConfig

SMALL = SyntheticConfig(n_features=40, width=24, density=0.05, n_rows=3 * BLOCK)


def changed(**values) -> SyntheticConfig:
    return dataclasses.replace(SMALL, **values)


def active(config: SyntheticConfig, blocks: int = 6) -> np.ndarray:
    """[B,F] whether each true feature is active."""
    rows = SyntheticRows(config)
    return np.concatenate([rows.activations(block)[0] for block in range(blocks)]) > 0


def test_rows_are_the_sums_that_they_are_said_to_be():
    rows = SyntheticRows(SMALL)
    a, _ = rows.activations(1)
    np.testing.assert_allclose(rows.read(BLOCK, 2 * BLOCK), a.astype(np.float64) @ rows.directions, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(rows.directions, axis=1), 1, atol=1e-6)
    assert rows.read(0, 10).dtype == np.float32


@pytest.mark.parametrize("bounds", [(0, 5), (BLOCK - 3, BLOCK + 4), (7, 3 * BLOCK), (3 * BLOCK - 2, 10**9), (5, 5)])
def test_a_row_is_a_function_of_its_number(bounds):
    rows = SyntheticRows(changed(noise=0.1, correlation=0.5))
    whole = rows.read(0, rows.n_rows)
    np.testing.assert_array_equal(rows.read(*bounds), whole[slice(*bounds)])
    assert not np.array_equal(whole[:BLOCK], whole[BLOCK : 2 * BLOCK])


def test_the_seed_decides_features_and_rows():
    a, b = SyntheticRows(SMALL), SyntheticRows(changed(seed=1))
    assert not np.allclose(a.directions, b.directions) and not np.allclose(a.read(0, 9), b.read(0, 9))


@pytest.mark.parametrize("changes", [{}, {"density_power": 1.0}, {"correlation": 0.8, "group_size": 3}])
def test_features_are_active_as_often_as_they_are_said_to_be(changes):
    config = changed(**changes)
    densities = config.densities()
    assert densities.mean() == pytest.approx(SMALL.density, rel=1e-6)
    np.testing.assert_allclose(active(config).mean(axis=0), densities, atol=4 * (densities.max() / (6 * BLOCK)) ** 0.5)


def test_densities_fall_with_a_power_and_no_feature_is_active_in_more_than_half_of_the_rows():
    densities = changed(density_power=1.0).densities()
    np.testing.assert_allclose(densities[0] / densities, np.arange(1, 41))
    assert changed(density=0.3, density_power=2.0).densities().max() == 0.5


def test_features_of_a_group_occur_together_and_others_do_not():
    found = np.corrcoef(active(changed(correlation=0.9, group_size=2)).T)
    pairs = found[np.arange(0, 40, 2), np.arange(1, 40, 2)]
    apart = found[np.arange(1, 39, 2), np.arange(2, 40, 2)]
    assert pairs.min() > 0.3 and np.abs(apart).max() < 0.05
    normal = np.random.default_rng(0).multivariate_normal([0, 0], [[1, 0.9], [0.9, 1]], 1_000_000)
    beyond = normal > np.quantile(normal, 1 - SMALL.density)
    assert pairs.mean() == pytest.approx(np.corrcoef(beyond.T)[0, 1], abs=0.02)
    assert np.abs(np.corrcoef(active(SMALL).T) - np.eye(40)).max() < 0.05


def test_strengths_and_noise_are_those_that_are_configured():
    a, _ = SyntheticRows(changed(least_strength=0.9)).activations(0)
    assert a[a > 0].min() >= 0.9 and a.max() <= 1.1 and a[a > 0].mean() == pytest.approx(1, abs=0.01)
    quiet, loud = (SyntheticRows(changed(noise=n)).read(0, BLOCK) for n in (0, 0.5))
    assert np.std(loud - quiet) == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n_features": 0}, "n_features is 0: at least"), ({"width": 0}, "width is 0"), ({"n_rows": 0}, "n_rows is 0"),
        ({"group_size": 0}, "group_size is 0"), ({"density": 0.0}, "density is 0.0: expected more than 0"),
        ({"density": 1.0}, "density is 1.0"), ({"density": float("nan")}, "density is nan"),
        ({"least_strength": 1.1}, "least_strength is 1.1: expected 0 to 1"), ({"correlation": -0.1}, "correlation is"),
        ({"noise": -1.0}, "noise is -1.0"), ({"density_power": float("inf")}, "density_power is inf"),
        ({"seed": -1}, "seed is -1"),
    ],
)  # fmt: skip
def test_impossible_values_are_named(values, message):
    with pytest.raises(BadInput, match=f"synthetic.{message}"):
        changed(**values).check()


def test_recovery_is_the_largest_cosine_of_each_true_feature():
    truth = np.eye(3, 4)
    found = np.array([[5.0, 0, 0, 0], [0.6, 0.8, 0, 0], [0, 0, -1, 0], [0, 0, 0, 0]])
    assert recovery(truth, found) == {
        "true_features": 3, "mean_max_cosine": pytest.approx((1 + 0.8 + 0) / 3), "recovered": pytest.approx(1 / 3)
    }  # fmt: skip
    assert recovery(truth, truth * 3)["recovered"] == 1


TRAIN = TrainConfig(
    steps=1200,
    batch_size=128,
    learning_rate=3e-3,
    steps_per_dispatch=100,
    log_every=400,
    checkpoint_every=1200,
    schedule=ScheduleConfig("linear", warmup_steps=20, final_fraction=0.0),
)


def trained(path, source: str) -> tuple[dict, np.ndarray]:
    """(summary, W_dec) of a dictionary of such rows, or of others of an array."""
    config = train_sae.SaeRunConfig(
        source=source, sae=TopKConfig(n_features=80, k=3, k_aux=16, dead_rows=5000), train=TRAIN,
        resample=ResampleConfig(steps=()), synthetic=SMALL,
    )  # fmt: skip
    summary = train_sae.train_sae(path, config)
    return summary, load_run(path).params["W_dec"]


def test_features_that_are_found_are_in_the_rows_and_not_in_the_method(tmp_path):
    """Rows of the same mean and covariance, but Gaussian, have no features: nothing like them is found there. Nor is a
    dictionary that was drawn in the same way, but is not that of the rows."""
    summary, w = trained(tmp_path / "run", "synthetic")
    rows = SyntheticRows(SMALL)
    assert summary["recovered"] > 0.95 and summary["mean_max_cosine"] > 0.95 and summary["true_features"] == 40
    assert recovery(rows.directions, w) == {key: summary[key] for key in recovery(rows.directions, w)}
    x = rows.read(0, rows.n_rows).astype(np.float64)
    gaussian = np.random.default_rng(0).multivariate_normal(x.mean(axis=0), np.cov(x.T), size=len(x))
    np.save(tmp_path / "gaussian.npy", gaussian.astype(np.float32))
    other, w_other = trained(tmp_path / "gaussian", str(tmp_path / "gaussian.npy"))
    assert "recovered" not in other and recovery(rows.directions, w_other)["recovered"] < 0.1
    assert recovery(SyntheticRows(changed(seed=1)).directions, w)["recovered"] < 0.1


def test_a_run_on_synthetic_rows_says_so_and_is_the_same_again(tmp_path):
    config = train_sae.SaeRunConfig(
        source="synthetic", synthetic=SMALL, sae=TopKConfig(n_features=16, k=2, aux_coefficient=0.0),
        train=dataclasses.replace(TRAIN, steps=20, schedule=ScheduleConfig("linear", 2), checkpoint_every=10),
        resample=ResampleConfig(()),
    )  # fmt: skip
    summaries = [train_sae.train_sae(tmp_path / name, config) for name in "ab"]
    times = ("wall_seconds", "rows_per_second", "checkpoint_stall_seconds")
    a, b = ({k: v for k, v in s.items() if k not in times} for s in summaries)
    run = load_run(tmp_path / "a")
    assert a == b and a["evaluated_tokens"] == 3 * BLOCK // 10
    assert run.config["source"] == "synthetic" and run.config["synthetic"]["n_features"] == 40
    with pytest.raises(BadInput, match=r"synthetic\.density"):
        train_sae.train_sae(tmp_path / "a", dataclasses.replace(config, synthetic=changed(density=0.06)))
    assert jnp.shape(run.encode(SyntheticRows(SMALL).read(0, 3))) == (3, 16)
