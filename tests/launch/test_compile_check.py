"""The compile check: on CPU devices and, if libtpu is installed, on described TPU chips."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import pytest

from launch.compile_check import check as compile_check
from launch.compile_check import hlo_cost as program
from launch.compile_check.check import (
    CHIPS,
    GIB,
    Chip,
    collective_lines,
    compile_for,
    count_chips,
    described,
    for_tpus,
    memory_line,
    report,
    run,
    time_line,
)
from launch.compile_check.hlo_cost import HloCollective
from launch.compile_check.hlo_parser import Shape
from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.architectures import build
from monosem_jax.sae.architectures.relu import ReluConfig
from monosem_jax.sae.cost_model import choose_mesh
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.sae.trainer import open_mesh
from monosem_jax.stages.train_sae import SaeRunConfig
from monosem_jax.training.config import TrainConfig

ROOT = pathlib.Path(__file__).parents[2]
B, M, F = 32, 8, 64
TRAIN = TrainConfig(steps=100, batch_size=B, steps_per_dispatch=4, mesh="data=2,model=4")
CONFIG = SaeRunConfig(sae=ReluConfig(n_features=F), train=TRAIN, resample=ResampleConfig(steps=()))
CHIP = Chip(memory=1 << 20, flops=1e12, memory_rate=1e9, link_rate=1e8)
needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed: pip install '.[tpu]'"
)


def with_train(**changes) -> SaeRunConfig:
    return dataclasses.replace(CONFIG, train=dataclasses.replace(TRAIN, **changes))


SIZE = re.compile(r"([\d.]+) (B|kB|MB|GB)\b")


def sizes(text: str) -> list[float]:
    """The bytes that a text speaks of, in order, to three digits."""
    return [float(n) * {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}[unit] for n, unit in SIZE.findall(text)]


@pytest.fixture(scope="module")
def compiled():
    """The program of the tiny dictionary on 2 x 4 devices."""
    config = for_tpus(CONFIG)
    sae = build(config.sae, M, config.train.dtype())
    return compile_for(mesh_of(jax.devices(), M, config), sae, config)


def mesh_of(devices, width: int, config: SaeRunConfig):
    """The mesh that training would open on these devices."""
    return open_mesh(config.train, [config.sae.n_features], width, devices)


@pytest.fixture
def report_on(monkeypatch, compiled):
    """The report on it for any chip."""
    monkeypatch.setattr(compile_check, "compile_for", lambda mesh, sae, config: compiled)
    return lambda chip: report(jax.devices(), chip, M, for_tpus(CONFIG))


@pytest.fixture
def lines(report_on) -> list[str]:
    return report_on(CHIP)


def test_the_mesh_and_the_part_of_each_device_are_said_first(lines):
    assert lines[0].startswith("mesh data=2,model=4: 16 rows and 16 features on each device, 4 steps to a dispatch, ")


def test_memory_is_what_a_device_holds_with_the_rows_of_two_dispatches(lines):
    rows = 4 * (B // 2) * M * 2
    state = 4 * (3 * (2 * 16 * M + 16 + M) + 16)
    needed, capacity, arguments, temporaries, following = sizes(lines[1])
    assert (capacity, following) == (1.05e6, pytest.approx(rows, rel=0.005))
    assert state + rows <= arguments <= state + rows + 100  # and scalars
    metrics = needed - (arguments + temporaries + following)  # all other results take the place of arguments
    assert 0 < metrics < 400 + 0.01 * needed  # rounded to three digits
    share = float(lines[1].split(" %")[0].split()[-1])
    assert share == pytest.approx(100 * needed / CHIP.memory, rel=0.01)


def test_flops_are_counted_for_each_device(lines):
    assert lines[2].startswith(f"a step on each device: {10 * B * M * F / 8 / 1000:.3g} kFLOP of products, ")
    assert lines[2].endswith("by the compiler's count")


def test_collectives_are_those_of_one_step(lines):
    sums = {line.split(" over ")[1][0]: sizes(line)[0] for line in lines if "all-reduce" in line}
    reconstructions, dictionary = (B // 2) * M, 2 * 16 * M + 16 + M
    assert sums["4"] == pytest.approx(4 * (reconstructions + M), rel=0.05)  # and a part of b_dec's gradient
    assert sums["2"] == pytest.approx(4 * (dictionary + 16), rel=0.05)  # and how often features fired


def seconds(lines: list[str]) -> list[float]:
    """The times for compute, memory and links."""
    parts = lines[-1].split("longest of")[1].split(":")[0]
    return [float(n) / 1000 for n in re.findall(r"([\d.e+-]+) ms", parts)]


def test_times_are_what_a_step_needs_at_the_rates_of_the_chip(lines, compiled):
    sent = sum(sizes(line)[1] for line in lines if "all-reduce" in line)
    needed = (program.flops(compiled), program.traffic(compiled.as_text()) / 4, sent)
    assert seconds(lines) == pytest.approx([n / rate for n, rate in zip(needed, CHIP[1:], strict=True)], rel=0.02)


def test_the_mfu_is_that_of_the_counted_flops(lines):
    found = float(lines[-1].split("MFU at most ")[1].split(" %")[0])
    assert found == pytest.approx(100 * (10 * B * M * F / 8 / CHIP.flops) / max(seconds(lines)), rel=0.02)


def test_collectives_in_branches_take_no_time_and_those_of_one_device_are_none(monkeypatch, report_on):
    found = [collective(), collective(conditional=True), collective(devices=1)]
    monkeypatch.setattr(program, "collectives", lambda text: found)
    lines = report_on(CHIP)
    assert [line.split(":")[0] for line in lines if "all-reduce" in line] == ["  2 all-reduce over 4 devices"] * 2
    assert seconds(lines)[2] == pytest.approx(2 * 300 / CHIP.link_rate, rel=0.01)


def test_the_time_of_a_step_is_between_the_longest_part_and_the_sum():
    best, worst = time_line({"compute": 1e-3, "memory": 2e-3, "links": 5e-4}, useful=8e-4).split("\n")
    assert best == (
        "a step takes at least 2 ms, the longest of compute 1 ms, memory 2 ms, links 0.5 ms: MFU at most 40 %"
    )
    assert worst == "if nothing overlaps 3.5 ms: 22.9 %"


def collective(kind="all-reduce", times=8, conditional=False, devices=4) -> HloCollective:
    return HloCollective(kind, (Shape("f32", (10, 5)),), devices, times, conditional, "")


def test_collectives_of_a_dispatch_are_divided_by_its_steps():
    assert collective_lines([collective(), collective(), collective(times=1)], 8) == [
        "collectives of a step, each device:",
        "  2.12 all-reduce over 4 devices: 425 B put in, 638 B sent",
    ]
    assert collective_lines([collective("all-gather", devices=8)], 4)[1:] == [
        "  2 all-gather over 8 devices: 400 B put in, 2.8 kB sent"
    ]
    assert collective_lines([], 8) == ["no collectives"]


def test_collectives_that_may_not_run_stand_alone():
    found = collective_lines([collective(), collective(conditional=True), collective(times=None)], 8)
    assert [line.split(" sent")[1] for line in found[1:]] == [
        "", ", how often is unknown: once a dispatch", ", in a branch, not in the time",
    ]  # fmt: skip


def test_the_mesh_is_chosen_for_the_described_devices_not_for_those_of_this_machine():
    wide = dataclasses.replace(with_train(mesh="", batch_size=8), sae=ReluConfig(n_features=4096))
    for n in (2, 4, 8):
        mesh = mesh_of(jax.devices()[:n], M, wide)
        assert (mesh.shape["data"], mesh.shape["model"]) == choose_mesh(n, 4096, M, 8)
    assert dict(mesh_of(jax.devices()[:4], M, with_train(mesh="model=4")).shape) == {"data": 1, "model": 4}
    assert dict(mesh_of(jax.devices(), M, with_train(mesh="model=2, data=4")).shape) == {"data": 4, "model": 2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mesh": "data=2,model=2"}, "mesh 'data=2,model=2' needs 2 x 2 devices, but 8 are present"),
        ({"mesh": "data=2,modl=4"}, "mesh 'data=2,modl=4': expected data=N,model=N"),
        ({"mesh": "data=0,model=8"}, "expected data=N,model=N with N at least 1"),
        ({"batch_size": 31}, "batch_size 31 is not divisible by the 2 data shards"),
        ({"mesh": "", "batch_size": 31}, None),
        ({"micro_batches": 3}, "micro"),
    ],
)
def test_what_cannot_be_divided_is_named(changes, message):
    config = for_tpus(with_train(**changes))
    if message is None:  # all for features
        assert report(jax.devices(), CHIP, M, config)[0].startswith("mesh data=1,model=8")
        return
    with pytest.raises(BadInput, match=message):
        report(jax.devices(), CHIP, M, config)


def test_features_that_cannot_be_divided_are_named():
    with pytest.raises(BadInput, match="n_features 66 is not divisible by the 4 model shards"):
        report(jax.devices(), CHIP, M, for_tpus(dataclasses.replace(CONFIG, sae=ReluConfig(n_features=66))))


def test_a_program_that_needs_more_than_a_chip_has_does_not_fit(report_on):
    with pytest.raises(BadInput, match=r"fit: each device would hold .* of 5 kB \(arguments .*\); take more chips"):
        report_on(CHIP._replace(memory=5000))


def test_one_byte_too_many_does_not_fit():
    found = {"arguments": 60, "temporaries": 30, "peak": 90}
    assert "100 %" in memory_line(found, 10, 100)
    with pytest.raises(BadInput, match=r"^does not fit: each device would hold 101 B of 100 B"):
        memory_line(found, 11, 100)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (
            "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Out of memory:\n48G exceeds 15G.\nSee https://x.org.",
            BadInput,
            "does not fit: Out of memory: 48G exceeds 15G; take more chips",
        ),
        ("INTERNAL: something else", jax.errors.JaxRuntimeError, "INTERNAL: something else"),
    ],
)
def test_a_compiler_that_finds_no_room_says_so_in_one_line(monkeypatch, error, kind, message):
    def lower(*_):
        raise jax.errors.JaxRuntimeError(error)

    monkeypatch.setattr(compile_check, "lower_dispatch", lower)
    with pytest.raises(kind) as caught:
        report(jax.devices(), CHIP, M, for_tpus(CONFIG))
    assert str(caught.value).startswith(message) and "http" not in str(caught.value)


def test_chips_are_counted_by_where_they_are():
    def device(*coords, slice_index=0):
        return types.SimpleNamespace(coords=list(coords), id=7, slice_index=slice_index)

    assert count_chips([device(x, y, 0) for x in (0, 1) for y in (0, 1) for core in (0, 1)]) == 4
    assert count_chips([device(0, 0, 0), device(0, 0, 0, slice_index=1)]) == 2
    assert count_chips(jax.devices()) == 8  # which are nowhere


def test_a_device_that_is_half_a_chip_has_half_of_it(monkeypatch, lines, report_on):
    monkeypatch.setattr(compile_check, "count_chips", lambda devices: len(devices) // 2)
    assert report_on(Chip(*(2 * figure for figure in CHIP)))[1:] == lines[1:]


def test_the_configuration_is_that_of_a_tpu():
    found = for_tpus(CONFIG)
    assert found.train.dtype() == jnp.bfloat16 and found.sae.sparse == "never"
    found.check()  # without a source
    assert for_tpus(dataclasses.replace(CONFIG, source="x")).source == "x"
    assert for_tpus(with_train(compute_dtype="float32")).train.dtype() == jnp.float32


def test_chips_have_their_published_figures():
    """Memory in GiB, TFLOP/s, memory in GB/s; links in Gbit/s as the pages have them."""
    figures = lambda c: (c.memory // GIB, c.flops / 1e12, c.memory_rate / 1e9, c.link_rate * 8 / 1e9)  # noqa: E731
    assert {kind: figures(chip) for kind, chip in CHIPS.items()} == {
        "TPU v4": (32, 275, 1228, 2400),
        "TPU v5 lite": (16, 197, 819, 1600),
        "TPU v5": (95, 459, 2765, 4800),
        "TPU v6 lite": (32, 918, 1640, 3584),
    }


def test_without_libtpu_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"libtpu.* is not installed: pip install '\.\[tpu\]'"):
        described("v5e:2x2")


def check(*flags: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the program, on a machine where no platform is asked for."""
    environment = {k: v for k, v in os.environ.items() if k != "JAX_PLATFORMS"}
    command = [sys.executable, "-m", "launch.compile_check", *flags]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "error: --topology is missing: give the slice of TPUs"),
        (("--topology=v5e:2x2", "--width=wide"), "error: --width is 'wide': expected the number of"),
        (("--topology=v5e:2x2", "--config.sae.n_featurs=8"), "did you mean --config.sae.n_features?"),
    ],
)  # fmt: skip
def test_a_mistake_gets_one_clear_line(flags, message):
    code, out, err = check(*flags)
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert message in err


