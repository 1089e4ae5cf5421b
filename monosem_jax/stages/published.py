"""A folder of a published dictionary → a run directory, which every later stage takes."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, TypeVar

import jax.numpy as jnp

from monosem_jax.interop.exported import ExportedSAE
from monosem_jax.interop.model_names import hub_name, location_of
from monosem_jax.interop.opened import PublishedRun, model_wanted
from monosem_jax.interop.readers import read_folder
from monosem_jax.load import load_run
from monosem_jax.models.base import named_site, parse_site, site_widths, split_sites
from monosem_jax.models.hooks import as_site
from monosem_jax.models.pretrained import HUB, open_pretrained
from monosem_jax.models.run import ImportedModelRun, TransformerRun, open_transformer
from monosem_jax.runtime.checkpoint import Checkpoints
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import write_json
from monosem_jax.runtime.workdir import RunDir, parent
from monosem_jax.sae.run import SaeRun
from monosem_jax.stages.adopted import adopted

C = TypeVar("C", bound=Any)
ANY_LAYER = 10_000  # if there is no transformer to give the number of layers
FOLDER = "dictionary"  # inside the workdir of a stage that is given a published folder
# What is measured of the dictionary in a run directory: its summary.
Measure = Callable[[pathlib.Path, SaeRun], dict[str, Any]]


def as_run(config: C, workdir: str | pathlib.Path, seed: int = 0) -> C:
    """The configuration of a stage whose `run` is a run directory. Where it is the folder of a published dictionary,
    that is WORKDIR/dictionary, which is made of the folder and of `transformer`, or of the model that the folder names.

    Raises BadInput when a model or a site is given with a run directory, or the model of a folder cannot be had.
    """
    opened = load_run(config.run) if config.run else None
    if not isinstance(opened, PublishedRun):
        for name in ("transformer", "site"):
            if getattr(config, name):
                raise BadInput(
                    f"config.{name} is given with config.run {config.run}, which is not a published dictionary"
                )
        return adopted(config, workdir, seed)
    found = opened.dictionary
    if config.site:
        found = read_folder(opened.path, as_site(config.site))
    if not config.transformer:
        config = dataclasses.replace(config, transformer=_named_model(config.run, found))
    config = adopted(config, workdir, seed)
    target = pathlib.Path(workdir) / FOLDER
    make_run(target, config.run, found, open_transformer(config.transformer), {})
    return dataclasses.replace(config, run=str(target), transformer="", site="")


def _named_model(run: str, found: ExportedSAE) -> str:
    """The location of the model that a dictionary names; raises BadInput when it names none, or it is not at hand."""
    wanted, location = model_wanted(run, found, "config.transformer"), location_of(found.model_name)
    if location is None:
        raise BadInput(wanted)
    try:
        open_pretrained(location)
    except BadInput as e:
        raise BadInput(f"{wanted}; {e}") from None
    print(f"{run} explains activations of {found.model_name}: {location}")
    return location


def make_run(
    workdir: str | pathlib.Path,
    source: str,
    found: ExportedSAE,
    transformer: TransformerRun | None,
    about: dict[str, Any],
    measure: Measure | None = None,
    defaults: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Makes `workdir` a finished run of a dictionary that was read from the folder `source`; returns its summary.

    Args:
      about: what else decides the summary; a part of the run's identity, with `defaults` for earlier runs.
      measure: its figures, if there is a transformer.

    Raises BadInput when the transformer is another model, or has no such site of the dictionary's widths.
    """
    site = checked_site(source, found, transformer)
    parents = {"source": {"path": source, "sha256": found.source_hash}}
    if transformer is not None:
        parents["transformer"] = parent(transformer.path, "summary.json")
    with RunDir(workdir, "import", {"sae": found.settings, "site": site, **about}, parents, defaults) as rundir:

        def save() -> dict[str, Any]:
            _save(rundir.path, found, site)
            if transformer is None or measure is None:
                return {"n_features": found.n_features}
            return measure(rundir.path, SaeRun(rundir.path))

        return rundir.once(save)


def checked_site(source: str, found: ExportedSAE, transformer: TransformerRun | None) -> str | None:
    """The site that the dictionary explains; raises BadInput when the transformer has no such site of its widths, or is
    another model than the one that the folder names."""
    site = named_site(found.site) if found.site else None
    parts = split_sites(site) if site else ()
    if transformer is None:
        for one in parts:
            parse_site(one, ANY_LAYER)
        return site
    _check_model(source, found, transformer)
    if site is None:
        raise BadInput(f"{source} does not say which site it explains: give --site, such as mlp_hidden.0")
    if len(parts) != len(found.row_widths):
        needed = "two sites, such as mlp_in.3+mlp_out.3" if len(found.row_widths) == 2 else "one site"
        raise BadInput(f"{source} is a dictionary of {needed}: expected these, found {site}")
    widths = site_widths(transformer.model, site)
    if widths != found.row_widths:
        ours, theirs = (" and ".join(map(str, each)) for each in (found.row_widths, widths))
        raise BadInput(f"{source} is for activations of width {ours}, but {site} of {transformer.path} has {theirs}")
    return site


def _check_model(source: str, found: ExportedSAE, transformer: TransformerRun) -> None:
    """Raises BadInput when both the dictionary and an imported model have names on the hub, and these differ."""
    if not isinstance(transformer, ImportedModelRun):
        return
    location = str(transformer.config["model"])
    hub = location.startswith(HUB)
    given = location.removeprefix(HUB).partition("@")[0] if hub else pathlib.Path(location).name
    wanted, has = hub_name(found.model_name), hub_name(given)
    if wanted and has and wanted.lower() != has.lower():
        raise BadInput(f"{source} is for {found.model_name} (hub:{wanted}), but {transformer.path} is hub:{has}")


def _save(path: pathlib.Path, found: ExportedSAE, site: str | None) -> None:
    """Writes the files from which `load_run` opens a dictionary."""
    checkpoints = Checkpoints(path / "checkpoints")
    try:
        params = {name: jnp.asarray(p) for name, p in found.params.items()}
        checkpoints.save(0, params, {"step": jnp.int32(0)})
        checkpoints.wait()
    finally:
        checkpoints.close()
    write_json(path / "input.json", {**found.input, "site": site})
