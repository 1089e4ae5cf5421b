"""The list of keys in experiments/README.md, made from the configuration classes. To write it anew:

python -m tests.keys_reference
"""

from __future__ import annotations

import dataclasses
import importlib
import pathlib
from typing import Any

from experiments.bench.suites import BenchConfig
from monosem_jax.runtime.field_docs import field_docs
from monosem_jax.sae.architectures import ARCHITECTURES
from monosem_jax.sae.config import SaeConfig
from monosem_jax.stages.train_sae import SaeRunConfig

README = pathlib.Path(__file__).parents[1] / "experiments" / "README.md"
BEGIN, END = "<!-- keys -->\n", "<!-- /keys -->"
STAGES = {
    "train_transformer": "TransformerRunConfig",
    "harvest": "HarvestRunConfig",
    "sweep": "SweepRunConfig",
    "evaluate": "EvaluateRunConfig",
    "analyze": "AnalyzeRunConfig",
    "compare": "CompareRunConfig",
    "toy_models": "ToyModelsConfig",
    "report": "ReportRunConfig",
    "browse": "BrowseConfig",
    "export": "ExportConfig",
    "inspect": "InspectConfig",
    "quickstart": "QuickstartConfig",
    "suite": "SuiteConfig",
}


def rows(cls: type, stage: str, seen: dict[type, str], prefix: str = "") -> list[str]:
    """Table rows of a class and of the classes in it. `seen`: where the keys of a class already stand."""
    docs, found = field_docs(cls), []
    seen[cls] = f"as `{prefix}…` of `{stage}`" if prefix else f"as `{stage}`"
    for field in dataclasses.fields(cls):
        value = field.default if field.default is not dataclasses.MISSING else field.default_factory()
        name, kind = prefix + field.name, type(value)
        if not dataclasses.is_dataclass(kind):
            found.append(f"| `{name}` | `{value!r}` | {docs.get(field.name, '').replace('|', '/')} |")
        elif issubclass(kind, SaeConfig):
            found.append(f"| `{name}.…` | | see [the architecture](#the-architecture) |")
        elif kind in seen:
            found.append(f"| `{name}.…` | | {seen[kind]} |")
        else:
            found += rows(kind, stage, seen, name + ".")
    return found


def table(lines: list[str]) -> str:
    return "\n".join(["| key | default | |", "|---|---|---|", *lines])


def architecture_rows() -> list[str]:
    """A row per key that any architecture has, with the default of each of them."""
    defaults: dict[str, dict[str, list[str]]] = {}
    docs: dict[str, str] = {}
    for name, config in ARCHITECTURES.items():
        docs = field_docs(config) | docs
        for field in dataclasses.fields(config):
            if field.name != "architecture":
                defaults.setdefault(field.name, {}).setdefault(repr(field.default), []).append(name)
    rows = ["| `sae.architecture` | | one of " + ", ".join(f"`{name}`" for name in ARCHITECTURES) + " |"]
    for key, by_value in defaults.items():
        everywhere = len(by_value) == 1 and sum(map(len, by_value.values())) == len(ARCHITECTURES)
        said = "; ".join(f"`{v}`" + ("" if everywhere else f" {', '.join(names)}") for v, names in by_value.items())
        rows.append(f"| `sae.{key}` | {said} | {docs.get(key, '').replace('|', '/')} |")
    return rows


def reference() -> str:
    """The whole text between the markers."""
    seen: dict[type, str] = {}
    parts = ["### `train_sae`", table(rows(SaeRunConfig, "train_sae", seen))]
    parts += ["### The architecture", "A key belongs to the architectures named beside its defaults."]
    parts.append(table(architecture_rows()))
    for stage, class_name in STAGES.items():
        cls: Any = getattr(importlib.import_module(f"monosem_jax.stages.{stage}"), class_name)
        parts += [f"### `{stage}`", table(rows(cls, stage, seen))]
    text = "\n\n".join([*parts, "### `bench`", table(rows(BenchConfig, "bench", seen))]) + "\n"
    return text.replace("|  |", "| |")


def written(text: str) -> str:
    """The README's text with the list that belongs there."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + "\n" + reference() + "\n" + END + rest.split(END)[1]


if __name__ == "__main__":
    README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
