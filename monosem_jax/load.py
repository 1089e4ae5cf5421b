"""Opening a run directory of any experiment, on any machine, whatever mesh wrote it. Files are read when first used.

run = monosem_jax.load_sae("runs/a1")   # or load_run, whatever experiment made it
run.params["W_dec"]        # NumPy, without reading the optimizer's state
run.params_on(mesh)        # the same, each device reading its own part
run.feature(17)["W_dec"]   # one feature, without reading the others

What analyses take is a feature set: `feature_set` of a dictionary, `neurons` of the same activations, and `control`.
`match` finds for every feature of one the best feature of another.
"""

from __future__ import annotations

import functools
import importlib
import pathlib
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from monosem_jax.activations.run import HarvestRun
from monosem_jax.activations.store.store import Store
from monosem_jax.analysis import feature_sets
from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.run import AnalyzeRun, CompareRun, EvaluateRun
from monosem_jax.analysis.universality.matches import Matches, match_sets
from monosem_jax.models import loaded
from monosem_jax.models.loaded import LoadedModel
from monosem_jax.models.pretrained import is_pretrained
from monosem_jax.models.run import FromTransformer, ImportedModelRun, TransformerRun, open_transformer
from monosem_jax.runtime.arguments import Named, whole_number
from monosem_jax.runtime.errors import BadInput, NewerFormat
from monosem_jax.runtime.files import read_json
from monosem_jax.runtime.loaded_run import LoadedRun
from monosem_jax.runtime.locations import local_path
from monosem_jax.runtime.workdir import read_record
from monosem_jax.sae.published import PublishedSAE
from monosem_jax.sae.run import SaeRun, SweepRun
from monosem_jax.toy.run import ToyRun

DEFAULT_SITE = "mlp_hidden.0"  # whose neurons are meant where a transformer is given


class ReportRun(LoadedRun):
    """`page` is the report's file."""

    @property
    def page(self) -> pathlib.Path:
        return self.path / "index.html"

    def browse(self) -> pathlib.Path:
        """Opens the page in a web browser and returns its path."""
        return importlib.import_module("monosem_jax.stages.browse").open_browser(self)


class QuickstartRun(LoadedRun):
    """All stages in one directory; `stages` opens those that were begun."""

    @functools.cached_property
    def stages(self) -> dict[str, LoadedRun]:
        """name -> run: transformer, store, sae, analysis, report."""
        found = {p.parent.name: load_run(p.parent) for p in sorted(self.path.glob("*/config.json"))}
        return Named(f"the stage of {self.path}", found)

    def browse(self) -> pathlib.Path:
        """Opens the browser of features of its report, or of its analysis, and returns its page."""
        return importlib.import_module("monosem_jax.stages.browse").open_browser(self)


class SuiteRun(FromTransformer):
    """Dictionaries of many sites of a model: `members` are their runs, `stores` what they were trained on."""

    @functools.cached_property
    def members(self) -> dict[str, SaeRun]:
        """name -> run, those of which a checkpoint exists, in the order of the suite."""
        runs = {p.parent.name: SaeRun(p.parent) for p in sorted(self.path.glob("members/*/config.json"))}
        names = [row["name"] for row in self.table or () if row["name"] in runs] or list(runs)
        return Named(f"the member of {self.path}", {name: runs[name] for name in names if runs[name].steps})

    @property
    def stores(self) -> dict[str, Store]:
        """site -> its store."""
        return HarvestRun(self.path / "store").stores

    @property
    def table(self) -> list[dict[str, Any]] | None:
        """The figures of every dictionary, once the suite is finished."""
        return read_json(self.path / "summary.json", dict, ("members",))["members"] if self.summary else None

    def browse(self) -> pathlib.Path:
        """Opens the browser of features of its dictionaries and returns its page."""
        return importlib.import_module("monosem_jax.stages.browse").open_browser(self)