@needs_libtpu
def test_the_program_compiles_for_chips_that_are_not_there():
    code, out, err = check(
        "--topology=v5e:2x2", "--config=experiments/configs/a5.py", "--config.sae.n_features=1024",
        "--config.train.batch_size=256", "--config.train.steps_per_dispatch=3", "--config.resample.steps=()",
        "--config.train.mesh=data=2,model=2",
    )  # fmt: skip
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "v5e:2x2: 4 chips of TPU v5 lite, 1 host"
    assert lines[1].startswith("mesh data=2,model=2: 128 rows and 512 features on each device, 3 steps to a dispatch")
    assert "of 17.2 GB" in lines[2] and "336 MFLOP of products" in lines[3]
    assert [line.split(" over ")[0][-10:] for line in lines if line.startswith("  ")] == ["all-reduce"]
    assert "MFU at most" in lines[-2] and "if nothing overlaps" in lines[-1]


@needs_libtpu
@pytest.mark.parametrize(("data", "model"), [(1, 16), (2, 8), (4, 4), (8, 2), (16, 1)])
def test_the_axes_of_a_mesh_follow_the_links_even_where_they_are_not_those_of_the_torus(data, model):
    """Neighbours along an axis are neighbours in the torus, but where an axis goes on in the next line of it."""
    mesh = mesh_of(described("v5e:4x4"), M, with_train(mesh=f"data={data},model={model}"))
    assert dict(mesh.shape) == {"data": data, "model": model} and len({d.id for d in mesh.devices.flat}) == 16
    if (data, model) == (4, 4):
        for line in (*mesh.devices, *mesh.devices.T):
            assert 1 in (len({d.coords[0] for d in line}), len({d.coords[1] for d in line}))


