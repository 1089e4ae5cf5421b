"""Features against the labels of documents."""

from __future__ import annotations

import numpy as np

from monosem_jax.analysis.scan.batch import Batch, Sums


class LabelSums(Sums):
    """[L,F] sums of activations, and firings, on the tokens of each label."""

    def __init__(self, n_labels: int, n_features: int):
        self.state = {
            "total": np.zeros((n_labels, n_features)),
            "fired": np.zeros((n_labels, n_features), np.int64),
        }

    def add(self, batch: Batch) -> None:
        if not len(self.state["total"]):
            return
        for name, f in (("total", batch.firings), ("fired", batch.fires)):
            label = batch.label[f.row].astype(np.int64)
            has = label >= 0
            at = label[has] * f.n_features + f.feature[has]
            amount = f.value[has].astype(np.float64) if name == "total" else 1
            np.add.at(self.state[name].reshape(-1), at, amount)
