"""A trained dictionary → the evidence about its features, beside neurons, a control and random directions."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
import time
from typing import Any

import numpy as np

from monosem_jax.analysis import feature_sets, records_io
from monosem_jax.analysis.collect import collect
from monosem_jax.analysis.examples import ExampleText
from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.kinds.base import Study
from monosem_jax.analysis.kinds.table import KINDS, KindsConfig
from monosem_jax.analysis.metrics import activation_moments
from monosem_jax.analysis.proxies.chosen import ProxyValues, choose_proxies
from monosem_jax.analysis.records import FORMAT
from monosem_jax.analysis.records_parse import plain
from monosem_jax.analysis.scan.config import ScanConfig
from monosem_jax.analysis.scan.entry import scan
from monosem_jax.analysis.scan.result import SetScan
from monosem_jax.analysis.subjects import Subject
from monosem_jax.load import feature_set, load_run, neurons
from monosem_jax.models.pretrained import MODEL
from monosem_jax.models.run import TransformerRun
from monosem_jax.report.evidence import markdown
from monosem_jax.runtime.arguments import check_name
from monosem_jax.runtime.config import check_seed, field
from monosem_jax.runtime.edge import stage
from monosem_jax.runtime.errors import BadInput, check_counts
from monosem_jax.runtime.files import write_json, write_text
from monosem_jax.runtime.locations import Place
from monosem_jax.runtime.mesh import make_mesh
from monosem_jax.runtime.progress import progress
from monosem_jax.runtime.rng import stream
from monosem_jax.runtime.workdir import RunDir, parent
from monosem_jax.sae.run import SaeRun, SweepRun
from monosem_jax.stages import published
from monosem_jax.stages.analyze_sweep import analyze_members
from monosem_jax.stages.evaluate import open_dictionary
from monosem_jax.stages.other_seeds import find_stability, open_control, open_seeds, seed_paths
from monosem_jax.text.corpus import EMBEDDED
from monosem_jax.text.directory import Text


@dataclasses.dataclass(frozen=True)
class AnalyzeRunConfig:
    """Which dictionary is analyzed, on how much text, and which kinds of evidence are looked for."""

    seed: int = 0
    """Decides which training contexts and which features are sampled, and every draw of examples."""
    run: str = field("", place=Place())
    """Directory of a finished train_sae run (or of an import with its transformer), or of a sweep, or the folder of a
    published dictionary, of any format that experiments.export --formats lists."""
    control: str = field("", place=Place())
    """Directory of a dictionary of the control transformer (train_transformer --shuffle_of), or empty: no control."""
    seeds: str = field("", place=Place(several=True))
    """Dictionaries of other seeds, with commas between, in which the features are looked for (stability), or empty."""
    random_directions: int = 256
    """Random directions to compare with; 0: none."""
    split: str = "heldout"
    """The split on which everything is measured: heldout, or validation to choose settings."""
    n_features: int = 0
    """Features of each set with a record: the best one of every category, then others at random; 0: all."""
    n_examples: int = 8
    """Top contexts in a record."""
    n_per_interval: int = 4
    """Examples in a record from each of 12 equal intervals of (0, maximum]."""
    n_random: int = 4
    """Random windows in a record."""
    training_contexts: int = 2048
    """Training contexts on which the best feature and the best neuron of a label or a proxy are chosen; both are then
    measured on the split."""
    heldout_contexts: int = 0
    """Contexts of the split on which everything is measured; 0: all."""
    batch_contexts: int = 32
    """Contexts per forward pass."""
    mesh: str = field("", identity=False)
    """Devices that share the scan, and `model` of them a pretrained model: "data=2,model=4". Empty: one device."""
    without: tuple[str, ...] = ()
    """Kinds of evidence to leave out."""
    kinds: KindsConfig = KindsConfig()
    """How much is asked of each kind of evidence."""
    proxies: tuple[str, ...] = ()
    """Proxies of yours beside the package's: NAME=regex:PATTERN or NAME=chars:CLASS."""
    scan: ScanConfig = ScanConfig()
    """The scan; batch_contexts and seed are those of the run."""
    transformer: str = field("", place=MODEL)
    """With a published dictionary: the model that it explains, or a run directory of it; empty: what it names."""
    site: str = ""
    """With a published dictionary: the site that it explains; empty: what the folder says."""
    model_text: str = field(EMBEDDED, identity=False, place=Place(words=(EMBEDDED,)))
    """With a pretrained model as transformer: the text that it reads, as text.corpus of import_model."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        check_seed(self.seed)
        check_counts(self, "config.", "n_examples", "training_contexts", "batch_contexts")
        for name in ("heldout_contexts", "n_features", "random_directions", "n_per_interval", "n_random"):
            if getattr(self, name) < 0:
                raise BadInput(f"config.{name} is {getattr(self, name)}: expected a number, or 0")
        check_name("config.split", self.split, ("heldout", "validation"))
        for name in self.without:
            check_name("config.without", name, tuple(KINDS))
        self.scan.check()
        self.kinds.check()
        if self.mesh:
            make_mesh(self.mesh)

    def scanned(self, passes: int) -> ScanConfig:
        """The configuration of a scan."""
        kept = max(self.n_examples, self.scan.top_contexts)
        return dataclasses.replace(
            self.scan, batch_contexts=self.batch_contexts, seed=self.seed, passes=passes, top_contexts=kept
        )


@stage
def analyze(workdir: str | pathlib.Path, config: AnalyzeRunConfig) -> dict[str, Any]:
    """Writes `records/` (see `monosem_jax.analysis.records_io`), tables and `density.npy`, and returns the summary.

    If the run is a sweep, each of its dictionaries is analyzed in a directory of its own (see `analyze_members`).
    """
    config.check()
    if config.run and isinstance(run := load_run(config.run), SweepRun):
        if config.seeds:
            raise BadInput(f"config.run {config.run} is a sweep: config.seeds are those of a single dictionary")
        return analyze_members(workdir, run, config, analyze)
    begin = time.perf_counter()
    config = published.as_run(config, workdir, config.seed)
    found = open_dictionary(config.run)
    found.transformer.text.check_split(config.split)
    parents = {"run": parent(config.run, "summary.json")}
    beside = open_control(found, config.control)
    if config.control:
        parents["control"] = parent(config.control, "summary.json")
    seeds = open_seeds(found, feature_set(found), config.seeds)
    parents |= {f"seed{i}": parent(path, "summary.json") for i, path in enumerate(seed_paths(config.seeds))}
    identity = dataclasses.replace(config, run="", control="", seeds="")
    with RunDir(workdir, "analyze", identity, parents, AnalyzeRunConfig()) as rundir:
        return rundir.once(lambda: _analyze(rundir.path, found, beside, seeds, config, begin))


def _analyze(
    path: pathlib.Path,
    found: SaeRun,
    beside: list[FeatureSet],
    seeds: list[FeatureSet],
    config: AnalyzeRunConfig,
    begin: float,
) -> dict[str, Any]:
    text = found.transformer.text
    pick = stream("analyze.contexts", config.seed).permutation(len(text.tokens("train")))[: config.training_contexts]
    training, heldout = (
        _part(found.transformer, "train", np.sort(pick)),
        _part(found.transformer, config.split, slice(config.heldout_contexts or None)),
    )
    proxies = choose_proxies(text, entries=config.proxies, seed=config.seed)
    sets = _sets(found, beside, training, config)
    read = [proxies.on(training.tokens), proxies.on(heldout.tokens)]
    seeds = [dataclasses.replace(s, tapped=sets[0].tapped) for s in seeds]
    against = [[sets[1], *seeds], *([] for _ in sets[1:])]
    subjects = [
        _scanned(path, each, of, text, training, heldout, read, config) for each, of in zip(sets, against, strict=True)
    ]
    study = Study(
        subjects,
        text,
        heldout,
        training,
        path,
        proxies,
        training_proxies=read[0],
        heldout_proxies=read[1],
        seed=config.seed,
        batch=config.batch_contexts,
        n_examples=config.n_examples,
    )
    find_stability(study, seeds)
    for name, kind in KINDS.items():
        if name not in config.without:
            started = time.perf_counter()
            print(f"evidence: {name}", flush=True)
            try:
                kind(study, config.kinds)
            except BadInput as e:
                study.gap(name, str(e))
            study.seconds[name] = round(time.perf_counter() - started, 1)
    _write(path, study, config)
    shutil.rmtree(path / "scan", ignore_errors=True)
    return {
        **study.summary,
        "scanned_tokens": study.features.heldout.tokens,
        "gaps": len(study.gaps),
        "seconds": study.seconds,
        "records_format": FORMAT,
        "wall_seconds": time.perf_counter() - begin,
    }


def _part(transformer: TransformerRun, split: str, pick: Any) -> ExampleText:
    whole = ExampleText.of(transformer.text, split, transformer.model.config.vocab_size)
    return dataclasses.replace(whole, tokens=whole.tokens[pick], documents=whole.documents[pick])


def _sets(found: SaeRun, beside: list[FeatureSet], training: ExampleText, config: AnalyzeRunConfig) -> list[FeatureSet]:
    """Features, neurons, and what else there is to compare with."""
    sets = [feature_set(found), neurons(found), *beside]
    if config.random_directions:
        mesh = make_mesh(config.mesh) if config.mesh else None
        divided = mesh if mesh and mesh.shape["model"] > 1 else None  # the model may be too large for one device
        tapped = sets[0].tapped.on(divided)
        mean, variance = activation_moments(tapped, training.tokens, config.batch_contexts, divided)
        columns = slice(-sets[1].n_features, None)  # of the last site
        sets.append(
            feature_sets.random_directions(
                sets[0].tapped, config.random_directions, mean[columns], variance[columns], seed=config.seed
            )
        )
    return sets


def _scanned(
    path: pathlib.Path,
    features: FeatureSet,
    against: list[FeatureSet],
    text: Text,
    training: ExampleText,
    heldout: ExampleText,
    read: list[ProxyValues],
    config: AnalyzeRunConfig,
) -> Subject:
    """The scans of one set: training text in one pass, held-out text in two."""
    mesh = make_mesh(config.mesh) if config.mesh else None
    labels = sorted(set(text.labels))
    number = np.asarray([labels.index(label) for label in text.labels], np.int32)

    def scanned(part: ExampleText, values: ProxyValues, passes: int, name: str) -> SetScan:
        with progress(len(part.tokens) * passes, f"scan {features.name}, {name}", "contexts") as bar:
            return scan(
                features,
                part.tokens,
                number[part.documents],
                labels=labels,
                config=config.scanned(passes),
                proxies=values,
                against=against if passes == 2 else [],
                mesh=mesh,
                folder=path / "scan" / f"{features.name}_{name}",
                advance=bar.update,
            )

    return Subject(features, scanned(training, read[0], 1, "train"), scanned(heldout, read[1], 2, config.split))


def _write(path: pathlib.Path, study: Study, config: AnalyzeRunConfig) -> None:
    """The records of every set, the tables, and the densities."""
    labels, names = study.features.heldout.labels, [p.name for p in study.proxies.chosen]
    headers = {}
    for subject in study.subjects:
        writer = records_io.RecordWriter(path / records_io.FOLDER, subject.name, labels, names)
        chosen = _with_record(study, subject, config)
        with progress(len(chosen), f"records of {subject.name}", "features") as bar:
            for record in collect(
                subject.features,
                subject.heldout,
                study.heldout,
                study.evidence[subject.name],
                chosen,
                n_examples=config.n_examples,
                n_per_interval=config.n_per_interval,
                n_random=config.n_random,
                batch=config.batch_contexts,
            ):
                writer.add(record)
                bar.update()
        headers[subject.name] = writer.close(subject.features.n_features, subject.heldout.tokens)
    records_io.write_header(path / records_io.FOLDER, headers, labels, names, study.heldout.strings)
    tables = {name: plain(table) for name, table in {**study.tables, "gaps": study.gaps}.items()}
    for name, table in tables.items():
        write_json(path / f"{name}.json", table)
    write_text(path / "evidence.md", markdown(tables))
    np.save(path / "density.npy", study.features.heldout.density)


def _with_record(study: Study, subject: Subject, config: AnalyzeRunConfig) -> list[int]:
    """All features, or the best one of every category and others at random, alive ones first."""
    n = subject.features.n_features
    if not config.n_features or config.n_features >= n:
        return list(range(n))
    best = list(study.evidence[subject.name].categories)
    order = stream("analyze.features", config.seed).permutation(n)
    order = order[np.argsort(subject.heldout.maximum[order] <= 0, kind="stable")]
    return list(dict.fromkeys([*best, *(int(i) for i in order)]))[: max(config.n_features, len(best))]
