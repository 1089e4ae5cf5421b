"""The benchmarks of training: they really train, and their figures are right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.bench import matmul, train
from experiments.bench.material import make_bench_rows, sparse_params

F, M = 64, 32


@pytest.fixture(autouse=True)
def small_products(monkeypatch):
    monkeypatch.setattr(train, "_squares", lambda: (64,))


def sizes(**changes) -> train.StepSizes:
    return train.StepSizes(
        **{"batch": 32, "steps": 2, "dtype": jnp.float32, "turn_seconds": 0.01, "rounds": 2, "width": M, **changes}
    )


@pytest.mark.parametrize("sparse", [True, False])
def test_our_way_trains(sparse):
    rows = make_bench_rows(2, 128, M, jnp.bfloat16)
    params = sparse_params(rows[0], F, 8.0) if sparse else None
    ours = train.OurStep(train.our_group(F, M, jnp.float32, params=params, learning_rate=1e-3), rows)
    ours(1)
    before = ours.mean("loss")
    assert int(ours(50)) == 51 * 2
    assert ours.mean("loss") < 0.9 * before


def test_the_dictionary_that_is_trained_is_the_given_one_and_keeps_its_sparsity():
    rows = make_bench_rows(1, 256, M, jnp.float32)
    params = sparse_params(rows[0], F, 8.0)
    group = train.our_group(F, M, jnp.float32, params=params)
    np.testing.assert_array_equal(group.state.params["b_enc"], params["b_enc"])
    ours = train.OurStep(group, rows)
    ours(1)
    first = ours.mean("l0")
    ours(20)
    assert first == pytest.approx(8, rel=0.25) and ours.mean("l0") == pytest.approx(first, rel=0.05)
    assert np.isfinite(params["b_enc"]).all()  # its memory was not taken over


def test_members_are_trained_together_each_with_its_own_state():
    rows = make_bench_rows(2, 64, M, jnp.float32)
    ours = train.OurStep(train.our_group(F, M, jnp.float32, members=3, together=2, learning_rate=1e-3), rows)
    ours(1)
    before = ours.mean("loss")
    ours(30)
    assert len(before) == len(set(before)) == 3
    assert all(b < 0.9 * a for a, b in zip(before, ours.mean("loss"), strict=True))


def test_figures_of_steps():
    found = train.steps(F, sizes(), 1e9, with_peers=False)
    assert {"batch", "steps_per_dispatch", "rounds", "l0", "rows_per_second", "tflops", "matmul_peak", "ratios"} == set(
        found
    )
    assert set(found["rows_per_second"]) == {"ours"} == set(found["l0"])
    assert found["tflops"]["ours"] == pytest.approx(found["rows_per_second"]["ours"] * 10 * M * F / 1e12)
    assert found["matmul_peak"]["tflops"] == max(v for k, v in found["tflops"].items() if k != "ours")


def test_on_cpus_products_of_whole_arrays_are_timed_beside_visiting_what_is_active(monkeypatch):
    monkeypatch.setattr(train.sparse_matmul, "worthwhile", lambda shape, width: True)
    rows = make_bench_rows(1, 32, M, jnp.float32)
    assert set(train._ours(F, sizes(), rows)) == {"ours", "ours, dense products"}


def test_ratios_are_those_of_the_same_round_and_hold_their_bounds(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    flops = 10.0 * 512 * 4096
    found = {
        "ours": [2.0, 8.0, 5.0], "SAELens": [1.0, 2.0, 5.0], "square product of 1": [4 * flops, 10 * flops, 10 * flops],
        "product": [flops, flops, flops],
    }  # fmt: skip
    of = train._figures(found, 4096, sizes(width=512), ["ours"], ["SAELens"], ["square product of 1", "product"])
    assert of["matmul_peak"] == {"tflops": 10 * flops / 1e12, "is": "square product of 1"}
    assert of["ratios"]["ours / SAELens"] == (2.0, 1.6)
    assert of["ratios"]["ours / matmul peak (MFU)"] == (pytest.approx(0.5), 0.9)
    assert of["ratios"]["SAELens / matmul peak (MFU)"] == (pytest.approx(0.25), None)


def test_without_time_for_a_round_there_are_the_first_rates():
    found = train.stacked((1, 2), F, sizes(), 0.0, together=1)
    assert found["rounds"] == 0 and all(rate > 0 for rate in found["rows_per_second"].values())


def test_figures_of_members_together():
    found = train.stacked((1, 2, 8), F, sizes(), 1e9, together=8)
    assert set(found["rows_per_second"]) == {"1 member", "2 members", "8 members"}
    assert {name: bound for name, (_, bound) in found["ratios"].items()} == {
        "2 members together / one after another": None, "8 members together / one after another": 2.0
    }  # fmt: skip


def test_products_alone_are_the_steps_own():
    once, flops = matmul.five(3, 32, M, F, jnp.float32)
    enc, dec = once()
    assert enc.shape == (M, F) and dec.shape == (F, M) and flops == 10 * 3 * 32 * M * F
    assert str(jax.make_jaxpr(once)()).count("dot_general") == 5
    works = matmul.products(32, M, F, jnp.bfloat16, (16,))
    assert {name: flops for name, (_, flops) in works.items()} == {
        "square product of 16": 2 * 16**3, "product x · W_enc": 2 * 32 * M * F, "product f · W_dec": 2 * 32 * M * F
    }  # fmt: skip
    assert all(once().dtype == jnp.bfloat16 for once, _ in works.values())


def test_dispatches_are_long_enough_to_hide_their_start(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert train.steps_per_dispatch(512, 8192, 512, 790.0) == 100
    assert train.steps_per_dispatch(131_072, 8192, 512, 790.0) == 5
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    assert train.steps_per_dispatch(4096, 2048, 512, 0.12) == 1
