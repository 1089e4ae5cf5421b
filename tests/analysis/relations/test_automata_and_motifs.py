"""A comparison of the planted dictionary looks for automata and motifs; what cannot be measured is a gap."""

import dataclasses

import pytest

import monosem_jax as mj
from monosem_jax.analysis.automata.config import AutomataConfig
from monosem_jax.analysis.relations.motifs import MotifsConfig
from monosem_jax.analysis.relations.table import RELATIONS, RelationsConfig
from monosem_jax.runtime.errors import BadInput
from monosem_jax.stages.compare import CompareRunConfig, compare
from tests import planted

AUTOMATA = AutomataConfig(largest_false_share=1.0, prompts=12, held_tokens=3, least_firings=5)
OTHERS = tuple(name for name in RELATIONS if name not in ("automata", "motifs"))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("planted")
    planted.write_runs(root)
    return root


def compared(root, name: str, automata: AutomataConfig):
    relations = RelationsConfig(automata=automata, motifs=MotifsConfig(loose_share=0.8))
    config = CompareRunConfig(runs=str(root / "sae"), least_tokens=1, without=OTHERS, relations=relations)
    compare(root / name, config)
    return mj.load_comparison(root / name)


def test_both_have_tables_and_sections(root):
    found = compared(root, "relations", AUTOMATA)
    table, motifs = found.table("automata")["sae"], found.table("motifs")
    assert found.summary["automata"] == table["confirmed"] > 0
    loops = [a for a in table["automata"] if a["kind"] == "loop" and a["confirmed"]]
    assert [a["nodes"][0]["feature"] for a in loops] == [planted.BLURRED_FEATURE], "it fires on DNA, and raises DNA"
    assert loops[0]["followed"]["prompt"] is not None and len(loops[0]["followed"]["texts"]) == AUTOMATA.walk_texts
    assert motifs["one_token"]["0.9"] >= 7 and motifs["trigrams"] == [] and motifs["memorised"] == []
    text = (found.path / "relations.md").read_text(encoding="utf-8")
    assert "## Automata of sae" in text and "## Motifs of sae" in text


def test_too_few_prompts_are_a_gap(root):
    found = compared(root, "gap", dataclasses.replace(AUTOMATA, prompts=400))
    (gap,) = [g for g in found.table("gaps") if g["kind"].startswith("automata")]
    assert gap["kind"] == "automata of sae" and "expected 400" in gap["reason"]
    assert "automata" not in found.summary and found.table("motifs")["set"] == "sae"
    with pytest.raises(BadInput, match=r"^config\.relations\.motifs\.loose_share is 2"):
        MotifsConfig(loose_share=2).check()
    for change in ({"alike": -2.0}, {"least_weight": -1.0}, {"prompts": 7}, {"looked_at": 0}):
        with pytest.raises(BadInput, match=rf"^config\.relations\.automata\.{next(iter(change))} is "):
            dataclasses.replace(AUTOMATA, **change).check()
