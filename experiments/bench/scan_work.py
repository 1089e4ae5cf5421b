"""Work that the suite "scan" times: a scan, the bare encoding of the same tokens, and a dashboard's way.

`python -m experiments.bench.scan_work FEATURES CONTEXTS` scans in a process of its own and prints the peak of its
resident memory in MB.
"""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench.material import sparse_params
from monosem_jax.analysis import feature_sets
from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.scan.config import ScanConfig
from monosem_jax.analysis.scan.cosines import largest_products, unit
from monosem_jax.analysis.scan.entry import scan
from monosem_jax.analysis.scan.result import SetScan
from monosem_jax.models.tapped import TappedModel
from monosem_jax.models.transformer import Transformer, TransformerConfig
from monosem_jax.sae import architectures as sae_lib
from monosem_jax.sae.architectures.relu import ReluConfig
from monosem_jax.sae.base import SparseAutoencoder
from monosem_jax.sae.published import PublishedSAE

MODEL = TransformerConfig(n_layers=1, d_model=128, d_mlp=512, n_heads=4, context_length=128, vocab_size=4096)
L0, LABELS, BOS = 20.0, 12, 0
AT_ONCE = 128  # features for which SAEDashboard reads the text each time
GROUPS, PER_GROUP, TOP, BINS = 10, 5, 20, 50  # of its default layout: quantile groups, sequences, histogram


@dataclasses.dataclass(frozen=True)
class Work:
    """A dictionary with L0 of about 20 on a transformer's activations, and text: tokens and labels [C,T]."""

    features: FeatureSet
    sae: PublishedSAE
    tokens: np.ndarray
    labels: np.ndarray
    batch: int

    @classmethod
    def of(cls, n_features: int, contexts: int, batch: int) -> Work:
        """Parameters and text are random; some tokens are much more frequent than others."""
        model = Transformer(MODEL)
        params = jax.jit(model.init)(jax.random.key(0), np.zeros((1, 2), np.int32))["params"]
        params = jax.tree.map(lambda p: p * 10 if p.ndim > 1 else p, params)
        tapped = TappedModel(model, params, "mlp_hidden.0", BOS).on(None)
        rng = np.random.default_rng(0)
        tokens = np.minimum(rng.zipf(1.2, (contexts, MODEL.context_length)), MODEL.vocab_size - 1).astype(np.int32)
        tokens[:, 0] = BOS
        rows = tapped.rows(tokens[:8]).reshape(-1, MODEL.d_mlp)
        sae = _relu(n_features)
        p = jax.tree.map(np.asarray, sparse_params(rows, n_features, L0))
        published = PublishedSAE(sae, jax.device_put(p))
        features = feature_sets.dictionary("features", tapped, published)
        return cls(features, published, tokens, rng.integers(-1, LABELS, tokens.shape), batch)

    @property
    def n_tokens(self) -> int:
        return self.tokens.size

    def bare(self) -> float:
        """The model to the site and the encoder, once over all tokens; returns the number of tokens."""
        f = None
        for i in range(0, len(self.tokens), self.batch):
            f = _encoded(self.features.tapped, self.sae, self.tokens[i : i + self.batch])
        jax.block_until_ready(f)
        return self.n_tokens

    def scan(self, **changes: Any) -> SetScan:
        """A scan with the default settings but for `changes`, against labels, neurons and the set itself."""
        config = dataclasses.replace(ScanConfig(batch_contexts=self.batch), **changes)
        names = [str(i) for i in range(LABELS)]
        against = [feature_sets.neurons(self.features.tapped)]
        return scan(self.features, self.tokens, self.labels, labels=names, config=config, against=against)

    def dashboard(self, feature_batches: int) -> float:
        """What SAEDashboard does for so many batches of 128 features: read all text, keep their activations, and then
        make each feature's histogram, top sequences and quantile groups. Returns the number of batches."""
        p, tapped = self.sae.params, self.features.tapped
        for k in range(feature_batches):
            at = slice(k * AT_ONCE, (k + 1) * AT_ONCE)
            part = {"W_enc": p["W_enc"][:, at], "b_enc": p["b_enc"][at], "W_dec": p["W_dec"][at], "b_dec": p["b_dec"]}
            sae = PublishedSAE(_relu(AT_ONCE), part)
            starts = range(0, len(self.tokens), self.batch)
            f = np.concatenate([np.asarray(_encoded(tapped, sae, self.tokens[i : i + self.batch])) for i in starts])
            for feature in f.reshape(-1, AT_ONCE).T:
                _page(feature)
        return feature_batches

    def seconds_of_cosines(self) -> float:
        """Seconds of the cosines of all pairs, from those of some features with all others."""
        d = unit(self.features.directions)
        rows = min(len(d), 128)
        largest_products(d[:rows], d, 10)
        begin = time.perf_counter()
        largest_products(d[:rows], d, 10)
        return (time.perf_counter() - begin) * len(d) / rows


def _relu(n_features: int) -> SparseAutoencoder:
    return sae_lib.build(ReluConfig(n_features=n_features), MODEL.d_mlp, jnp.float32)


@jax.jit
def _encoded(tapped: TappedModel, sae: PublishedSAE, tokens: jax.Array) -> jax.Array:
    return sae.encode(tapped.rows(tokens))


def _page(f: np.ndarray) -> None:
    """The statistics of one feature's page, from its activations on all tokens."""
    firing, rng = f[f > 0], np.random.default_rng(0)
    np.histogram(firing, BINS)
    np.argpartition(f, -TOP)[-TOP:]
    edges = np.linspace(0, float(f.max()), GROUPS + 1)
    for low, high in itertools.pairwise(edges):
        inside = np.flatnonzero((f > low) & (f <= high))
        rng.choice(inside, min(PER_GROUP, len(inside)), replace=False)


def peak_mb() -> float:
    """The peak of this process's resident memory; getrusage would start from the parent's."""
    return int(pathlib.Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1000


def main(n_features: str, contexts: str) -> None:
    """Scans with a small cache, so that both sizes fill it."""
    Work.of(int(n_features), int(contexts), 8).scan(cache_megabytes=1)
    print(peak_mb())


if __name__ == "__main__":
    main(*sys.argv[1:])
