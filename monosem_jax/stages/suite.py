"""A model → a dictionary for each of many sites, from one pass over the text, with a table and a browser of all."""

from __future__ import annotations

import dataclasses
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

import jax

from monosem_jax.activations.harvest import EACH_LAYER, HarvestConfig
from monosem_jax.activations.store.store import SITES_APART
from monosem_jax.models.base import named_site, split_sites
from monosem_jax.models.pretrained import MODEL
from monosem_jax.models.run import open_transformer
from monosem_jax.report import suite as suite_table
from monosem_jax.runtime.config import check_seed, field
from monosem_jax.runtime.edge import stage
from monosem_jax.runtime.errors import BadInput, Stopped, disk_full, short_error
from monosem_jax.runtime.files import read_json
from monosem_jax.runtime.locations import Place
from monosem_jax.runtime.processes import first_process
from monosem_jax.runtime.workdir import RunDir, parent
from monosem_jax.stages import analyze, harvest, report, train_sae
from monosem_jax.stages.adopted import adopted
from monosem_jax.text.corpus import EMBEDDED

STORE, MEMBERS, ANALYSES, REPORT = "store", "members", "analysis", "report"


@dataclasses.dataclass(frozen=True)
class SuiteConfig:
    """Which sites of a model are harvested together, and what is trained on each."""

    seed: int = 0
    """Decides which positions are sampled and how rows are shuffled; the dictionaries' own is sae.seed."""
    transformer: str = field("", place=MODEL)
    """Run directory of the model."""
    harvest: HarvestConfig = HarvestConfig()
    """The sites, with commas between ("resid_post.*": of every layer), and how they are harvested."""
    dictionaries: tuple[str, ...] = ()
    """What each dictionary reads, of the sites that are harvested: one, or several with "+" between for a transcoder or
    a crosscoder; "*" is every layer in turn. (): one dictionary for each site."""
    sae: train_sae.SaeRunConfig = train_sae.SaeRunConfig()
    """Every dictionary, its training and its evaluation; source and transformer are filled in."""
    analyses: bool = field(False, identity=False)
    """Whether every dictionary is analyzed too, and all are shown in one browser."""
    analyze: analyze.AnalyzeRunConfig = analyze.AnalyzeRunConfig()
    """The analyses; run is filled in."""
    model_text: str = field(EMBEDDED, identity=False, place=Place(words=(EMBEDDED,)))
    """With a pretrained model as transformer: the text that it reads, as text.corpus of import_model."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        check_seed(self.seed)
        self.harvest.check()
        self.analyze.check()
        for name in self.dictionaries or ("",):
            sources = SITES_APART.join(STORE for _ in split_sites(name))
            dataclasses.replace(self.sae, source=sources).check()

    def members(self, n_layers: int) -> dict[str, tuple[str, ...]]:
        """name -> the sites that each dictionary reads, in a model of `n_layers`. Raises BadInput when one is not
        harvested, or a dictionary is given twice."""
        sites = self.harvest.sites_in(n_layers)
        if not self.dictionaries:
            return {site: (site,) for site in sites}
        found: dict[str, tuple[str, ...]] = {}
        for given in self.dictionaries:
            for layer in range(n_layers if EACH_LAYER in given else 1):
                name = named_site(given.replace(EACH_LAYER, str(layer)))
                missing = [site for site in split_sites(name) if site not in sites]
                if missing or name in found:
                    what = f"reads {missing[0]}, which harvest.site lacks" if missing else "is there twice"
                    raise BadInput(f"config.dictionaries: {name} {what}: expected sites of {', '.join(sites)}, once")
                found[name] = split_sites(name)
        return found


@stage
def suite(workdir: str | pathlib.Path, config: SuiteConfig) -> dict[str, Any]:
    """Does what is missing of harvest, dictionaries, analyses and browser, and returns the summary.

    When some dictionaries fail the others are still made; then BadInput names those, and the next call tries them
    again.
    """
    config.check()
    begin, root = time.perf_counter(), pathlib.Path(workdir)
    config = adopted(config, workdir, config.seed)
    model = open_transformer(config.transformer)
    members = config.members(model.model.config.n_layers)
    parents = {"transformer": parent(config.transformer, "summary.json")}
    plain = analyze.AnalyzeRunConfig()
    own = dataclasses.replace(config.analyze, run=plain.run, control=plain.control, seeds=plain.seeds)
    identity = dataclasses.replace(config, transformer="", sae=train_sae.identity(config.sae), analyze=own)
    with RunDir(root, "suite", identity, parents, SuiteConfig(sae=train_sae.defaults(config.sae))) as rundir:
        work = Suite(root, config, members)
        if not rundir.finished:
            work.harvest()
            work.each(MEMBERS, work.train)
        if config.analyses:
            work.each(ANALYSES, work.analyze)
        work.write_table(show=not rundir.finished or config.analyses)
        work.refuse_failed()
        if config.analyses:
            made = report.ReportRunConfig(str(root / ANALYSES), title=f"Dictionaries of {len(members)} sites")
            report.report(root / REPORT, made)
        wall = time.perf_counter() - begin
        return rundir.once(lambda: {"members": work.rows, "wall_seconds": wall})


@dataclasses.dataclass
class Suite:
    """The work in the directory `root`. `members`: name -> sites; `failed`: name -> why there is no dictionary or no
    analysis; `rows`: the table."""

    root: pathlib.Path
    config: SuiteConfig
    members: dict[str, tuple[str, ...]]
    failed: dict[str, str] = dataclasses.field(default_factory=dict)
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def harvest(self) -> None:
        """All stores, from one pass over the text."""
        print(f"[{STORE}] {self.config.harvest.site}", flush=True)
        given = harvest.HarvestRunConfig(self.config.seed, self.config.transformer, self.config.harvest)
        harvest.harvest(self.root / STORE, given)
        jax.clear_caches()  # training does not use its programs

    def each(self, what: str, make: Callable[[str], Any]) -> None:
        """Calls `make` for every member that has not failed. What one raises is kept, unless it stops all."""
        for number, name in enumerate(self.members, 1):
            if name in self.failed:
                continue
            print(f"[{what} {number}/{len(self.members)}] {name}", flush=True)
            try:
                make(name)
            except Exception as e:
                if isinstance(e, Stopped) or disk_full(e):
                    raise
                self.failed[name] = str(e) if isinstance(e, BadInput) else f"{type(e).__name__}: {short_error(e)}"
                print(f"failed: {name}: {self.failed[name]}", file=sys.stderr, flush=True)

    def train(self, name: str) -> None:
        """A dictionary."""
        source = SITES_APART.join(str(self.store(site)) for site in self.members[name])
        train_sae.train_sae(self.root / MEMBERS / name, dataclasses.replace(self.config.sae, source=source))

    def store(self, site: str) -> pathlib.Path:
        """Where the store of a site is: a harvest of a single site has no folder for it."""
        found = self.root / STORE / site
        return found if found.is_dir() else self.root / STORE

    def analyze(self, name: str) -> None:
        """The evidence about a dictionary."""
        own = dataclasses.replace(self.config.analyze, run=str(self.root / MEMBERS / name))
        analyze.analyze(self.root / ANALYSES / name, own)
        jax.clear_caches()  # the next one is of another site

    def write_table(self, show: bool) -> None:
        """Reads the figures of all members, writes them as a table, and prints it."""
        self.rows = [self._row(name) for name in self.members]
        if first_process() and show:
            files = suite_table.write(self.root, self.rows, f"Dictionaries of {len(self.members)} sites")
            print(f"\n{suite_table.text(self.rows)}\n\n" + "\n".join(str(f) for f in files), flush=True)

    def _row(self, name: str) -> dict[str, Any]:
        member = self.root / MEMBERS / name
        row: dict[str, Any] = {"name": name, "sites": list(self.members[name])}
        if (member / "summary.json").exists():
            row |= {"width": read_json(member / "input.json", dict).get("width")}
            row |= read_json(member / "summary.json", dict)
        analysis = self.root / ANALYSES / name / "summary.json"
        if analysis.exists():
            found = read_json(analysis, dict)
            row |= {key: found.get(key) for key in suite_table.EVIDENCE}
        return row | ({"told": "failed"} if name in self.failed else {})

    def refuse_failed(self) -> None:
        """Raises BadInput when some members failed."""
        if self.failed:
            told = "; ".join(f"{name}: {why}" for name, why in self.failed.items())
            raise BadInput(
                f"{len(self.failed)} of {len(self.members)} dictionaries failed ({told}): the others are in "
                f"{self.root / MEMBERS}, and the same command tries these again"
            )
