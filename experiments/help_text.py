"""The text of `--help`: what the experiment does, its flags, and every key of its configuration."""

from __future__ import annotations

import dataclasses
import shutil
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from experiments import config_files
from monosem_jax.runtime.field_docs import field_docs

NARROW, WIDE = 60, 120  # columns: lines are as wide as the terminal, within these bounds
SHORTEST_COLUMN = 34  # for the meanings; if less is left, each meaning begins on its own line


@dataclasses.dataclass(frozen=True)
class Key:
    """A key of a configuration, such as "sae.n_features", with its value and meaning."""

    name: str
    value: Any
    meaning: str


@dataclasses.dataclass(frozen=True)
class KeySection:
    """The keys of one dataclass; `name` is "" for the outermost."""

    name: str
    meaning: str
    keys: list[Key]


def sections(config: Any, name: str = "", meaning: str = "") -> Iterator[KeySection]:
    """The sections of a configuration, each before those inside it."""
    docs = field_docs(type(config))
    prefix = f"{name}." if name else ""
    values = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    inside = {k: v for k, v in values.items() if dataclasses.is_dataclass(v)}
    keys = [Key(prefix + k, v, docs.get(k, "")) for k, v in values.items() if k not in inside]
    yield KeySection(name, meaning, keys)
    for key, value in inside.items():
        yield from sections(value, prefix + key, docs.get(key, ""))


def help_text(about: str, flags: Mapping[str, str], config: Any, spec: str, columns: int = 0) -> str:
    """The whole text. `flags`: "--workdir=…" -> meaning; `spec`: the --config that `config` is from, or ""."""
    columns = columns or min(max(shutil.get_terminal_size((WIDE, 24)).columns, NARROW), WIDE)
    lines = [about.strip(), "", "Flags", *_table(flags, columns)]
    if names := suitable(config):
        text = f"Shipped configurations for --config: {', '.join(names)}."
        lines += ["", *textwrap.wrap(text, columns, subsequent_indent="  ")]
    origin = f"with --config={spec}" if spec else "by default"
    lines += ["", *textwrap.wrap(f"Keys and their values {origin}; --config.KEY=VALUE sets one.", columns)]
    for section in sections(config):
        if not section.keys:
            continue
        heading = f"{section.name}: {section.meaning}" if section.meaning else section.name
        lines += ["", *textwrap.wrap(heading, columns, subsequent_indent="  ")] if heading else [""]
        lines += _table({f"{key.name}={key.value!r}": key.meaning for key in section.keys}, columns)
    return "\n".join(lines) + "\n"


def suitable(config: Any) -> list[str]:
    """The shipped configurations of the class of `config`, with their variants in brackets."""
    found = []
    for name in config_files.shipped():
        if type(config_files.load(name)) is type(config):
            variants = list(filter(None, config_files.variants(name)))
            found.append(f"{name}[:{'|'.join(variants)}]" if variants else name)
    return found


def _table(rows: Mapping[str, str], columns: int) -> Iterator[str]:
    """Two columns, the second wrapped."""
    left = min(max(map(len, rows), default=0) + 4, 44)
    for name, meaning in rows.items():
        if columns - left < SHORTEST_COLUMN:
            yield f"  {name}"
            yield from textwrap.wrap(meaning, columns, initial_indent=" " * 6, subsequent_indent=" " * 6)
            continue
        wrapped = textwrap.wrap(meaning, columns - left) or [""]
        if len(name) + 4 > left:
            yield f"  {name}"
        else:
            yield f"  {name:<{left - 2}}{wrapped.pop(0)}".rstrip()
        yield from (" " * left + line for line in wrapped)