KINDS: dict[str, type[LoadedRun]] = {
    "train_transformer": TransformerRun, "harvest": HarvestRun, "train_sae": SaeRun, "import": SaeRun,
    "sweep": SweepRun, "evaluate": EvaluateRun, "analyze": AnalyzeRun, "compare": CompareRun,
    "report": ReportRun, "quickstart": QuickstartRun, "toy_models": ToyRun, "import_model": ImportedModelRun,
    "suite": SuiteRun,
}  # fmt: skip


AnyRun = (
    TransformerRun
    | HarvestRun
    | SaeRun
    | SweepRun
    | EvaluateRun
    | AnalyzeRun
    | CompareRun
    | ReportRun
    | QuickstartRun
    | ToyRun
    | SuiteRun
    | LoadedRun
)
Path = str | pathlib.Path
R = TypeVar("R", bound=LoadedRun)


def load_run(path: Path, step: int | None = None) -> AnyRun:
    """Opens the run directory of any experiment, or the folder of a published dictionary (`interop.readers`); `step`
    chooses a checkpoint other than the newest.

    Raises BadInput when `path` is not a run directory, holds no such step, or was written by a newer version.
    """
    step = None if step is None else whole_number(f"step is {step!r}", step, 0)
    where = local_path(path, "path")
    run = _published(where) or KINDS.get(read_record(where)["experiment"], LoadedRun)(where, step)
    if step is not None and step not in run.steps and not isinstance(run, SweepRun):
        raise BadInput(f"{path} holds no checkpoint of step {step}: it holds {run.steps}")
    return run


def _published(where: pathlib.Path) -> SaeRun | None:
    """The dictionary of another program in a folder, None where there is none."""
    try:
        read_record(where)
    except NewerFormat:
        raise
    except BadInput:
        return importlib.import_module("monosem_jax.interop.opened").open_folder(where) if where.is_dir() else None
    return None


def _load(path: Path, step: int | None, kind: type[R]) -> R:
    run = load_run(path, step)
    # An analyze directory is no evaluate directory, though its class is derived; an imported model is a transformer.
    stands: tuple[type, ...] = (kind, ImportedModelRun) if kind is TransformerRun else (kind,)
    if not isinstance(run, kind) or KINDS.get(run.experiment) not in stands:
        names = " or ".join(name for name, other in KINDS.items() if other in stands)
        raise BadInput(f"{path} is the run directory of {run.experiment}: expected one of {names}")
    return run


def load_transformer(path: Path, step: int | None = None) -> TransformerRun:
    """`load_run` of a train_transformer directory; raises BadInput on one of another experiment, as all of these."""
    return _load(path, step, TransformerRun)


def load_model(path: Path) -> LoadedModel:
    """A language model: of a run directory, a Hugging Face directory, a .gguf file, hub:ORG/NAME, or by the name of a
    packaged one (smollm2, glassllm). Raises BadInput on anything else."""
    if is_pretrained(str(path)):
        return loaded.of_files(str(path))
    return loaded.of_run(open_transformer(str(local_path(path, "path"))))


def load_store(path: Path) -> HarvestRun:
    """`load_run` of a harvest directory."""
    return _load(path, None, HarvestRun)


def load_sae(path: Path, step: int | None = None) -> SaeRun:
    """`load_run` of a train_sae directory, of one that was imported, or of the folder of a published dictionary."""
    return _load(path, step, SaeRun)


def load_sweep(path: Path, step: int | None = None) -> SweepRun:
    """`load_run` of a sweep's directory; `step` is that of the members."""
    return _load(path, step, SweepRun)


def load_evaluation(path: Path) -> EvaluateRun:
    """`load_run` of an evaluate directory."""
    return _load(path, None, EvaluateRun)


def load_analysis(path: Path) -> AnalyzeRun:
    """`load_run` of an analyze directory."""
    return _load(path, None, AnalyzeRun)


def load_comparison(path: Path) -> CompareRun:
    """`load_run` of a compare directory."""
    return _load(path, None, CompareRun)


def load_report(path: Path) -> ReportRun:
    """`load_run` of a report directory."""
    return _load(path, None, ReportRun)


def load_quickstart(path: Path) -> QuickstartRun:
    """`load_run` of a quickstart directory."""
    return _load(path, None, QuickstartRun)


