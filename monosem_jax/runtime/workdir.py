"""A run directory: its configuration, its metrics log, its summary, and the lock of the run that works in it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import sys
from collections.abc import Callable
from typing import Any

import jax

from monosem_jax.runtime.ambient import changes, surroundings
from monosem_jax.runtime.config import difference, identity_of, to_dict, upgrade
from monosem_jax.runtime.errors import BadInput, NewerFormat
from monosem_jax.runtime.files import file_hash, finite, lock, not_finite, read_json, write_json
from monosem_jax.runtime.locations import LocalPath, is_url, local_path
from monosem_jax.runtime.metric_writers import MetricWriters, read_metrics
from monosem_jax.runtime.provenance import git_revision, versions

# Of run directories and checkpoints. 1 had no number and no checksums; before 3 random streams had numbers, no names.
FORMAT = 3
NAMED_STREAMS = 3  # since this format a run can be resumed: an earlier one would go on with other random numbers
MODEL_FOLDER = "model"  # of a pretrained model that a stage was given
MADE_FIRST = ("dictionary", MODEL_FOLDER)  # folders of what a run is made from, which may be there before it

RECORD: dict[str, Any] = dict.fromkeys(("config", "parents", "versions", "surroundings"), dict)
RECORD |= {"experiment": str, "format": int, "git": str | None, "identity": str}

# What a scheduler or a shell writes into the directory it was told to: train.log, slurm-123_4.out, job.o123
JOB_LOG = re.compile(r".*\.(log|out|err|[oe]\d+)")

PARENT: dict[str, Any] = dict.fromkeys(("path", "relative", "sha256", "file"), str)


class RunDir:
    """An open run directory. `finished`: summary.json exists; `close` releases the lock."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        experiment: str,
        config: Any,
        parents: dict[str, Any],
        defaults: Any = None,
    ):
        """Creates the directory, or opens it again to resume.

        Args:
          config: the resolved configuration without paths, a dataclass or a plain dictionary. It is compared with the
            one on disk, except for fields of the dataclass that are declared with `identity=False`.
          defaults: the same, with the values of keys that a directory of an earlier version lacks.
          parents: name → {"path", "sha256"} of what the run is made from; hashes are compared, paths are not.

        Raises BadInput when the directory belongs to another configuration, is in use, cannot be written, or holds an
        unfinished run of an earlier version, which drew other random numbers.
        """
        self.path = local_path(path, "--workdir")
        values, kind = to_dict(config), type(config) if dataclasses.is_dataclass(config) else None
        for key, number in not_finite(values):
            raise BadInput(f"config.{key} is {number}: expected a finite number")
        identity = {"experiment": experiment, "config": values, "parents": _portable(parents, self.path)}
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            _refuse_foreign(self.path)
            self._lock = lock(self.path)
        except OSError as e:
            raise BadInput(f"workdir {self.path} cannot be written: {e.strerror}") from None
        self._config, self._logs = values, MetricWriters(self.path)
        try:
            self._begin(identity, kind, to_dict(defaults or {}))
        except BaseException:
            self.close()
            raise

    def _begin(self, identity: dict[str, Any], kind: type | None, defaults: dict[str, Any]) -> None:
        file = self.path / "config.json"
        if file.exists():
            record = read_record(self.path)
            if not self.finished:
                _refuse_earlier_streams(self.path, record)
                self._surroundings = _changed_surroundings(record)
            changes = _identity_difference(record, identity, kind, defaults)
            if changes:
                raise BadInput(
                    f"workdir {self.path} belongs to another configuration ({'; '.join(changes)}): "
                    "give another --workdir or the configuration it was started with"
                )
        elif jax.process_index() == 0:
            self._fresh = True
            about = {"versions": versions(), "git": git_revision(), "identity": _hash(identity, kind)}
            write_json(file, {"format": FORMAT, **identity, **about, "surroundings": surroundings()})

    _surroundings: tuple[str, ...] = ()  # what is not as it was when the run was begun
    _fresh: bool = False  # the directory was begun by this process

    @property
    def finished(self) -> bool:
        return (self.path / "summary.json").exists()

    @property
    def summary(self) -> dict[str, Any]:
        return read_json(self.path / "summary.json")

    def log_with(self, *, patient: bool = False, wandb: str = "") -> None:
        """How `log` writes: whether it waits for room on a full disk, and to which Weights & Biases project too."""
        if jax.process_index() == 0:
            self._logs = MetricWriters(self.path, patient=patient, wandb=wandb, config=self._config)

    def rewind(self, step: int) -> None:
        """Drops logged metrics of steps after `step`, so that a resumed run logs each step once."""
        if jax.process_index() == 0:
            self._logs.rewind(step)

    def logged(self) -> list[tuple[int, dict[str, float | None]]]:
        """(step, metrics) of the lines of metrics.jsonl that are whole."""
        return read_metrics(self.path)

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Appends one step's metrics to metrics.jsonl and to the TensorBoard event files."""
        if jax.process_index() == 0:
            self._logs.write(step, metrics)

    def flush(self) -> None:
        """Writes what was logged and waits for room on the disk."""
        self._logs.flush()

    def finish(self, summary: dict[str, Any]) -> dict[str, Any]:
        """Writes summary.json, last and atomically: its presence means that the run is finished. Returns what it holds:
        a number that is not finite is null there, and `not_finite` says what it was."""
        if strange := {name: str(number) for name, number in not_finite(summary)}:
            if jax.process_index() == 0:
                told = ", ".join(f"{name} is {number}" for name, number in strange.items())
                print(f"note: {told}: null in the summary of {self.path}", file=sys.stderr)
            summary = {**finite(summary), "not_finite": strange}
        if jax.process_index() == 0:
            write_json(self.path / "summary.json", summary)
        return summary

    def once(self, work: Callable[[], dict[str, Any]], hint: str = "") -> dict[str, Any]:
        """Finishes the run with the summary that `work` returns; a finished run is left as it is, and its summary is
        returned. `hint` is printed after the line that says so."""
        if self.finished:
            print(f"{self.path} is finished: nothing to do{hint}")
            return self.summary
        if self._surroundings and jax.process_index() == 0:
            told = ", ".join(self._surroundings)
            print(f"note: {self.path} is resumed with {told}: the numbers agree to rounding only", file=sys.stderr)
        return self.finish(work())

    def close(self) -> None:
        self._logs.close()
        self._lock.close()

    def __enter__(self) -> RunDir:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if self._fresh and isinstance(error, BadInput) and not self._worked():
            for own in self._begun():  # a mistake found before any work binds the directory to nothing
                own.unlink(missing_ok=True)
        self.close()

    def _begun(self) -> tuple[pathlib.Path, ...]:
        """The files that are written before any work."""
        return self.path / "config.json", self.path / "input.json"

    def _worked(self) -> bool:
        own = self._begun()
        files = (p for p in self.path.rglob("*") if p.is_file() and not _is_job_log(p, self.path))
        return any(p.name != ".lock" and p not in own for p in files)


