"""Tokens on which features fire, as windows of text for people to read."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from monosem_jax.analysis.records import Example, Sources
from monosem_jax.text.directory import Source, Text
from monosem_jax.text.shown import token_strings

TOP = (20, 12)  # tokens shown before and after the strongest token of a top context
SHORT = (4, 4)  # and around tokens drawn from intervals (paper, "Feature visualization")


@dataclasses.dataclass(frozen=True)
class ExampleText:
    """Text that examples are taken from: `tokens` [C,T], the number of each token's document [C,T], the text of every
    token of the vocabulary, and the source of every document."""

    tokens: np.ndarray
    documents: np.ndarray
    strings: Sequence[str]
    sources: Sequence[Source]

    @classmethod
    def of(cls, text: Text, split: str, vocab_size: int = 0) -> ExampleText:
        """A split of a text directory. Of a model with more tokens than the tokenizer, as many published ones have
        (`vocab_size`), the text of the others is empty."""
        strings = token_strings(text.tokenizer)
        strings += [""] * (vocab_size - len(strings))
        return cls(text.tokens(split), text.documents(split), strings, text.sources)

    def example(
        self,
        context: int,
        position: int,
        activations: Sequence[float] | np.ndarray,
        around: tuple[int, int],
        loss_effects: Sequence[float] | np.ndarray = (),
        sources: Sources | None = None,
    ) -> Example:
        """The window around a token; `activations` [before+1+after] as `windows` returns them, and so `loss_effects`
        where they were measured; `sources` of the activation on the token, where they were."""
        before, after = around
        low, high = max(position - before, 0), min(position + after + 1, self.tokens.shape[1])
        shown = slice(low - position + before, high - position + before)
        ids = [int(t) for t in self.tokens[context, low:high]]
        source = self.sources[int(self.documents[context, position])]
        return Example(
            context=int(context),
            position=int(position),
            peak=position - low,
            tokens=tuple(self.strings[t] for t in ids),
            activations=_rounded(activations[shown]),
            origin=source.origin,
            label=source.label,
            token_ids=tuple(ids),
            loss_effects=_rounded(loss_effects[shown]) if len(loss_effects) else (),
            sources=sources,
        )


def _rounded(values: Sequence[float] | np.ndarray) -> tuple[float, ...]:
    """4 significant digits: what a page shows."""
    return tuple(float(f"{v:.4g}") for v in values)
