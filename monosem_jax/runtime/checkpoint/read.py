"""Reading checkpoints, on any machine: whole, one part, placed on a mesh, or a slice of one array.

`manager` says what a step is on disk. Every function here reads a step's metadata first, by `read_metadata`: this is
where a step of another run is refused.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from monosem_jax.runtime.ambient import pinned, require_devices, unguarded
from monosem_jax.runtime.checkpoint.checksum import Blocks, block_checksums, checksums, differing_block
from monosem_jax.runtime.checkpoint.quiet import silence_orbax, while_reading
from monosem_jax.runtime.errors import BadInput, NewerFormat, short_error
from monosem_jax.runtime.locations import local_path
from monosem_jax.runtime.processes import this_process
from monosem_jax.runtime.workdir import FORMAT, read_record

METADATA = "_CHECKPOINT_METADATA"  # Orbax writes it last
CHUNK_BYTES = 1 << 20  # what is read for one feature; smaller ones cost time
NEW_PARTS = ("guard",)  # of a training state, that format 1 may lack


def checkpoint_steps(path: pathlib.Path) -> list[int]:
    """The whole steps under a `checkpoints/` directory, oldest first, without opening any."""
    found = path.iterdir() if path.is_dir() else ()
    return sorted(int(p.name) for p in found if p.name.isdigit() and (p / METADATA).exists())


@pinned()
def load_params(path: pathlib.Path, step: int | None = None, names: Sequence[str] = ("params",)) -> dict[str, Any]:
    """Parts of a step (default: the newest) as NumPy arrays on any machine, without reading the other parts.

    A damaged newest step is named on stderr, and the one before is used. Raises BadInput when the directory has no such
    step, when the one asked for is damaged, or when a newer version wrote it.
    """
    known = checkpoint_steps(path)
    _check_known(path, step, known)
    require_devices()
    candidates = list(reversed(known)) if step is None else [step]
    for candidate in candidates:
        where = step_folder(path, candidate)
        try:
            held = _metadata(where)
            empty = lambda m: np.empty(m.shape, m.dtype)  # noqa: E731
            return compare(_read(where, {name: jax.tree.map(empty, held[name]) for name in names}), where)
        except BadInput:  # it is whole, but of a newer format or of another run
            raise
        except Exception as e:  # Orbax raises many kinds for a damaged step
            if candidate == candidates[-1]:
                raise BadInput(f"checkpoint {where} cannot be read: {short_error(e)}") from None
            print(f"checkpoint {where} cannot be read ({short_error(e)}): taking an older one", file=sys.stderr)
    raise AssertionError("no candidate")


@pinned()
def load_placed(path: pathlib.Path, step: int, place: Any, part: str = "params") -> Any:
    """One part of a step with every array placed: `place` makes shardings from a tree of arrays' shapes and dtypes.

    Each process reads what its devices hold. Raises BadInput like `load_params`.
    """
    _check_known(path, step, checkpoint_steps(path))
    require_devices()
    where = step_folder(path, step)
    try:
        shapes = jax.tree.map(lambda m: jax.ShapeDtypeStruct(m.shape, m.dtype), _metadata(where)[part])
        sharded = lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s)  # noqa: E731
        return compare(_read(where, {part: jax.tree.map(sharded, shapes, place(shapes))}), where)[part]
    except BadInput:
        raise
    except Exception as e:
        raise BadInput(f"checkpoint {where} cannot be read: {short_error(e)}") from None


@pinned()
def load_slice(path: pathlib.Path, step: int, name: str, index: Any, part: str = "params") -> np.ndarray:
    """Part of one array ("W_dec", "block/kernel"), indexed with integers, slices of positive steps and ... as in
    NumPy. Only blocks that it lies in are read, of about 1 MB each, and compared with their checksums; where a step has
    none of blocks, the whole array is (steps of earlier versions: only if it is asked for, by ...). Raises BadInput
    like `load_params`."""
    import tensorstore as ts

    _check_known(path, step, checkpoint_steps(path))
    where = step_folder(path, step)
    base = {"driver": "file", "path": f"{where / part}/"}
    store = {"driver": "ocdbt", "base": base, "path": f"{name.replace('/', '.')}/"}
    try:
        noted, key = read_metadata(where), f"{part}/{name}"
        array = ts.open({"driver": "zarr3", "kvstore": store}, read=True, open=True).result()
        chosen = _absolute(index, array.shape)
        if key in noted.get("blocks", {}) and all(array.shape):
            return _checked_blocks(array, chosen, noted["blocks"][key])
        known = noted.get("checksums", {}).get(key)
        if known is None or ("blocks" not in noted and index is not ...):
            return array[chosen].read().result()
        require_devices()  # the checksum is computed there
        found = array.read().result()
        if checksums(found) != {"": known}:
            raise ValueError("it is not what was saved")
        return np.array(found[chosen])
    except BadInput:
        raise
    except (ValueError, OSError, RuntimeError, IndexError) as e:
        raise BadInput(f"checkpoint {where}: {name} cannot be read: {short_error(e)}") from None


def _checked_blocks(array: Any, chosen: tuple[Any, ...], along: list[Blocks]) -> np.ndarray:
    """`array[chosen]`, cut out of the blocks along one axis that it lies in: the axis on which these are the smallest
    part of the array. Raises ValueError when one of the blocks is not what was saved."""

    def spanned(axis: int) -> tuple[int, int]:
        at, size = chosen[axis], along[axis]["size"]
        if isinstance(at, slice):
            return at.start // size, max(at.stop - 1, at.start) // size + 1
        return int(np.min(at)) // size, int(np.max(at)) // size + 1

    def share(axis: int) -> float:
        first, last = spanned(axis)
        return (last - first) * along[axis]["size"] / array.shape[axis]

    axis = min(range(len(array.shape)), key=share)
    size, (first, last) = along[axis]["size"], spanned(axis)
    begin, end = first * size, min(last * size, array.shape[axis])
    part = array[(slice(None),) * axis + (slice(begin, end),)].read().result()
    wrong = differing_block(along[axis], part, axis, first, array.shape)
    if wrong is not None:
        where = f"{wrong * size} to {min(wrong * size + size, end) - 1} of axis {axis}"
        raise ValueError(f"it is not what was saved at the indices {where}")
    at = chosen[axis]
    inside = slice(at.start - begin, at.stop - begin, at.step) if isinstance(at, slice) else at - begin
    return np.array(part[(*chosen[:axis], inside, *chosen[axis + 1 :])])


def check_step(path: pathlib.Path, step: int) -> str:
    """What is wrong with a step, in one line; "" when it is exactly as saved (format 1: when it can be read). Raises
    BadInput where JAX has no devices."""
    require_devices()
    try:
        load_params(path, step, ("params", "rest"))
    except BadInput as e:
        return str(e)
    return ""


def _absolute(index: Any, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """`index` without negative numbers and slices beyond an end, which TensorStore understands differently."""
    parts = index if isinstance(index, tuple) else (index,)
    at = next((i for i, p in enumerate(parts) if p is ...), len(parts))
    rest = parts[at + 1 :]
    parts = (*parts[:at], *[slice(None)] * (len(shape) - at - len(rest)), *rest)
    if len(parts) > len(shape):
        raise IndexError(f"{len(parts)} indices for {len(shape)} axes")

    def one(part, n):
        if isinstance(part, slice):
            start, stop, step = part.indices(n)
            return slice(start, max(start, stop), step)
        found = part + n * (part < 0)
        if not np.all((found >= 0) & (found < n)):
            raise IndexError(f"index {part} of an axis of size {n}")
        return found

    return tuple(one(part, n) for part, n in zip(parts, shape, strict=True))


def read_like(where: pathlib.Path, like: Any) -> Any:
    """The parts params and rest of a step, placed like the arrays of `like`; not compared with the checksums yet.

    What an older format lacks is as it is in `like`. Raises NewerFormat, or anything when the step is damaged.
    """
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like)
    missing = [] if read_metadata(where) else [part for part in NEW_PARTS if part not in _metadata(where)["rest"]]
    for part in missing:
        del abstract["rest"][part]
    found = _read(where, abstract)
    for part in missing:
        found["rest"][part] = like["rest"][part]
    return found


def compare(found: Any, where: pathlib.Path) -> Any:
    """Returns `found` when its checksums match; else raises ValueError with the name of an array that differs. All
    processes must call it together when arrays lie on the devices of several."""
    known = read_metadata(where).get("checksums")
    if known is not None:  # format 1 has none
        for path, value in checksums(found).items():
            if known.get(path) != value:
                raise ValueError(f"{path} is not what was saved: its checksum is {value} instead of {known.get(path)}")
    return found


def notes_of(where: pathlib.Path, tree: Any, metrics: Mapping[str, float]) -> dict[str, Any]:
    """The metadata of a step to be written: its number, its run, and checksums. All processes must call it together."""
    blocks = block_checksums({"params": tree["params"]}, CHUNK_BYTES)
    small = jax.tree.map(lambda x: None if x.nbytes > CHUNK_BYTES else x, tree["params"])
    sums = checksums({"params": small, "rest": tree["rest"]})
    sums |= {name: sum(along[0]["sums"]) % (1 << 32) for name, along in blocks.items()}  # they add up to the whole
    notes = {"format": FORMAT, "step": int(where.name), "metrics": dict(metrics), "checksums": sums, "blocks": blocks}
    if (identity := run_of(where)) is not None:
        notes["run"] = {"identity": identity, "path": str(where.parent.parent)}
    return notes


def step_folder(path: pathlib.Path, step: int) -> pathlib.Path:
    """The directory of a step in the `checkpoints/` of a run, whose own path has no links and no ".." left in it."""
    return local_path(path.parent, "path") / path.name / str(step)


def run_of(where: pathlib.Path) -> str | None:
    """The identity of the run in whose directory a step lies; None if there is none, or an earlier version began it."""
    run = where.parent.parent
    return read_record(run).get("identity") if (run / "config.json").exists() else None


def write(where: pathlib.Path, tree: Any, notes: Mapping[str, Any]) -> Any:
    """Starts writing a step; the `result()` of what is returned waits for it."""
    from orbax.checkpoint import v1 as ocp  # imported where used: half a second

    silence_orbax()
    with _context(ocp, everyone=True):
        return ocp.save_checkpointables_async(os.fspath(where), tree, custom_metadata=dict(notes))


def read_metadata(where: pathlib.Path) -> dict[str, Any]:
    """Our metadata of a step: {} in format 1. Raises NewerFormat, BadInput when it is a step of another run or another
    step of this one (of which earlier versions noted nothing), and ValueError when the metadata is damaged."""
    text = (where / METADATA).read_text(encoding="utf-8")
    try:
        noted = json.loads(text).get("custom_metadata") or {}
        number, _ = noted.get("format", 1), {**noted.get("metrics", {}), **noted.get("checksums", {})}
        newer, run, step = number > FORMAT, dict(noted.get("run", {})), noted.get("step")
    except (AttributeError, TypeError, ValueError, RecursionError) as e:
        raise ValueError(f"its {METADATA} is not one of ours: {e}") from None
    if newer:
        raise NewerFormat(where, number, FORMAT)
    here = run_of(where) if run else None
    if here is not None and here != run.get("identity"):
        raise BadInput(f"checkpoint {where} is of another run: it was written in {run.get('path')}")
    if step is not None and str(step) != where.name:
        raise BadInput(f"checkpoint {where} is of another step: it was written as step {step} of {run.get('path')}")
    return noted


def metric(where: pathlib.Path, name: str) -> float | None:
    """The metric saved with a step; None when there is none or the step is damaged."""
    try:
        return read_metadata(where).get("metrics", {}).get(name)
    except (ValueError, OSError, AttributeError):
        return None


def _check_known(path: pathlib.Path, step: int | None, known: list[int]) -> None:
    if not known or (step is not None and step not in known):
        wanted = "a step" if step is None else f"step {step}"
        raise BadInput(f"{path} does not hold {wanted}: it holds {known or 'none'}")


def _read(where: pathlib.Path, abstract: Any) -> dict[str, Any]:
    from orbax.checkpoint import v1 as ocp

    with unguarded(), while_reading(), _context(ocp):
        found = dict(ocp.load_checkpointables(os.fspath(where), abstract))

    def check(a, b):  # without its metadata a key comes back as uint32
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key) and b.dtype == np.uint32:
            a = jax.eval_shape(jax.random.key_data, a)  # the shape that Orbax tells of a key
        if a.dtype != b.dtype or a.shape != b.shape:
            raise ValueError(f"{a.dtype}{list(a.shape)} instead of {b.dtype}{list(b.shape)}")

    jax.tree.map(check, found, abstract)
    return found


def _metadata(where: pathlib.Path) -> Mapping[str, Any]:
    from orbax.checkpoint import v1 as ocp

    read_metadata(where)
    with while_reading(), _context(ocp):
        return ocp.checkpointables_metadata(os.fspath(where)).metadata


def _context(ocp: Any, *, everyone: bool = False) -> Any:
    """Orbax's options. Each process reads alone: one that cannot read would leave the others waiting. For writing, all
    processes are named; otherwise Orbax's threads would synchronise through the devices, which are training."""
    context = ocp.Context()
    context.array.saving.storage_options.chunk_byte_size = CHUNK_BYTES
    number, count = this_process()
    if count > 1:
        context.multiprocessing.active_processes = set(range(count)) if everyone else {number}
        context.multiprocessing.primary_host = 0 if everyone else number
    return context
