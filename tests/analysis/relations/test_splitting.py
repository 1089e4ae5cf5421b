"""The tables of splitting and of the map, on dictionaries one of whose features is divided by hand."""

import dataclasses
import functools
import itertools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.analysis import feature_sets
from monosem_jax.analysis.joint.pair_sums import Pair
from monosem_jax.analysis.relations import maps
from monosem_jax.analysis.relations.base import Compared
from monosem_jax.analysis.relations.splitting import SPLITTING, SplittingConfig, needs
from monosem_jax.report import splitting_figures
from monosem_jax.report.relations import markdown
from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.published import PublishedSAE
from tests import planted
from tests.analysis.relations import studies

CONFIG = SplittingConfig(told=3)
SET = planted.SET_FEATURE


@functools.partial(jax.tree_util.register_dataclass, data_fields=["sae"], meta_fields=["bands"])
@dataclasses.dataclass(frozen=True)
class Bands:
    """The planted dictionary with the feature `set` divided by its strength, which tells its tokens apart; the parts
    stand last."""

    sae: PublishedSAE
    bands: int

    @property
    def n_features(self) -> int:
        return planted.F - 1 + self.bands

    def encode(self, rows):
        f = self.sae.encode(rows)
        a, rest = f[..., SET], jnp.delete(f, SET, axis=-1, assume_unique_indices=True)
        edges = np.linspace(0.15, 1.05, self.bands + 1)
        parts = [jnp.where((a > low) & (a <= high), a, 0) for low, high in itertools.pairwise(edges)]
        return jnp.concatenate([rest, jnp.stack(parts, axis=-1)], axis=-1)

    def active(self, f):
        return f > 0


def divided(bands: int, name: str) -> feature_sets.FeatureSet:
    of = planted.planted()
    d = planted.directions().astype(np.float32)
    directions = np.concatenate([np.delete(d, SET, axis=0), np.repeat(d[[SET]], bands, axis=0)])
    return feature_sets.FeatureSet(name, of.tapped, Bands(of.sae, bands), directions)


@functools.cache
def sets() -> tuple[Compared, ...]:
    """One, two and four parts, not in the order of their sizes."""
    return tuple(Compared(divided(n, f"d{n}"), "dictionary", "A", "relu") for n in (2, 4, 1))


def study_of(text, chosen, config=CONFIG, **changes):
    return studies.study_of(SPLITTING, text, chosen, config, **changes)


@pytest.fixture(scope="module")
def study(text):
    return study_of(text, sets())


def test_the_divided_feature_is_told_with_its_parts(study):
    table = study.tables["splitting"]
    assert table["sets"] == ["d1", "d2", "d4"] and table["sizes"] == [12, 13, 15]
    parent = planted.F - 1  # of d1: the last
    rows = [r for r in table["told"] if r["why"] == "clear split"]
    assert (rows[0]["feature"]["set"], rows[0]["feature"]["feature"]) == ("d1", parent)
    assert rows[0]["score"] == pytest.approx(1) and rows[0]["level"] == 0
    told = rows[0]["feature"]
    children = told["children"]
    assert sorted(c["feature"] for c in children) == [11, 12] and told["n_children"] == 2
    assert told["share"] == told["within"] == 1 and told["together"] == 0
    assert told["token_divergence"] == pytest.approx(1)
    words = [{text.strip() for text, _ in c["tokens"]} for c in children]
    assert not words[0] & words[1] and words[0] | words[1] <= {planted.WORDS[t] for t in planted.SET}
    for child in children:
        assert child["edge"]["child_to_parent"] == 1 and child["edge"]["cosine"] == pytest.approx(1, abs=1e-5)
        assert child["label"] == "hebrew" and child["label_lift"] > 2 and child["examples"]
        example = child["examples"][0]
        assert example["tokens"][example["peak"]] in {text for text, _ in child["tokens"]}
        assert example["activations"][example["peak"]] == max(example["activations"]) > 0
    hebrew = next(r for r in table["told"] if r["why"] == "label" and r["label_of"] == "hebrew")
    assert hebrew["feature"]["feature"] == parent
    assert sum(len(c["children"]) for c in hebrew["feature"]["children"]) == 4


def test_the_table_counts_what_was_planted(study):
    table = study.tables["splitting"]
    for step, n in zip(table["steps"], (1, 2), strict=True):
        assert step["best"]["children"][2] == n and step["best"]["parents"][1] == sum(step["best"]["parents"])
        assert step["best"]["child_to_parent"][2] == pytest.approx(1) and step["implied"]["0.9"] == 1
        assert step["best"]["matched"][2] < 0.5 and step["cover"]["together"][-1] == 0
        # The parts of a feature have one direction, so that the cosine does not tell which is the parent.
        assert step["cosine_same_best"] == pytest.approx({1: 1, 2: 12 / 14}[n])
    growth = study.arrays["splitting_edges"]["growth"]
    assert growth[planted.F - 1].tolist() == [1, 2, 4]
    assert study.summary["families"] == 1 and table["families"]["best"]["with_two"] == 1
    # One is a feature that never fires, every other one is never smaller.
    assert study.summary["splitting"]["monotone"] == table["families"]["best"]["roots"] == planted.F - 1
    edges = study.arrays["splitting_edges"]
    assert len(edges["step1_parent"]) == table["steps"][1]["edges"] and edges["step0_cover_share"].shape == (12,)


