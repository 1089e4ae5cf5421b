"""The table and the figures of a sweep, compared with an independent computation from the rows."""

from __future__ import annotations

import csv
import io
import itertools
import statistics
import struct
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from monosem_jax.report import pareto
from monosem_jax.report.figures import COLOURS, MARKERS, Series, mean, pareto_figure, sizes_figure
from monosem_jax.report.pareto import COLUMNS, front, settings, table, to_csv, write_sweep
from monosem_jax.report.plots import STYLE
from monosem_jax.runtime.errors import BadInput
from tests.cases import cases

ALL = [
    "sweep.csv",
    *(f"{n}.{e}" for n in ("pareto_loss", "pareto_mse", "pareto_dense", "sizes") for e in ("png", "svg")),
]


def make_rows(sizes=(512, 2048, 8192), l1s=(0.004, 0.016, 0.008), seeds=(0, 1), **fixed) -> list[dict]:
    """Members with numbers that fall and rise as they do, with noise."""
    rng = np.random.default_rng(0)
    rows = []
    for n, l1, seed in itertools.product(sizes, l1s, seeds):
        mse = 0.02 * l1**0.4 * (512 / n) ** 0.1 * np.exp(0.05 * rng.normal())
        rows.append(
            {
                "name": f"f{n}_{l1}_{seed}",
                "n_features": n,
                "l1_coefficient": l1,
                "seed": seed,
                "l0": 0.08 / l1 * n**0.25 * np.exp(0.08 * rng.normal()),
                "mse": mse,
                "variance_explained": 1 - 100 * mse,
                "loss_recovered_zero": 1 - 8 * mse * np.exp(0.05 * rng.normal()),
                "loss_recovered_mean": 1 - 10 * mse,
                "dead": int(n * rng.uniform(0, 0.5)),
                "ultralow": int(n * rng.uniform(0, 0.2)),
                "l0_share_above_1pct": 20 * mse,
                "median_density": 0.1 * mse,
                "diverged_at_step": None,
            }
            | fixed
        )
    return rows


def without(rows, *columns):
    return [{k: v for k, v in row.items() if k not in columns} for row in rows]


def dominated(a, others) -> bool:
    """Whether any point is at most a in both coordinates, and less in one."""
    return any(b[0] <= a[0] and b[1] <= a[1] and b != a for b in others)


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """A function that returns the figures that rows would be drawn as, by name, laid out."""

    def figures(rows):
        found = {}

        def keep(directory, name, draw):
            with matplotlib.rc_context(STYLE):
                found[name] = draw()
                found[name].draw_without_rendering()
            return []

        monkeypatch.setattr(pareto, "write_figure", keep)
        write_sweep(tmp_path, rows)
        return found

    return figures


def lines(axes) -> dict[str, tuple[list, list]]:
    """The joined lines of a figure by label."""
    return {x.get_label(): tuple(map(list, x.get_data())) for x in axes.lines if not x.get_label().startswith("_")}


def small(axes) -> set[tuple[float, float]]:
    """The points of all small markers."""
    return {p for x in axes.lines if x.get_linestyle() == "None" for p in zip(*x.get_data(), strict=True)}


@cases("seed", range(40))
def test_the_front_is_what_no_other_point_dominates(seed):
    rng = np.random.default_rng(seed)
    points = [tuple(map(float, p)) for p in rng.integers(0, rng.integers(2, 12), (rng.integers(1, 25), 2))]
    found = front(points)
    assert sorted(found) == [i for i, p in enumerate(points) if not dominated(p, points)]
    assert [points[i] for i in found] == sorted(points[i] for i in found)


def test_the_front_of_little():
    assert front([]) == []
    assert front([(1.0, 2.0)]) == [0]
    assert front([(1.0, 2.0), (1.0, 2.0)]) == [0, 1]
    assert front([(1.0, 2.0), (1.0, 1.0), (2.0, 1.0), (0.0, 3.0)]) == [3, 1]


