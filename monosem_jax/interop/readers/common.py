"""What readers of several formats need: files of unknown origin, and equal dictionaries in our form.

Every function raises BadInput in one line that names the file, what was found and what was expected.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from monosem_jax.runtime.errors import BadInput

MAX_BYTES = 1 << 24  # of a JSON file
PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl")
Params = dict[str, np.ndarray]


class Kind(NamedTuple):
    """An architecture of another program: ours, None where it is not read, and how it is read or why it is not."""

    ours: str | None
    how: str


EXACT = "exactly"


def read_object(path: pathlib.Path) -> dict[str, Any]:
    """The object in a JSON file."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadInput(f"{path} has {path.stat().st_size} bytes: expected at most {MAX_BYTES}")
        found = json.loads(path.read_bytes())
    except OSError as e:
        raise BadInput(f"{path} cannot be read: {e.strerror}") from None
    except RecursionError:
        raise BadInput(f"{path} is nested too deeply") from None
    except ValueError as e:
        if isinstance(e, BadInput):
            raise
        raise BadInput(f"{path} is not valid JSON: {str(e)[:200]}") from None
    if not isinstance(found, dict):
        raise BadInput(f"{path} is {short(found)}: expected an object")
    return found


def section(values: Mapping[str, Any], name: str, where: pathlib.Path) -> dict[str, Any]:
    """An object inside of another, {} where there is none."""
    found = values.get(name, {})
    if not isinstance(found, dict):
        raise BadInput(f"{where}: {name} is {short(found)}: expected an object")
    return found


def switch(values: Mapping[str, Any], name: str, default: bool, where: pathlib.Path) -> bool:
    """The value of a key that is true or false."""
    value = values.get(name, default)
    if not isinstance(value, bool):
        raise BadInput(f"{where}: {name} is {short(value)}: expected true or false")
    return value


def size(values: Mapping[str, Any], name: str, where: pathlib.Path, most: tuple[str, int] | None = None) -> int:
    """The value of a key that is a whole number of at least 1, and at most that of another key."""
    value = values.get(name)
    if type(value) is not int or value < 1 or (most and value > most[1]):
        expected = f"from 1 to {most[0]} = {most[1]}" if most else "of at least 1"
        raise BadInput(f"{where}: {name} is {short(value)}: expected a whole number {expected}")
    return value


def positive(values: Mapping[str, Any], name: str, where: pathlib.Path) -> float:
    """The value of a key that is a positive number."""
    value: Any = values.get(name)
    if type(value) not in (int, float) or not 0 < value <= float(np.finfo(np.float32).max):
        raise BadInput(f"{where}: {name} is {short(value)}: expected a positive number")
    return float(value)


def word(values: Mapping[str, Any], name: str, where: pathlib.Path, known: Collection[str], why: str = "") -> str:
    """The value of a key that is one of some words; `why` follows the message."""
    value = values.get(name)
    if not isinstance(value, str) or value not in known:
        raise BadInput(f"{where}: {name} is {short(value)}: expected one of {', '.join(known)}{why}")
    return value


def text(value: Any) -> str | None:
    """A name of up to 200 printable characters, None for anything else."""
    return value if isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable() else None


def short(value: Any) -> str:
    """Any value, shortened for a message of one line."""
    if isinstance(value, (dict, list)):
        return f"a {type(value).__name__} of {len(value)}"
    try:
        shown = repr(value)
    except ValueError:  # a whole number of thousands of digits
        return "a number of many digits"
    return shown if len(shown) <= 80 else shown[:77] + "…"


def pickles(folder: pathlib.Path) -> list[str]:
    """The files in a folder that PyTorch's or Python's pickles are usually in."""
    return sorted(p.name for p in folder.iterdir() if p.suffix in PICKLES)


def refuse_pickle(folder: pathlib.Path, name: str, target: str, convert: str) -> BadInput:
    """The error about a pickle, with the line of PyTorch that makes the file `target` of it."""
    return BadInput(
        f"{folder / name} is a pickle, which is not opened because such files can run code: where you trust it, make "
        f'{target} with PyTorch: python -c "{convert}"'
    )


def rounded(values: np.ndarray, dtype: Any = np.float32) -> np.ndarray:
    """Rounded to the dtype in which the other program computes, as fp32."""
    with np.errstate(over="ignore"):  # an overflow is reported later, as not finite
        return np.ascontiguousarray(values.astype(dtype), np.float32)


def centred(p: Params) -> Params:
    """The encoder biases of an equal dictionary that subtracts b_dec from its input."""
    moved = np.einsum("M,MF->F", p["b_dec"], p["W_enc"], dtype=np.float64)
    if "b_gate" not in p:
        return {"b_enc": rounded(p["b_enc"] + moved)}
    magnitude = p["b_enc"] + np.exp(p["r_mag"].astype(np.float64)) * moved
    return {"b_enc": rounded(magnitude), "b_gate": rounded(p["b_gate"] + moved)}


def norms(p: Params) -> np.ndarray:
    """[F] the norms of the rows of W_dec, in fp64."""
    return np.sqrt(np.einsum("FM,FM->F", p["W_dec"], p["W_dec"], dtype=np.float64))


def without_thresholds_below_zero(p: Params) -> Params:
    """Features are never negative, so a negative threshold acts like 0."""
    return {"threshold": np.maximum(p["threshold"], 0)} if "threshold" in p else {}
