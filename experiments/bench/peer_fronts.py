"""Dictionaries that other libraries' own trainers train on given rows, converted to our parameters.

The trainers get our learning rate with its warm-up and decay, and otherwise their own defaults. Settings counted in
steps are scaled to the length of the run, since the defaults are meant for runs a hundred times longer. Activations
are scaled as each library documents.
"""

from __future__ import annotations

import contextlib
import io
import pathlib
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from monosem_jax.interop.readers import saelens
from monosem_jax.sae import architectures as sae

WARMUP, DECAY = 0.05, 0.2
DEAD_ROWS = 50_000
GROUPS = (1 / 16, 1 / 16, 1 / 8, 1 / 4, 1 / 2)
# Two values each of the key that decides how many features are active, in the units of the library.
SETTINGS: dict[str, dict[str, tuple[float, ...]]] = {
    "dictionary_learning": {
        "relu": (0.06, 0.03), "topk": (16, 32), "batchtopk": (16, 32), "jumprelu": (16, 32), "gated": (0.06, 0.03),
        "matryoshka": (16, 32),
    },
    "SAELens": {
        "relu": (1.0, 0.5), "topk": (16, 32), "batchtopk": (16, 32), "jumprelu": (1.5, 0.5), "gated": (1.4, 0.7),
        "matryoshka": (16, 32),
    },
}  # fmt: skip


class PeerTraining(NamedTuple):
    """The training task: `batches` yields rows [B,M] in fp32, one batch per step."""

    architecture: str
    value: float
    batches: Callable[[], Iterator[np.ndarray]]
    width: int
    n_features: int
    steps: int
    batch_size: int
    learning_rate: float


