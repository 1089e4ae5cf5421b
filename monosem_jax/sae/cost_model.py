"""What one training step of a dictionary takes on a mesh data x model: memory, FLOPs and traffic of every device.

    x[B_data, M] · W_enc[M, F_model] → f[B_data, F_model];  f[B_data, F_model] · W_dec[F_model, M] → x̂[B_data, M]

The second product sums over features, so each device of `model` has a part of x̂: an all-reduce the size of x̂. The
gradients sum over rows: over `data` an all-reduce the size of the dictionary. So the numbers of rows and of features
decide which axis is cheaper.

The figures of a step come from the shapes of its parameters and from its traced program
(`monosem_jax.sae.trainer.step_cost`), not from what is known of an architecture.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.formatting import quantity

FP32 = INT32 = 4
ADAM = 3  # copies of each parameter: itself and its two moments
SCALARS = 4  # of the metrics, at most, which are summed over features together with x̂
MAX_DEVICES = 4096


class PredictedCollective(NamedTuple):
    """What each of an axis's `devices` puts in during a step: `bytes` that are all-reduced, and `gathered` bytes that
    all others receive."""

    axis: str
    devices: int
    bytes: int
    gathered: int = 0

    @property
    def traffic(self) -> int:
        """Bytes that the devices of one ring send together. An all-reduce sends all parts but one twice, to sum them
        and to distribute the sums; an all-gather sends each part to all others."""
        return (self.devices - 1) * (2 * self.bytes + self.devices * self.gathered)


@dataclasses.dataclass(frozen=True)
class StepCost:
    """One dictionary's step on a mesh. Features lie along `model`, rows along `data`.

    Figures are of each device, unless they say otherwise. `row_width` numbers are in a row. `compute_bytes` are those
    of a number in a product: 4 in fp32, 2 in bfloat16. The whole dictionary has `all_parameters` numbers, a device
    `parameters`. For each row, `reconstructed` numbers are made by products besides features. `flops` are those of the
    products, as if none skipped zeros.
    """

    data: int
    model: int
    n_features: int
    row_width: int
    batch_size: int
    compute_bytes: int
    micro_batches: int
    all_parameters: int
    parameters: int
    reconstructed: int
    flops: int
    collectives: tuple[PredictedCollective, ...] = ()

    @property
    def devices(self) -> int:
        return self.data * self.model

    @property
    def rows(self) -> int:
        """Rows of a batch."""
        return self.batch_size // self.data

    @property
    def features(self) -> int:
        """Features that a device holds."""
        return self.n_features // self.model

    @property
    def state_bytes(self) -> int:
        """Parameters and Adam moments in fp32, and the step at which each feature last fired."""
        return ADAM * FP32 * self.parameters + INT32 * self.features

    @property
    def gradient_bytes(self) -> int:
        """Gradients in fp32, alive from the backward pass to the update."""
        return FP32 * self.parameters

    @property
    def activation_bytes(self) -> int:
        """An estimate: f and the gradient before the activation as operands of products, the fp32 result that turns
        into them, and the reconstructions with their gradients."""
        of_a_row = self.features * (2 * self.compute_bytes + FP32) + 2 * FP32 * self.reconstructed
        return self.rows // self.micro_batches * of_a_row

    def row_bytes(self, steps_per_dispatch: int, element_bytes: int) -> int:
        """The rows of a dispatch, and those of the next, which are fetched meanwhile."""
        return 2 * steps_per_dispatch * self.rows * self.row_width * element_bytes

    @property
    def traffic(self) -> float:
        """Bytes that a device sends in a step."""
        return _sent_by_each(self.collectives, self.devices)


def _sent_by_each(collectives: tuple[PredictedCollective, ...], devices: int) -> float:
    """Bytes that a device sends; divided once, so that equal meshes compare equal."""
    return sum(c.traffic * (devices // c.devices) for c in collectives) / devices


def mesh_traffic(data: int, model: int, n_features: int, width: int, batch_size: int) -> float:
    """Bytes that a device sends in a step of a ReLU dictionary on a mesh: x̂ and the gradient that comes through the
    encoder over `model`; over `data` the gradients, and how often each feature fired."""
    features = n_features // model
    x_hat = FP32 * (batch_size // data * width + width + SCALARS)
    gradients = FP32 * (2 * features * width + features + width) + INT32 * features
    axes = (PredictedCollective("model", model, x_hat), PredictedCollective("data", data, gradients))
    return _sent_by_each(axes, data * model)


def choose_mesh(n_devices: int, n_features: int, width: int, batch_size: int) -> tuple[int, int]:
    """(data, model) of the least traffic per device and step; of equals, the one with more data.

    Traffic is nearly proportional to B model + 2 F data: narrow dictionaries are split by rows, wide ones by features,
    and where both numbers are alike a mixture is best. What the host uploads is not counted. Raises BadInput when no
    mesh of that many devices divides both rows and features.
    """
    if not 1 <= n_devices <= MAX_DEVICES:
        raise BadInput(f"{n_devices} devices: expected 1 to {MAX_DEVICES}")
    splits = [(data, n_devices // data) for data in range(1, n_devices + 1) if n_devices % data == 0]
    fitting = [(data, model) for data, model in splits if batch_size % data == 0 and n_features % model == 0]
    if not fitting:
        raise BadInput(
            f"no mesh of {n_devices} devices fits: data must divide the batch size {batch_size}, and model the "
            f"{n_features} features"
        )
    return min(fitting, key=lambda mesh: (mesh_traffic(mesh[0], mesh[1], n_features, width, batch_size), -mesh[0]))


def describe(cost: StepCost, steps_per_dispatch: int, element_bytes: int) -> str:
    """Two lines to be read before a run: mesh, memory and FLOPs; collectives. `element_bytes`: of a number in a row."""
    parts = {
        "state": cost.state_bytes,
        "gradients": cost.gradient_bytes,
        "activations about": cost.activation_bytes,
        "rows": cost.row_bytes(steps_per_dispatch, element_bytes),
    }
    memory = ", ".join(f"{name} {quantity(n, 'B')}" for name, n in parts.items())
    sums = [f"{quantity(c.bytes, 'B')} over {c.devices} {c.axis} shards" for c in cost.collectives]
    gathers = [f"{quantity(c.gathered, 'B')} over {c.devices} {c.axis} shards" for c in cost.collectives if c.gathered]
    gathered = f" and all-gathers {' and '.join(gathers)}" if gathers else ""
    sent = f"each step all-reduces {' and '.join(sums)}{gathered}: {quantity(cost.traffic, 'B')} sent by each device"
    return (
        f"mesh data={cost.data},model={cost.model}: about {quantity(sum(parts.values()), 'B')} on each device "
        f"({memory}), {quantity(cost.flops, 'FLOP')} a step if no product skips zeros\n"
        f"{sent if sums else 'no collectives'}"
    )
