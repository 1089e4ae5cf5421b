"""The index of a set: what the table of features shows of each, as columns in segments."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from monosem_jax.report.browser.container import write_json_chunk
from monosem_jax.report.browser.search import SearchIndex
from monosem_jax.runtime.errors import BadInput

LONGEST_TEXT = 100  # characters of an explanation in the index


class SetIndex:
    """Takes the records of a set in their order and writes the segments of its index as they fill; memory is flat in
    the number of records. The columns are those of the index of the records, with 9 digits of the density in place of 3
    so that no feature changes sides of a bound such as a hundredth, and `text`, an explanation, and `best`, the label
    for which it is the best feature or -1."""

    SEGMENT = 8192  # records of a segment: the first is enough for the first rows of the table

    def __init__(self, folder: pathlib.Path, prefix: str, labels: Sequence[str], proxies: Sequence[str]):
        self._folder, self._prefix = folder, prefix
        self._labels, self._proxies = ({n: i for i, n in enumerate(names)} for names in (labels, proxies))
        self._search = SearchIndex(folder)
        self._columns: dict[str, list[Any]] = {}
        self._written = 0
        self.records = 0

    def add(self, record: Mapping[str, Any], where: object) -> None:
        """Adds a record; raises BadInput naming `where` it stands when it is none."""
        try:
            self._search.add(self.records, record)
            values = self._values(record)
            if not all(math.isfinite(v) for v in values.values() if isinstance(v, float)):
                raise ValueError("one of its numbers is not finite")
        except (TypeError, KeyError, ValueError, AttributeError, IndexError) as e:
            why = f"{type(e).__name__} {str(e)[:80]}"
            raise BadInput(f"{where} is damaged: feature {record.get('feature')} is no record ({why})") from None
        for name, value in values.items():
            self._columns.setdefault(name, []).append(value)
        self.records += 1
        if self.records % self.SEGMENT == 0:
            self._flush()

    def close(self) -> None:
        """Writes what is left, and the words for the search."""
        if self.records % self.SEGMENT:
            self._flush()
        self._search.write(self._folder, f"{self._prefix}/search")

    def _flush(self) -> None:
        write_json_chunk(self._folder, f"{self._prefix}/index-{self._written}", self._columns)
        self._written += 1
        self._columns = {}

    def _values(self, r: Mapping[str, Any]) -> dict[str, Any]:
        known = [p for p in r.get("proxies") or [] if p["pearson"] is not None]
        proxy: Mapping[str, Any] = max(known, key=lambda p: p["pearson"], default={"proxy": "", "pearson": None})
        score = next((s for s in r.get("scores") or [] if s["kind"] == "simulation"), {"value": None, "shuffled": None})
        return {
            "feature": r["feature"],
            "density": float(f"{r['density']:.9g}"),
            "largest": float(f"{r['largest']:.3g}"),
            "tokens": [t["id"] for t in (r.get("top_tokens") or [])[:3]],
            "label": self._labels.get(r.get("nearest_label") or "", -1),
            "label_correlation": _decimals(r.get("nearest_label_correlation")),
            "proxy": self._proxies.get(proxy["proxy"], -1),
            "proxy_correlation": _decimals(proxy["pearson"]),
            "score": _decimals(score["value"]),
            "shuffled": _decimals(score["shuffled"]),
            "stability": _decimals(r.get("stability")),
            "text": _explained(r),
            "best": self._labels.get(r.get("label") or "", -1),
        }


def _decimals(x: float | None) -> float | None:
    return None if x is None else round(x, 2)


def _explained(record: Mapping[str, Any]) -> str:
    return next((e["text"][:LONGEST_TEXT] for e in record.get("explanations") or []), "")