def dictionary_learning(job: PeerTraining) -> tuple[str, dict[str, np.ndarray]]:
    """(our architecture, parameters for the unscaled rows) after training with dictionary_learning."""
    import torch
    from dictionary_learning import trainers
    from dictionary_learning.trainers import matryoshka_batch_top_k

    # Its own loop scales activations to a mean squared norm of 1.
    scale = _scale(job, lambda norms: np.mean(norms**2) ** -0.5)
    warmup = round(WARMUP * job.steps)
    own = {
        "steps": job.steps, "activation_dim": job.width, "dict_size": job.n_features, "layer": 0, "lm_name": "",
        "lr": job.learning_rate, "warmup_steps": warmup, "decay_start": round((1 - DECAY) * job.steps), "device": "cpu",
        "seed": 0,
    }  # fmt: skip
    rising = {"sparsity_warmup_steps": warmup}
    k = {"k": int(job.value), "threshold_start_step": job.steps // 2}
    make = {
        "relu": lambda: trainers.StandardTrainer(**own, **rising, l1_penalty=job.value),
        "topk": lambda: trainers.TopKTrainer(**own, **k),
        "batchtopk": lambda: trainers.BatchTopKTrainer(**own, **k),
        "jumprelu": lambda: trainers.JumpReluTrainer(**own, **rising, target_l0=job.value),
        "gated": lambda: trainers.GatedSAETrainer(**own, **rising, l1_penalty=job.value),
        "matryoshka": lambda: matryoshka_batch_top_k.MatryoshkaBatchTopKTrainer(
            **own, **k, group_fractions=list(GROUPS)
        ),
    }
    trainer = make[job.architecture]()
    if hasattr(trainer, "dead_feature_threshold"):
        trainer.dead_feature_threshold = DEAD_ROWS
    for step, batch in enumerate(job.batches()):
        trainer.update(step, torch.from_numpy(batch * scale))
    state = {name: p.detach().numpy() for name, p in trainer.ae.state_dict().items()}
    bias = next(state[n] for n in ("b_dec", "bias", "decoder_bias") if n in state)
    found = {
        "W_enc": state["W_enc"] if "W_enc" in state else state["encoder.weight"].T,
        "W_dec": state["W_dec"] if "W_dec" in state else state["decoder.weight"].T,
        "b_enc": next(state[n] for n in ("b_enc", "encoder.bias", "mag_bias") if n in state),
        "b_dec": bias,
    }
    if job.architecture == "gated":
        found |= {"b_gate": state["gate_bias"], "r_mag": state["r_mag"]}
    if job.architecture in ("batchtopk", "matryoshka", "jumprelu"):
        found["threshold"] = np.broadcast_to(state["threshold"], found["b_enc"].shape)
    if job.architecture == "jumprelu" and not trainer.ae.apply_b_dec_to_input:
        found["b_enc"] = found["b_enc"] + found["b_dec"] @ found["W_enc"]
    return job.architecture, _for_raw(found, scale)


def sae_lens(job: PeerTraining) -> tuple[str, dict[str, np.ndarray]]:
    """The same with SAELens: the dictionary it saves, imported by our importer."""
    import sae_lens as library
    import torch
    from sae_lens import saes
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    torch.manual_seed(0)
    scale = _scale(job, lambda norms: job.width**0.5 / np.mean(norms))  # its "expected_average_only_in"
    own = {"d_in": job.width, "d_sae": job.n_features, "device": "cpu", "dtype": "float32"}
    warmup, rising = round(WARMUP * job.steps), {"l1_warm_up_steps": round(WARMUP * job.steps)}
    widths = [round(sum(GROUPS[: i + 1]) * job.n_features) for i in range(len(GROUPS))]
    makers: dict[str, Callable[[], Any]] = {
        "relu": lambda: (library.StandardTrainingSAEConfig, {**rising, "l1_coefficient": job.value}),
        "topk": lambda: (library.TopKTrainingSAEConfig, {"k": int(job.value)}),
        "batchtopk": lambda: (library.BatchTopKTrainingSAEConfig, {"k": job.value}),
        "jumprelu": lambda: (
            library.JumpReLUTrainingSAEConfig, {"l0_coefficient": job.value, "l0_warm_up_steps": warmup},
        ),
        "gated": lambda: (library.GatedTrainingSAEConfig, {**rising, "l1_coefficient": job.value}),
        "matryoshka": lambda: (
            saes.matryoshka_batchtopk_sae.MatryoshkaBatchTopKTrainingSAEConfig,
            {"k": job.value, "matryoshka_widths": widths},
        ),
    }  # fmt: skip
    config_class, more = makers[job.architecture]()
    config = config_class(**own, **more)
    trained = library.TrainingSAE.get_sae_class_for_architecture(config.architecture())(config)
    settings = SAETrainerConfig(
        total_training_samples=job.steps * job.batch_size, train_batch_size_samples=job.batch_size,
        lr=job.learning_rate, lr_end=0.0, lr_warm_up_steps=warmup, lr_decay_steps=round(DECAY * job.steps),
        dead_feature_window=DEAD_ROWS // job.batch_size,
    )  # fmt: skip
    rows = (torch.from_numpy(batch * scale) for batch in job.batches())
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        SAETrainer(settings, trained, rows).fit()
    with tempfile.TemporaryDirectory() as folder:
        trained.save_inference_model(folder)
        found = saelens.read(pathlib.Path(folder))
        params = {name: np.array(p) for name, p in found.params.items()}
    return found.architecture, _for_raw(params, scale)


TRAINERS = {"dictionary_learning": dictionary_learning, "SAELens": sae_lens}


def module(job: PeerTraining, architecture: str) -> Any:
    """The linen module for such parameters."""
    config = sae.find("batchtopk" if architecture == "matryoshka" else architecture)
    k = {"k": int(job.value)} if architecture == "topk" else {}
    return sae.build(config(n_features=job.n_features, **k), job.width, np.float32)


def _scale(job: PeerTraining, of: Callable[[np.ndarray], float]) -> np.float32:
    """The factor for rows, computed from the norms of a hundred batches."""
    norms = [np.linalg.norm(batch, axis=1) for batch, _ in zip(job.batches(), range(100), strict=False)]
    return np.float32(of(np.concatenate(norms)))


def _for_raw(params: dict[str, np.ndarray], scale: np.float32) -> dict[str, np.ndarray]:
    """Converts parameters for scaled rows, where rows of W_dec may have any norm, to parameters for unscaled rows."""
    return {name: p if name.startswith("W_") or name == "r_mag" else p / scale for name, p in params.items()}
