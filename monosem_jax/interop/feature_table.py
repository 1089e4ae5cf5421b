"""A row per feature, as CSV or Parquet: one file for each set of features.

CSV has lists as JSON in one cell. Quotation marks, commas and line breaks in a cell are quoted (RFC 4180, UTF-8). A
text that a spreadsheet would take for a formula, because it begins with = + - @, a tab or a carriage return, gets an
apostrophe in front; so does a text that begins with an apostrophe, so that removing one leading apostrophe always gives
the text back. Numbers are written as they are. Parquet has lists as lists and texts unchanged, but for NUL and halves
of surrogate pairs, which become symbols in both.
"""

from __future__ import annotations

import csv
import itertools
import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from monosem_jax.analysis.records import Feature, ProxyScore
from monosem_jax.interop.analyzed import Analyzed
from monosem_jax.interop.dashboards import plain_text
from monosem_jax.runtime.errors import BadInput

FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
ROWS = 1024  # of a group of rows in Parquet
# The columns of every table, with their types in Parquet; columns of proxies and judges follow.
COLUMNS = {
    "feature": "int64", "density": "float64", "fired": "int64", "largest": "float64", "mean": "float64",
    "label": "string", "label_correlation": "float64", "nearest_label": "string",
    "nearest_label_correlation": "float64", "best_proxy": "string", "best_proxy_pearson": "float64",
    "best_proxy_specificity_top": "float64", "best_proxy_specificity_all": "float64",
    "best_proxy_sensitivity": "float64", "stability": "float64", "token_in_context": "string",
    "neuron": "int64", "neuron_correlation": "float64", "logit_skewness": "float64", "logit_kurtosis": "float64",
    "loss_change_firing": "float64", "explanation": "string", "explanation_judge": "string",
    "top_tokens": "strings", "top_token_shares": "floats", "top_logits": "strings", "top_logit_weights": "floats",
    "bottom_logits": "strings", "bottom_logit_weights": "floats",
}  # fmt: skip


def write_csv(folder: pathlib.Path, analysis: Analyzed) -> str:
    """Writes SET.csv for every set, a row in memory at a time; returns what was written in words."""
    said = []
    for name in analysis.sets:
        types = columns(analysis.unchecked(name))
        with open(folder / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow([cell(column) for column in types])
            count = 0
            for record in analysis.records(name):
                values = row(record)
                table.writerow([cell(values.get(column)) for column in types])
                count += 1
        said.append(f"{name} ({count} rows)")
    return ", ".join(said)


def write_parquet(folder: pathlib.Path, analysis: Analyzed) -> str:
    """Writes SET.parquet for every set, ROWS rows in memory at a time. Raises BadInput where pyarrow is missing."""
    arrow, parquet = _pyarrow()
    kinds = {"int64": arrow.int64(), "float64": arrow.float64(), "string": arrow.string()}
    kinds |= {"strings": arrow.list_(arrow.string()), "floats": arrow.list_(arrow.float64())}
    said = []
    for name in analysis.sets:
        types = columns(analysis.unchecked(name))
        schema = arrow.schema([(column, kinds[kind]) for column, kind in types.items()])
        rows, count = (row(record) for record in analysis.records(name)), 0
        with parquet.ParquetWriter(folder / f"{name}.parquet", schema) as writer:
            while group := list(itertools.islice(rows, ROWS)):
                writer.write_table(arrow.Table.from_pylist(group, schema))
                count += len(group)
        said.append(f"{name} ({count} rows)")
    return ", ".join(said)


def require_pyarrow() -> None:
    """Raises BadInput where pyarrow, which only Parquet needs, is not installed."""
    _pyarrow()


def columns(records: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Column -> type of the table of these records, which may be unchecked: those of COLUMNS in their order, then those
    of the proxies and of the judges that any record has."""
    proxies: dict[str, None] = {}
    judged: dict[str, None] = {}
    for record in records:
        proxies |= dict.fromkeys(_proxy_column(name) for name in _texts(record.get("proxies"), "proxy"))
        kinds = zip(*(_texts(record.get("scores"), key) for key in ("judge", "kind")), strict=False)
        judged |= dict.fromkeys(column for judge, kind in kinds for column in _score_columns(judge, kind))
    return {**COLUMNS, **dict.fromkeys([*sorted(proxies), *judged], "float64")}


def row(record: Feature) -> dict[str, Any]:
    """Column -> value of a feature; what was not measured is missing or None."""
    best = best_proxy(record)
    neuron = next((n for n in record.neighbours if n.set == "neurons" and n.correlation is not None), None)
    explanation = record.explanations[0] if record.explanations else None
    found: dict[str, Any] = {
        "feature": record.feature, "density": record.density, "fired": record.fired, "largest": record.largest,
        "mean": record.mean, "label": record.label, "label_correlation": record.label_correlation,
        "nearest_label": record.nearest_label, "nearest_label_correlation": record.nearest_label_correlation,
        "stability": record.stability,
        "token_in_context": record.token_in_context.token if record.token_in_context else None,
        "neuron": neuron.feature if neuron else None, "neuron_correlation": neuron.correlation if neuron else None,
        "logit_skewness": record.logits.skewness if record.logits else None,
        "logit_kurtosis": record.logits.kurtosis if record.logits else None,
        "loss_change_firing": record.ablation.loss_change_firing if record.ablation else None,
        "explanation": explanation.text if explanation else None,
        "explanation_judge": explanation.judge if explanation else None,
        "top_tokens": [t.token for t in record.top_tokens],
        "top_token_shares": [t.share_of_firings for t in record.top_tokens],
        "top_logits": [t for t, _ in record.top_logits], "top_logit_weights": [v for _, v in record.top_logits],
        "bottom_logits": [t for t, _ in record.bottom_logits],
        "bottom_logit_weights": [v for _, v in record.bottom_logits],
    }  # fmt: skip
    if best is not None:
        found["best_proxy"] = best.proxy
        for key in ("pearson", "specificity_top", "specificity_all", "sensitivity"):
            found[f"best_proxy_{key}"] = getattr(best, key)
    found |= {_proxy_column(p.proxy): p.pearson for p in record.proxies}
    for score in record.scores:
        found |= dict(zip(_score_columns(score.judge, score.kind), (score.value, score.shuffled), strict=True))
    return {column: _plain(value) for column, value in found.items()}


def best_proxy(record: Feature) -> ProxyScore | None:
    """The proxy with which a feature correlates most."""
    return max((p for p in record.proxies if p.pearson is not None), key=lambda p: p.pearson or 0.0, default=None)


def cell(value: Any) -> str | int | float:
    """A value as CSV holds it."""
    if value is None:
        return ""
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _plain(value: Any) -> Any:
    """Texts without NUL and halves of surrogate pairs, which neither CSV nor Parquet holds."""
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return plain_text(value) if isinstance(value, str) else value


def _texts(rows: Any, key: str) -> list[str]:
    """What the rows of an unchecked record have under a key."""
    return [str(row.get(key)) for row in rows or () if isinstance(row, dict)] if isinstance(rows, list) else []


def _proxy_column(proxy: str) -> str:
    return f"proxy_{proxy}_pearson"


def _score_columns(judge: str, kind: str) -> tuple[str, str]:
    return f"score_{judge}_{kind}", f"score_{judge}_{kind}_shuffled"


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise BadInput("--format=parquet needs pyarrow: pip install 'monosem_jax[parquet]'") from None
    return pyarrow, pyarrow.parquet
