"""An untrained run of every architecture, and the outputs of dictionaries, computed by NumPy in float64."""

import json
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np

from monosem_jax import load_run
from monosem_jax.runtime.checkpoint import Checkpoints
from monosem_jax.runtime.files import write_json
from monosem_jax.runtime.workdir import FORMAT
from monosem_jax.sae.run import SaeRun
from tests.interop.small import FEATURES, WIDTH

OUT = 4  # the width of what a transcoder reconstructs
K, GROUPS = 3, [3, 2, 4]
# What config["sae"] says beside the number of features.
CASES: dict[str, dict[str, Any]] = {
    "relu": {"architecture": "relu"},
    "april_2024": {"architecture": "april_2024"},
    "topk": {"architecture": "topk", "k": K},
    "batchtopk": {"architecture": "batchtopk", "k": K},
    "jumprelu": {"architecture": "jumprelu"},
    "gated": {"architecture": "gated"},
    "matryoshka, batchtopk": {"architecture": "matryoshka", "groups": GROUPS, "k": K},
    "matryoshka, topk": {"architecture": "matryoshka", "groups": GROUPS, "k": K, "activation": "topk"},
    "matryoshka, relu": {"architecture": "matryoshka", "groups": GROUPS, "k": K, "activation": "relu"},
    "transcoder, relu": {"architecture": "transcoder", "k": K, "activation": "relu"},
    "transcoder, topk": {"architecture": "transcoder", "k": K},
    "transcoder, batchtopk": {"architecture": "transcoder", "k": K, "activation": "batchtopk"},
    "skip transcoder, relu": {"architecture": "transcoder", "k": K, "activation": "relu", "skip": True},
    "skip transcoder, batchtopk": {"architecture": "transcoder", "k": K, "activation": "batchtopk", "skip": True},
    "abs_topk": {"architecture": "abs_topk", "k": K},
    "p_anneal": {"architecture": "p_anneal"},
    "crosscoder": {"architecture": "crosscoder"},
}
TRANSCODERS = [name for name in CASES if "transcoder" in name]
SAES = [name for name in CASES if name not in TRANSCODERS and name != "crosscoder"]


def trained(settings: dict[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """Parameters in general position as training has them. Biases of features are negative, so that all may be off."""
    rng = np.random.default_rng(seed)
    kind, out = settings["architecture"], OUT if settings["architecture"] == "transcoder" else WIDTH
    params = {
        "W_enc": rng.standard_normal((WIDTH, FEATURES)), "b_enc": -np.abs(rng.standard_normal(FEATURES)) / 3,
        "W_dec": rng.standard_normal((FEATURES, out)), "b_dec": rng.standard_normal(out),
    }  # fmt: skip
    if kind not in ("april_2024", "crosscoder"):
        params["W_dec"] /= np.linalg.norm(params["W_dec"], axis=1, keepdims=True)
    if kind == "jumprelu":
        params["log_threshold"] = np.log(rng.uniform(0.05, 0.5, FEATURES))
    if kind == "gated":
        params |= {"b_gate": -rng.uniform(0, 0.5, FEATURES), "r_mag": rng.standard_normal(FEATURES) / 2}
        params["b_enc"] = rng.standard_normal(FEATURES) / 3
    if settings.get("skip"):
        params["W_skip"] = rng.standard_normal((WIDTH, out))
    return {name: p.astype(np.float32) for name, p in params.items()}


def make_run(path: pathlib.Path, settings: dict[str, Any], **changes: Any) -> SaeRun:
    """A run directory of train_sae with one checkpoint; `changes` are of its parameters."""
    parts = {"transcoder": [WIDTH, OUT], "crosscoder": [WIDTH - 2, 2]}.get(settings["architecture"], [])
    path.mkdir(parents=True)
    write_json(path / "input.json", {
        "input_scale": [2.5, 0.75] if parts else 2.5, "width": sum(parts) or WIDTH, "widths": parts,
        "site": "mlp_in.0+mlp_out.0" if parts else "mlp_out.0",
    })  # fmt: skip
    record = {"format": FORMAT, "experiment": "train_sae", "parents": {}, "config": {
        "sae": {"n_features": FEATURES, **settings}
    }}  # fmt: skip
    (path / "config.json").write_text(json.dumps(record))
    checkpoints = Checkpoints(path / "checkpoints")
    stats = {"last_fired": jnp.zeros(FEATURES, jnp.int32), "threshold": jnp.float32(0.4)}
    params = {name: jnp.asarray(p) for name, p in {**trained(settings), **changes}.items()}
    checkpoints.save(5, params, {"step": jnp.int32(5), "stats": stats})
    checkpoints.wait()
    checkpoints.close()
    return load_run(path)


def rows(params: dict[str, np.ndarray]) -> np.ndarray:
    """Activations [B,M] of many sizes: large and small ones, zeros, and b_dec, of which no feature is active."""
    sizes = np.repeat([1.0, 1e3, 1e-3], [40, 10, 10])[:, None]
    x = np.random.default_rng(5).standard_normal((60, WIDTH)) * sizes
    bias = params["b_dec"] if len(params["b_dec"]) == WIDTH else np.zeros(WIDTH)
    return np.concatenate([x, np.zeros((1, WIDTH)), bias[None]]).astype(np.float32)


def encode(params: dict[str, np.ndarray], x: np.ndarray, activation: str, centred: bool = True, k: Any = None):
    """[B,F], by the docstring of `monosem_jax.interop.plain`."""
    p = {name: np.asarray(v, np.float64) for name, v in params.items()}
    h = (x - p["b_dec"] if centred else x.astype(np.float64)) @ p["W_enc"]
    if activation == "gated":
        return np.where(h + p["b_gate"] > 0, np.maximum(np.exp(p["r_mag"]) * h + p["b_enc"], 0), 0)
    if activation == "abs_topk":
        z = h + p["b_enc"]
        return np.where(np.abs(z) >= np.sort(np.abs(z), axis=1)[:, -k][:, None], z, 0)
    f = np.maximum(h + p["b_enc"], 0)
    if activation == "topk":
        least = np.sort(f, axis=1)[:, -k]
        return np.where(f >= least[:, None], f, 0)
    return np.where(f > p["threshold"], f, 0) if activation == "jumprelu" else f


def decode(params: dict[str, np.ndarray], f: np.ndarray, x: np.ndarray | None = None) -> np.ndarray:
    """[B,M]; with W_skip, what is added of x [B,M]."""
    p = {name: np.asarray(v, np.float64) for name, v in params.items()}
    return f @ p["W_dec"] + p["b_dec"] + (x @ p["W_skip"] if "W_skip" in p else 0)


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference in units of the largest number of its row, and at least of a tenth, as biases are."""
    largest = np.abs(expected).max(axis=1)
    apart = np.abs(np.asarray(found, np.float64) - expected).max(axis=1)
    assert not np.any(apart[largest == 0])
    return float(np.max(apart / np.maximum(largest, 0.1)))
