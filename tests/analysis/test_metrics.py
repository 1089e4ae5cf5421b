from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.analysis.metrics import (
    ULTRALOW_TOKENS,
    EvaluateConfig,
    batch_sums,
    contexts_to_read,
    evaluate,
    evaluate_rows,
    row_sums,
    summarise,
)
from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.mesh import tree_shardings
from monosem_jax.sae.params import RULES
from monosem_jax.sae.published import PublishedSAE
from tests import reference
from tests.engine import relu_sae

BOS, N_CONTEXTS, LENGTH, VOCAB = 0, 10, 12, 40
SITES = {"mlp_hidden.0": 32, "resid_mid.0": 16}
SITE = "mlp_hidden.0"


def contexts(seed: int = 0) -> np.ndarray:
    """BOS at every beginning and within some contexts."""
    tokens = np.random.default_rng(seed).integers(1, VOCAB, size=(N_CONTEXTS, LENGTH))
    tokens[:, 0] = tokens[2, 5] = tokens[7, 10] = tokens[9, -1] = BOS
    return tokens


def dictionary(width: int, n_features: int = 24):
    """Feature 5 never fires, feature 6 always."""
    p = reference.random_dictionary(3, width, n_features)
    p["b_enc"][5:7] = -1e3, 1e3
    p["W_dec"][6] *= 1e-3
    return p


def identity(width: int):
    one = np.eye(width, dtype=np.float32)
    return {"W_enc": one, "b_enc": np.zeros(width), "W_dec": one, "b_dec": np.zeros(width)}


def published(p) -> PublishedSAE:
    return PublishedSAE(relu_sae(p["W_enc"].shape[0], len(p["b_enc"])), p)


def run(tiny, p, tokens=None, site: str = "mlp_hidden.0", **config):
    tokens = contexts() if tokens is None else tokens
    config = EvaluateConfig(**{"batch_contexts": 4, **config})
    return evaluate(TappedModel(*tiny, site, BOS), published(p), tokens, config)


@pytest.fixture(scope="module")
def found(tiny):
    """(metrics, density) of the dictionary on all contexts."""
    return run(tiny, dictionary(32))


def assert_close(metrics, expected, rel: float) -> None:
    for name, value in expected.items():
        close = value if value is None or isinstance(value, str) else pytest.approx(value, rel=rel)
        assert metrics[name] == close, name


def expected(tiny, p, tokens, site: str):
    model, params = tiny
    halves = lambda method, *a: model.apply({"params": params}, *a, site, method=method)  # noqa: E731
    to_acts = jax.jit(lambda t: halves(model.to_acts, t))
    from_acts = jax.jit(lambda carry, x: halves(model.from_acts, carry, x))
    return reference.evaluation(tokens, to_acts, from_acts, p, BOS)


class Rows:
    """Rows in memory, as a store gives them."""

    def __init__(self, x: np.ndarray):
        self.x, self.n_rows = x, len(x)

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.x[start:stop]


def random_rows() -> np.ndarray:
    return np.random.default_rng(4).normal(0.3, 1, size=(50, 16)).astype(np.float32)


@pytest.mark.parametrize("site", SITES)
def test_every_metric_and_density_equals_the_reference(tiny, site):
    """The gaps that the ratios are made of are far above rounding."""
    p = dictionary(SITES[site])
    metrics, density = run(tiny, p, site=site)
    expected_metrics, expected_density = expected(tiny, p, contexts(), site)
    losses = sorted(v for k, v in expected_metrics.items() if k.startswith("ce_"))
    assert len(losses) == 4 and np.diff(losses).min() > 1e-3
    assert_close(metrics, expected_metrics, rel=2e-4)
    np.testing.assert_allclose(density, expected_density, rtol=1e-12)


@pytest.mark.parametrize("batch", [1, 3, 7, N_CONTEXTS])
def test_metrics_do_not_depend_on_the_batch(tiny, found, batch):
    metrics, density = run(tiny, dictionary(32), batch_contexts=batch)
    np.testing.assert_array_equal(density, found[1])
    assert metrics.keys() == found[0].keys()
    assert_close(metrics, found[0], rel=1e-4)


