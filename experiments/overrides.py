"""The part of a command line that is about the configuration: `--config=NAME` and `--config.KEY=VALUE`, anywhere."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from monosem_jax.runtime.errors import BadInput

TOKEN = re.compile(r"--?(?P<no>no)?config(\.(?P<key>[^=]*))?(=(?P<value>.*))?", re.DOTALL)
BOOLS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
KINDS = {int: "a whole number", float: "a number", bool: "true or false"}


@dataclasses.dataclass(frozen=True)
class Override:
    """`--config.KEY=VALUE`; `text` is None for `--config.KEY` and `--noconfig.KEY` without a value."""

    key: str
    text: str | None
    negated: bool = False


@dataclasses.dataclass(frozen=True)
class CommandLine:
    """`own` flags of the experiment, the value of --config ("" if it is not given) and the overrides, in order."""

    own: list[str]
    config: str
    overrides: list[Override]


def split(tokens: Sequence[str]) -> CommandLine:
    """Takes the tokens about the configuration out of a command line (without the program's name).

    Raises BadInput on `--config` without a value.
    """
    own: list[str] = []
    config, overrides, rest = "", [], list(tokens)
    while rest:
        token = rest.pop(0)
        match = TOKEN.fullmatch(token)
        if token == "--" or not match:
            own += [token, *rest] if token == "--" else [token]
            rest = [] if token == "--" else rest
            continue
        value = match["value"]
        if value is None and not match["no"] and rest and _is_value(rest[0]):
            value = rest.pop(0)  # --config.key value
        if match["key"] is not None:
            overrides.append(Override(match["key"], value, bool(match["no"])))
        elif not value or match["no"]:
            raise BadInput("--config has no value: write --config=NAME or --config=FILE.py")
        else:
            config = value
    return CommandLine(own, config, overrides)


def _is_value(token: str) -> bool:
    return not token.startswith("-") or bool(re.fullmatch(r"-[\d.].*", token))


def apply(overrides: Iterable[Override], values: dict[str, Any]) -> None:
    """Sets keys of nested dictionaries in place; a value is parsed as the type of the key's current value.

    A tuple's flag may be given several times, once per element. Raises BadInput on an unknown key or unreadable value.
    """
    known = leaves(values)
    given: dict[str, tuple] = {}
    for override in overrides:
        if override.key not in known:
            raise BadInput(unknown_key(override.key, known))
        value = _read(override, known[override.key])
        if isinstance(value, tuple):
            value = given[override.key] = given.get(override.key, ()) + value
        set_key(values, override.key, value)


def leaves(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as a flat one: "sae.n_features" -> value."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def set_key(values: dict[str, Any], key: str, value: Any) -> None:
    """Sets "sae.n_features" of nested dictionaries."""
    *sections, last = key.split(".")
    for section in sections:
        values = values[section]
    values[last] = value


def unknown_key(key: str, known: Iterable[str]) -> str:
    """The message for an unknown key, with the most similar known keys."""
    inside = [k for k in known if k.startswith(f"{key}.")]
    if inside:
        return f"config.{key} is a section: set one of its keys, such as --config.{inside[0]}"
    near = same_last_part(key, known) or difflib.get_close_matches(key, known, n=1, cutoff=0.7)
    if near:
        return f"unknown key config.{key}: did you mean --config.{' or --config.'.join(near)}?"
    section = key.rpartition(".")[0]
    while section and not any(k.startswith(f"{section}.") for k in known):
        section = section.rpartition(".")[0]
    before = section and f"{section}."
    parts = dict.fromkeys(k.removeprefix(before).partition(".")[0] for k in known if k.startswith(before))
    return f"unknown key config.{key}: config{section and f'.{section}'} has {', '.join(parts)}; --help lists all keys"


def same_last_part(key: str, known: Iterable[str]) -> list[str]:
    """At most three known keys with the same name in another section."""
    return [k for k in known if k.rpartition(".")[2] == key.rpartition(".")[2]][:3]


def _read(override: Override, now: Any) -> Any:
    """The override's value, parsed as the type of the key's current value."""
    name, text = f"--config.{override.key}", override.text
    if isinstance(now, bool) and text is None:
        return not override.negated
    if text is None or override.negated:
        raise BadInput(f"{name} has no value: write {name}=VALUE")
    try:
        if isinstance(now, bool):
            return BOOLS[text.lower()]
        if isinstance(now, int):
            return _whole(text)
        if isinstance(now, float):
            return float(text)
    except (KeyError, ValueError):
        raise BadInput(f"{name} is {text!r}: expected {KINDS[type(now)]}") from None
    return _tuple(name, text) if isinstance(now, (list, tuple)) else text


def _whole(text: str) -> int:
    try:
        return int(text, 16 if text.lower().startswith("0x") else 10)
    except ValueError:
        number = float(text)  # 1e6
        if not number.is_integer():
            raise
        return int(number)


def _tuple(name: str, text: str) -> tuple:
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        if not re.fullmatch(r"[\w./:+-]+(,[\w./:+-]+)*", text):
            raise BadInput(f"{name} is {text!r}: expected values such as (1,2), quoted for the shell") from None
        value = tuple(text.split(","))
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)
