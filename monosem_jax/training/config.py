"""The configuration of training: the keys of `config.train`, in sections."""

from __future__ import annotations

import dataclasses
import importlib.util
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from monosem_jax.runtime.checkpoint import Retention
from monosem_jax.runtime.config import check_bounds, field, moved
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.mesh import largest_divisor, make_mesh, nearest

DTYPES = ("float32", "bfloat16")  # of matmul operands


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Adam, with decoupled weight decay and clipping where they are asked for."""

    b1: float = field(0.9, at_least=0, below=1)
    """Decay rate of Adam's first moment."""
    b2: float = field(0.999, at_least=0, below=1)
    """Decay rate of Adam's second moment."""
    eps: float = field(1e-8, at_least=0)
    """Added to the root of Adam's second moment. Gradients as small as this are damped."""
    weight_decay: float = field(0.0, at_least=0)
    """Decoupled weight decay of matrices, as in AdamW; vectors have none."""
    clip_norm: float = field(0.0, at_least=0)
    """Largest global norm of the gradient; a longer one is scaled down to it. 0: no clipping, as in the paper."""


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """The learning rate as a function of the number of steps applied, with `train.learning_rate` as its peak."""

    kind: str = field("constant", choices=("constant", "cosine", "linear"))
    """After the warm-up: constant stays at the peak, cosine falls from there to the end, linear falls over the last
    `decay_fraction` of the steps."""
    warmup_steps: int = field(0, at_least=0)
    """Steps over which the learning rate rises linearly from 0."""
    decay_fraction: float = field(0.2, at_least=0, at_most=1)
    """The share of all steps over which the kind linear falls."""
    final_fraction: float = field(0.02, at_least=0, at_most=1)
    """The share of the peak at which cosine and linear end."""


@dataclasses.dataclass(frozen=True)
class GuardConfig:
    """Which steps are not applied. One whose loss or gradient is not finite never is."""

    spike_factor: float = 0.0
    """A step whose loss is more than this many times the running mean is not applied. 0: every finite loss is."""
    stop_after: int = field(10, at_least=1)
    """Training stops after this many steps in a row with a loss or gradient that is not finite."""


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """Which checkpoints are kept, besides step 0, and what happens on a full disk."""

    keep: int = field(2, at_least=1)
    """The newest checkpoints that are kept."""
    keep_every: int = field(0, at_least=0)
    """Checkpoints at multiples of this step are kept too. 0: none."""
    keep_best: str = ""
    """The metric whose best checkpoint is kept too: NAME where it was lowest, max:NAME where it was highest."""
    when_disk_full: str = field("stop", choices=("stop", "continue"))
    """stop: training ends. continue: it goes on; checkpoints are left out and log lines wait until there is room."""


@dataclasses.dataclass(frozen=True)
class LoggingConfig:
    """Where metrics go, besides metrics.jsonl and TensorBoard."""

    wandb: str = ""
    """A project of Weights & Biases (pip install 'monosem_jax[wandb]')."""


MOVED = {
    **{name: f"optimizer.{name}" for name in ("b1", "b2", "eps", "weight_decay", "clip_norm")},
    "schedule": "schedule.kind",
    **{name: f"schedule.{name}" for name in ("warmup_steps", "decay_fraction", "final_fraction")},
    **{name: f"guard.{name}" for name in ("spike_factor", "stop_after")},
    "keep_checkpoints": "checkpoint.keep",
    **{name: f"checkpoint.{name}" for name in ("keep_every", "keep_best", "when_disk_full")},
    "wandb": "logging.wandb",
}


