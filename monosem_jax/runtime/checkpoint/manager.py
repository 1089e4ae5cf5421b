"""Orbax checkpoints of a training state. Parameters are stored apart from the rest, so that analysis reads them alone.

A step is a directory `checkpoints/STEP`, renamed into place when it is whole. Its metadata holds the format's number,
the step's number and its run, and checksums of every array and of the blocks of large parameters: neither Orbax nor the
file system notices a byte that changed on the disk, or a step that was copied or linked from elsewhere.
"""

from __future__ import annotations

import contextlib
import math
import os
import pathlib
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from monosem_jax.runtime.ambient import pool
from monosem_jax.runtime.checkpoint import read
from monosem_jax.runtime.checkpoint.retention import Retention
from monosem_jax.runtime.errors import BadInput, disk_full, short_error
from monosem_jax.runtime.processes import all_agree, barrier_next, first_process

DELETED, UNFINISHED = ".deleted-*", "*.orbax-checkpoint-tmp*"  # what a killed process may leave


class Checkpoints:
    """The steps under a run's `checkpoints/`. Writing is asynchronous; a step that is listed is whole."""

    def __init__(self, path: pathlib.Path, retention: Retention = Retention(), *, patient: bool = False):  # noqa: B008
        """Opens or makes the directory. `patient`: on a full disk a step is skipped, with a line on stderr, and no
        error is raised."""
        self.path, self._retention, self._patient = read.step_folder(path, 0).parent, retention, patient
        self._run = read.run_of(self.path / "0")
        steps = read.checkpoint_steps(path)
        self._metrics = {step: read.metric(path / str(step), retention.metric) for step in steps}
        barrier_next("checkpoints are listed")  # before the first process changes anything
        if first_process():
            self.path.mkdir(parents=True, exist_ok=True)
            self._clean(DELETED, UNFINISHED)
            for p in self.path.iterdir():
                if p.name.isdigit() and int(p.name) not in self._metrics:
                    print(f"checkpoint {p} is not whole ({read.METADATA} is missing): it is not used", file=sys.stderr)
        self._worker = pool(1, "checkpoint")
        self._pending: tuple[int, Future | None] = (0, None)

    def save(
        self, step: int, params: Any, rest: Any, metrics: Mapping[str, float] | None = None, *, needed: bool = False
    ) -> None:
        """Starts writing a step, with the metrics for retention, and returns; the arrays may be donated at once.

        A step on disk is left as it is. `needed`: waits for the step, and a full disk is an error in any case. Raises
        the error of the previous step's write, and BadInput when another run was begun in the directory meanwhile.
        """
        self.wait()
        if self._run is not None and read.run_of(self.path / "0") != self._run:
            raise BadInput(
                f"{self.path.parent} holds another run than the one that writes there: it was deleted, and begun anew, "
                "while this program ran"
            )
        if step in self._metrics:
            return
        if first_process():
            self._clean(UNFINISHED)  # threads of one that found no room may have gone on for a moment
            if (self.path / str(step)).exists():
                self._remove(step)  # it is not whole
        tree, known = {"params": params, "rest": rest}, {k: v for k, v in (metrics or {}).items() if math.isfinite(v)}
        about = read.notes_of(self.path / str(step), tree, known)
        with self._disk_may_be_full(step, self._patient and not needed):
            response = read.write(self.path / str(step), tree, about)
            metric = known.get(self._retention.metric)
            self._pending = (step, self._worker.submit(self._complete, step, response, metric))
        if needed:
            self.wait(needed=True)

    def _complete(self, step: int, response: Any, metric: float | None) -> None:
        response.result()
        self._metrics[step] = metric
        for old in self._metrics.keys() - self._retention.stay(self._metrics):
            self._delete(old)

    def steps(self) -> list[int]:
        """The whole steps on disk, oldest first."""
        return sorted(self._metrics)

    def restore_latest(self, params: Any, rest: Any) -> tuple[int, Any, Any] | None:
        """The newest whole step as (step, params, rest), placed like the given arrays; None when there is none."""
        found = restore_together([(self, params, rest)])
        return found and (found[0], *found[1][0])

    def delete_after(self, step: int) -> None:
        """Removes the steps after `step`."""
        for other in [s for s in self._metrics if s > step]:
            self._delete(other)

    def _delete(self, step: int) -> None:
        del self._metrics[step]
        if first_process():
            self._remove(step)

    def _remove(self, step: int) -> None:
        condemned = self.path / DELETED.replace("*", str(step))
        os.rename(self.path / str(step), condemned)  # first: half a directory must not look like a step
        shutil.rmtree(condemned, ignore_errors=True)

    def _clean(self, *patterns: str) -> None:
        for pattern in patterns:
            for p in self.path.glob(pattern):
                shutil.rmtree(p, ignore_errors=True)

    def wait(self, *, needed: bool = False) -> None:
        """Blocks until the saved step is on disk. Raises the error of its write, as `save` does."""
        (step, pending), self._pending = self._pending, (0, None)
        if pending is not None:
            with self._disk_may_be_full(step, self._patient and not needed):
                pending.result()

    @contextlib.contextmanager
    def _disk_may_be_full(self, step: int, patient: bool) -> Iterator[None]:
        try:
            yield
        except Exception as e:
            if first_process():
                self._clean(UNFINISHED)  # what is there of it takes room
            if not (patient and disk_full(e)):
                raise
            line = f"the disk is full: no checkpoint of step {step} in {self.path}, training goes on without"
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Waits like `wait`, but prints an error to stderr instead of raising it."""
        try:
            self.wait()
        except Exception as e:
            print(f"the last checkpoint in {self.path} was not written: {short_error(e)}", file=sys.stderr)
        self._worker.shutdown()


def restore_together(wanted: Sequence[tuple[Checkpoints, Any, Any]]) -> tuple[int, list[tuple[Any, Any]]] | None:
    """The newest step that is whole in every store, as (step, [(params, rest) of each]).

    `wanted` is a list of (store, params, rest): the restored arrays are placed like these. None when the stores have no
    step in common. A damaged step is named on stderr and the one before it is used; only then are newer steps removed,
    from all stores. Raises BadInput when no common step can be read: the fault may lie elsewhere, and nothing is lost.
    """
    stores = [store for store, _, _ in wanted]
    common = sorted(set.intersection(*(set(s.steps()) for s in stores)), reverse=True)
    for step in common:
        found = []
        for store, params, rest in wanted:
            found.append(_load(store.path / str(step), {"params": params, "rest": rest}))
            if found[-1] is None:
                break
        else:
            for store in stores:
                store.delete_after(step)
            return step, [(f["params"], f["rest"]) for f in found]
    if common:
        paths = ", ".join(str(s.path) for s in stores)
        raise BadInput(
            f"none of the checkpoints {common} in {paths} can be read, for the reasons above: nothing was changed; "
            "another --workdir begins anew"
        )
    return None


def _load(where: pathlib.Path, like: Any) -> Any:
    """The contents of a step, placed like the arrays of `like`; None, with a line on stderr, when any process finds it
    damaged."""
    found, fault = None, ""
    try:
        found = read.read_like(where, like)
    except BadInput:  # it is whole, but of a newer format or of another run
        raise
    except Exception as e:  # Orbax raises many kinds for a damaged step
        fault = short_error(e)
    if all_agree(found is not None):  # only then: the devices of all compute the checksums
        try:
            read.compare(found, where)
            return found
        except ValueError as e:
            fault = short_error(e)
    if fault:
        print(f"checkpoint {where} cannot be read ({fault}): trying an older one", file=sys.stderr)
    return None
