"""How much a scan looks at and keeps."""

from __future__ import annotations

import dataclasses

import numpy as np

from monosem_jax.runtime.errors import BadInput


@dataclasses.dataclass(frozen=True)
class ScanConfig:
    """How much text a scan reads at a time, and how much it keeps of each feature."""

    batch_contexts: int = 32
    """Contexts per forward pass."""
    passes: int = 2
    """1: densities, sums, correlations with labels and proxies, top contexts. 2: all the rest too; the text is read
    twice, because intervals depend on maxima."""
    top_contexts: int = 16
    """Contexts kept per feature, those with the largest activations."""
    per_interval: int = 8
    """Examples kept in each interval of each feature."""
    random_tokens: int = 64
    """Tokens drawn uniformly from all text, the same for all features."""
    top_tokens: int = 10
    """Tokens kept per feature, those on which it fires most often."""
    neighbours: int = 10
    """Most similar features kept, of each set; 0: none, and features are not compared."""
    correlation_tokens: int = 1 << 18
    """At most about so many tokens, in evenly spaced contexts, for correlations between features: to about
    0.002."""
    pairs: int = 1 << 25
    """With more pairs of features than this, candidates for neighbours come from a sketch instead of all pairs. A pair
    takes 8 bytes."""
    sketch_columns: int = 512
    """Random projections per feature in a sketch; a correlation is estimated to 1/√columns."""
    token_pairs: int = 1 << 26
    """With more pairs of a feature and a token than this, the top tokens come from a sample of firings instead of a
    table. A pair takes 12 bytes."""
    token_sample: int = 64
    """Firings per feature in that sample."""
    cache_megabytes: int = 256
    """Memory for firings of the first pass, so that the second need not compute them again; 0: none."""
    checkpoint_every: int = 0
    """Batches between two saved states, when a folder is given; 0: after each pass only."""
    seed: int = 0
    """Decides the random samples and the sketch."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        if self.passes not in (1, 2):
            raise BadInput(f"scan: passes is {self.passes}: expected 1 or 2")
        may_be_0 = (
            "passes",
            "cache_megabytes",
            "checkpoint_every",
            "seed",
            "pairs",
            "token_pairs",
            "random_tokens",
            "neighbours",
        )
        for name, value in dataclasses.asdict(self).items():
            least = 0 if name in may_be_0 else 1
            if value < least:
                raise BadInput(f"scan: {name} is {value}: expected {least} or more")


def contexts_to_read(tokens: np.ndarray, config: ScanConfig) -> int:
    """The number of contexts that a scan of [C,T] reads, over all passes: what `advance` adds up to."""
    return config.passes * len(tokens)
