"""A finished analysis as its exporters take it: records one after another, and what the dictionary and the model behind
them still add. Both may be gone: then what came from them is left out, and a line says so."""

from __future__ import annotations

import functools
import itertools
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from monosem_jax.analysis.logit_weights import logit_weights, usual_tokens
from monosem_jax.analysis.records import Feature
from monosem_jax.analysis.records_io import FEATURES, FOLDER
from monosem_jax.analysis.run import AnalyzeRun
from monosem_jax.interop.saelens import hook_name
from monosem_jax.models.base import split_sites
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.loaded_run import LoadedRun

BLOCK = 64  # records whose vectors and logit weights are in memory together
CONTEXTS = 4096  # of training text that are counted at a time
SET = "features"


class Shown(NamedTuple):
    """A record with the feature's dictionary vector [M] and its logit weights [n] over the usual tokens; None where
    they are not known."""

    record: Feature
    vector: np.ndarray | None
    weights: np.ndarray | None


class Analyzed:
    """An analysis opened for export. Raises BadInput on another run, and on one that is not finished."""

    def __init__(self, run: LoadedRun):
        if not isinstance(run, AnalyzeRun) or run.summary is None:
            state = "an unfinished run" if isinstance(run, AnalyzeRun) else "a run"
            raise BadInput(f"{run.path} is {state} of {run.experiment}: expected a finished analyze run")
        if not (run.path / FOLDER).exists() and not (run.path / FEATURES).exists():
            raise BadInput(f"{run.path} holds no records: of a sweep's analysis, give the folder of one member")
        self.run = run
        self.summary: dict[str, Any] = run.summary

    @property
    def sets(self) -> tuple[str, ...]:
        """The feature sets that have records."""
        return self.run.records.sets if self._in_chunks else (SET,)

    def records(self, name: str = SET) -> Iterator[Feature]:
        """The records of a set in ascending order, a chunk in memory at a time."""
        yield from self.run.records.all(name) if self._in_chunks else self.run.feature_records

    def unchecked(self, name: str = SET) -> Iterator[dict[str, Any]]:
        """The records of a set as the files have them, a chunk in memory at a time."""
        yield from self.run.records.unchecked(name) if self._in_chunks else self.run.features

    def shown(self) -> Iterator[Shown]:
        """The records of the features with their vectors and logit weights, a block in memory at a time."""
        for _, together in itertools.groupby(self.records(), lambda record: record.feature // BLOCK):
            batch = list(together)
            chosen = [record.feature for record in batch]
            vectors = self._vectors(chosen)
            weights = None if vectors is None else self._weights(vectors)
            for i, record in enumerate(batch):
                vector = None if vectors is None else vectors[i]
                yield Shown(record, vector, None if weights is None else weights[i])

    @property
    def tokens(self) -> int:
        """How many tokens were scanned."""
        return self.summary["scanned_tokens"]

    @functools.cached_property
    def dictionary_name(self) -> str:
        return _named(self.run, "run", "dictionary")

    @functools.cached_property
    def model_name(self) -> str:
        try:
            return _named(self.run.dictionary, "transformer", "model")
        except BadInput:
            return "model"

    @functools.cached_property
    def site(self) -> str:
        """The site that the features are of, the last where there are several; "" where it is not known."""
        try:
            return split_sites(self.run.dictionary.site or "")[-1]
        except BadInput:
            return ""

    @property
    def layer(self) -> int:
        """The number of the site's layer, 0 where it is not known."""
        number = self.site.partition(".")[2]
        return int(number) if number.isascii() and number.isdigit() else 0

    @property
    def hook(self) -> str | None:
        """TransformerLens' name of the site."""
        return hook_name(self.site)

    @functools.cached_property
    def contexts(self) -> np.ndarray | None:
        """[C,T] the contexts that were scanned, memory-mapped; None where they are gone."""
        try:
            return self.scanned()
        except BadInput as e:
            self._note("the number of contexts", e)
            return None

    def scanned(self) -> np.ndarray:
        """[C,T] the contexts that were scanned, memory-mapped. Raises BadInput where they are gone."""
        config = self.run.config
        tokens = self.run.dictionary.transformer.text.tokens(config.get("split", "heldout"))
        return tokens[: config.get("heldout_contexts", 0) or None]

    @property
    def _in_chunks(self) -> bool:
        return (self.run.path / FOLDER).exists()

    @functools.cached_property
    def _noted(self) -> set[str]:
        return set()

    def _note(self, what: str, reason: object) -> None:
        """Says once what is left out, and why."""
        if what not in self._noted:
            self._noted.add(what)
            print(f"note: {what} is left out: {reason}", flush=True)

    def _vectors(self, chosen: list[int]) -> np.ndarray | None:
        """[n,M] the dictionary vectors of features in ascending order."""
        try:
            block = self.run.dictionary.features(chosen[0], chosen[-1] + 1)["W_dec"]
        except BadInput as e:
            self._note("the dictionary", e)
            return None
        return np.asarray(block, np.float32)[np.asarray(chosen) - chosen[0]]

    def _weights(self, vectors: np.ndarray) -> np.ndarray | None:
        """[n,V] the logit weights over the usual tokens, the same that the records summarise."""
        try:
            tapped = self.run.dictionary.transformer.tapped(self.run.dictionary.site or "")
            site, columns = tapped.replaced_by(vectors.shape[1])[-1]
            return logit_weights(tapped, site, vectors[:, columns], self._usual_tokens)
        except BadInput as e:
            self._note("the histogram of logit weights", e)
            return None

    @functools.cached_property
    def _usual_tokens(self) -> np.ndarray:
        text = self.run.dictionary.transformer.text
        tokens, size = text.tokens("train"), text.manifest["vocab_size"]
        counts = np.zeros(size, np.int64)
        for c in range(0, len(tokens), CONTEXTS):  # bincount makes a copy of 8 bytes a token
            counts += np.bincount(np.asarray(tokens[c : c + CONTEXTS]).ravel(), minlength=size)
        return usual_tokens(counts, [text.bos])


def _named(run: LoadedRun, parent: str, otherwise: str) -> str:
    """The name of the directory of a parent, which may be gone."""
    found = run.record["parents"].get(parent)
    return (pathlib.PurePath(found["path"]).name if found else "") or otherwise