@moved("train", MOVED)
@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How a loss is minimised. Steps are optimizer steps."""

    steps: int = field(1_000_000, at_least=1)
    """Optimizer steps in all."""
    batch_size: int = field(8192, at_least=1)
    """Rows in a batch, on all devices together; contexts for a transformer."""
    learning_rate: float = field(1e-4, above=0)
    """The peak of the learning rate's schedule."""
    compute_dtype: str = field("auto", choices=("auto", *DTYPES))
    """Dtype of matmul operands; sums, parameters and moments are fp32. auto: bfloat16 on accelerators, else float32."""
    steps_per_dispatch: int = field(100, at_least=1)
    """Steps in one call of the compiled program; the host does nothing between them."""
    micro_batches: int = field(1, at_least=1)
    """A device's rows of a batch are split into this many parts, which need less memory one after the other."""
    mesh: str = field("", identity=False)
    """Devices along both axes: "data=2,model=4". Empty: chosen for the model and the devices there are."""
    log_every: int = field(1000, at_least=1)
    """Steps between two lines of the log."""
    evaluate_every: int = field(0, at_least=0)
    """Steps between two reports, such as the held-out loss. 0: none."""
    checkpoint_every: int = field(25_000, at_least=1)
    """Steps between two checkpoints; step 0 and the last step have one in any case."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """Adam."""
    schedule: ScheduleConfig = ScheduleConfig()
    """The learning rate over the steps."""
    guard: GuardConfig = GuardConfig()
    """Steps that are not applied."""
    checkpoint: CheckpointConfig = field(CheckpointConfig(), identity=False)
    """Checkpoints that are kept."""
    logging: LoggingConfig = field(LoggingConfig(), identity=False)
    """Where metrics go."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        check_bounds(self, "train.")
        self.retention().check()
        spike, warmup, wandb = self.guard.spike_factor, self.schedule.warmup_steps, self.logging.wandb
        if spike and not spike > 1:
            raise BadInput(f"train.guard.spike_factor is {spike}: expected more than 1, or 0 for none")
        if wandb and importlib.util.find_spec("wandb") is None:
            raise BadInput(
                f"train.logging.wandb is {wandb!r}, but it is not installed: pip install 'monosem_jax[wandb]'"
            )
        if warmup >= self.steps:
            raise BadInput(f"train.schedule.warmup_steps is {warmup}: expected 0 to steps - 1 = {self.steps - 1}")
        if self.schedule.kind == "linear" and warmup > self.decay_begins():
            raise BadInput(
                f"train.schedule.warmup_steps is {warmup}: the decay begins before, at step {self.decay_begins()}"
            )

    def retention(self) -> Retention:
        """The rule for which checkpoints are kept."""
        kept = self.checkpoint
        return Retention(kept.keep, kept.keep_every, kept.keep_best, self.checkpoint_every)

    def decay_begins(self) -> int:
        """The step at which the schedule "linear" begins to fall."""
        return round(self.steps * (1 - self.schedule.decay_fraction))

    def open_mesh(self, spec: str = "") -> Mesh:
        """The mesh of `train.mesh`, or of `spec` if that is empty; raises BadInput if devices or batch do not fit."""
        mesh = make_mesh(self.mesh or spec)
        self.check_mesh(mesh)
        return mesh

    def check_mesh(self, mesh: Mesh) -> None:
        """Raises BadInput if the batch cannot be divided among the data shards of the mesh and the micro-batches."""
        shards = mesh.shape["data"]
        if self.batch_size % shards:
            sizes = nearest(self.batch_size, lambda n: n % shards == 0)
            fewer = (
                "" if jax.process_count() > 1 else f", or train.mesh=data={largest_divisor(self.batch_size, shards)}"
            )
            raise BadInput(
                f"train.batch_size {self.batch_size} is not divisible by the {shards} data shards: take {sizes}{fewer}"
            )
        if self.batch_size % (shards * self.micro_batches):
            rows = self.batch_size // shards
            raise BadInput(
                f"train.micro_batches {self.micro_batches} does not divide the {rows} rows that a device has of a "
                f"batch of {self.batch_size}: take {largest_divisor(rows, self.micro_batches)}"
            )

    def dtype(self) -> Any:
        """The dtype of matmul operands."""
        if self.compute_dtype == "auto":
            return jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
        return jnp.dtype(self.compute_dtype)
