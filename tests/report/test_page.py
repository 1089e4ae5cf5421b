import dataclasses
import html
import html.parser
import pathlib
import re
import sys
import tomllib

import numpy as np
import pytest

from monosem_jax.report import plots
from monosem_jax.report.cards import context_tokens
from monosem_jax.report.page import page, write_page
from monosem_jax.report.records import Records
from monosem_jax.report.render import TEMPLATES, environment
from monosem_jax.report.text import token_text, visible
from monosem_jax.runtime.errors import BadInput

ROOT = pathlib.Path(__file__).parents[2]
VOID = {"meta", "br", "hr", "img", "link", "input"}
# Figures take most of the time, and hold no text but the page's own.
NO_FIGURES = {"transformer_metrics": [], "dictionary_metrics": [], "density": np.zeros(4)}
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><b>",
    "</title></bdi>",
    "&lt;",
    "a\u202eb",
    "a\x00b",
    "a\ud800b",
    "<!--",
    "javascript:alert(1)",
]


class Reader(html.parser.HTMLParser):
    """Reads a page, failing on tags that are not balanced; keeps tags, attributes and text."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.attributes, self.texts = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    def values(self, name: str) -> list[str]:
        return [v for k, v in self.attributes if k == name]


def context_html(tokens: list[str], activations: list[float], peak: int, largest: float) -> str:
    """A context as the template of the cards writes it."""
    context = environment().get_template("card.html.j2").module.context
    return str(context(context_tokens(tokens, activations, peak, largest)))


def hostile_records(records: Records, text: str) -> Records:
    """The records with `text` wherever somebody else decides what is written."""
    example = records.features[0].examples[0]
    example = dataclasses.replace(example, label=text, origin=text, tokens=(text,) * len(example.tokens))
    logits = {"top_logits": ((text, 1.0),), "bottom_logits": ((text, -1.0),)}
    feature = dataclasses.replace(records.features[0], label=text, examples=(example,), **logits)
    categories = [dataclasses.replace(records.categories[0], label=text)]
    dictionary = records.dictionary | {"ultralow_note": text, "mse": text}
    fields = {"title": text, "dictionary": dictionary, "categories": categories, "features": [feature]}
    return dataclasses.replace(records, **fields, **NO_FIGURES)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(records, text):
    plain, hostile = Reader(page(hostile_records(records, "PLAIN"))), Reader(page(hostile_records(records, text)))
    assert hostile.tags == plain.tags
    assert [k for k, _ in hostile.attributes] == [k for k, _ in plain.attributes]
    assert "".join(hostile.texts).count(visible(text)) == "".join(plain.texts).count("PLAIN") > 15


def test_no_script_handler_or_foreign_resource_is_on_the_page(many_records):
    text = page(many_records)
    reader = Reader(text)
    assert not {"script", "iframe", "object", "embed", "link", "img", "form", "base"} & set(reader.tags)
    assert not [k for k, _ in reader.attributes if k.startswith("on")]
    assert "http://" not in text and "https://" not in text and "@import" not in text
    assert all(v.startswith("#") for name in ("href", "src", "xlink:href") for v in reader.values(name))
    assert all(u.startswith("#") for u in re.findall(r"url\(([^)]*)\)", text))


def test_the_policy_forbids_everything_but_inline_style(records):
    policy = next(v for v in Reader(page(records)).values("content") if "default-src" in v)
    assert "default-src 'none'" in policy and "style-src 'unsafe-inline'" in policy and "script-src" not in policy


def test_every_feature_has_its_card_and_its_link(many_records):
    reader = Reader(page(many_records))
    for f in many_records.features:
        assert f"f{f.feature}" in reader.values("id")
        assert f"#f{f.feature}" in reader.values("href")
    assert reader.tags.count("article") == 60


def test_ids_are_unique_and_links_lead_somewhere(many_records):
    text = page(many_records)
    reader = Reader(text)
    ids = reader.values("id")
    assert len(ids) == len(set(ids))
    targets = [v[1:] for v in reader.values("href")] + re.findall(r"url\(#([^)]*)\)", text)
    assert set(targets) <= set(ids)


def test_a_category_links_to_its_card_only_if_there_is_one(changed, records):
    text = page(changed(features=records.features[1:2], **NO_FIGURES))
    assert 'href="#f1"' in text and 'href="#f0"' not in text


def test_the_better_of_feature_and_neuron_is_emphasised_and_counted(changed, records):
    pairs = [(0.9, 0.1), (0.1, 0.9), (0.4, float("nan")), (0.9, 0.2)]
    rows = [dataclasses.replace(records.categories[0], feature_correlation=a, neuron_correlation=b) for a, b in pairs]
    text = page(changed(categories=rows, **NO_FIGURES))
    assert "2 of 4 categories: the feature beats the neuron." in text
    assert text.count("<strong>0.900 ✓</strong>") == 3
    assert "<strong>0.100" not in text and "<strong>0.400" not in text


def test_shading_grows_with_activation():
    text = context_html(list("abcde"), [0.0, 0.5, 1.0, 2.0, 4.0], peak=4, largest=4.0)
    shades = [float(x) for x in re.findall(r"--a:([\d.]+)", text)]
    assert shades == sorted(set(shades)) and len(shades) == 4 and shades[-1] == 1
    assert text.startswith("a<bdi") and text.count('class="peak"') == 1 and 'title="4"' in text


@pytest.mark.parametrize("largest", [0.0, float("nan")])
def test_a_feature_without_a_largest_activation_is_not_shaded(largest):
    assert "--a:0.00" in context_html(["a", "b"], [0.0, float("nan")], peak=1, largest=largest)


def test_tokens_that_read_right_to_left_are_isolated():
    assert context_html(["a", "שלום", "b"], [0.0, 0.0, 0.0], peak=2, largest=1.0).startswith("a<bdi>שלום</bdi>")


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        *(("\n", "↵"), ("\t", "⇥"), (" ", "␣"), (" a", " a"), ("\x00", "␀"), ("\x85", "\\x85"), ("\u202e", "\\u202e")),
        *(("\u200b", "\\u200b"), ("\ud800", "\\ud800"), ("\U000e0001", "\\U000e0001"), ("🙂", "🙂"), ("字", "字")),
    ],
)
def test_what_has_no_glyph_is_made_visible(token, shown):
    assert visible(token_text(token)) == shown


@pytest.mark.parametrize("key", ["loss_recovered_zero", "l0", "mse", "n_features", "dead", "ultralow", "wall_seconds"])
def test_a_missing_number_is_a_missing_row(changed, records, key):
    rows = Reader(page(changed(**NO_FIGURES))).tags.count("tr")
    less = page(changed(dictionary={k: v for k, v in records.dictionary.items() if k != key}, **NO_FIGURES))
    assert Reader(less).tags.count("tr") == rows - 1


def test_without_numbers_there_is_no_section_for_them(changed):
    text = page(changed(dictionary={}, transformer=None, **NO_FIGURES))
    assert 'id="numbers"' not in text and "#numbers" not in text


def test_ultralow_that_could_not_be_measured_says_why(changed, records):
    assert "too few to tell" in page(records)
    measured = page(changed(dictionary=records.dictionary | {"ultralow": 41}))
    assert "too few to tell" not in measured and "<td>41<small>1 %</small></td>" in measured


def test_loss_recovered_is_explained_beside_its_value(records):
    text = Reader(page(records)).text
    assert "94.31 %" in text and "(L_ablated − L_reconstructed) / (L_ablated − L_intact)" in text


def test_curves_bigram_and_resampling_are_drawn(records):
    reader = Reader(page(records))
    labels = reader.values("aria-label")
    assert sum("Curves" in x for x in labels) == 5 and reader.tags.count("svg") == 6
    assert any("bigram model 5.331" in x and "held-out" in x for x in labels)
    assert "dead features were resampled" in reader.text


def test_without_metrics_there_are_no_curves(changed):
    reader = Reader(page(changed(transformer_metrics=[], dictionary_metrics=[], resample_steps=[])))
    assert reader.tags.count("svg") == 1 and "training" not in reader.values("id")


def test_points_that_are_not_finite_are_left_out():
    rows = [{"step": i, "loss": v} for i, v in enumerate([3.0, float("nan"), None, float("inf"), 1.0])]
    assert plots.line(rows, "loss", "loss").values == [3.0, 1.0]
    assert plots.curves("x", [plots.line(rows[1:4], "loss", "loss")], "nats", level=("bigram", 5.0)) == ""
    assert "<svg" in plots.curves("x", [plots.line(rows[:1], "loss", "loss")], "nats", log=True)


def test_a_curve_that_reaches_zero_is_still_drawn():
    rows = [{"step": i, "l0": v} for i, v in enumerate([3.0, 0.0])]
    assert "<svg" in plots.curves("x", [plots.line(rows, "l0", "L0")], "features", log=True)


def test_a_dictionary_that_is_all_dead_is_said_to_be(changed):
    reader = Reader(page(changed(density=np.zeros(8))))
    assert "0 features that fired" in reader.text and "8 dead features" in reader.text
    assert reader.tags.count("svg") == 5


def test_dead_features_are_counted_apart_and_ultralow_marked_where_there_are_any(changed):
    few = page(changed(density=np.array([0, 0, 1e-3, 1.0, 2e-4])))
    assert "3 features that fired" in few and "2 dead features" in few and "ultralow</text>" not in few
    assert "ultralow</text>" in page(changed(density=np.array([1e-3, 2e-7])))


def test_no_features_and_no_categories_leave_a_valid_page(changed):
    reader = Reader(page(changed(features=[], categories=[], density=np.zeros(0))))
    assert {"features", "categories", "density"}.isdisjoint(reader.values("id"))


def test_a_feature_without_examples_says_so(changed, records):
    nothing = {"examples": (), "largest": 0.0, "density": 0.0, "top_logits": (), "bottom_logits": ()}
    feature = dataclasses.replace(records.features[0], **nothing)
    assert "It fired on no token." in page(changed(features=[feature], **NO_FIGURES))


def test_the_same_records_give_the_same_bytes_and_nothing_but_utf8(tmp_path, records):
    for name in ("a.html", "b.html"):
        write_page(tmp_path / name, records)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    write_page(tmp_path / "c.html", hostile_records(records, "\ud800\r\n"))
    assert "\\ud800␍↵" in (tmp_path / "c.html").read_bytes().decode("utf-8")


def test_sixty_features_fit_in_three_megabytes(many_records):
    assert len(page(many_records).encode()) < 3e6


@pytest.mark.parametrize(("module", "name"), [("matplotlib", "matplotlib"), ("jinja2", "Jinja2")])
def test_a_missing_library_is_named_with_the_way_to_get_it(monkeypatch, tmp_path, records, module, name):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BadInput, match=rf"the report needs {name}: pip install 'monosem_jax\[report\]'"):
        write_page(tmp_path / "index.html", records)
    assert not (tmp_path / "index.html").exists()


def test_whatever_a_template_prints_is_escaped_and_made_visible():
    """Unless it is markup; no template has to ask for it."""
    template = environment().from_string("<i title='{{ x }}'>{{ x }}</i>{{ n }}")
    assert template.render(x="<b>'\"&\u202e\n", n=3) == (
        "<i title='&lt;b&gt;&#39;&#34;&amp;\\u202e↵'>&lt;b&gt;&#39;&#34;&amp;\\u202e↵</i>3"
    )


def test_no_template_switches_escaping_off():
    templates = [p for p in TEMPLATES.iterdir() if p.suffix == ".j2"]
    assert len(templates) >= 7
    for path in templates:
        assert not re.search(r"\|\s*safe|autoescape|Markup", path.read_text(encoding="utf-8")), path.name


def test_all_that_templates_are_made_of_is_shipped():
    shipped = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert "templates/*" in shipped["monosem_jax.report"] and not [p for p in TEMPLATES.iterdir() if p.is_dir()]
