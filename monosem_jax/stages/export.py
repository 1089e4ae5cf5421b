"""A dictionary or an analysis → a folder for another program; and a folder of SAELens → a run directory."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from typing import Any

from monosem_jax import interop
from monosem_jax.analysis.metrics import EvaluateConfig
from monosem_jax.interop import formats
from monosem_jax.interop.exported import members_of, of_run
from monosem_jax.interop.readers import read_folder
from monosem_jax.load import load_run
from monosem_jax.models.hooks import as_site
from monosem_jax.models.pretrained import MODEL
from monosem_jax.models.run import open_transformer
from monosem_jax.runtime.config import field, to_dict
from monosem_jax.runtime.edge import stage
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import new_folder
from monosem_jax.runtime.locations import Place
from monosem_jax.sae.run import SaeRun
from monosem_jax.stages import export_analysis, published
from monosem_jax.stages.adopted import adopted
from monosem_jax.stages.evaluate import check_split, write_metrics
from monosem_jax.text.corpus import EMBEDDED


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """The settings of an export or an import; `source` decides which of the two it is."""

    format: str = ""
    """Export of a dictionary: saelens, dictionary_learning, safetensors or numpy; of an analysis: neuronpedia,
    saedashboard, delphi, csv, parquet or figures."""
    output: str = field("", place=Place(flag="--output"))
    """Export: the folder to make."""
    step: int = -1
    """Export of a dictionary: the checkpoint; -1: the newest."""
    source: str = field("", place=Place(flag="--import"))
    """Import: the folder of a published dictionary, of any format that --formats lists; empty: this is an export."""
    transformer: str = field("", place=dataclasses.replace(MODEL, flag="--transformer"))
    """Import: run directory of the transformer; with it the dictionary is evaluated on held-out text."""
    site: str = ""
    """Import: the site explained; empty: what the folder says."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """Import: the text, and how much of it."""
    model_text: str = field(EMBEDDED, identity=False, place=Place(words=(EMBEDDED,)))
    """With a pretrained model as transformer: the text that it reads, as text.corpus of import_model."""

    def check(self) -> None:
        """Raises BadInput when settings of an export and of an import are mixed."""
        self.evaluate.check()
        how = "with" if self.source else "without"
        for name in ("format", "output") if self.source else ("transformer", "site"):
            if getattr(self, name):
                raise BadInput(f"--{name} is given {how} --import: it has no meaning then")


@stage
def export(workdir: str | pathlib.Path, config: ExportConfig) -> dict[str, Any]:
    """Imports if there is a source, exports otherwise."""
    config.check()
    if config.format in export_analysis.WRITERS:
        return export_analysis.export_analysis(workdir, config)
    return import_sae(workdir, config) if config.source else export_sae(workdir, config)


def print_formats(workdir: str | None, config: ExportConfig) -> None:
    """Prints the tables of `monosem_jax.interop.formats`."""
    print(formats.tables(), end="")


def export_sae(workdir: str | pathlib.Path, config: ExportConfig) -> dict[str, int | None]:
    """Writes the dictionary in `workdir`, or each member of a sweep, and returns name -> exported step.

    Raises BadInput when there is nothing to export, the format cannot hold it, or the output already exists.
    """
    write = interop.find_writer(config.format, tuple(export_analysis.WRITERS))
    if not config.output:
        raise BadInput("--output is missing: give the folder to make")
    members = members_of(load_run(workdir))
    written: dict[str, int | None] = {}
    with new_folder(config.output) as folder:
        for name, path in members.items():
            dictionary = of_run(path, config.step)
            (folder / name).mkdir(exist_ok=True)
            write(folder / name, dictionary)
            written[name] = dictionary.step
            step = "" if dictionary.step is None else f", step {dictionary.step}"
            shape = f"{dictionary.n_features} features of width {dictionary.width}{step}"
            print(f"{pathlib.Path(config.output) / name}: {config.format}, {shape}")
    return written


def import_sae(workdir: str | pathlib.Path, config: ExportConfig) -> dict[str, Any]:
    """Makes `workdir` a finished run of the dictionary in the folder, and returns its summary: the metrics of
    `monosem_jax.analysis.metrics.evaluate` if there is a transformer.

    Raises BadInput when the folder's dictionary is not exactly one that this package can compute, or does not fit the
    transformer.
    """
    begin = time.perf_counter()
    config = adopted(config, workdir)
    found = read_folder(pathlib.Path(config.source), as_site(config.site) if config.site else None)
    transformer = open_transformer(config.transformer) if config.transformer else None
    check_split(transformer, config.evaluate)

    def measure(path: pathlib.Path, run: SaeRun) -> dict[str, Any]:
        return write_metrics(path, run, config.evaluate, begin)

    about, defaults = {"evaluate": to_dict(config.evaluate)}, {"evaluate": to_dict(EvaluateConfig())}
    return published.make_run(workdir, config.source, found, transformer, about, measure, defaults)