def test_every_file_is_written_and_named(tmp_path):
    found = write_sweep(tmp_path / "new" / "report", make_rows())
    assert [p.name for p in found] == ALL
    assert sorted(p.name for p in (tmp_path / "new" / "report").iterdir()) == sorted(ALL)
    assert all(p.stat().st_size > 500 for p in found)


@pytest.mark.parametrize(
    ("rows", "left"),
    [
        ([], ["sweep.csv"]),
        (make_rows(diverged_at_step=7), ["sweep.csv"]),
        (make_rows(loss_recovered_zero=None, loss_recovered_mean=None), [ALL[0], *ALL[3:]]),
        (without(make_rows(), "loss_recovered_zero", "loss_recovered_mean", "mse"), [ALL[0], *ALL[5:]]),
        (make_rows(mse=float("nan"), l0_share_above_1pct=None), [*ALL[:3], *ALL[7:]]),
        (make_rows(dead=None, ultralow=None), ALL[:7]),
        (make_rows(ultralow=None), ALL),
        (make_rows(dead=None), ALL),
        (make_rows(loss_recovered_zero=None), ALL),
        (make_rows(l0=0.0), [ALL[0], *ALL[7:]]),
        (make_rows(n_features=None), ["sweep.csv"]),
        (make_rows((512,), (0.004,), (3,)), ALL),
        (make_rows(l1s=(0.004,)), ALL),
        (make_rows(l1_coefficient=None), ALL),
    ],
    ids=["none", "diverged", "no loss", "only sizes", "nan", "no counts", "no ultralow", "no dead", "mean only",
         "l0 of 0", "no size", "one member", "one L1", "no L1"],
)  # fmt: skip
def test_a_figure_without_numbers_is_left_out(monkeypatch, tmp_path, rows, left):
    def write(directory, name, draw):
        assert draw() is not None
        return [directory / f"{name}.{kind}" for kind in ("png", "svg")]

    monkeypatch.setattr(pareto, "write_figure", write)
    assert [p.name for p in write_sweep(tmp_path, rows)] == left