@needs_libtpu
@pytest.mark.parametrize(
    ("topology", "message"),
    [
        ("v9z:2x2", "--topology v9z:2x2: Invalid TPU external name: TPU v9z"),
        ("somewhere", "--topology somewhere: Your TPU topology name somewhere is invalid"),
        ("v5e:3x7", "not divisible by"),
        ("tpu7x:2x2x1", "nothing is known of TPU7x, only of TPU v4, TPU v5 lite, TPU v5, TPU v6 lite"),
    ],
)
def test_a_topology_that_is_not_one_is_refused_in_one_line(topology, message):
    with pytest.raises(BadInput) as caught:
        run(topology, "8", CONFIG)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@needs_libtpu
@pytest.mark.parametrize(
    ("topology", "kind", "chips"),
    [("v4:2x2x2", "TPU v4", 8), ("v5p:2x2x1", "TPU v5", 4), ("v6e:2x4", "TPU v6 lite", 8)],
)
def test_a_chip_is_described_as_one_device_of_a_known_kind(topology, kind, chips):
    devices = described(topology)
    assert (len(devices), count_chips(devices), {d.device_kind for d in devices}) == (chips, chips, {kind})


@needs_libtpu
def test_what_does_not_fit_on_a_described_chip_is_refused():
    wide = dataclasses.replace(with_train(mesh=""), sae=ReluConfig(n_features=1 << 22))
    with pytest.raises(BadInput, match=r"^does not fit: "):
        run("v5e:1x1", "512", wide)
