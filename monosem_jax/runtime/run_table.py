"""How an opened run looks in a notebook: a small table, and its tree where Treescope is in use."""

from __future__ import annotations

import pathlib
from typing import Any, Protocol

from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.markup import Html, element, style

FIGURES = 8  # of the summary, at most
# What a reader asks first, of any experiment; then come the other numbers of the summary in their order.
FIRST = (
    "heldout_loss", "bigram_loss", "loss_recovered_zero", "loss_recovered_mean", "l0", "variance_explained", "dead",
    "n_features", "records", "n_rows", "judge_score", "judge_score_shuffled", "probe_k1", "universality_median",
    "scanned_tokens", "rows_trained", "tokens_trained",
)  # fmt: skip
LAST = ("wall_seconds", "seconds", "records_format", "gaps")
CSS = """
.mj-run { --line: #dcdcd5; --quiet: #5c6066; border-collapse: collapse; font: 13px/1.4 system-ui, sans-serif; }
@media (prefers-color-scheme: dark) { .mj-run { --line: #33373d; --quiet: #a3a7ad; } }
.mj-run th, .mj-run td { text-align: left; padding: 2px 12px 2px 0; border: 0; border-top: 1px solid var(--line);
  background: none; font-weight: 400; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.mj-run th { color: var(--quiet); white-space: nowrap; vertical-align: top; }
.mj-run caption { text-align: left; font-weight: 600; caption-side: top; color: inherit; padding: 0 0 4px; }
"""


class Opened(Protocol):
    """What is shown of an opened run (`monosem_jax.runtime.loaded_run.LoadedRun`)."""

    record: dict[str, Any]
    config: dict[str, Any]

    @property
    def path(self) -> pathlib.Path: ...
    @property
    def experiment(self) -> str: ...
    @property
    def steps(self) -> list[int]: ...
    @property
    def summary(self) -> dict[str, Any] | None: ...


def run_table(run: Opened) -> Html:
    """The table of a run: its directory, steps, what it was made from, and figures of its summary."""
    rows = [("directory", str(run.path))]
    if run.steps:
        steps = run.steps if len(run.steps) < 4 else [run.steps[0], "…", run.steps[-1]]
        rows.append(("checkpoints", f"{len(run.steps)} (steps {', '.join(map(str, steps))})"))
    if parents := run.record.get("parents"):
        rows.append(("made from", ", ".join(f"{name} {p.get('path', '')}" for name, p in parents.items())))
    summary = _summary(run)
    rows += [(key, _number(value)) for key, value in figures(summary or {})]
    body = (element("tr", element("th", _shown(key)), element("td", _shown(value))) for key, value in rows)
    state = "" if summary is not None else ", unfinished"
    caption = element("caption", f"{_shown(run.experiment)}{state}")
    return element("div", style(CSS), element("table", caption, element("tbody", *body), class_="mj-run"))


def figures(summary: dict[str, Any]) -> list[tuple[str, float]]:
    """The numbers of a summary that are shown: those of FIRST, then others, those of LAST never."""
    numbers = {k: v for k, v in summary.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    keys = [k for k in FIRST if k in numbers] + [k for k in numbers if k not in FIRST and k not in LAST]
    return [(key, numbers[key]) for key in keys[:FIGURES]]


def run_tree(run: Opened, path: str | None, subtree_renderer: Any) -> Any:
    """The run as Treescope shows it: its attributes, which unfold. Treescope itself calls this."""
    from treescope import repr_lib

    attributes = {
        "path": str(run.path),
        "steps": run.steps,
        "parents": {name: p.get("path") for name, p in (run.record.get("parents") or {}).items()},
        "summary": _summary(run),
        "config": run.config,
    }
    return repr_lib.render_object_constructor(type(run), attributes, path, subtree_renderer)


def _summary(run: Opened) -> dict[str, Any] | None:
    try:
        return run.summary
    except BadInput:  # damaged: what a cell shows should not fail
        return None


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _shown(text: str) -> str:
    """The text with what does not print as Python writes it."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
