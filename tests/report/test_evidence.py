from __future__ import annotations

from monosem_jax.report.evidence import markdown

SCORE = {"pearson": 0.5, "specificity": [None, 0.25, None], "specificity_top": 0.98, "specificity_all": 0.8,
         "sensitivity": None}  # fmt: skip
TABLES = {
    "health": {
        "features": {"n_features": 8, "l0": 2.0, "density_decades": {"1e0": 3, "dead": 5}},
        "neurons": {"l0": 4},
    },
    "proxies": {
        "rows": [{"proxy": "arabic", "positive": 70, "best": [{"set": "features", "feature": 3, "score": SCORE}]}]
    },
    "judges": [{"judge": "a|b", "set": "features", "summaries": [
        {"kind": "simulation", "group": "all", "n": 9, "mean": 0.5, "median": 0.25, "shuffled_mean": None},
        {"kind": "simulation", "group": "others", "n": 4, "mean": 0.75, "median": 0.5, "shuffled_mean": None},
    ]}],
    "effects": {
        "ablation": {"features": {"features": 5, "median_loss_change_firing": 0.125}}, "forward_passes": 1234,
        "steering": [{"proxy": "dna", "set": "features", "feature": 3, "strengths": [0.0, 2.0], "share": [0.0, 0.5],
                      "share_unsteered": 0.25, "loss_change": [0.0, 1.5]}],
    },
    "sources": {
        name: {
            "features": 7,
            "main_cause": {"token itself": 5, "BOS": 2},
            "share_of_activation": {"token itself": 1.25, "BOS": -0.25},
            "share_of_size": {"direct": 0.75, "attention": 0.25, "by_distance": {"1": 0.125}, "by_head": [0.0, share]},
        }
        for name, share in (("features", 0.25), ("neurons", None))
    },
    "gaps": [{"kind": "proxy x", "reason": "never\nmatches <b>"}],
}  # fmt: skip


def lines() -> list[str]:
    return markdown(TABLES).split("\n")


def test_sets_stand_side_by_side():
    assert "|  | features | neurons |" in lines()
    assert "| L0 | 2 | 4 |" in lines()
    assert "| density up to 1e0 | 3 | – |" in lines()


def test_a_proxy_has_the_papers_number_beside_and_dashes_for_what_is_not_known():
    assert "| arabic | 70 | features | 3 | 0.5 | 0.74 | 25 % | 98 % | 80 % | – |" in lines()


def test_only_the_whole_sample_of_a_judge_is_shown_and_names_cannot_break_the_table():
    rows = [line for line in lines() if "simulation" in line]
    assert rows == [r"| a\|b | features | simulation | 9 | 0.5 | 0.25 | – |"]


def test_steering_has_a_column_for_every_strength():
    assert "| proxy |  | not steered | 0 | 2 |" in lines()
    assert "| dna | features 3 | 25 % | 0 % (+0.00) | 50 % (+1.50) |" in lines()
    assert "1,234 forward passes." in lines()


def test_sources_of_every_set_stand_side_by_side():
    assert "| mostly caused by: token itself | 5 | 5 |" in lines()
    assert "| share of the activation: BOS | -25 % | -25 % |" in lines()
    assert "| share of the size of all paths: direct | 75 % | 75 % |" in lines()
    assert "| of it, head 1 | 25 % | – |" in lines()


def test_gaps_are_listed_in_one_line_each():
    (line,) = [line for line in lines() if "proxy x" in line]
    assert line.endswith("|") and "matches" in line


def test_nothing_measured_is_an_empty_text():
    assert markdown({}).strip() == ""