def test_contexts_limits_what_is_read(tiny):
    p = dictionary(32)
    assert run(tiny, p, contexts=3)[0] == run(tiny, p, tokens=contexts()[:3])[0]


def test_advance_is_told_of_every_context_in_both_passes(tiny):
    done, config = [], EvaluateConfig(batch_contexts=4)
    evaluate(TappedModel(*tiny, SITE, BOS), published(identity(32)), contexts(), config, advance=done.append)
    assert done == [4, 4, 2] * 2 and sum(done) == contexts_to_read(contexts(), config)


def test_bos_positions_are_not_counted(found):
    assert found[0]["evaluated_tokens"] == (contexts() != BOS).sum() < contexts().size


def test_bos_positions_are_not_replaced(tiny):
    """Of contexts that are BOS but for the last token, which predicts nothing, no replacement changes the loss."""
    tokens = np.full((4, LENGTH), BOS)
    tokens[:, -1] = [3, 9, 20, 31]
    found, _ = run(tiny, dictionary(32), tokens)
    assert found["ce_intact"] == found["ce_zero_ablation"] == found["ce_mean_ablation"] == found["ce_reconstructed"]
    assert found["loss_recovered_zero"] is None and found["loss_recovered_mean"] is None


def test_an_identity_dictionary_recovers_the_whole_loss(tiny):
    found, _ = run(tiny, identity(32))
    assert found["loss_recovered_zero"] == pytest.approx(1, abs=1e-6)
    assert found["loss_recovered_mean"] == pytest.approx(1, abs=1e-5)
    assert found["mse"] == 0 and found["variance_explained"] == 1


def test_a_dictionary_that_gives_zero_recovers_nothing_of_zero_ablation(tiny):
    nothing = {**identity(32), "W_dec": np.zeros((32, 32), np.float32)}
    assert run(tiny, nothing)[0]["loss_recovered_zero"] == 0


def test_a_dictionary_that_gives_the_mean_recovers_nothing_of_mean_ablation(tiny):
    model, params = tiny
    _, x = jax.jit(lambda t: model.apply({"params": params}, t, "mlp_hidden.0", method=model.to_acts))(contexts())
    mean = np.asarray(x)[contexts() != BOS].mean(axis=0)
    found, _ = run(tiny, {**identity(32), "W_dec": np.zeros((32, 32), np.float32), "b_dec": mean})
    assert found["loss_recovered_mean"] == pytest.approx(0, abs=1e-4)
    assert found["variance_explained"] == pytest.approx(0, abs=1e-5)


def test_dead_features_never_fired_and_dense_ones_on_more_than_a_hundredth():
    fired = np.asarray([0, 1, 10, 11, 1000], np.float64)
    found, density = summarise(totals(fired, 1000), 4)
    assert found["dead"] == 1 and found["dense"] == 2
    np.testing.assert_array_equal(density, [0, 0.001, 0.01, 0.011, 1])


def totals(fired: np.ndarray, rows: float):
    return {"rows": rows, "squared_error": 1.0, "squared_deviation": 2.0, "l1": 3.0, "fired": fired}


def test_ultralow_features_fired_on_less_than_a_millionth_but_are_not_dead():
    fired = np.asarray([0, 1, 9, 10, 11, 10**6], np.float64)
    found, _ = summarise(totals(fired, ULTRALOW_TOKENS), 4)
    assert found["ultralow"] == 2 and found["dead"] == 1 and "ultralow_note" not in found


def test_ultralow_is_unknown_with_a_note_when_too_few_tokens_were_read():
    found, _ = summarise(totals(np.asarray([1.0]), ULTRALOW_TOKENS - 1), 4)
    assert found["ultralow"] is None
    assert found["ultralow_note"].startswith(f"{ULTRALOW_TOKENS - 1} tokens are too few")