def parent(path: str | os.PathLike[str], file: str) -> dict[str, str]:
    """The record of a directory that a run is made from: where it is, and the hash of its manifest."""
    manifest = pathlib.Path(path) / file
    if not manifest.exists():
        raise BadInput(f"{path} holds no {file}: expected a finished directory of the stage before")
    return {"path": str(path), "file": file, "sha256": file_hash(manifest)}


def resolve_parent(run_path: pathlib.Path, record: dict[str, str]) -> LocalPath:
    """Where a parent is now: beside the run if both were moved together, else where it was.

    Another directory in its place is not taken for it: the hash of its manifest decides.
    """
    if is_url(record["path"]):
        raise BadInput(f"{run_path} was made from {record['path']}, which is not a directory on this machine")
    for candidate in (run_path / record.get("relative", record["path"]), record["path"]):
        with contextlib.suppress(BadInput):  # what leads nowhere does not hold the parent
            found = local_path(candidate, "parent")
            manifest = found / record.get("file", "")
            if manifest.exists() and (not record.get("file") or file_hash(manifest) == record["sha256"]):
                return found
    raise BadInput(f"{run_path} was made from {record['path']}, which does not exist any more or has changed")


def _refuse_earlier_streams(path: pathlib.Path, record: dict[str, Any]) -> None:
    number = record.get("format", 1)
    if number < NAMED_STREAMS:
        version = record.get("versions", {}).get("monosem_jax")
        writer = f"monosem_jax {version}" if version else "an earlier monosem_jax"
        writer += f" at git {record['git'][:12]}" if record.get("git") else ""
        raise BadInput(
            f"workdir {path} was begun by {writer} (format {number}), which drew other random numbers: "
            "finish it with that version, or give a new --workdir"
        )


