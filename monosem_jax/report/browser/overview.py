"""What the overview of a dictionary shows, as one JSON value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def overview(
    *,
    dictionary: Mapping[str, Any],
    transformer: Mapping[str, Any] | None,
    evidence: Mapping[str, Any],
    dictionary_metrics: Sequence[Mapping[str, Any]],
    transformer_metrics: Sequence[Mapping[str, Any]],
    resample_steps: Sequence[int],
    density: np.ndarray,
    density_tokens: int,
    categories: Sequence[Mapping[str, Any]],
    tables: Mapping[str, Any],
) -> dict[str, Any]:
    """`dictionary`, `transformer` and `evidence` are summaries of runs; the metrics are the lines of their logs;
    `density` [F] is over `density_tokens` held-out tokens; `tables` are those of the analysis by name."""
    return {
        "dictionary": dict(dictionary),
        "transformer": None if transformer is None else dict(transformer),
        "evidence": dict(evidence),
        "dictionary_metrics": list(dictionary_metrics),
        "transformer_metrics": list(transformer_metrics),
        "resample_steps": list(resample_steps),
        "density": spectrum(density),
        "density_tokens": density_tokens,
        "categories": list(categories),
        "gaps": tables.get("gaps") or [],
        "proxies": tables.get("proxies") or {},
    }


def spectrum(density: np.ndarray) -> dict[str, Any]:
    """Counts of features by log10 of their density, in bins of a tenth of a decade; `dead` never fired."""
    density = np.asarray(density, np.float64)
    fires = density[density > 0]
    edges = np.arange(-80, 1) / 10
    counts, _ = np.histogram(np.clip(np.log10(fires), edges[0], edges[-1]), edges)
    return {"edges": edges.tolist(), "counts": counts.tolist(), "dead": int(np.sum(density == 0)), "n": len(density)}
