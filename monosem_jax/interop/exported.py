"""A dictionary without its run directory, as it is exchanged with other programs."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from monosem_jax.load import load_sae
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import file_hash, read_array
from monosem_jax.runtime.loaded_run import LoadedRun
from monosem_jax.sae import architectures as sae_lib
from monosem_jax.sae.activation_fns import BatchTopK, TopK
from monosem_jax.sae.base import SparseAutoencoder
from monosem_jax.sae.errors import Prefixes
from monosem_jax.sae.run import SaeRun, SweepRun

T = TypeVar("T")
KEEP_ROWS = ("SAELens",)  # programs whose dictionaries may normalise single rows


@dataclasses.dataclass(frozen=True, eq=False)
class ExportedSAE:
    """The published parameters of an `architecture` (a name in `sae.architectures`), fp32, for raw activations.

    A field that is unknown or has no meaning for the architecture is None or (). `density` [F] is the share of held-out
    tokens on which each feature fired, `k` the number of features active on a row (with BatchTopK, on average),
    `widths` those of the sites that a row joins, `prefixes` the sizes of the nested dictionaries of Matryoshka, `rows`
    the normalisation of single rows that belongs to the dictionary (a key of `sae.row_scales.ROW_SCALES`) or "",
    `files` those that it was read from.
    """

    architecture: str
    params: dict[str, np.ndarray]
    site: str | None = None
    step: int | None = None
    model_name: str | None = None
    context_length: int | None = None
    density: np.ndarray | None = None
    k: int | None = None
    widths: tuple[int, ...] = ()
    prefixes: tuple[int, ...] = ()
    rows: str = ""
    files: tuple[pathlib.Path, ...] = ()

    @property
    def width(self) -> int:
        """M of the activations that are read."""
        return self.params["W_enc"].shape[0]

    @property
    def width_out(self) -> int:
        """M of the activations that are reconstructed."""
        return self.params["b_dec"].shape[0]

    @property
    def row_widths(self) -> tuple[int, ...]:
        """The widths of the parts of a row of activations that it is given: of a transcoder two."""
        both = (self.width, self.width_out) if self.architecture == "transcoder" else (self.width,)
        return self.widths or both

    @property
    def input(self) -> dict[str, Any]:
        """What `input.json` of a run directory says of it, but for the site."""
        widths = self.row_widths
        found: dict[str, Any] = {"input_scale": 1.0, "width": sum(widths), "published": True}
        if len(widths) > 1:
            found |= {"input_scale": [1.0] * len(widths), "widths": list(widths)}
        return {**found, "rows": self.rows} if self.rows else found

    @property
    def source_hash(self) -> str:
        """The hash of a dictionary that was read: a hash of the hashes of its files."""
        return hashlib.sha256("".join(map(file_hash, self.files)).encode()).hexdigest()

    @property
    def settings(self) -> dict[str, Any]:
        """The keys of `sae` that make a module for the parameters."""
        found: dict[str, Any] = {"architecture": self.architecture, "n_features": self.n_features}
        if self.k is not None:
            found["k"] = self.k
        if self.architecture == "transcoder":
            names = {"relu": "relu", "topk": "topk", "jumprelu": "batchtopk"}
            found |= {"activation": names[self.activation], "skip": "W_skip" in self.params}
            found.setdefault("k", 1)  # of training alone, where the activation is not topk
        return found

    @property
    def n_features(self) -> int:
        """F."""
        return self.params["b_enc"].shape[0]

    @property
    def activation(self) -> str:
        """How f is made from z = x W_enc + b_enc: "relu", "topk" (its k largest positive numbers), "jumprelu" (those
        above `threshold`), "gated", or another activation that selects by k."""
        if "b_gate" in self.params:
            return "gated"
        if "threshold" in self.params:
            return "jumprelu"
        if self.k is None:
            return "relu"
        selects = sae_lib.find(self.architecture)().recipe().activation
        return selects.form if isinstance(selects, TopK) else "topk"

    @property
    def centred(self) -> bool:
        """Whether b_dec is subtracted from x before encoding."""
        return sae_lib.find(self.architecture)().recipe().apply_b_dec_to_input

    @property
    def bias(self) -> np.ndarray:
        """[F]: the encoder bias of an equal dictionary that does not subtract b_dec from x."""
        p = self.params
        return (
            p["b_enc"] - np.einsum("M,MF->F", p["b_dec"], p["W_enc"], dtype=np.float64) if self.centred else p["b_enc"]
        )


def of_run(path: pathlib.Path, step: int = -1) -> ExportedSAE:
    """The dictionary in a run directory, finished or not, at a checkpointed step (-1: the newest).

    Raises BadInput when there is no such step, its weights are not finite, or its configuration is impossible.
    """
    opened = load_sae(path)
    if isinstance(read := getattr(opened, "dictionary", None), ExportedSAE):  # a published one, opened where it lies
        return read
    if not (steps := opened.steps):
        raise BadInput(f"{path} holds no checkpoint yet: there is nothing to export")
    chosen = steps[-1] if step < 0 else step
    run = load_sae(path, chosen)
    params = {name: np.asarray(p) for name, p in run.params.items()}
    check_finite(params, str(path))
    file = run.path / "density.npy"
    final = run.summary is not None and chosen == steps[-1] and file.exists()  # it was measured at the last step only
    model = run.record["parents"].get("transformer")
    return ExportedSAE(
        run.config["sae"]["architecture"], params, run.site, chosen,
        model_name=pathlib.PurePath(model["path"]).name if model else None,
        context_length=_context_length(run) if model else None,
        density=np.array(read_array(file)) if final else None, **details_of(run.sae),
    )  # fmt: skip


def details_of(sae: SparseAutoencoder) -> dict[str, Any]:
    """The fields that the parameters do not show."""
    found: dict[str, Any] = {"widths": sae.parts if len(sae.parts) > 1 else (), "rows": sae.rows}
    recipe = sae.recipe
    if isinstance(recipe.activation, TopK | BatchTopK):
        sae.config.check()
        found["k"] = recipe.activation.k
    if isinstance(recipe.error, Prefixes):
        sae.config.check()
        found["prefixes"] = recipe.error.ends
    return found


def members_of(run: LoadedRun) -> dict[str, pathlib.Path]:
    """Name -> directory of each dictionary in a run: a single one, named "", or the members of a sweep.

    Raises BadInput on other runs and on a sweep without a checkpoint.
    """
    if isinstance(run, SaeRun):
        return {"": run.path}
    if not isinstance(run, SweepRun):
        raise BadInput(f"{run.path} is a run of {run.experiment}: expected one of train_sae, import or sweep")
    members: dict[str, pathlib.Path] = {name: member.path for name, member in run.members.items()}
    if not members:
        raise BadInput(f"{run.path} holds no member with a checkpoint yet: there is nothing to export")
    for path in sorted(run.path.glob("members/*/config.json")):
        if path.parent.name not in members:
            print(f"{path.parent}: left out, it has no checkpoint yet")
    return members


def check_finite(params: Mapping[str, np.ndarray], where: str) -> None:
    """Raises BadInput naming the first tensor with numbers that are not finite."""
    for name, values in params.items():
        bad = values.size - np.count_nonzero(np.isfinite(values))
        if bad:
            raise BadInput(f"{where}: {bad} of the {values.size} numbers in {name} are not finite")


def for_architecture(writers: Mapping[str, T], dictionary: ExportedSAE, program: str) -> T:
    """The writer of an architecture; raises BadInput when the program has no counterpart of it."""
    form = sae_lib.find(dictionary.architecture)().recipe().same_form_as or dictionary.architecture
    if dictionary.rows and program not in KEEP_ROWS:
        raise BadInput(
            f"{program} has no normalisation of single rows, and this dictionary has one ({dictionary.rows}): expected "
            f"a format of {', '.join(KEEP_ROWS)}"
        )
    if form not in writers:
        known = ", ".join(writers)
        raise BadInput(f"{program} is written for sae.architecture {known}, and this one is {dictionary.architecture}")
    return writers[form]


def _context_length(run: SaeRun) -> int | None:
    try:
        return run.transformer.config["transformer"]["context_length"]
    except BadInput as e:  # the export is complete without it
        print(f"{e}: the context length is left out")
        return None
