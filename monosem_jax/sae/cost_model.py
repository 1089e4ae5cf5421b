"""What one training step of a dictionary takes on a mesh data x model: memory, FLOPs and traffic of every device.

    x[B_data, M] · W_enc[M, F_model] → f[B_data, F_model];  f[B_data, F_model] · W_dec[F_model, M] → x̂[B_data, M]

The second product sums over features, so that each device of `model` has a part of x̂: an all-reduce the size of x̂. The
gradients sum over rows: over `data` an all-reduce the size of the dictionary. Rows against features therefore decide
which axis is the cheaper one.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from monosem_jax.runtime.errors import BadInput, check_counts
from monosem_jax.runtime.formatting import quantity

FP32 = INT32 = 4
ADAM = 3  # copies of each parameter: itself and its two moments
SCALARS = 4  # of the metrics: they are summed over features with x̂
MAX_DEVICES = 4096


class PredictedCollective(NamedTuple):
    """What is all-reduced over an axis of the mesh in a step: `bytes` of every one of its `devices`."""

    axis: str
    devices: int
    bytes: int

    @property
    def traffic(self) -> int:
        """Bytes that the devices of one ring send together: each all parts but one, to sum them and to spread sums."""
        return 2 * (self.devices - 1) * self.bytes


@dataclasses.dataclass(frozen=True)
class StepCost:
    """One dictionary's step on a mesh. Features lie along `model`, rows along `data`, b_dec on every device.

    `compute_bytes` are those of a number in a product: 4 in fp32, 2 in bfloat16. Figures are of each device, unless
    they say otherwise. Raises BadInput on a mesh that does not divide rows or features.
    """

    data: int
    model: int
    n_features: int
    width: int
    batch_size: int
    compute_bytes: int = FP32
    micro_batches: int = 1

    def __post_init__(self) -> None:
        check_counts(self, "", *(field.name for field in dataclasses.fields(self)))
        if self.n_features % self.model:
            raise BadInput(f"n_features {self.n_features} is not divisible by the {self.model} model shards")
        if self.batch_size % (self.data * self.micro_batches):
            parts = f"{self.data} data shards" + (f" x {self.micro_batches} micro-batches" * (self.micro_batches > 1))
            raise BadInput(f"batch_size {self.batch_size} is not divisible by the {parts}")

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
    def parameters(self) -> int:
        """Numbers in W_enc, W_dec and b_enc of its features, and in b_dec."""
        return count_parameters(self.features, self.width)

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
        """f and the gradient before the ReLU as operands of products, and one fp32 result that turns into them."""
        return self.rows // self.micro_batches * self.features * (2 * self.compute_bytes + FP32)

    def row_bytes(self, steps_per_dispatch: int, element_bytes: int) -> int:
        """The rows of a dispatch, and those of the next, which are fetched meanwhile."""
        return 2 * steps_per_dispatch * self.rows * self.width * element_bytes

    @property
    def flops(self) -> int:
        """Five products of 2 B M F: encoding, decoding, and three of the backward pass."""
        return 10 * self.rows * self.width * self.features

    @property
    def collectives(self) -> tuple[PredictedCollective, ...]:
        """The all-reduces of a step, an axis of one device needs none."""
        vectors = self.micro_batches * self.width  # of b_dec's gradient, what comes through the encoder
        summed = FP32 * (self.rows * self.width + vectors + SCALARS)
        gradients = FP32 * self.parameters + INT32 * self.features  # and how often each feature fired
        found = (PredictedCollective("model", self.model, summed), PredictedCollective("data", self.data, gradients))
        return tuple(c for c in found if c.devices > 1)

    @property
    def traffic(self) -> float:
        """Bytes that a device sends in a step; rounded once, so that equal meshes compare equal."""
        return sum(c.traffic * (self.devices // c.devices) for c in self.collectives) / self.devices


def count_parameters(n_features: int, width: int) -> int:
    """Numbers in a dictionary: W_enc [M,F], W_dec [F,M], b_enc [F], b_dec [M]."""
    return 2 * n_features * width + n_features + width


def choose_mesh(n_devices: int, n_features: int, width: int, batch_size: int) -> tuple[int, int]:
    """(data, model) of the least traffic per device and step; of equals, the one with more data.

    Traffic is nearly proportional to B model + 2 F data: narrow dictionaries are split by rows, wide ones by features,
    and where both numbers are alike a mixture is best. What the host uploads is not counted. Raises BadInput when no
    mesh of so many devices divides both rows and features.
    """
    if not 1 <= n_devices <= MAX_DEVICES:
        raise BadInput(f"{n_devices} devices: expected 1 to {MAX_DEVICES}")
    splits = [(data, n_devices // data) for data in range(1, n_devices + 1) if n_devices % data == 0]
    fitting = [
        StepCost(data, model, n_features, width, batch_size)
        for data, model in splits
        if batch_size % data == 0 and n_features % model == 0
    ]
    if not fitting:
        raise BadInput(
            f"no mesh of {n_devices} devices fits: data must divide the batch size {batch_size}, and model the "
            f"{n_features} features"
        )
    best = min(fitting, key=lambda x: (x.traffic, -x.data))
    return best.data, best.model


def describe(layout: StepCost, steps_per_dispatch: int, element_bytes: int) -> str:
    """Two lines to be read before a run: mesh, memory and FLOPs; collectives. `element_bytes`: of a number in a row."""
    parts = {
        "state": layout.state_bytes,
        "gradients": layout.gradient_bytes,
        "activations": layout.activation_bytes,
        "rows": layout.row_bytes(steps_per_dispatch, element_bytes),
    }
    memory = ", ".join(f"{name} {quantity(n, 'B')}" for name, n in parts.items())
    sums = [f"{quantity(c.bytes, 'B')} over {c.devices} {c.axis} shards" for c in layout.collectives]
    said = f"each step all-reduces {' and '.join(sums)}: {quantity(layout.traffic, 'B')} sent by each device"
    return (
        f"mesh data={layout.data},model={layout.model}: {quantity(sum(parts.values()), 'B')} on each device "
        f"({memory}), {quantity(layout.flops, 'FLOP')} a step\n{said if sums else 'no collectives'}"
    )