def _refuse_foreign(path: pathlib.Path) -> None:
    def visible(p: pathlib.Path) -> bool:
        if p.relative_to(path).parts[0] in MADE_FIRST:
            return False
        return p.is_file() and not p.name.startswith(".") and not _is_job_log(p, path)

    foreign = sorted(p.name for p in path.iterdir() if visible(p) or any(map(visible, p.rglob("*"))))
    if foreign and "config.json" not in foreign and jax.process_index() == 0:
        raise BadInput(f"workdir {path} is not empty and not a run directory: it holds {foreign[0]}")


def _is_job_log(file: pathlib.Path, workdir: pathlib.Path) -> bool:
    """Whether a file is the log of the job that works in this directory, not a part of the run."""
    return file.parent == workdir and JOB_LOG.fullmatch(file.name) is not None


def _changed_surroundings(record: dict[str, Any]) -> tuple[str, ...]:
    """What numbers depend on and is not as it was when the run was begun. (They do not depend on how many devices.)"""
    now = {**surroundings(), **{name: versions().get(name) for name in ("jax", "jaxlib")}}
    before = {**record.get("surroundings", {}), **record.get("versions", {})}
    return tuple(changes(before, now))


def _portable(parents: dict[str, Any], path: pathlib.Path) -> dict[str, Any]:
    return {name: p if is_url(p["path"]) else _placed(p, path) for name, p in parents.items()}


def _placed(record: dict[str, Any], path: pathlib.Path) -> dict[str, Any]:
    found = record["path"]
    found = os.path.realpath(found)  # the run's own path has no links in it either
    return {**record, "path": found, "relative": os.path.relpath(found, path)}


def read_record(path: pathlib.Path) -> dict[str, Any]:
    """The config.json of a run directory. Raises BadInput when there is none, or a newer version wrote it."""
    if not (path / "config.json").exists():
        raise BadInput(f"{path} is not a run directory: it holds no config.json")
    record = read_json(path / "config.json")
    ours = _fits(record, RECORD, {"experiment", "config", "parents"})
    if not (ours and all(_fits(p, PARENT, {"path"}) for p in record["parents"].values())):
        raise BadInput(f"{path} is not a run directory: its config.json is not one of ours")
    if (number := record.get("format", 1)) > FORMAT:
        raise NewerFormat(path, number, FORMAT)
    return record


def _hash(identity: dict[str, Any], kind: type | None) -> str:
    """The identity of a run in a few letters: the sha256 of the experiment, of the keys that decide the result, and of
    the parents' hashes. It stays with the run when its directory is moved or copied."""
    values = json.loads(json.dumps(identity["config"]))
    parents = {name: parent.get("sha256") for name, parent in identity["parents"].items()}
    decides = [identity["experiment"], identity_of(kind, values) if kind else values, parents]
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def _fits(found: Any, kinds: dict[str, Any], needed: set[str]) -> bool:
    """Whether it is an object that has the keys that are `needed`, and values of these kinds."""
    if not (isinstance(found, dict) and needed <= found.keys()):
        return False
    return all(isinstance(found[key], kind) for key, kind in kinds.items() if key in found)


def _identity_difference(
    old: dict[str, Any], new: dict[str, Any], kind: type | None, defaults: dict[str, Any]
) -> list[str]:
    """The lines that say in what two records differ; `kind` is the class of the configuration, if it has one."""
    if old["experiment"] != new["experiment"]:
        return [f"experiment: {old['experiment']!r} -> {new['experiment']!r}"]
    before, now = old["config"], json.loads(json.dumps(new["config"]))
    if kind:
        before = identity_of(kind, _completed(upgrade(kind, before), defaults))
        now = identity_of(kind, now)
    else:
        before = _completed(before, defaults)
    a, b = ({name: parent["sha256"] for name, parent in record["parents"].items()} for record in (old, new))
    return difference(before, now) + difference(a, b, prefix="parents")


def _completed(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """`values` with the `defaults` of keys that it lacks, at every depth."""
    found = json.loads(json.dumps(defaults)) | values
    nested = {k: v for k, v in values.items() if isinstance(v, dict) and isinstance(defaults.get(k), dict)}
    return found | {k: _completed(v, defaults[k]) for k, v in nested.items()}