def test_equal_rows_give_equal_bytes_whatever_their_order(tmp_path):
    rows = make_rows()
    first = write_sweep(tmp_path / "a", rows)
    second = write_sweep(tmp_path / "b", rows[::-1])
    for a, b in zip(first, second, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name


def test_files_hold_neither_date_nor_version(tmp_path):
    for path in write_sweep(tmp_path, make_rows()):
        data = path.read_bytes()
        if path.suffix == ".svg":
            assert b"dc:date" not in data and b"atplotlib v" not in data
        elif path.suffix == ".png":
            at, kinds = 8, []
            while at < len(data):
                length, kind = struct.unpack(">I4s", data[at : at + 8])
                if kind == b"IHDR":
                    assert struct.unpack(">II", data[at + 8 : at + 16]) == (1260, 720)
                kinds, at = [*kinds, kind], at + 12 + length
            assert set(kinds) == {b"IHDR", b"pHYs", b"IDAT", b"IEND"}


def test_without_matplotlib_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(BadInput, match=r"pip install 'monosem_jax\[report\]'"):
        write_sweep(tmp_path / "x", make_rows())
    assert not (tmp_path / "x").exists()


def test_the_csv_has_every_column_and_every_number_to_the_last_digit():
    rows = make_rows()
    read = list(csv.DictReader(io.StringIO(to_csv(rows), newline="")))
    assert list(read[0]) == list(COLUMNS)
    by_name = {r["name"]: r for r in read}
    assert len(by_name) == len(rows)
    for row in rows:
        for column in COLUMNS:
            text = by_name[row["name"]][column]
            assert text == "" if row.get(column) is None else column == "name" or float(text) == row[column]


def test_the_csv_is_in_a_stable_order():
    rows = make_rows()
    read = csv.DictReader(io.StringIO(to_csv(rows[::-1]), newline=""))
    order = [(int(r["n_features"]), float(r["l1_coefficient"]), int(r["seed"])) for r in read]
    assert order == sorted(order)
    partly = [{"name": "b"}, {"n_features": 4, "name": "x"}, {"name": "a"}, {"n_features": 4, "l1_coefficient": 1.0}]
    read = csv.DictReader(io.StringIO(to_csv(partly), newline=""))
    assert [(r["n_features"], r["l1_coefficient"], r["name"]) for r in read] == [
        ("4", "1.0", ""), ("4", "", "x"), ("", "", "a"), ("", "", "b"),
    ]  # fmt: skip


def test_the_csv_quotes_as_the_rfc_says():
    text = to_csv([{"name": 'a "b", c\nd', "seed": 1, "z": None, "y": 0, "b": "x", "a": 2, "c": 3, "w": 4}])
    header = ",".join([*COLUMNS, "a", "b", "c", "w", "y", "z"])
    assert text == header + '\r\n"a ""b"", c\nd",,,1,,,,,,,,,,,,,,,2,x,3,4,0,\r\n'


def test_the_table_shows_every_member():
    rows = make_rows(seeds=(0, 123_456))
    header, *body = table(rows).split("\n\n")[0].split("\n")
    headings = [
        "name",
        "features",
        "L1",
        "seed",
        "L0",
        "mse",
        "variance",
        "loss (zero)",
        "loss (mean)",
        "dead",
        "ultralow",
        "L0 by > 1 %",
        "median density",
    ]
    assert [h.strip() for h in header.split("  ") if h] == headings
    assert len(body) == len(rows)
    for row, line in zip(
        sorted(rows, key=lambda r: (r["n_features"], r["l1_coefficient"], r["seed"])), body, strict=True
    ):
        assert line.replace(" %", "%").removesuffix("*").split() == [
            row["name"], f"{row['n_features']:,}", f"{row['l1_coefficient']:g}", f"{row['seed']}",
            f"{row['l0']:.4g}", f"{row['mse']:.4g}",
            *(f"{100 * row[c]:.2f}%" for c in ("variance_explained", "loss_recovered_zero", "loss_recovered_mean")),
            f"{row['dead']:,}", f"{row['ultralow']:,}",
            f"{100 * row['l0_share_above_1pct']:.2f}%", f"{row['median_density']:.4g}",
        ]  # fmt: skip


def test_the_columns_of_the_table_are_aligned():
    header, *body = table(make_rows(sizes=(64, 131_072))).split("\n\n")[0].split("\n")
    end = header.index("L0") + 2
    assert all(line[end - 1] != " " and line[end : end + 2] == "  " for line in body)
    assert all(line.index("  ") <= len("f131072_0.016_0") for line in body)


def test_the_table_leaves_out_what_nobody_has_and_marks_what_one_has_not():
    rows = make_rows(ultralow=None)
    rows[0]["mse"] = None
    text = table(without(rows, "loss_recovered_mean"))
    header, first = text.split("\n")[:2]
    assert "ultralow" not in header and "loss (mean)" not in header and "loss (zero)" in header
    assert first.split()[5] == "–"


def test_members_that_diverged_are_named_in_the_table():
    rows = make_rows()
    rows[4] |= {"diverged_at_step": 12_345, "mse": None, "loss_recovered_zero": None}
    rows[0] |= {"diverged_at_step": 0}
    lines = table(rows).split("\n\n")[0].split("\n")
    (line,) = (x for x in lines if x.startswith(rows[4]["name"]))
    assert line.endswith("diverged at step 12,345")
    assert sum("diverged at step" in x for x in lines) == 2
    assert {x.index("*") for x in lines if "*" in x} == {line.index("diverged")}


@pytest.mark.parametrize("metric", ["loss_recovered_zero", "loss_recovered_mean", "mse"])
def test_the_table_marks_the_settings_that_no_other_dominates(metric):
    missing = {"loss_recovered_zero": (), "loss_recovered_mean": pareto.LOSSES[:1], "mse": pareto.LOSSES}[metric]
    rows = without(make_rows(l1s=(0.004, 0.005, 0.006, 0.008)), *missing)
    groups = {}
    for row in rows:
        groups.setdefault((row["n_features"], row["l1_coefficient"]), []).append(row)
    sign = 1 if metric == "mse" else -1
    means = {
        key: (statistics.fmean(r["l0"] for r in same), sign * statistics.fmean(r[metric] for r in same))
        for key, same in groups.items()
    }
    best = {r["name"] for key, same in groups.items() if not dominated(means[key], means.values()) for r in same}
    assert 0 < len(best) < len(rows)
    text = table(rows)
    assert {line.split()[0] for line in text.split("\n\n")[0].split("\n") if line.endswith("*")} == best
    better = "a lower mean squared error" if metric == "mse" else "a higher loss recovered"
    assert text.endswith(f"* the front: no other setting has a lower L0 and {better}, both as means over seeds")


def test_without_a_front_there_is_no_note_on_it():
    assert "front" not in table(make_rows(diverged_at_step=5))
    assert table([]) == ""


def test_names_cannot_break_the_table():
    assert len(table(make_rows((512,), (0.004,), (0,), name="a\nb\x1b[2J")).split("\n\n")[0].split("\n")) == 2


def test_settings_leave_out_what_cannot_be_drawn():
    rows = make_rows((512,), (0.004,), range(7))
    rows[0]["diverged_at_step"] = 0
    rows[1]["l0"] = 0.0
    rows[2]["mse"] = float("inf")
    del rows[3]["l0"]
    rows[4]["n_features"] = None
    rows[5]["l0"] = 0.5
    assert settings(rows, "mse") == {(512, 0.004): [(r["l0"], r["mse"]) for r in rows[5:]]}


def test_members_without_an_l1_coefficient_are_settings_of_their_own():
    assert len(settings(make_rows((512,), (0.004,), range(3), l1_coefficient=None), "mse")) == 3


@pytest.mark.parametrize(("name", "metric"), [("pareto_loss", "loss_recovered_zero"), ("pareto_mse", "mse")])
def test_a_line_for_every_size_joins_the_means_over_seeds_by_l0(drawn, name, metric):
    rows = make_rows()
    (axes,) = drawn(rows)[name].axes
    found = lines(axes)
    assert list(found) == ["512", "2,048", "8,192", "front"]
    for n, label in ((512, "512"), (2048, "2,048"), (8192, "8,192")):
        means = sorted(
            tuple(
                statistics.fmean(r[c] for r in rows if (r["n_features"], r["l1_coefficient"]) == (n, l1))
                for c in ("l0", metric)
            )
            for l1 in (0.004, 0.008, 0.016)
        )
        assert np.allclose(np.transpose(found[label]), means)
    assert small(axes) == {(r["l0"], r[metric]) for r in rows}


@pytest.mark.parametrize(
    ("name", "metric", "sign"),
    [("pareto_loss", "loss_recovered_zero", -1), ("pareto_mse", "mse", 1), ("pareto_dense", "l0_share_above_1pct", 1)],
)
def test_the_front_is_drawn_in_steps_from_left_to_right(drawn, name, metric, sign):
    rows = make_rows(l1s=(0.004, 0.005, 0.006, 0.008), seeds=(0,))
    (axes,) = drawn(rows)[name].axes
    points = [(r["l0"], sign * r[metric]) for r in rows]
    best = sorted(p for p in points if not dominated(p, points))
    assert 1 < len(best) < len(points)
    (line,) = (x for x in axes.lines if x.get_label() == "front")
    assert np.allclose(np.transpose(line.get_data()), [(x, sign * y) for x, y in best])
    assert line.get_drawstyle() == "steps-post" and line.get_markerfacecolor() == "none"
    others = [x for x in axes.lines if x is not line]
    assert all(x.get_zorder() > line.get_zorder() and x.get_color() != line.get_color() for x in others)


def test_sizes_stand_in_order_and_settings_by_their_mean(drawn):
    rows = make_rows(sizes=(13, 8, 1), l1s=(0.1, 0.2))
    for row in rows:  # the first seed would have them in another order
        row["l0"] = {(0.1, 0): 5.0, (0.1, 1): 5.0, (0.2, 0): 4.0, (0.2, 1): 10.0}[row["l1_coefficient"], row["seed"]]
    found = lines(drawn(rows)["pareto_mse"].axes[0])
    assert list(found) == ["1", "8", "13", "front"]
    assert all(found[n][0] == [5.0, 7.0] for n in ("1", "8", "13"))


def test_members_lie_behind_their_means_and_look_like_them(drawn):
    for figure in drawn(make_rows()).values():
        for axes in figure.axes:
            joined = {(x.get_color(), x.get_marker()): x for x in axes.lines if x.get_linestyle() == "-"}
            members = [x for x in axes.lines if x.get_linestyle() == "None" and len(x.get_xdata())]
            assert len(members) == 3
            for x in members:
                line = joined[x.get_color(), x.get_marker()]
                assert x.get_zorder() < line.get_zorder() and x.get_markersize() < line.get_markersize()


def test_a_single_seed_has_no_small_markers(drawn):
    figure = drawn(make_rows(seeds=(0,)))["pareto_mse"]
    assert small(figure.axes[0]) == set()
    assert "one seed" not in [t.get_text() for t in figure.legends[0].get_texts()]
    several = drawn(make_rows())["pareto_mse"]
    assert [t.get_text() for t in several.legends[0].get_texts()] == ["512", "2,048", "8,192", "front", "one seed"]


def test_members_that_diverged_are_not_drawn(drawn):
    rows = make_rows()
    for row in rows[:6]:
        row["diverged_at_step"] = 3
    figures = drawn(rows)
    assert list(lines(figures["pareto_loss"].axes[0])) == ["2,048", "8,192", "front"]
    assert [t.get_text() for t in figures["sizes"].axes[0].get_xticklabels()] == ["2,048", "8,192"]
    assert small(figures["pareto_loss"].axes[0]) == {(r["l0"], r["loss_recovered_zero"]) for r in rows[6:]}


def test_loss_recovered_against_mean_ablation_takes_the_place_of_one_that_is_missing(drawn):
    label = lambda rows: drawn(rows)["pareto_loss"].axes[0].get_ylabel()  # noqa: E731
    assert label(make_rows()) == "loss recovered (zero ablation)"
    assert label(make_rows(loss_recovered_zero=None)) == "loss recovered (mean ablation)"


def test_axes_say_what_they_are(drawn):
    figures = drawn(make_rows())
    loss, mse, sizes = (figures[n].axes[0] for n in ("pareto_loss", "pareto_mse", "sizes"))
    assert loss.get_xscale() == mse.get_xscale() == sizes.get_xscale() == "log"
    assert sizes.xaxis.get_transform().base == 2
    assert loss.get_xlabel() == mse.get_xlabel() == "L0: features active per token"
    assert mse.get_ylabel() == "mean squared error"
    assert all(t.get_text().endswith(" %") for t in loss.get_yticklabels())
    assert not any(t.get_text().endswith("%") for t in mse.get_yticklabels())
    for axes in figures["sizes"].axes:
        assert axes.get_xlabel() == "features in the dictionary"
        assert all(t.get_text().endswith(" %") for t in axes.get_yticklabels())
        assert axes.get_xlim()[0] < 512 < 8192 < axes.get_xlim()[1]
    assert [a.get_ylabel() for a in figures["sizes"].axes] == ["share of the features", ""]
    for axes in (loss, mse, sizes):
        assert not len(axes.xaxis.get_minorticklocs())
    titles = [a.get_title(loc="left") for a in figures["sizes"].axes]
    assert titles == ["dead: never active", "ultralow: on < 1 token in 10⁶"]
    assert figures["pareto_loss"].legends[0].get_title().get_text() == "features"
    assert figures["sizes"].legends[0].get_title().get_text() == "L1"


@pytest.mark.parametrize(("factor", "scale"), [(1.0, "linear"), (3.9, "linear"), (4.1, "log"), (1000.0, "log")])
def test_errors_of_different_magnitude_get_a_logarithmic_axis(drawn, factor, scale):
    rows = make_rows((512,), (0.004, 0.008), (0,), mse=0.001)
    rows[0]["mse"] *= factor
    assert drawn(rows)["pareto_mse"].axes[0].get_yscale() == scale
    rows[0]["mse"] = 0.0
    assert drawn(rows)["pareto_mse"].axes[0].get_yscale() == "linear"


@cases("low", [0.013, 1.0, 7.3, 40.0, 999.0])
@cases("ratio", [1.0, 1.05, 1.7, 3.0, 5.0, 25.0, 40.0, 1000.0])
def test_an_axis_of_l0_has_labels_that_can_be_told_apart(low, ratio):
    with matplotlib.rc_context(STYLE):
        figure = pareto_figure([Series("a", [[(low, 0.5)], [(low * ratio, 0.6)]])], [(low, 0.5)], "y", share=True)
        figure.draw_without_rendering()
    (axes,) = figure.axes
    shown = [t for t in axes.get_xticklabels() if axes.get_xlim()[0] <= t.get_position()[0] <= axes.get_xlim()[1]]
    assert 2 <= len({t.get_text() for t in shown}) == len(shown) <= 12
    boxes = [t.get_window_extent() for t in shown]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert axes.get_xlim()[0] < low and low * ratio < axes.get_xlim()[1]


def test_nothing_lies_outside_of_the_figure_and_the_legend_beside_the_axes(drawn):
    for figure in drawn(make_rows(sizes=(512, 1024, 4096, 16_384, 32_768, 131_072))).values():
        whole, (legend,) = figure.bbox, figure.legends
        for axes in figure.axes:
            box = axes.get_tightbbox()
            assert whole.x0 <= box.x0 and box.x1 <= whole.x1 + 1 and whole.y0 <= box.y0 and box.y1 <= whole.y1 + 1
            assert not axes.get_window_extent().overlaps(legend.get_window_extent())
            assert not axes.title.get_window_extent().overlaps(legend.get_window_extent())


def test_one_member_stands_in_the_middle(drawn):
    row = make_rows((4096,), (0.004,), (0,))[0]
    figures = drawn([row])
    (axes,) = figures["pareto_loss"].axes
    assert axes.get_xlim() == pytest.approx((row["l0"] / 2, 2 * row["l0"]))
    assert axes.get_ylim() == pytest.approx((row["loss_recovered_zero"] - 0.01, row["loss_recovered_zero"] + 0.01))
    assert lines(axes)["front"] == ([row["l0"]], [row["loss_recovered_zero"]])
    assert lines(figures["sizes"].axes[0]) == {"0.004": ([4096], [row["dead"] / 4096])}


def test_sizes_show_the_share_of_dead_and_ultralow_features_for_every_coefficient(drawn):
    rows = make_rows(seeds=(0, 1, 2))
    figure = drawn(rows)["sizes"]
    for axes, column in zip(figure.axes, ("dead", "ultralow"), strict=True):
        found = lines(axes)
        assert list(found) == ["0.004", "0.008", "0.016"]
        for label, (sizes, shares) in found.items():
            assert sizes == [512, 2048, 8192]
            for n, share in zip(sizes, shares, strict=True):
                same = [r for r in rows if (r["n_features"], r["l1_coefficient"]) == (n, float(label))]
                assert share == pytest.approx(statistics.fmean(r[column] / n for r in same))
        assert small(axes) == {(r["n_features"], r[column] / r["n_features"]) for r in rows}
        assert [t.get_text() for t in axes.get_xticklabels()] == ["512", "2,048", "8,192"]
        assert axes.get_ylim()[0] == 0


def test_coefficients_stand_in_order_and_look_the_same_in_both_panels(drawn):
    rows = make_rows(seeds=(0,), l1s=(0.002, 0.004, 0.008))
    rows = [r for r in rows if (r["n_features"], r["l1_coefficient"]) != (512, 0.002)]
    for row in rows:
        if row["l1_coefficient"] == 0.002:
            row["dead"] = None
        if row["l1_coefficient"] == 0.008:
            row["ultralow"] = None
    rows.append({"name": "top-k", "n_features": 512, "dead": 3, "ultralow": 1})
    figure = drawn(rows)["sizes"]
    looks = [{x.get_label(): (x.get_color(), x.get_marker()) for x in a.lines} for a in figure.axes]
    assert list(looks[0]) == ["0.004", "0.008", "none"] and list(looks[1]) == ["0.002", "0.004", "none"]
    assert all(looks[0][label] == looks[1][label] for label in ("0.004", "none"))
    assert len({*looks[0].values(), *looks[1].values()}) == 4
    assert {t.get_text() for t in figure.legends[0].get_texts()} == {"0.002", "0.004", "0.008", "none"}


def test_shares_of_zero_have_room_above(drawn):
    axes = drawn(make_rows(dead=0))["sizes"].axes[0]
    assert axes.get_ylim()[0] == 0 and axes.get_ylim()[1] >= 0.01


def test_many_sizes_have_slanted_labels():
    for n, angle in ((3, 0), (6, 40)):
        series = [Series("0.004", [[(512 * 2**i, 0.1)] for i in range(n)])]
        figure = sizes_figure({"dead": series})
        assert {t.get_rotation() for t in figure.axes[0].get_xticklabels()} == {angle}


def test_no_two_of_many_series_look_alike():
    with matplotlib.rc_context(STYLE):
        figure = pareto_figure([Series(f"{i}", [[(i + 1, 0.5)]]) for i in range(56)], [(1, 0.5)], "y", share=True)
    looks = {(x.get_color(), x.get_marker()) for x in figure.axes[0].lines if x.get_label() != "front"}
    assert len(looks) == 56 == len(COLOURS) * len(MARKERS)


def seen(colour, kind: str) -> np.ndarray:
    """A colour in CIELAB as the colour-blind see it (Viénot 1999), or with all cones for ""."""
    linear = np.array([c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)])
    lms = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]])
    lost = {"": np.eye(3), "protan": [[0, 2.02344, -2.52581], [0, 1, 0], [0, 0, 1]],
            "deutan": [[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]]}[kind]  # fmt: skip
    linear = np.clip(np.linalg.inv(lms) @ lost @ lms @ linear, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    f = np.cbrt(np.maximum(xyz / [0.9505, 1, 1.089], 0.008856))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("kind", ["", "protan", "deutan"])
def test_the_colour_blind_tell_the_colours_apart(kind):
    distances = [np.linalg.norm(seen(a, kind) - seen(b, kind)) for a, b in itertools.combinations(COLOURS, 2)]
    assert min(distances) > 8


def test_a_mean_is_that_of_each_coordinate():
    assert mean([(1.0, 10.0), (2.0, 20.0), (6.0, 60.0)]) == (3.0, 30.0)


def test_figures_of_evidence_are_drawn_after_an_analysis(tmp_path):
    rows = [{**row, "fms_1": 0.3 + row["l0"] / 1000, "judge_score": 0.5} for row in make_rows()]
    names = {p.name for p in write_sweep(tmp_path, rows)}
    assert names == {*ALL, *(f"{n}.{e}" for n in ("pareto_fms", "pareto_judge") for e in ("png", "svg"))}
    assert "FMS@1" in table(rows).split("\n")[0] and "FMS@1" not in table(make_rows()).split("\n")[0]