def test_every_metric_on_rows_equals_the_reference():
    p = dictionary(16)
    found, density = evaluate_rows(published(p), Rows(random_rows()), block=8)
    expected_metrics, expected_density = reference.row_metrics(p, random_rows())
    assert {k: found[k] for k in expected_metrics} == pytest.approx(expected_metrics, rel=1e-5)
    np.testing.assert_allclose(density, expected_density, rtol=1e-12)


@pytest.mark.parametrize("block", [1, 7, 25, 4096])
def test_metrics_on_rows_do_not_depend_on_the_block(block):
    p = dictionary(16)
    whole, density = evaluate_rows(published(p), Rows(random_rows()), block=50)
    found, found_density = evaluate_rows(published(p), Rows(random_rows()), block=block)
    assert_close(found, whole, rel=1e-5)
    np.testing.assert_array_equal(found_density, density)


def test_bfloat16_rows_are_evaluated_in_float32():
    rows = np.asarray(jnp.asarray(random_rows(), jnp.bfloat16))
    found, _ = evaluate_rows(published(dictionary(16)), Rows(rows))
    expected_metrics, _ = reference.row_metrics(dictionary(16), rows.astype(np.float64))
    assert {k: found[k] for k in expected_metrics} == pytest.approx(expected_metrics, rel=1e-5)


def test_metrics_on_rows_have_no_loss_recovered():
    found, _ = evaluate_rows(published(dictionary(16)), Rows(random_rows()))
    assert not [name for name in found if name.startswith(("loss_recovered", "ce_"))]


def on_mesh(p, mesh):
    """The dictionary as training leaves it."""
    return jax.device_put(p, tree_shardings(p, RULES, mesh))


def assert_mesh_close(found, expected) -> None:
    assert found[0].keys() == expected[0].keys()
    assert_close(found[0], expected[0], rel=1e-4)
    np.testing.assert_array_equal(found[1], expected[1])


def test_metrics_on_a_mesh_are_those_on_one_device(tiny, found, mesh8, batch=3):
    """Ten contexts, in batches that are rounded up to equal parts of the devices."""
    config, sae = EvaluateConfig(batch_contexts=batch), PublishedSAE(relu_sae(32, 24), on_mesh(dictionary(32), mesh8))
    done: list[int] = []
    on = evaluate(TappedModel(*tiny, SITE, BOS), sae, contexts(), config, advance=done.append, mesh=mesh8)
    assert_mesh_close(on, found)
    shards = mesh8.shape["data"]
    size = -(-batch // shards) * shards
    assert done == 2 * [min(size, N_CONTEXTS - i) for i in range(0, N_CONTEXTS, size)]


def test_metrics_on_rows_on_a_mesh_are_those_on_one_device(mesh8):
    p = dictionary(16)
    found = evaluate_rows(PublishedSAE(relu_sae(16, 24), on_mesh(p, mesh8)), Rows(random_rows()), block=7, mesh=mesh8)
    assert_mesh_close(found, evaluate_rows(published(p), Rows(random_rows()), block=50))


@pytest.mark.parametrize("values", [{"contexts": -1}, {"batch_contexts": 0}])
def test_config_check_names_the_impossible_value(values):
    with pytest.raises(BadInput, match=next(iter(values))):
        EvaluateConfig(**values).check()


def test_dictionaries_that_differ_in_their_numbers_alone_share_a_program(tiny):
    """As the members of a sweep do; another size takes a program of its own."""
    programs = (batch_sums, row_sums)

    def sizes() -> list[int]:
        return [program._cache_size() for program in programs]

    def both(p) -> None:
        run(tiny, p, contexts=4)
        evaluate_rows(published({**p, "b_dec": p["b_dec"] + 0.5}), Rows(np.ones((8, 32), np.float32)), block=8)

    both(dictionary(32))
    before = sizes()
    both({name: 2 * value for name, value in dictionary(32).items()})
    assert sizes() == before
    both(dictionary(32, n_features=28))
    assert sizes() == [n + 1 for n in before]
