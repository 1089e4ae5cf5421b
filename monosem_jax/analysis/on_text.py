"""What an analysis and a comparison have in common: a text on which they measure, and gaps that they list."""

from __future__ import annotations

import functools

import numpy as np

from monosem_jax.analysis.examples import ExampleText
from monosem_jax.analysis.logit_weights import usual_tokens
from monosem_jax.text.directory import Text


class OnText:
    """A base of dataclasses that have these fields: `text` the text directory, `heldout` its contexts on which
    everything is measured, `gaps` what was not measured."""

    text: Text
    heldout: ExampleText
    gaps: list[dict[str, str]]

    @functools.cached_property
    def labels(self) -> tuple[str, ...]:
        """The labels of documents, sorted; "" may be one of them."""
        return tuple(sorted(set(self.text.labels)))

    def labels_of(self, part: ExampleText) -> np.ndarray:
        """[C,T] the number of each token's label in `labels`, -1 for documents without one."""
        number = {name: i if name else -1 for i, name in enumerate(self.labels)}
        return np.asarray([number[name] for name in self.text.labels], np.int32)[part.documents]

    @functools.cached_property
    def usual_tokens(self) -> np.ndarray:
        """The ids of the tokens that are not rare in the training split, without BOS."""
        counts = np.bincount(np.asarray(self.text.tokens("train")).ravel(), minlength=len(self.heldout.strings))
        return usual_tokens(counts, [self.text.bos])

    def gap(self, kind: str, reason: str) -> None:
        """Lists something that was not measured, and says so."""
        self.gaps.append({"kind": kind, "reason": reason})
        print(f"note: {kind}: {reason}", flush=True)
