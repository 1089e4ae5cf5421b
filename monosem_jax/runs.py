"""Opening a run directory of any experiment, on any machine."""

from __future__ import annotations

import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tokenizers import Tokenizer

from monosem_jax import sae as sae_lib
from monosem_jax.checkpoint import checkpoint_steps, load_params
from monosem_jax.config import from_dict
from monosem_jax.errors import BadInput
from monosem_jax.run import read_json, resolve_parent
from monosem_jax.store.arrays import Store
from monosem_jax.text.pack import Text
from monosem_jax.transformer.model import Transformer, TransformerConfig


class LoadedRun:
    """A run directory opened for reading. `config` is the resolved configuration, `summary` None until it finished."""

    def __init__(self, path: str | pathlib.Path, step: int | None = None):
        self.path = pathlib.Path(path)
        self.record: dict[str, Any] = read_json(self.path / "config.json")
        self.config: dict[str, Any] = self.record["config"]
        self._step = step

    @property
    def experiment(self) -> str:
        return self.record["experiment"]

    @property
    def summary(self) -> dict[str, Any] | None:
        file = self.path / "summary.json"
        return read_json(file) if file.exists() else None

    @property
    def steps(self) -> list[int]:
        """The checkpointed steps, oldest first."""
        return checkpoint_steps(self.path / "checkpoints")

    def parent(self, name: str) -> pathlib.Path:
        """The directory this run was made from; raises BadInput when it has no such parent or it is gone."""
        if name not in self.record["parents"]:
            raise BadInput(f"{self.path} was made without a {name}")
        return resolve_parent(self.path, self.record["parents"][name])

    @functools.cached_property
    def transformer(self) -> TransformerRun:
        """The transformer that this run was made from."""
        return TransformerRun(self.parent("transformer"))

    @property
    def tokenizer(self) -> Tokenizer:
        return self.transformer.text.tokenizer

    def __repr__(self) -> str:
        return f"<{self.experiment} run {str(self.path)!r}, steps {self.steps}>"


class TransformerRun(LoadedRun):
    """`params` in fp32 as NumPy, `model` the linen module that takes them, `text` what it was trained on."""

    @functools.cached_property
    def params(self) -> dict[str, Any]:
        return load_params(self.path / "checkpoints", self._step)["params"]

    @functools.cached_property
    def model(self) -> Transformer:
        values = {**self.config["transformer"], "vocab_size": self.text.manifest["vocab_size"]}
        return Transformer(from_dict(TransformerConfig, values))

    @functools.cached_property
    def text(self) -> Text:
        return Text(self.path / "text")

    @property
    def transformer(self) -> TransformerRun:
        return self

    def logits(self, tokens: Any) -> jax.Array:
        """[C,T] tokens → [C,T,V] logits."""
        return self.model.apply({"params": self.params}, jnp.asarray(tokens))


class HarvestRun(LoadedRun):
    """`store` is the activation store."""

    @functools.cached_property
    def store(self) -> Store:
        return Store(self.path)


class SaeRun(LoadedRun):
    """A dictionary for raw activations: `params` as NumPy in fp32 with any input scale folded in."""

    @functools.cached_property
    def params(self) -> dict[str, Any]:
        found = load_params(self.path / "checkpoints", self._step)["params"]
        return sae_lib.fold_scale(found, read_json(self.path / "input.json")["input_scale"])

    @property
    def site(self) -> str | None:
        """The site whose activations it explains, when it was trained on a store that says so."""
        return read_json(self.path / "input.json")["site"]

    @functools.cached_property
    def sae(self) -> Any:
        """The linen module that takes `params`."""
        _, config_class, _ = sae_lib.find(self.config["sae"]["architecture"])
        return sae_lib.build(from_dict(config_class, self.config["sae"]), self.params["W_enc"].shape[0], jnp.float32)

    def encode(self, x: Any) -> np.ndarray:
        """Raw activations [..., M] → feature activations [..., F]."""
        return np.asarray(self.sae.apply({"params": self.params}, jnp.asarray(x, jnp.float32), method=self.sae.encode))

    def decode(self, f: Any) -> np.ndarray:
        """Feature activations [..., F] → reconstructions [..., M]."""
        return np.asarray(self.sae.apply({"params": self.params}, jnp.asarray(f, jnp.float32), method=self.sae.decode))


class SweepRun(LoadedRun):
    """A grid of dictionaries: `members` are their runs, `table` their figures once the sweep is finished."""

    @functools.cached_property
    def members(self) -> dict[str, SaeRun]:
        """name -> run, those of which a checkpoint exists."""
        paths = sorted(self.path.glob("members/*/config.json"))
        return {
            p.parent.name: SaeRun(p.parent, self._step) for p in paths if checkpoint_steps(p.parent / "checkpoints")
        }

    @property
    def table(self) -> list[dict[str, Any]] | None:
        return self.summary and self.summary["members"]


KINDS: dict[str, type[LoadedRun]] = {
    "train_transformer": TransformerRun, "harvest": HarvestRun, "train_sae": SaeRun, "import": SaeRun,
    "sweep": SweepRun,
}  # fmt: skip


def load_run(path: str | pathlib.Path, step: int | None = None) -> Any:
    """Opens the run directory of any experiment; `step` chooses a checkpoint other than the newest.

    Raises BadInput when `path` is not a run directory, or holds no such step.
    """
    record = read_json(pathlib.Path(path) / "config.json")
    if not (isinstance(record, dict) and {"experiment", "config", "parents"} <= record.keys()):
        raise BadInput(f"{path} is not a run directory: its config.json is not one of ours")
    run = KINDS.get(record.get("experiment"), LoadedRun)(path, step)
    if step is not None and step not in run.steps and not isinstance(run, SweepRun):
        raise BadInput(f"{path} holds no checkpoint of step {step}: it holds {run.steps}")
    return run
