"""A whole analysis of planted features: every kind of evidence finds what was planted, and nothing in the control."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

import monosem_jax as mj
from monosem_jax.analysis.effects.steering import SteeringConfig
from monosem_jax.analysis.kinds.causes import EffectsConfig
from monosem_jax.analysis.kinds.concepts import ProbesConfig
from monosem_jax.analysis.kinds.judges import JudgeConfig
from monosem_jax.analysis.kinds.table import KINDS, KindsConfig
from monosem_jax.analysis.records_io import INDEX_COLUMNS
from monosem_jax.runtime.errors import BadInput
from monosem_jax.stages.analyze import AnalyzeRunConfig, analyze
from monosem_jax.stages.rate import RateConfig, rate
from tests import planted
from tests.planted import (
    BLURRED_FEATURE,
    CONTEXT_FEATURE,
    DEAD_FEATURE,
    DENSE_FEATURE,
    RARE_FEATURE,
    SET_FEATURE,
    WORDS,
)

STEERING = SteeringConfig(prompt="w22 w23", strengths=(0.0, 1.0), samples=2, new_tokens=8, contexts=4)
KINDS_CONFIG = KindsConfig(
    probes=ProbesConfig(rows=60),
    judge=JudgeConfig(n_features=12),
    effects=EffectsConfig(ablated=12, direct=4, pinned=12, steered=("hebrew", "nothing"), steering=STEERING),
)
CONFIG = AnalyzeRunConfig(
    random_directions=12,
    training_contexts=200,
    batch_contexts=50,
    kinds=KINDS_CONFIG,
    proxies=("words=regex:north|south|east|west", "never=regex:qqq", "acgt=regex:ACGT|TTGA|GATC|CCGA"),
)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    root = tmp_path_factory.mktemp("planted")
    planted.write_runs(root)
    analyze(root / "analysis", dataclasses.replace(CONFIG, run=str(root / "sae")))
    return mj.load_analysis(root / "analysis")


def test_every_kind_of_evidence_was_looked_for(found):
    assert list(found.summary["seconds"]) == list(KINDS)
    assert found.records.sets == ("features", "neurons", "random")
    reasons = {gap["kind"]: gap["reason"] for gap in found.table("gaps")}
    assert not reasons.keys() & KINDS.keys(), reasons
    assert "proxy never" in reasons and "the logit task" in reasons and "steering by nothing" in reasons


def test_the_summary_has_what_is_promised(found):
    promised = (
        *("l0_share_above_1pct", "l0_share_above_10pct", "median_density", "density_decades", "dead", "twins"),
        *("fms_1", "fms_5", "fms_1_shuffled", "judge", "judge_score", "judge_score_shuffled", "judge_score_neurons"),
        *("probe_k1", "probe_k5", "probe_k1_neurons", "probe_k5_neurons", "proxies"),
    )
    assert [key for key in promised if key not in found.summary] == []
    assert found.summary["dead"] == 1 and found.summary["judge"] == "ngram_graph"


def test_the_feature_of_a_set_of_tokens_is_the_best_for_their_proxy(found):
    hebrew = found.summary["proxies"]["hebrew"]
    assert hebrew["feature"] == SET_FEATURE
    assert hebrew["specificity_all"] == hebrew["specificity_top"] == hebrew["sensitivity"] == 1.0
    assert hebrew["neuron_pearson"] < hebrew["pearson"]
    record = found.feature(SET_FEATURE)
    assert record.proxies[0].proxy == "hebrew" and record.label == "hebrew"
    assert {t.token.strip() for t in record.top_tokens} == {WORDS[t] for t in planted.SET}


def test_a_blurred_feature_is_specific_in_its_highest_interval_only(found):
    dna = found.summary["proxies"]["acgt"]
    assert dna["feature"] == BLURRED_FEATURE
    assert dna["specificity_top"] == 1.0 and dna["specificity_all"] < 1


def test_the_logit_weights_are_those_that_were_planted(found):
    record = found.feature(SET_FEATURE)
    assert {token.strip() for token, _ in record.top_logits[:4]} == {"north", "south", "east", "west"}


def test_a_token_in_context_is_told_with_its_label(found):
    told = found.feature(CONTEXT_FEATURE).token_in_context
    assert told.token.strip() == WORDS[planted.AMBIGUOUS] and told.label == "code" and told.label_auc > 0.95
    assert 0 < told.share_of_occurrences < 1


def test_sources_of_examples_are_told(found):
    """Attention brings MARKER to `context`; `set` fires because of the token itself."""
    for e in found.feature(CONTEXT_FEATURE).examples:
        strongest = e.sources.tokens[0]
        assert strongest.token.strip() == WORDS[planted.MARKER] and strongest.position == 1 and strongest.head == 0
        assert strongest.attention > 0.9 * e.sources.activation and strongest.direct == 0
    for e in found.feature(SET_FEATURE).examples:
        assert e.sources.tokens[0].position == e.position and e.sources.direct > 0.9 * e.activations[e.peak]
    table = found.table("sources")
    assert list(table) == ["features", "neurons", "random"]
    assert all(row["largest_error"] < 0.02 for row in table.values()), table
    assert table["features"]["main_cause"]["token itself"] == planted.F - 2


def test_a_dead_feature_has_a_record_without_claims(found):
    record = found.feature(DEAD_FEATURE)
    assert (record.density, record.largest, record.examples, record.intervals) == (0, 0, (), ())
    assert record.nearest_label is None and record.scores == () and record.ablation is None


def test_a_rare_feature_is_found_with_its_token(found):
    record = found.feature(RARE_FEATURE)
    assert record.fired > 0 and [t.token.strip() for t in record.top_tokens] == [WORDS[planted.RARE]]


def test_the_dense_feature_carries_most_of_l0(found):
    assert found.feature(DENSE_FEATURE).density > 0.3 and found.summary["l0_share_above_10pct"] > 0.5


def test_explanations_of_planted_features_predict_them_and_shuffled_ones_do_not(found):
    record = found.feature(SET_FEATURE)
    scores = {(s.judge, s.kind): s for s in record.scores}
    own = scores["ngram_graph", "simulation"]
    assert own.value > 0.9 and own.shuffled < 0.5
    assert {e.judge for e in record.explanations} == {"ngram_graph", "token_set", "label_rule"}
    assert found.summary["judge_score"] > found.summary["judge_score_shuffled"] + 0.3


def test_ablation_raises_the_loss_where_the_feature_predicts(found):
    record = found.feature(SET_FEATURE)
    assert record.ablation.loss_change_firing > 0.01
    assert all(len(e.loss_effects) == len(e.tokens) for e in record.examples)
    effects = found.table("effects")
    assert effects["forward_passes"] > 0
    assert effects["direct"]["features"]["median_correlation"] > 0.9
    assert effects["direct"]["features"]["median_correlation_ablated"] > 0.9


def test_steering_is_measured_beside_a_neuron_and_random_directions(found):
    rows = found.table("effects")["steering"]
    assert {row["set"] for row in rows} == {"features", "neurons", "random"}
    assert [s.strength for s in found.feature(SET_FEATURE).samples] == [0.0, 1.0]
    (text,) = found.feature(DENSE_FEATURE).samples
    assert text.strength == 1.0 and text.text and found.feature(DEAD_FEATURE).samples == ()


def test_a_mesh_gives_the_same_evidence(found, tmp_path):
    without = tuple(name for name in KINDS if name not in ("health", "categories", "proxies"))
    config = dataclasses.replace(CONFIG, run=str(found.path.parent / "sae"), mesh="data=2,model=4", without=without)
    summary = analyze(tmp_path / "run", config)
    for key in ("l0", "dead", "l0_share_above_1pct", "categories_feature_better"):
        assert summary[key] == pytest.approx(found.summary[key], rel=1e-6), key
    assert summary["proxies"]["hebrew"]["pearson"] == pytest.approx(found.summary["proxies"]["hebrew"]["pearson"])


def test_every_feature_of_every_set_has_a_record_and_a_line_of_the_index(found):
    for name, n in (("features", planted.F), ("neurons", planted.M), ("random", 12)):
        index = found.records.index(name)
        assert set(index) == set(INDEX_COLUMNS) and index["feature"] == list(range(n))
        assert [r.feature for r in found.records.all(name)] == list(range(n))


def test_densities_are_those_of_the_truth(found):
    tokens = np.asarray(planted.documents(200, seed=1)[0])
    real = tokens != planted.BOS
    truth = (planted.activations(tokens)[real] > 0).mean(axis=0)
    np.testing.assert_allclose(found.density, truth, atol=1e-9)


def test_a_scan_that_was_killed_goes_on_and_gives_the_same_records(found, tmp_path, monkeypatch):
    """Killed after the scans, whose state stays; what follows is computed again."""
    from monosem_jax.stages import analyze as stage

    class Killed(Exception):
        pass

    def die(*_):
        raise Killed

    config = dataclasses.replace(CONFIG, run=str(found.path.parent / "sae"))
    monkeypatch.setattr(stage, "_write", die)
    with pytest.raises(Killed):
        analyze(tmp_path / "again", config)
    assert (tmp_path / "again" / "scan").exists()
    monkeypatch.undo()
    analyze(tmp_path / "again", config)
    for file in sorted((found.path / "records").rglob("*.gz")):
        assert file.read_bytes() == (tmp_path / "again" / file.relative_to(found.path)).read_bytes(), file
    assert not (tmp_path / "again" / "scan").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"without": ("judges",)}, "config.without is 'judges'|did you mean 'judge'"),
        ({"proxies": ("x",)}, "NAME=regex:PATTERN"),
        ({"split": "validation"}, "validation"),
        ({"n_random": -1}, "config.n_random is -1"),
        ({"kinds": KindsConfig(judge=JudgeConfig(judges=("oracle",)))}, "oracle"),
    ],
)
def test_bad_input_is_one_line_before_any_work(found, tmp_path, changes, message):
    config = dataclasses.replace(CONFIG, run=str(found.path.parent / "sae"), **changes)
    with pytest.raises(BadInput, match=message) as e:
        analyze(tmp_path / "new", config)
    assert "\n" not in str(e.value)


def test_ratings_are_read_back_by_set(found, tmp_path, capsys):
    material = json.loads((found.path / "rating.json").read_text())
    key = json.loads((found.path / "rating_key.json").read_text())["items"]
    ratings = [
        {
            "id": item["id"],
            "interpretation": "x",
            "confidence": 3,
            "logits": 3,
            "intervals": {
                str(i["interval"]): {"consistency": points, "specificity": points // 2}
                for i in item["intervals"]
                if i["examples"]
            },
        }
        for item in material["items"]
        for points in [5 if key[item["id"]]["set"] == "features" else 0]
    ]
    (tmp_path / "mine.json").write_text(json.dumps({"ratings": ratings}))
    summary = rate(found.path, RateConfig(ratings=str(tmp_path / "mine.json")))
    medians = {row["set"]: row["median"] for row in summary["sets"]}
    assert medians["features"] - medians["neurons"] == 5 + 2
    assert "neurons" in capsys.readouterr().out and (found.path / "rating_summary.json").exists()
    with pytest.raises(BadInput, match="--ratings is empty"):
        rate(found.path, RateConfig())


def test_a_control_must_be_of_a_shuffled_transformer(found, tmp_path):
    sae = str(found.path.parent / "sae")
    with pytest.raises(BadInput, match="shuffle_of"):
        analyze(tmp_path / "new", dataclasses.replace(CONFIG, run=sae, control=sae))


def test_what_fails_in_one_kind_is_a_listed_gap(found, tmp_path, monkeypatch):
    def fail(study, config):
        raise BadInput("no power")

    monkeypatch.setitem(KINDS, "health", fail)
    without = tuple(name for name in KINDS if name not in ("health", "categories"))
    config = dataclasses.replace(CONFIG, run=str(found.path.parent / "sae"), without=without, n_features=2)
    analyze(tmp_path / "run", config)
    assert {"kind": "health", "reason": "no power"} in json.loads((tmp_path / "run" / "gaps.json").read_text())