def load_suite(path: Path) -> SuiteRun:
    """`load_run` of a suite's directory."""
    return _load(path, None, SuiteRun)


def load_toy_models(path: Path) -> ToyRun:
    """`load_run` of a toy_models directory."""
    return _load(path, None, ToyRun)


def feature_set(run: Path | SaeRun, name: str = "features") -> FeatureSet:
    """The features of a dictionary, of any architecture and site, trained here or imported.

    Raises BadInput unless `run` is a dictionary whose transformer is available.
    """
    found = _dictionary(run)
    tapped = found.transformer.tapped(found.site or "")
    return feature_sets.dictionary(name, tapped, PublishedSAE(found.sae, found.params))


def neurons(run: Path | SaeRun | TransformerRun, site: str = "", name: str = "neurons") -> FeatureSet:
    """The neurons that a dictionary reconstructs, or those of a transformer at `site` (DEFAULT_SITE if it is "").

    Raises BadInput like `feature_set`, and on a site that the model does not have.
    """
    if isinstance(run, Path):
        opened = load_run(run)
        run = opened if isinstance(opened, TransformerRun) else _dictionary(run)
    if isinstance(run, TransformerRun):
        return feature_sets.neurons(run.tapped(site or DEFAULT_SITE), name)
    found = _dictionary(run)
    return feature_sets.neurons(found.transformer.tapped(site or found.site or ""), name)


def control(run: Path | SaeRun, name: str = "control") -> FeatureSet:
    """The features of a dictionary of a control transformer, one made by `shuffle_transformer`.

    Raises BadInput like `feature_set`, and on a dictionary of a trained transformer.
    """
    found = _dictionary(run)
    check_control(found)
    return feature_set(found, name)


def is_control(run: SaeRun) -> bool:
    """Whether a dictionary is of a control transformer."""
    return "shuffle_of" in run.transformer.record["parents"]


def check_control(run: SaeRun) -> None:
    """Raises BadInput on a dictionary of a trained transformer."""
    if not is_control(run):
        raise BadInput(
            f"{run.path} is a dictionary of {run.transformer.path}, which was trained: expected one of a "
            "transformer that experiments.train_transformer --shuffle_of made"
        )


def match(a: Path | SaeRun | FeatureSet, b: Path | SaeRun | FeatureSet, tokens: np.ndarray) -> Matches:
    """For every feature of `a` the feature of `b` whose activations correlate most with its own, over contexts
    [C,T] such as `load_transformer(…).text.tokens("heldout")`; see `Matches`. `a`, `b`: dictionaries or feature sets.

    Raises BadInput on sets of other tokenizers, on tokens that the models do not have, and when nothing fires.
    """
    runs = [x if isinstance(x, FeatureSet) else _dictionary(x) for x in (a, b)]
    _check_tokenizers([x for x in runs if isinstance(x, SaeRun)])
    sets = [x if isinstance(x, FeatureSet) else feature_set(x, name) for x, name in zip(runs, ("a", "b"), strict=True)]
    return match_sets(sets[0], sets[1], tokens)


def _check_tokenizers(runs: Sequence[SaeRun]) -> None:
    """Raises BadInput unless all dictionaries are of one tokenizer: other tokens of the same number look alike."""
    found = {run.transformer.text.manifest.get("tokenizer_sha256"): run.path for run in runs}
    if len(found) > 1:
        first, second, *_ = found.values()
        raise BadInput(f"{first} and {second} are of transformers with another tokenizer: expected the same")


def _dictionary(run: Path | SaeRun) -> SaeRun:
    """The run of a dictionary that has a checkpoint and a transformer."""
    found = run if isinstance(run, SaeRun) else load_sae(run)
    if not found.steps:
        raise BadInput(f"{found.path} holds no checkpoint: expected a dictionary that was trained or imported")
    if "transformer" not in found.record["parents"]:
        raise BadInput(f"{found.path} was made without a transformer: its features have no text to fire on")
    if not found.site:
        raise BadInput(f"{found.path} does not say which site it explains: expected one such as {DEFAULT_SITE}")
    return found