def test_the_tables_are_written_as_markdown_and_drawn(study):
    shown = markdown(study.tables)
    assert "Splitting: parents and children" in shown and "Documents of hebrew" in shown
    assert "A clear split of d1 (score 1" in shown
    table = study.tables["splitting"]
    for figure in (
        splitting_figures.children_figure(table),
        splitting_figures.family_figure(next(r for r in table["told"] if r["why"] == "label"), table["sizes"]),
    ):
        assert len(figure.axes) == 1 and (figure.axes[0].texts or figure.axes[0].patches)
    hostile = {**study.tables, "splitting": {**table, "told": [dict(table["told"][0])]}}
    feature = {**table["told"][0]["feature"], "tokens": [["a|b\n<script>", 0.5]], "children": []}
    hostile["splitting"]["told"][0]["feature"] = feature
    shown = markdown(hostile)
    assert "<script>" not in shown and "a\\|b↵&lt;script&gt;" in shown


def test_another_seed_of_one_size_stands_beside_the_steps(text, study):
    chosen = [dataclasses.replace(s, seed=0) for s in (sets()[0], sets()[1])]
    again = Compared(dataclasses.replace(divided(2, "again")), "dictionary", "A", "relu", 1)
    found = study_of(text, [*chosen, again])
    (row,) = found.tables["splitting"]["same_size"]
    assert (row["parents"], row["children"]) == ("d2", "again")
    assert row["best"]["children"] == [0, planted.F, 0, 0] and row["best"]["child_to_parent"][2] == 1
    assert study.tables["splitting"]["same_size"] == [] and "cover" not in row
    assert "d2 | again" in markdown(found.tables)
    # Also where the first dictionary has no other seed.
    turned = dataclasses.replace(found, sets=[chosen[1], chosen[0], again])
    assert needs(turned, CONFIG) == [Pair(1, 0, masked=True), Pair(1, 2, masked=True)] and turned.seeds == []
    assert needs(dataclasses.replace(turned, most_bytes=1), CONFIG) == [Pair(1, 0, masked=True)]


def test_sizes_without_an_edge_give_a_table(text):
    found = study_of(text, sets()[:2], dataclasses.replace(CONFIG, least_firings=10**6))
    assert found.tables["splitting"]["steps"][0]["edges"] == 0 and found.summary["families"] == 0
    assert found.summary["splitting"]["child_to_parent"] == [None]
    assert "Splitting: families" in markdown(found.tables)


def test_one_size_is_a_gap(text):
    alone = study_of(text, sets()[:1])
    assert [g["kind"] for g in alone.gaps] == ["splitting"] and "splitting" not in alone.tables
    other = dataclasses.replace(sets()[1], model="B")
    assert study_of(text, [sets()[0], other]).gaps


def test_impossible_settings_are_refused():
    for config, message in (
        (SplittingConfig(threshold=1.0), "threshold is 1.0: expected 0 or more, below 1"),
        (SplittingConfig(least_firings=0), "least_firings is 0: expected 1 or more"),
        (maps.MapConfig(neighbours=1), "map.neighbours is 1: expected 2 or more"),
        (maps.MapConfig(min_dist=2.0), "map.min_dist is 2.0: expected 0 to 1"),
    ):
        with pytest.raises(BadInput, match=message):
            config.check()


def test_a_map_has_every_feature_that_fires(study, monkeypatch):
    """UMAP itself is replaced: tests/analysis/maps tries it."""
    monkeypatch.setattr(maps, "require_umap", lambda: None)
    clusters = {}

    def fake(directions, n_sets, seed, rule):
        # One cluster for each direction.
        ids = [clusters.setdefault(tuple(np.round(d, 4)), len(clusters)) for d in directions]
        n = len(directions)
        return maps.Map(np.asarray(directions)[:, :2], np.asarray(ids, np.int32), np.arange(n, dtype=np.int32))

    monkeypatch.setattr(maps, "make_map", fake)
    maps.find(study, maps.MapConfig())
    table, arrays = study.tables["map"], study.arrays["map"]
    assert table["features"] == len(arrays["feature"]) == 12 + 13 + 15 - 3 and table["clusters"] == planted.F - 1
    assert np.bincount(arrays["set"]).tolist() == [11, 12, 14] and table["rule"]["plane_min_dist"] == 0.01
    assert planted.DEAD_FEATURE - 1 not in arrays["feature"][arrays["set"] == 0]
    for row in table["joins"]:
        assert row["together"] == 1 and row["shuffled"] < 0.4
    assert "Map: clusters" in markdown(study.tables)
    assert len(splitting_figures.map_figure(table, arrays).axes[0].collections) == 3


def test_a_map_without_umap_says_what_to_install(study, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(BadInput, match=r"pip install 'monosem_jax\[map\]'"):
        maps.find(study, maps.MapConfig())
