"""A browser of features: index.html, the built front end, and the data files."""

from __future__ import annotations

import importlib.resources
import pathlib
from collections.abc import Sequence
from typing import Any

from monosem_jax.report.browser.container import write_json_chunk
from monosem_jax.report.browser.dictionary import write_dictionary
from monosem_jax.report.browser.material import ComparisonMaterial, DictionaryMaterial
from monosem_jax.report.browser.relations import write_relations
from monosem_jax.runtime.files import write_bytes

FORMAT = 1  # of data/site.js; the page refuses a newer one
ASSETS = ("app.js", "app.css", "licences.txt")


def write_site(
    folder: pathlib.Path,
    title: str,
    version: str,
    dictionaries: Sequence[DictionaryMaterial],
    comparison: ComparisonMaterial | None = None,
) -> dict[str, Any]:
    """Writes the browser into `folder`, index.html last, and returns the manifest.

    Raises BadInput naming what is damaged among the records.
    """
    manifest = {
        "format": FORMAT,
        "title": title,
        "version": version,
        "dictionaries": [write_dictionary(folder, material) for material in dictionaries],
        "comparison": None if comparison is None else write_relations(folder, comparison),
    }
    write_json_chunk(folder, "site", manifest)
    built = importlib.resources.files(__package__) / "built"
    (folder / "assets").mkdir(exist_ok=True)
    for name in ASSETS:
        write_bytes(folder / "assets" / name, (built / name).read_bytes())
    write_bytes(folder / "index.html", (built / "index.html").read_bytes())
    return manifest
