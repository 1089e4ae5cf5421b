"""The planted model does what tests take for granted about it."""

import numpy as np
import pytest

import monosem_jax as mj
from monosem_jax.analysis.logit_weights import logit_weights
from monosem_jax.analysis.metrics import EvaluateConfig, evaluate
from tests import planted

TOKENS, LABELLED = planted.documents(120)


def test_features_fire_where_they_were_planted_and_nowhere_else():
    truth = planted.activations(TOKENS)
    found = planted.planted().features.activations(TOKENS)
    np.testing.assert_array_equal(found > 0, (truth > 0) & (TOKENS != planted.BOS)[..., None])
    np.testing.assert_allclose(found, truth, atol=2e-3)


def test_each_kind_of_feature_is_what_it_is_called():
    density = (planted.activations(TOKENS)[:, 1:] > 0).mean(axis=(0, 1))
    assert density[planted.DENSE_FEATURE] > 0.3 and density[planted.DEAD_FEATURE] == 0
    assert 0 < density[planted.RARE_FEATURE] < 0.01
    ambiguous = TOKENS == planted.AMBIGUOUS
    on = planted.activations(TOKENS)[..., planted.CONTEXT_FEATURE] > 0
    number = planted.LABELS.index("code")
    code = np.broadcast_to(np.equal(LABELLED, number)[:, None], TOKENS.shape)
    np.testing.assert_array_equal(on, ambiguous & code)
    assert 0.3 < code[ambiguous].mean() < 0.7


def test_logit_weights_are_those_planted_and_are_what_happens_to_the_logits():
    it = planted.planted()
    np.testing.assert_allclose(
        logit_weights(it.tapped, planted.SITE, it.features.directions), planted.logit_weights(), atol=1e-3
    )
    carry, x = it.tapped.cut(TOKENS[:8])
    before = it.model.apply({"params": it.tapped.params}, carry, x, planted.SITE, method=it.model.from_acts)
    for i in planted.LIVE:
        moved = x + 0.5 * it.features.directions[i]
        after = it.model.apply({"params": it.tapped.params}, carry, moved, planted.SITE, method=it.model.from_acts)
        expected = np.broadcast_to(0.5 * planted.logit_weights()[i], after.shape)
        np.testing.assert_allclose(after - before, expected, atol=0.02)


def test_the_model_predicts_its_text_and_the_dictionary_keeps_that():
    it = planted.planted()
    metrics, density = evaluate(it.tapped, it.sae, TOKENS, EvaluateConfig())
    assert metrics["ce_intact"] < metrics["ce_zero_ablation"] - 0.1
    assert metrics["loss_recovered_zero"] == pytest.approx(1, abs=0.01)
    assert metrics["dead"] == 1 and density[planted.DEAD_FEATURE] == 0


def test_no_feature_is_a_neuron():
    it = planted.planted()
    f, x = (s.activations(TOKENS).reshape(-1, s.n_features) for s in (it.features, it.neurons))
    best = [max(abs(np.corrcoef(f[:, i], x[:, j])[0, 1]) for j in range(planted.M) if x[:, j].std()) for i in (0, 5)]
    assert max(best) < 0.95


def test_the_control_has_lost_it():
    it = planted.control()
    f = it.features.activations(TOKENS)[:, 1:].reshape(-1, planted.F)
    truth = planted.activations(TOKENS)[:, 1:].reshape(-1, planted.F)
    live = f.std(axis=0) > 0
    assert live.sum() >= planted.F / 2
    for i in (planted.SET_FEATURE, planted.BLURRED_FEATURE, planted.CONTEXT_FEATURE):
        assert max(abs(np.corrcoef(truth[:, i], g)[0, 1]) for g in f[:, live].T) < 0.6


def test_runs_open_like_any_other(tmp_path):
    planted.write_runs(tmp_path, contexts=40)
    run = mj.load_sae(tmp_path / "sae")
    assert run.site == planted.SITE and run.transformer.text.tokens("heldout").shape == (40, planted.T)
    np.testing.assert_array_equal(run.params["W_dec"], planted.dictionary_params()["W_dec"])
    text = run.transformer.text
    assert text.tokenizer.encode("in אב ACGT").ids == [planted.AMBIGUOUS, planted.SET[0], planted.DNA[0]]
    assert [text.labels[d] for d in text.documents("heldout")[:4, 0]] == list(planted.LABELS)
    summary = mj.evaluate(tmp_path / "evaluation", mj.EvaluateRunConfig(run=str(tmp_path / "sae")))
    assert summary["ce_intact"] == pytest.approx(run.transformer.summary["heldout_loss"], rel=1e-4)
