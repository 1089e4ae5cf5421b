"""What the kinds of evidence share: the sets with their scans, the text, and where findings are put."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

from monosem_jax.analysis.collect import Evidence
from monosem_jax.analysis.examples import ExampleText
from monosem_jax.analysis.on_text import OnText
from monosem_jax.analysis.proxies.chosen import Proxies, ProxyValues
from monosem_jax.analysis.subjects import Subject
from monosem_jax.runtime.errors import BadInput
from monosem_jax.text.directory import Text


@dataclasses.dataclass
class Study(OnText):
    """An analysis while it is made. A kind of evidence is a function of a study: it reads the subjects, and puts what
    it finds out about single features into `evidence`, tables into `tables`, and figures into `summary`.

    Args:
      subjects: "features" and "neurons" first, then others.
      text: the text directory; `heldout` its contexts on which everything is measured, `training` the sample of
        contexts on which features are chosen.
      path: the run directory, for files that a kind keeps between two attempts.
      proxies: those of the scans; `training_proxies`, `heldout_proxies` their values on the two texts.
      batch: contexts per forward pass.
      n_examples: top contexts in a record.
    """

    subjects: Sequence[Subject]
    text: Text
    heldout: ExampleText
    training: ExampleText
    path: pathlib.Path
    proxies: Proxies
    training_proxies: ProxyValues
    heldout_proxies: ProxyValues
    seed: int
    batch: int
    n_examples: int
    evidence: dict[str, Evidence] = dataclasses.field(default_factory=dict)
    tables: dict[str, Any] = dataclasses.field(default_factory=dict)
    summary: dict[str, Any] = dataclasses.field(default_factory=dict)
    gaps: list[dict[str, str]] = dataclasses.field(default_factory=list)
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for subject in self.subjects:
            self.evidence.setdefault(subject.name, Evidence())

    @property
    def features(self) -> Subject:
        """The dictionary."""
        return self.subjects[0]

    @property
    def neurons(self) -> Subject:
        return self.subject("neurons")

    def subject(self, name: str) -> Subject:
        """The subject of this name; raises BadInput when there is none."""
        for subject in self.subjects:
            if subject.name == name:
                return subject
        raise BadInput(f"there is no set {name!r}: expected one of {', '.join(s.name for s in self.subjects)}")
