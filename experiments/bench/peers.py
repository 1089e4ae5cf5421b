"""One training step of other libraries, by their own trainers, on the same rows. None of them has to be installed.

They get fp32 rows on the device and use their own defaults, except for the dictionary size and the batch size. On CUDA
they are also timed with the speed-ups that each offers: bfloat16 autocast, and torch.compile in SAELens.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import importlib.metadata
import io
import itertools
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.bench.partial_import import partial

PEERS = {"SAELens": "sae-lens", "dictionary_learning": "dictionary-learning"}
L1 = 1.0  # relative to a squared error summed over M, as in both libraries
MANY = 1 << 40  # steps or samples: no limit of its own


def versions(device: str = "cpu") -> dict[str, str]:
    """The version of every peer, or the reason why it cannot be measured on this device."""
    found = {}
    for name, distribution in PEERS.items():
        try:
            import torch

            if device != "cpu" and not torch.cuda.is_available():
                raise ImportError(f"PyTorch {torch.__version__} sees no {device}")
            _MAKERS[name][0]()
            found[name] = importlib.metadata.version(distribution)
        except (ImportError, AttributeError) as e:  # not installed, incomplete, or another version
            found[name] = f"missing: {' '.join(str(e).split())}"
    return found


def ways(rows: np.ndarray, n_features: int, device: str, *, compile_too: bool = False) -> dict[str, Peer]:
    """Callables for `timing.rates`, one for every variant of an installed peer.

    Args:
      rows: [n,B,M] fp32; a call trains once on each of the n batches.
      device: "cpu", with one thread per core, or "cuda".
      compile_too: also time torch.compile, on CUDA and where a peer offers it; compiling takes half a minute.
    """
    present = [name for name, version in versions(device).items() if not version.startswith("missing")]
    if not present:
        return {}
    import torch

    if device == "cpu":
        torch.set_num_threads(len(os.sched_getaffinity(0)))
    here = [torch.tensor(np.asarray(batch, np.float32), device=device) for batch in rows]
    found = {}
    for name in present:
        load, make, compiles = _MAKERS[name]
        options = [("", {}), (", bf16 autocast", {"autocast": True})] if device != "cpu" else [("", {})]
        if compiles and compile_too and device != "cpu":
            options.append((", bf16 autocast, torch.compile", {"autocast": True, "compiled": True}))
        for suffix, option in options:
            found[name + suffix] = Peer(*make(load(), here, n_features, device, **option), here, device)
    return found


def release() -> None:
    """Frees the device memory of peers that are no longer referenced."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()


class Peer:
    """When called, trains on all batches `times` times, waits for the device, and returns the number of rows."""

    def __init__(self, train: Callable[[int], None], loss: Callable[[Any], Any], rows: list[Any], device: str):
        self._train, self._loss, self._rows, self._device = train, loss, rows, device

    def __call__(self, times: int = 1) -> float:
        import torch

        self._train(times)
        if self._device != "cpu":
            torch.cuda.synchronize()
        return times * sum(len(batch) for batch in self._rows)

    def loss(self) -> float:
        """The peer's own loss on the first batch, with its current parameters."""
        import torch

        with torch.no_grad():
            return float(self._loss(self._rows[0]))


@functools.cache
def _load_saelens() -> Any:
    bare = ("sae_lens", "sae_lens.saes", "sae_lens.training", "sae_lens.loading", "transformer_lens")
    unused = ("wandb", "datasets", "simple_parsing", "better_abc", "fancy_einsum", "beartype")
    # From the module of the whole model it only needs a class that is defined elsewhere.
    given = {"transformer_lens.HookedTransformer": "transformer_lens.HookedRootModule"}
    with partial(bare, unused, given):
        registry, standard, trainer = (
            importlib.import_module(f"sae_lens.{name}")
            for name in ("registry", "saes.standard_sae", "training.sae_trainer")
        )
    registry.register_sae_class("standard", standard.StandardSAE, standard.StandardSAEConfig)
    registry.register_sae_training_class("standard", standard.StandardTrainingSAE, standard.StandardTrainingSAEConfig)
    return trainer, standard


def _saelens(modules: Any, rows: list[Any], n_features: int, device: str, autocast: bool = False, compiled=False):
    """SAELens' loop: the step, its statistics and its schedulers, with a provider of prepared batches."""
    import torch

    trainer_lib, standard = modules
    sae = standard.StandardTrainingSAE(
        standard.StandardTrainingSAEConfig(
            d_in=rows[0].shape[1], d_sae=n_features, device=device, dtype="float32", l1_coefficient=L1
        )
    )
    if compiled:  # as SAELens' runner does
        sae.training_forward_pass = torch.compile(sae.training_forward_pass)
    config = trainer_lib.SAETrainerConfig(
        total_training_samples=MANY, train_batch_size_samples=len(rows[0]), device=device, autocast=autocast, lr_end=0.0
    )
    trainer = trainer_lib.SAETrainer(config, sae, itertools.cycle(rows))

    def train(times: int) -> None:
        config.total_training_samples = trainer.n_training_samples + times * sum(len(batch) for batch in rows)
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            trainer.fit()

    def loss(batch: Any) -> Any:
        given = trainer_lib.TrainStepInput(
            sae_in=batch, coefficients=trainer.get_coefficients(), dead_neuron_mask=None,
            n_training_steps=trainer.n_training_steps, is_logging_step=False,
        )  # fmt: skip
        return sae.training_forward_pass(step_input=given).loss

    return train, loss


@functools.cache
def _load_dictionary_learning() -> Any:
    with partial(("dictionary_learning", "dictionary_learning.trainers"), ()):
        return importlib.import_module("dictionary_learning.trainers.standard")


def _dictionary_learning(module: Any, rows: list[Any], n_features: int, device: str, autocast: bool = False):
    """`StandardTrainer.update` with its constrained Adam, called as in its loop, with schedules of the usual length."""
    import torch

    trainer = module.StandardTrainer(
        steps=MANY, activation_dim=rows[0].shape[1], dict_size=n_features, layer=0, lm_name="", l1_penalty=L1,
        device=device, seed=0,
    )  # fmt: skip
    cast = torch.autocast(device_type=device, dtype=torch.bfloat16) if autocast else contextlib.nullcontext()
    given = [batch.to(torch.bfloat16) if autocast else batch for batch in rows]
    steps = itertools.count()

    def train(times: int) -> None:
        for batch in given * times:
            with cast:
                trainer.update(next(steps), batch)

    return train, lambda batch: trainer.loss(batch, step=next(steps))


_MAKERS = {
    "SAELens": (_load_saelens, _saelens, True),
    "dictionary_learning": (_load_dictionary_learning, _dictionary_learning, False),
}
