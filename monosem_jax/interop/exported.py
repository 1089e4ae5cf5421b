"""A dictionary apart from its run directory: what travels between programs."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from monosem_jax.load import load_run
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import read_array
from monosem_jax.runtime.loaded_run import LoadedRun
from monosem_jax.sae import architectures as sae_lib
from monosem_jax.sae.activation_fns import BatchTopK, TopK
from monosem_jax.sae.base import SparseAutoencoder
from monosem_jax.sae.errors import Prefixes
from monosem_jax.sae.run import SaeRun, SweepRun

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, eq=False)
class ExportedSAE:
    """`params`, fp32, published and for raw activations, are those of `architecture` (a name in `sae.architectures`).
    What of the rest is not known, or has no meaning for it, is None or (). `density` [F] is the share of held-out
    tokens on which each feature fired, `k` how many features a row has (of BatchTopK, on average), `widths` are those
    of the activations that a row consists of, where it is of several, `prefixes` are the sizes of Matryoshka's."""

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

    @property
    def width(self) -> int:
        """M, the numbers in an activation that is read."""
        return self.params["W_enc"].shape[0]

    @property
    def width_out(self) -> int:
        """Those in one that is reconstructed."""
        return self.params["b_dec"].shape[0]

    @property
    def n_features(self) -> int:
        """F."""
        return self.params["b_enc"].shape[0]

    @property
    def activation(self) -> str:
        """What makes f of z = x W_enc + b_enc: "relu", "topk" (its k largest positive numbers), "jumprelu" (those above
        `threshold`), "gated", or another that selects by k."""
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
        """Whether b_dec is taken from x before."""
        return sae_lib.find(self.architecture)().recipe().apply_b_dec_to_input

    @property
    def bias(self) -> np.ndarray:
        """[F]: what takes the place of b_enc where b_dec is not taken from x."""
        p = self.params
        return (
            p["b_enc"] - np.einsum("M,MF->F", p["b_dec"], p["W_enc"], dtype=np.float64) if self.centred else p["b_enc"]
        )


def of_run(path: pathlib.Path, step: int = -1) -> ExportedSAE:
    """The dictionary in a run directory, finished or not, at a checkpointed step (-1: the newest).

    Raises BadInput when there is no such step, its weights are not finite, or its configuration is impossible.
    """
    steps = load_run(path).steps
    if not steps:
        raise BadInput(f"{path} holds no checkpoint yet: there is nothing to export")
    chosen = steps[-1] if step < 0 else step
    run = load_run(path, chosen)
    params = {name: np.asarray(p) for name, p in run.params.items()}
    check_finite(params, str(path))
    file = run.path / "density.npy"
    final = run.summary is not None and chosen == steps[-1] and file.exists()  # it was measured on the last step alone
    model = run.record["parents"].get("transformer")
    return ExportedSAE(
        run.config["sae"]["architecture"], params, run.site, chosen,
        model_name=pathlib.PurePath(model["path"]).name if model else None,
        context_length=_context_length(run) if model else None,
        density=np.array(read_array(file)) if final else None, **_details(run.sae),
    )  # fmt: skip


def _details(sae: SparseAutoencoder) -> dict[str, Any]:
    """What the parameters do not say themselves."""
    found: dict[str, Any] = {"widths": sae.parts if len(sae.parts) > 1 else ()}
    recipe = sae.recipe
    if isinstance(recipe.activation, TopK | BatchTopK):
        sae.config.check()
        found["k"] = recipe.activation.k
    if isinstance(recipe.error, Prefixes):
        sae.config.check()
        found["prefixes"] = recipe.error.ends
    return found


def members_of(run: LoadedRun) -> dict[str, pathlib.Path]:
    """Name -> directory of what a run holds to export: one without a name, or the members of a sweep.

    Raises BadInput on other runs, and on a sweep without a checkpoint.
    """
    if isinstance(run, SaeRun):
        return {"": run.path}
    if not isinstance(run, SweepRun):
        raise BadInput(f"{run.path} is a run of {run.experiment}: expected one of train_sae, import or sweep")
    members = {name: member.path for name, member in run.members.items()}
    if not members:
        raise BadInput(f"{run.path} holds no member with a checkpoint yet: there is nothing to export")
    for path in sorted(run.path.glob("members/*/config.json")):
        if path.parent.name not in members:
            print(f"{path.parent}: no checkpoint yet, it is left out")
    return members


def check_finite(params: Mapping[str, np.ndarray], where: str) -> None:
    """Raises BadInput naming the first tensor with numbers that are not finite."""
    for name, values in params.items():
        bad = values.size - np.count_nonzero(np.isfinite(values))
        if bad:
            raise BadInput(f"{where}: {bad} of the {values.size} numbers in {name} are not finite")


def for_architecture(writers: Mapping[str, T], dictionary: ExportedSAE, program: str) -> T:
    """What writes an architecture; raises BadInput when the program has no counterpart of it."""
    form = sae_lib.find(dictionary.architecture)().recipe().same_form_as or dictionary.architecture
    if form not in writers:
        known = ", ".join(writers)
        raise BadInput(f"{program} is written for sae.architecture {known}, and this one is {dictionary.architecture}")
    return writers[form]


def _context_length(run: LoadedRun) -> int | None:
    try:
        return run.transformer.config["transformer"]["context_length"]
    except BadInput as e:  # a dictionary is whole without it
        print(f"{e}: the length of its contexts is left out")
        return None
