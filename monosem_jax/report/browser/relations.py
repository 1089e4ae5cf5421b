"""The data files of a comparison of dictionaries."""

from __future__ import annotations

import pathlib
from typing import Any

from monosem_jax.report.browser.material import ComparisonMaterial


def write_relations(folder: pathlib.Path, comparison: ComparisonMaterial) -> dict[str, Any]:
    """Writes the data files of a comparison into the browser in `folder`; returns its part of the manifest."""
    return {"sets": [dict(s) for s in comparison.sets], "has": {}, "absent": {}}
