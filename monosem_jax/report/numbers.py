"""The numbers of a dictionary and its transformer as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monosem_jax.report.cards import percent
from monosem_jax.report.plots import is_number
from monosem_jax.report.text import escaped

# key, name, what it says, how it is written
Row = tuple[str, str, str, str]

DICTIONARY: Sequence[Row] = (
    ("loss_recovered_zero", "Loss recovered, zero ablation",
     "(L_ablated − L_reconstructed) / (L_ablated − L_intact); L_ablated with the activations set to zero", "percent"),
    ("loss_recovered_mean", "Loss recovered, mean ablation", "the same, activations set to their mean", "percent"),
    ("ce_intact", "L_intact", "next-token loss of the transformer with its own activations", "nats"),
    ("ce_reconstructed", "L_reconstructed", "its loss with the dictionary's reconstruction in their place", "nats"),
    ("ce_zero_ablation", "L_ablated, zero", "its loss with activations set to zero", "nats"),
    ("ce_mean_ablation", "L_ablated, mean", "its loss with activations set to their mean", "nats"),
    ("l0", "L0", "features active on a token, on average", "number"),
    ("mse", "Mean squared error", "of the reconstruction, over tokens and neurons", "number"),
    ("variance_explained", "Variance explained", "1 − squared error / squared deviation from the mean", "percent"),
    ("n_features", "Features", "in the dictionary", "count"),
    ("dead", "Dead features", "never active on the tokens evaluated", "share"),
    ("ultralow", "Ultralow features", "active, but on less than one token in 10⁶", "share"),
    ("dense", "Dense features", "active on more than 1 % of tokens", "share"),
    ("evaluated_tokens", "Tokens evaluated", "held out from the training of both models", "count"),
    ("l1_coefficient", "L1 coefficient", "weight of the sparsity penalty in the training loss", "number"),
    ("k", "k", "features that may be active on a token, or are on average", "count"),
    ("l0_coefficient", "L0 coefficient", "weight of the sparsity penalty in the training loss", "number"),
    ("target_l0", "Target L0", "features active on a token that training aims at", "number"),
    ("rows_trained", "Activations trained on", "one row of them for each token", "count"),
    ("rows_per_second", "Training speed", "rows per second", "speed"),
    ("wall_seconds", "Wall time", "training and evaluation", "time"),
)  # fmt: skip

TRANSFORMER: Sequence[Row] = (
    ("heldout_loss", "Held-out loss", "mean next-token loss on text it was not trained on", "nats"),
    ("bigram_loss", "Bigram loss", "the same for a model that only knows the token before", "nats"),
    ("heldout_tokens", "Tokens predicted", "in the held-out text", "count"),
    ("parameters", "Parameters", "trained numbers in the transformer", "count"),
    ("tokens_trained", "Tokens trained on", "repetitions counted", "count"),
    ("tokens_per_second", "Training speed", "tokens per second", "speed"),
    ("wall_seconds", "Wall time", "training and evaluation", "time"),
)


def table(caption: str, rows: Sequence[Row], values: dict[str, Any]) -> str:
    """A <table> of the values that are there, "" when none is."""
    body = "".join(
        f'<tr><th scope="row">{name}<small>{meaning}</small></th><td>{_written(key, kind, values)}</td></tr>\n'
        for key, name, meaning, kind in rows
        if values.get(key) is not None or (key == "ultralow" and key in values)
    )
    table = f'<table class="numbers"><caption>{caption}</caption><tbody>{body}</tbody></table>'
    return f'<div class="panel">{table}</div>' if body else ""


def tiles(dictionary: dict[str, Any], better: str) -> str:
    """The few numbers to look at first; `better` is the outcome over the categories, "" when there are none."""
    found = []
    for key, name in (("loss_recovered_zero", "loss recovered"), ("l0", "features active per token")):
        if is_number(dictionary.get(key)):
            found.append((_written(key, "percent" if key != "l0" else "number", dictionary), name))
    if is_number(dictionary.get("dead")) and is_number(dictionary.get("n_features")):
        alive = dictionary["n_features"] - dictionary["dead"]
        found.append((f"{alive:,} of {dictionary['n_features']:,}", "features alive"))
    if better:
        found.append((better, "categories where a feature beats the best neuron"))
    items = "".join(f"<li><b>{value}</b>{name}</li>" for value, name in found)
    return f'<ul class="tiles">{items}</ul>' if items else ""


def duration(seconds: float) -> str:
    """Seconds for people: 42.0 s, 5 min 02 s, 3 h 04 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _written(key: str, kind: str, values: dict[str, Any]) -> str:
    value = values[key]
    if value is None:
        return f'not measured<small class="note">{escaped(str(values.get(f"{key}_note") or ""))}</small>'
    if not is_number(value):
        return escaped(str(value))
    if kind == "share":
        total = values.get("n_features")
        return f"{value:,}" + (f"<small>{percent(value / total)}</small>" if is_number(total) and total else "")
    return {
        "percent": lambda: f"{100 * value:.2f} %",
        "nats": lambda: f"{value:.4f} nats",
        "number": lambda: f"{value:.4g}",
        "count": lambda: f"{value:,}",
        "speed": lambda: f"{value:,.0f} /s",
        "time": lambda: duration(value),
    }[kind]()
