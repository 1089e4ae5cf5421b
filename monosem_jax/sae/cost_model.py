"""The costs of one training step of a dictionary on a mesh data x model: memory, FLOPs and traffic of each device.

    x[B_data, M] · W_enc[M, F_model] → f[B_data, F_model];  f[B_data, F_model] · W_dec[F_model, M] → x̂[B_data, M]

The second product sums over features, so each device of `model` has a partial x̂; `model` all-reduces an array of the
size of x̂. Gradients are sums over rows, so `data` all-reduces an array of the size of the dictionary. The numbers of
rows and of features therefore decide which axis is cheaper.

The figures of a step come from the shapes of its parameters and from its traced program
(`monosem_jax.sae.trainer.step_cost`), not from formulas for each architecture.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.formatting import quantity
from monosem_jax.runtime.mesh import nearest

FP32 = INT32 = 4
ADAM = 3  # copies of each parameter: itself and its two moments
SCALARS = 4  # metrics that are summed over features together with x̂, at most
MAX_DEVICES = 4096


class PredictedCollective(NamedTuple):
    """The input of each of an axis's `devices` to collectives in a step: `bytes` that are all-reduced, and `gathered`
    bytes that all others receive."""

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

    Figures are per device, unless stated otherwise. `row_width`: numbers in a row. `compute_bytes`: bytes of an operand
    of a product, 4 in fp32, 2 in bfloat16. `all_parameters`: numbers in the whole dictionary; `parameters`: on one
    device. `reconstructed`: numbers per row that products compute, other than features. `flops`: those of the products
    if none skips zeros.
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
        """Rows of a batch on each device."""
        return self.batch_size // self.data

    @property
    def features(self) -> int:
        """Features on each device."""
        return self.n_features // self.model

    @property
    def state_bytes(self) -> int:
        """Parameters and Adam moments in fp32, and the step at which each feature last fired."""
        return ADAM * FP32 * self.parameters + INT32 * self.features

    @property
    def gradient_bytes(self) -> int:
        """Gradients in fp32, held from the backward pass to the update."""
        return FP32 * self.parameters

    @property
    def activation_bytes(self) -> int:
        """An estimate: f and the gradient before the activation as operands of products, the fp32 result from which
        they are computed, and the reconstructions with their gradients."""
        of_a_row = self.features * (2 * self.compute_bytes + FP32) + 2 * FP32 * self.reconstructed
        return self.rows // self.micro_batches * of_a_row

    def row_bytes(self, steps_per_dispatch: int, element_bytes: int) -> int:
        """The rows of a dispatch, and those of the next one, which are prefetched."""
        return 2 * steps_per_dispatch * self.rows * self.row_width * element_bytes

    @property
    def traffic(self) -> float:
        """Bytes that each device sends in a step."""
        return _sent_by_each(self.collectives, self.devices)


def _sent_by_each(collectives: tuple[PredictedCollective, ...], devices: int) -> float:
    """Bytes that each device sends; there is one division, so that meshes with equal traffic compare equal."""
    return sum(c.traffic * (devices // c.devices) for c in collectives) / devices


def mesh_traffic(data: int, model: int, n_features: int, width: int, batch_size: int) -> float:
    """Bytes that each device sends in a step of a ReLU dictionary on a mesh: over `model`, x̂ and the gradient through
    the encoder; over `data`, the gradients and the number of times each feature fired."""
    features = n_features // model
    x_hat = FP32 * (batch_size // data * width + width + SCALARS)
    gradients = FP32 * (2 * features * width + features + width) + INT32 * features
    axes = (PredictedCollective("model", model, x_hat), PredictedCollective("data", data, gradients))
    return _sent_by_each(axes, data * model)


def choose_mesh(
    n_devices: int, n_features: int, width: int, batch_size: int, *, may_leave: bool = False
) -> tuple[int, int]:
    """(data, model) with the least traffic per device and step; of equals, the one with the larger `data`.

    Traffic is nearly proportional to B model + 2 F data: a small F favours `data`, a large F favours `model`, and if B
    and F are similar, a mesh with both axes is best. Uploads from the host are not counted. Raises BadInput if no mesh
    of `n_devices` devices divides both rows and features; `may_leave`: a mesh of fewer devices is possible.
    """
    if not 1 <= n_devices <= MAX_DEVICES:
        raise BadInput(f"{n_devices} devices: expected 1 to {MAX_DEVICES}")
    fitting = _fitting(n_devices, n_features, batch_size)
    if not fitting:
        rows, features = (nearest(n, lambda m: m % n_devices == 0) for n in (batch_size, n_features))
        remedy = f"train.batch_size {rows}, or sae.n_features {features}"
        if may_leave:
            fewer = next(n for n in range(n_devices - 1, 0, -1) if _fitting(n, n_features, batch_size))
            data, model = choose_mesh(fewer, n_features, width, batch_size)
            remedy += f", or train.mesh=data={data},model={model}, which leaves {n_devices - fewer} unused"
        raise BadInput(
            f"no mesh of {n_devices} devices fits: data must divide the batch size {batch_size}, and model the "
            f"{n_features} features: take {remedy}"
        )
    return min(fitting, key=lambda mesh: (mesh_traffic(mesh[0], mesh[1], n_features, width, batch_size), -mesh[0]))


def _fitting(n_devices: int, n_features: int, batch_size: int) -> list[tuple[int, int]]:
    """(data, model) of the meshes of all devices that divide both rows and features."""
    splits = [(data, n_devices // data) for data in range(1, n_devices + 1) if n_devices % data == 0]
    return [(data, model) for data, model in splits if batch_size % data == 0 and n_features % model == 0]


def describe(cost: StepCost, steps_per_dispatch: int, element_bytes: int) -> str:
    """Two lines of text: mesh, memory and FLOPs; then collectives. `element_bytes`: bytes per number in a row."""
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
