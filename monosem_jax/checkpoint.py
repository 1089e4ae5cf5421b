"""Orbax checkpoints of a training state: parameters apart from the rest, so that analysis reads them alone."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from monosem_jax.errors import BadInput


class Checkpoints:
    """The steps under a run's `checkpoints/`. Writing is asynchronous; a step that is listed is whole."""

    def __init__(self, path: pathlib.Path, *, keep: int = 2):
        """Keeps step 0 and the newest `keep` steps."""
        from orbax.checkpoint import v1 as ocp  # imported where used: half a second

        policies = ocp.training.preservation_policies
        self.path = path
        self._manager = ocp.training.Checkpointer(
            path.absolute(),
            cleanup_tmp_directories=True,
            save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
            preservation_policy=policies.AnyPreservationPolicy([policies.CustomSteps([0]), policies.LatestN(keep)]),
        )

    def save(self, step: int, params: Any, rest: Any) -> None:
        """Starts writing a step and returns; the arrays may be donated at once. A step on disk is left as it is."""
        if step not in self.steps():
            self._manager.save_checkpointables_async(step, {"params": params, "rest": rest})

    def steps(self) -> list[int]:
        """The steps on disk, oldest first."""
        return sorted(c.step for c in self._manager.checkpoints)

    def restore_latest(self, params: Any, rest: Any) -> tuple[int, Any, Any] | None:
        """The newest whole step as (step, params, rest), placed like the given arrays; None when there is none."""
        found = restore_together([(self, params, rest)])
        return found and (found[0], *found[1][0])

    def load(self, step: int, abstract: Any) -> Any:
        """What a step holds, or None where it is damaged, which is told on stderr."""
        try:
            found = self._manager.load_checkpointables(step, abstract)
            _check_like(found, abstract)
        except Exception as e:  # Orbax raises many kinds for a damaged step
            where = self.path / str(step)
            print(f"checkpoint {where} cannot be read ({_brief(e)}): trying an older one", file=sys.stderr)
            return None
        return found

    def delete_after(self, step: int) -> None:
        """Removes the steps after `step`."""
        for other in self.steps():
            if other > step:
                self._manager.delete(other)

    def wait(self) -> None:
        """Blocks until what was saved is on disk."""
        self._manager.wait()

    def close(self) -> None:
        self._manager.close()


def restore_together(wanted: Sequence[tuple[Checkpoints, Any, Any]]) -> tuple[int, list[tuple[Any, Any]]] | None:
    """The newest step that is whole in every store, as (step, [(params, rest) of each]).

    `wanted` is a list of (store, params, rest): what is found is placed like these arrays. None when the stores have no
    step in common. A damaged one is named on stderr, and the one before is used; only then what is newer is removed,
    from all. Raises BadInput when no common step can be read: the fault may lie elsewhere, and nothing is lost yet.
    """
    stores = [store for store, _, _ in wanted]
    abstract = [jax.tree.map(_abstract, {"params": params, "rest": rest}) for _, params, rest in wanted]
    common = sorted(set.intersection(*(set(s.steps()) for s in stores)), reverse=True)
    for step in common:
        found = []
        for store, like in zip(stores, abstract, strict=True):
            found.append(store.load(step, like))
            if found[-1] is None:
                break
        else:
            for store in stores:
                store.delete_after(step)
            return step, [(f["params"], f["rest"]) for f in found]
    if common:
        paths = ", ".join(str(s.path) for s in stores)
        raise BadInput(f"none of the checkpoints {common} in {paths} can be read: see above, or remove them")
    return None


def checkpoint_steps(path: pathlib.Path) -> list[int]:
    """The steps under a `checkpoints/` directory, oldest first, without opening any."""
    return sorted(int(p.name) for p in path.iterdir() if p.name.isdigit()) if path.is_dir() else []


def load_params(path: pathlib.Path, step: int | None = None, names: Sequence[str] = ("params",)) -> dict[str, Any]:
    """Parts of a step (default: the newest) as NumPy arrays on any machine, without reading the other parts.

    Raises BadInput when the directory has no such step.
    """
    from orbax.checkpoint import v1 as ocp

    known = checkpoint_steps(path)
    if not known or (step is not None and step not in known):
        wanted = "a step" if step is None else f"step {step}"
        raise BadInput(f"{path} does not hold {wanted}: it holds {known or 'none'}")
    where = (path / str(known[-1] if step is None else step)).absolute()
    try:
        metadata = ocp.checkpointables_metadata(where).metadata
        abstract = {name: jax.tree.map(lambda m: np.empty(m.shape, m.dtype), metadata[name]) for name in names}
        return dict(ocp.load_checkpointables(where, abstract))
    except Exception as e:  # Orbax raises many kinds for a damaged step
        raise BadInput(f"checkpoint {where} cannot be read: {_brief(e)}") from None


def _abstract(x: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)


def _check_like(found: Any, abstract: Any) -> None:
    """Raises ValueError on another dtype or shape: without its metadata a key comes back as uint32."""

    def check(a, b):
        if a.dtype != b.dtype or a.shape != b.shape:
            raise ValueError(f"{a.dtype}{list(a.shape)} instead of {b.dtype}{list(b.shape)}")

    jax.tree.map(check, found, abstract)


def _brief(e: Exception) -> str:
    return f"{type(e).__name__}: {str(e).splitlines()[0][:120] if str(e) else ''}"
