"""How far a model of ours is from what `tests/models/golden/make.py` kept of `transformers`."""

from __future__ import annotations

import functools
import itertools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file

from monosem_jax.models.pretrained import open_pretrained

PARTS = (0, 4, 5, 9)  # where the tokens of a padded batch are cut: they are given in parts


class Loaded:
    """A model of a folder, and what is expected of it."""

    def __init__(self, folder: pathlib.Path, dtype: Any = jnp.float32):
        self.folder, found = folder, open_pretrained(str(folder))
        self.model, self.params, self.config = found.model(dtype), found.params(), found.config
        self.expected = load_file(folder / "expected.safetensors")
        self.logits = jax.jit(functools.partial(self.apply, self.model.__call__))

    def apply(self, method: Any, *args: Any, cache: Any = None, **options: Any) -> Any:
        """A method of the model with its parameters; with a memory also what that became."""
        if cache is None:
            return self.model.apply({"params": self.params}, *args, method=method, **options)
        out, changed = self.model.apply(
            {"params": self.params, "cache": cache}, *args, method=method, mutable=["cache"], **options
        )
        return out, changed["cache"]

    def sites(self) -> list[str]:
        """The sites whose activations were kept."""
        return [name.removeprefix("site/") for name in self.expected if name.startswith("site/")]

    def off(self, name: str, found: Any, where: Any = ...) -> float:
        """The largest difference from what is expected."""
        return float(np.abs(np.asarray(found, np.float32) - self.expected[name])[where].max())


def differences(m: Loaded) -> dict[str, float]:
    """The largest difference of logits, of activations at any site, and of logits spliced, beyond the window or the
    first context length, behind padding, and token by token from a memory."""
    at_sites, spliced = _sites(m)
    padded, cached = _memory(m)
    return {
        "logits": m.off("logits", m.logits(m.expected["tokens"])),
        "sites": max(at_sites.values(), default=0.0),
        "spliced": max(spliced.values(), default=0.0),
        "long": m.off("long/logits", m.logits(m.expected["long/tokens"])),
        "padded": padded,
        "cached": cached,
    }


def _sites(m: Loaded) -> tuple[dict[str, float], dict[str, float]]:
    """Of every site kept: how far its activations are off, and the logits with positions in reverse order there."""
    if not m.sites():
        return {}, {}
    assert sorted(m.model.sites) == sorted(m.sites()), "the model has other sites"

    kept = [s for s in m.model.sites if f"spliced/{s}" in m.expected]

    @jax.jit
    def run(tokens: Any) -> Any:
        cut = {site: m.apply(m.model.to_acts, tokens, site) for site in kept}
        spliced = {site: m.apply(m.model.from_acts, carry, acts[:, ::-1], site) for site, (carry, acts) in cut.items()}
        return m.apply(m.model.to_acts, tokens, "+".join(m.model.sites))[1], spliced

    together, spliced = run(m.expected["tokens"])
    widths = [m.model.width(site) for site in m.model.sites]
    acts = dict(zip(m.model.sites, np.split(together, np.cumsum(widths)[:-1], axis=-1), strict=True))
    return (
        {site: m.off(f"site/{site}", a) for site, a in acts.items()},
        {site: m.off(f"spliced/{site}", a) for site, a in spliced.items()},
    )


def _memory(m: Loaded) -> tuple[float, float]:
    """Of a batch with padding, given in parts, and of the tokens that follow, one by one."""
    tokens, pad = m.expected["padded/tokens"], m.expected["padded/pad"]
    step = jax.jit(lambda cache, part: m.apply(m.model.__call__, part, cache=cache))
    cache, found = m.model.memory(len(tokens), 20, pad), []
    for start, stop in itertools.pairwise(PARTS):
        logits, cache = step(cache, tokens[:, start:stop])
        found.append(logits)
    prompt = np.concatenate(found, axis=1)
    padded = m.off("padded/logits", prompt, np.arange(tokens.shape[1]) >= pad[:, None])
    following, found = m.expected["cached/tokens"], []
    best = [prompt[:, -1].argmax(-1)]
    for i in range(following.shape[1] - 1):
        logits, cache = step(cache, following[:, i : i + 1])
        found.append(logits)
        best.append(np.asarray(logits)[:, -1].argmax(-1))
    assert np.array_equal(np.stack(best, axis=1), following), "the likeliest tokens are others"
    return padded, m.off("cached/logits", np.concatenate(found, axis=1))


def table(rows: dict[str, dict[str, float]]) -> str:
    """The differences of several models as a table in Markdown."""
    columns = list(next(iter(rows.values())))
    lines = [f"| model | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(f'{row[c]:.1e}' for c in columns)} |" for name, row in rows.items()]
    return "\n".join(lines)
