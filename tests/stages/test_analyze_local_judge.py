"""An analysis with a language model on this machine as a further judge."""

from __future__ import annotations

import dataclasses

import pytest

import monosem_jax as mj
from monosem_jax.analysis.autointerp.local_config import LocalConfig
from monosem_jax.analysis.kinds.judges import JudgeConfig
from monosem_jax.analysis.kinds.table import KINDS, KindsConfig
from monosem_jax.runtime.errors import BadInput
from monosem_jax.stages.analyze import AnalyzeRunConfig, analyze
from monosem_jax.text.tokenizer import train_tokenizer
from tests import planted
from tests.models.small import LLAMA, write_model

LOCAL = LocalConfig(n_features=2, calibration=5, max_tokens=4, kinds=("detection",), sets=("features",))


def configured(run, model) -> AnalyzeRunConfig:
    judge = JudgeConfig(n_features=3, judges=("token_set",), local=dataclasses.replace(LOCAL, model=str(model)))
    return AnalyzeRunConfig(
        run=str(run), training_contexts=40, random_directions=0, n_features=4,
        without=tuple(kind for kind in KINDS if kind != "judge"), kinds=KindsConfig(judge=judge),
    )  # fmt: skip


@pytest.mark.slow
def test_a_local_model_stands_beside_the_other_judges(tmp_path):
    planted.write_runs(tmp_path, contexts=200)
    tokenizer = train_tokenizer(["Yes No yes no the text of a description " * 20], 300)
    write_model(tmp_path / "tiny", {**LLAMA, "vocab_size": 300, "max_position_embeddings": 2048})
    tokenizer.save(str(tmp_path / "tiny" / "tokenizer.json"))
    analyze(tmp_path / "analysis", configured(tmp_path / "sae", tmp_path / "tiny"))
    found = mj.load_analysis(tmp_path / "analysis")
    assert [gap["kind"] for gap in found.table("gaps")] == ["the logit task"]
    rows = {(row["set"], row["judge"]): row for row in found.table("judges")}
    assert set(rows) == {
        ("features", "token_set"), ("features", "tiny"), ("features", "tiny (token_set)"), ("neurons", "token_set")
    }  # fmt: skip
    assert rows["features", "token_set"]["features"] == 3 and rows["features", "tiny"]["features"] == 2
    summary = next(s for s in rows["features", "tiny"]["summaries"] if (s["kind"], s["group"]) == ("detection", "all"))
    assert summary["n"] == 2 and 0 <= summary["mean"] <= 1 and summary["shuffled_mean"] is not None
    assert found.summary["judge"] == "token_set"
    explained = [r for r in found.feature_records if any(e.judge == "tiny" and e.text for e in r.explanations)]
    assert len(explained) <= 2 and not (found.path / "answers").exists()


def test_a_model_that_is_not_there_is_one_line_before_any_work(tmp_path):
    planted.write_runs(tmp_path, contexts=40)
    for model, message in ((tmp_path / "none.gguf", "none.gguf does not exist"), (tmp_path / "sae", "not a finished")):
        with pytest.raises(BadInput, match=message) as e:
            analyze(tmp_path / "new", configured(tmp_path / "sae", model))
        assert "\n" not in str(e.value) and not (tmp_path / "new").exists()
