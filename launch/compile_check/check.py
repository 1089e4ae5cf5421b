"""Compiles the training program of a dictionary for TPUs without having any: does it fit, and how fast can it be?

The chips' figures are from the public pages on their system architecture (cloud.google.com/tpu/docs). The time of a
step is a roofline, that is a lower bound for any run:

  compute  the compiler's FLOPs at the chip's peak for bfloat16; products in fp32 take several times as long
  memory   bytes that cross main memory, each array once per instruction that needs it, at full bandwidth; what stays
           in the chip's fast memory is free
  links    what each chip sends in rings, at the bandwidth of all its links; a ring along one axis of the torus has
           only two of four links (v5e, v6e) or of six (v4, v5p), so this may take two or three times as long

At best the three overlap and the step takes as long as the longest; at worst they follow one another. The estimate
leaves out the microseconds of each hop in a ring, the hosts' work, resampling, evaluation and checkpoints.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from launch.compile_check import hlo_cost
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.formatting import quantity
from monosem_jax.sae import architectures, trainer
from monosem_jax.sae.base import SparseAutoencoder
from monosem_jax.stages.train_sae import SaeRunConfig, lower_dispatch

GIB = 1 << 30
REMEDY = "take more chips, a smaller train.batch_size or train.steps_per_dispatch, or more train.micro_batches"


class Chip(NamedTuple):
    """Figures of one chip: bytes of memory; FLOP/s in bfloat16; bytes/s of memory, and of all its links together."""

    memory: float
    flops: float
    memory_rate: float
    link_rate: float


# By the device kind, as JAX names it.
CHIPS = {
    "TPU v4": Chip(32 * GIB, 275e12, 1228e9, 300e9),
    "TPU v5 lite": Chip(16 * GIB, 197e12, 819e9, 200e9),
    "TPU v5": Chip(95 * GIB, 459e12, 2765e9, 600e9),
    "TPU v6 lite": Chip(32 * GIB, 918e12, 1640e9, 448e9),
}
# Without them, libtpu looks for TPUs on this machine, prints an error if there are none, and allows only one process.
ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


def run(topology: str, width: str, config: SaeRunConfig) -> None:
    """Compiles the training program for the chips of `topology` and rows of `width`, and prints its memory and time.

    Raises BadInput when it does not fit, or cannot be divided among the chips.
    """
    if not width.isdecimal() or int(width) < 1:
        raise BadInput(f"--width is {width!r}: expected the number of activations in a row")
    config = for_tpus(config)
    config.check()
    devices = described(topology)
    kind = devices[0].device_kind
    if kind not in CHIPS:
        raise BadInput(f"--topology {topology}: nothing is known of {kind}, only of {', '.join(CHIPS)}")
    hosts = len({d.process_index for d in devices})
    print(f"{topology}: {_plural(count_chips(devices), 'chip')} of {kind}, {_plural(hosts, 'host')}", flush=True)
    for line in report(devices, CHIPS[kind], int(width), config):
        print(line, flush=True)


def for_tpus(config: SaeRunConfig) -> SaeRunConfig:
    """The configuration with values resolved as on a TPU, not as on the compiling machine; the source is not used."""
    dtype = config.train.compute_dtype
    train = dataclasses.replace(config.train, compute_dtype="bfloat16" if dtype == "auto" else dtype)
    sae = dataclasses.replace(config.sae, sparse="gather" if config.sae.sparse == "gather" else "never")
    return dataclasses.replace(config, source=config.source or "anywhere", train=train, sae=sae)


def described(topology: str) -> list[Any]:
    """The devices of a slice of TPUs, as libtpu describes them; raises BadInput when it cannot."""
    if importlib.util.find_spec("libtpu") is None:
        raise BadInput("libtpu, the compiler for TPUs, is not installed: pip install '.[tpu]'")
    from jax.experimental import topologies

    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # The two cores of a v4 chip count as one device, as on Cloud TPUs; later kinds are always described this way.
    options = {"chip_config_name": "megacore"} if topology.startswith("v4:") else {}
    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=topology, **options).devices
    except RuntimeError as e:
        raise BadInput(f"--topology {topology}: {_one_line(e)}") from None


def count_chips(devices: Sequence[Any]) -> int:
    """The number of chips; one chip may be two devices."""
    return len({(getattr(d, "slice_index", 0), *getattr(d, "coords", [d.id])) for d in devices})


def report(devices: Sequence[Any], chip: Chip, width: int, config: SaeRunConfig) -> list[str]:
    """Lines about the training program's memory and time on these devices; raises BadInput when it does not fit."""
    mesh = trainer.open_mesh(config.train, [config.sae.n_features], width, devices)
    steps, per_chip = config.train.steps_per_dispatch, len(devices) // count_chips(devices)
    chip = Chip(*(figure / per_chip for figure in chip))  # the share of each device
    sae = architectures.build(config.sae, width, config.train.dtype())
    layout = trainer.step_cost(sae, config.sae, config.train, mesh)
    begin = time.perf_counter()
    compiled = compile_for(mesh, sae, config)
    seconds, text = time.perf_counter() - begin, compiled.as_text() or ""
    where = f"mesh data={layout.data},model={layout.model}: {layout.rows:,} rows and {layout.features:,} features"
    counted, own = layout.flops, hlo_cost.flops(compiled)
    said = f", {quantity(own, 'FLOP')} by the compiler's count" if own else ""
    crossings = hlo_cost.memory_passes(text, layout.rows // layout.micro_batches * layout.features)
    found = [c for c in hlo_cost.collectives(text) if c.devices > 1]
    sent = sum(c.sent * (c.times or 1) for c in found if not c.conditional) / steps
    times = {
        "compute": (own or counted) / chip.flops,
        "memory": hlo_cost.traffic(text) / steps / chip.memory_rate,
        "links": sent / chip.link_rate,
    }
    return [
        f"{where} on each device, {steps} steps to a dispatch, compiled in {seconds:.1f} s",
        memory_line(hlo_cost.memory(compiled), layout.row_bytes(steps, 2) // 2, chip.memory),
        f"a step on each device: {quantity(counted, 'FLOP')} of products{said}",
        f"rows x features: read {crossings['reads']} times and written {crossings['writes']} times in main memory",
        *collective_lines(found, steps),
        time_line(times, counted / chip.flops),
    ]


def compile_for(mesh: Mesh, sae: SparseAutoencoder, config: SaeRunConfig) -> jax.stages.Compiled:
    """The compiled dispatch; raises BadInput when the compiler runs out of device memory."""
    try:
        return lower_dispatch(sae, config.sae, config.train, mesh, config.train.steps_per_dispatch).compile()
    except jax.errors.JaxRuntimeError as e:
        if "RESOURCE_EXHAUSTED" not in str(e):
            raise
        raise BadInput(f"does not fit: {_one_line(e)}; {REMEDY}") from None


def memory_line(found: dict[str, int], next_rows: int, capacity: float) -> str:
    """The memory that a device needs and its capacity. The rows of the next dispatch, fetched in the background, count
    too. Raises BadInput when it does not fit."""
    sizes = {"arguments": found["arguments"], "temporaries": found["temporaries"], "the next rows": next_rows}
    parts = ", ".join(f"{name} {quantity(size, 'B')}" for name, size in sizes.items())
    needed = found["peak"] + next_rows
    share = f"{quantity(needed, 'B')} of {quantity(capacity, 'B')}"
    if needed > capacity:
        raise BadInput(f"does not fit: each device would hold {share} ({parts}); {REMEDY}")
    return f"memory of each device: {share}, {100 * needed / capacity:.3g} % ({parts})"


def collective_lines(found: Sequence[hlo_cost.HloCollective], steps: int) -> list[str]:
    """A line for every kind of collective and group size, with the bytes that a device puts in and sends per step."""
    groups: dict[tuple, list[hlo_cost.HloCollective]] = {}
    for c in found:
        groups.setdefault((c.conditional, c.times is None, c.kind, c.devices), []).append(c)
    lines = []
    for (conditional, unknown, kind, devices), same in sorted(groups.items()):
        times = [(c.times or 1) / steps for c in same]
        put_in = sum(n * c.bytes for n, c in zip(times, same, strict=True))
        sent = sum(n * c.sent for n, c in zip(times, same, strict=True))
        how = ", in a branch, not in the time" * conditional + ", how often is unknown: once a dispatch" * unknown
        sizes = f"{quantity(put_in, 'B')} put in, {quantity(sent, 'B')} sent"
        lines.append(f"  {sum(times):.3g} {kind} over {devices} devices: {sizes}{how}")
    return ["collectives of a step, each device:", *lines] if lines else ["no collectives"]


def time_line(seconds: dict[str, float], useful: float) -> str:
    """The roofline: at best the longest of these times, at worst their sum. `useful`: the time of the counted FLOPs."""
    best, worst = max(seconds.values()), sum(seconds.values())
    parts = ", ".join(f"{name} {_milliseconds(t)}" for name, t in seconds.items())
    return (
        f"a step takes at least {_milliseconds(best)}, the longest of {parts}: "
        f"MFU at most {100 * useful / best:.3g} %\n"
        f"if nothing overlaps {_milliseconds(worst)}: {100 * useful / worst:.3g} %"
    )


def _plural(n: int, noun: str) -> str:
    return f"{n} {noun}" + "s" * (n != 1)


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms"


def _one_line(error: Exception) -> str:
    """A library's error message, without the error type and references to documentation."""
    text = " ".join(str(error).split())
    return re.sub(r"^(?:[A-Z_]+: )?(?:E\d+: \w+: )?| See https?://\S.*$", "", text).rstrip(".")
