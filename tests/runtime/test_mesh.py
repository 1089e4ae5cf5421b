from __future__ import annotations

import socket

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from monosem_jax.models.objective import language_objective
from monosem_jax.runtime import processes
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.mesh import device_get_global, device_put_sharded, make_mesh, tree_shardings
from monosem_jax.runtime.processes import VARIABLES, barrier, first_process, start_processes, this_process
from monosem_jax.sae.params import RULES
from monosem_jax.training.config import OptimizerConfig, TrainConfig
from monosem_jax.training.loop import Ensemble
from monosem_jax.training.optimizer import optimizer
from monosem_jax.training.step import State, create_state
from tests.conftest import TINY, build_lively, mesh_of
from tests.engine import assert_close, state_at

REPLICATED = {"*": PartitionSpec()}
CONFIG = TrainConfig(learning_rate=1e-2, batch_size=8, optimizer=OptimizerConfig(eps=1e-4))


def train_transformer(mesh) -> State:
    """Three steps on eight contexts each."""
    model, params = build_lively(TINY)
    tx = optimizer(CONFIG)
    make = lambda: State.create(params, tx, stats={}, hyper={}, key=jax.random.key(4))  # noqa: E731
    tokens = np.random.default_rng(2).integers(0, TINY.vocab_size, size=(3, 8, TINY.context_length))
    group = Ensemble(create_state(make, REPLICATED, mesh), language_objective(model), tx, [], REPLICATED, mesh)
    return group.compile(CONFIG)(
        group.state, device_put_sharded(tokens.astype(np.int32), mesh, PartitionSpec(None, "data"))
    )[0]


@pytest.fixture(scope="module")
def transformer1() -> State:
    return train_transformer(mesh_of(1, 1))


def test_three_steps_of_a_transformer_on_a_mesh_equal_those_on_one_device(any_mesh8, transformer1):
    assert_close(train_transformer(any_mesh8), transformer1, 1e-4)


def test_the_steps_that_are_compared_move_every_parameter(transformer1):
    _, params = build_lively(TINY)
    for a, b in zip(jax.tree.leaves(transformer1.params), jax.tree.leaves(params), strict=True):
        assert np.abs(np.asarray(a) - np.asarray(b)).max() > 1e-3


def test_scalars_and_keys_are_replicated_without_a_rule(mesh8):
    tree = {"step": jnp.zeros(()), "key": jax.random.key(0), "keys": jax.random.split(jax.random.key(0), 3)}
    assert {s.spec for s in tree_shardings(tree, {}, mesh8).values()} == {PartitionSpec()}


def test_a_rule_may_name_a_part_of_the_path(mesh8):
    tree = {"stats": {"counts": [jnp.zeros(8)]}}
    found = tree_shardings(tree, {"counts": PartitionSpec("model")}, mesh8)
    assert found["stats"]["counts"][0].spec == PartitionSpec("model")


def test_a_name_goes_before_the_star(mesh8):
    tree = {"a": jnp.zeros(8), "b": jnp.zeros(8)}
    found = tree_shardings(tree, {"*": PartitionSpec(), "b": PartitionSpec("data")}, mesh8)
    assert found["a"].spec == PartitionSpec() and found["b"].spec == PartitionSpec("data")


def test_a_parameter_without_a_rule_raises(mesh1):
    state = state_at()
    wider = state.replace(params={**state.params, "W_gate": jnp.zeros((8, 32))})
    with pytest.raises(KeyError, match="W_gate"):
        tree_shardings(wider, RULES, mesh1)


def test_put_and_fetch_give_back_the_array(any_mesh8):
    x = np.arange(64.0, dtype=np.float32).reshape(8, 8)
    np.testing.assert_array_equal(
        device_get_global(device_put_sharded(x, any_mesh8, PartitionSpec("data", "model"))), x
    )


@pytest.mark.parametrize(
    ("spec", "shape"),
    [("", (8, 1)), ("data=2,model=4", (2, 4)), ("model=4, data=2", (2, 4)), ("model=8", (1, 8)), ("data=8", (8, 1))],
)
def test_make_mesh_understands(spec, shape):
    mesh = make_mesh(spec)
    assert (mesh.shape["data"], mesh.shape["model"]) == shape


@pytest.mark.parametrize(
    "spec", ["batch=8", "data", "data=0,model=8", "data=-1", "data=x", "data=2.0,model=4", "data=²", "data=2,data=4"]
)
def test_make_mesh_refuses_what_it_cannot_read(spec):
    with pytest.raises(BadInput, match="expected data=N,model=N"):
        make_mesh(spec)


def test_a_stacked_array_has_one_more_axis_before_those_of_its_rule(mesh8):
    tree = {"W_enc": jnp.zeros((3, 8, 32)), "b_enc": jnp.zeros((3, 32)), "count": jnp.zeros(3), "step": jnp.zeros(())}
    found = tree_shardings(tree, RULES, mesh8, stacked=True)
    assert found["W_enc"].spec == PartitionSpec(None, None, "model") and found["b_enc"].spec == PartitionSpec(
        None, "model"
    )
    assert found["count"].spec == found["step"].spec == PartitionSpec()


@pytest.mark.parametrize(("spec", "n"), [("data=2", 2), ("model=2", 2), ("data=3,model=2", 6)])
def test_a_mesh_of_fewer_devices_than_there_are_is_taken_with_a_note(spec, n, capsys):
    assert list(make_mesh(spec).devices.flat) == jax.devices()[:n]
    assert capsys.readouterr().out == f"mesh {spec}: {8 - n} of the 8 devices are not used\n"


def test_several_processes_and_described_devices_are_used_up(monkeypatch):
    with pytest.raises(BadInput, match=r"needs 2 x 1 devices, but 8 are present$"):
        make_mesh("data=2", jax.devices())
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(BadInput, match=r"needs 2 x 1 devices, but 8 are present$"):
        make_mesh("data=2")


@pytest.mark.parametrize(
    ("flags", "hint"),
    [
        ("", "JAX_NUM_CPU_DEVICES=16 makes a CPU so many"),
        (
            "--xla_force_host_platform_device_count=8 --a=1",
            "--xla_force_host_platform_device_count=8 in XLA_FLAGS decides",
        ),
    ],
)
def test_more_devices_than_there_are_are_refused_with_what_makes_them(monkeypatch, flags, hint):
    monkeypatch.setenv("XLA_FLAGS", flags)
    with pytest.raises(BadInput) as refused:
        make_mesh("data=4,model=4")
    assert str(refused.value).endswith(f"needs 4 x 4 devices, but 8 are present: {hint}")


COORDINATOR, PROCESSES, NUMBER, HEARTBEAT = (*VARIABLES, "MONOSEM_HEARTBEAT_SECONDS")


@pytest.fixture
def started(monkeypatch):
    """Sets the variables of this process, and gives what JAX is then asked for: a call's arguments, or None."""

    def start(*values: str) -> dict | None:
        calls = []
        monkeypatch.setattr(jax.distributed, "initialize", lambda **arguments: calls.append(arguments))
        for name, value in zip((*VARIABLES, HEARTBEAT), (*values, *[""] * 4), strict=False):
            monkeypatch.setenv(name, value)
        start_processes()
        return calls[0] if calls else None

    return start


@pytest.mark.parametrize("values", [(), ("", "", "", "5"), ("host:1", "1", "0")])
def test_alone_no_processes_are_started(started, values):
    assert started(*values) is None


def test_one_of_several_processes_is_started_without_detection_and_without_a_service_that_takes_its_signals(started):
    jax.config.update("jax_enable_preemption_service", True)
    found = started("host:1234", "4", "3")
    assert found["coordinator_address"] == "host:1234" and found["coordinator_bind_address"] is None
    assert (found["num_processes"], found["process_id"], found["heartbeat_timeout_seconds"]) == (4, 3, 2 * 30 + 10)
    assert found["cluster_detection_method"] == "deactivate"
    assert not jax.config.jax_enable_preemption_service


def test_a_process_that_is_done_waits_for_a_slow_one_for_more_than_the_five_minutes_of_jax(started):
    assert started("host:1234", "4", "3")["shutdown_timeout_seconds"] >= 12 * 3600


def test_a_coordinator_on_the_loopback_interface_does_not_listen_to_the_network(started):
    assert started("127.0.0.1:1234", "2", "1")["coordinator_bind_address"] == "127.0.0.1:1234"


def test_in_a_cluster_everything_is_left_to_detection_but_the_heartbeat(started):
    found = started("auto", "", "", "7")
    assert found.pop("heartbeat_timeout_seconds") == 2 * 7 + 10
    assert set(found) == {"shutdown_timeout_seconds"}


@pytest.mark.parametrize(("value", "watched", "patience"), [("", 1, 2 * 30 + 10), ("1", 1, 2 * 30 + 10), ("0", 0, 30)])
def test_without_the_watchdog_jax_has_the_heartbeat(started, monkeypatch, value, watched, patience):
    calls = []
    monkeypatch.setattr(processes, "_start_watchdog", lambda *a: calls.append(a))
    monkeypatch.setenv("MONOSEM_WATCHDOG", value)
    assert started("host:1234", "4", "3")["heartbeat_timeout_seconds"] == patience
    assert calls == [(30, 0)] * watched


def test_a_switch_of_the_watchdog_that_is_neither_is_refused(started, monkeypatch):
    monkeypatch.setenv("MONOSEM_WATCHDOG", "off")
    with pytest.raises(BadInput, match="MONOSEM_WATCHDOG is 'off': expected a whole number from 0 to 1"):
        started("host:1234", "4", "3")


def test_processes_are_started_once(started, monkeypatch):
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    assert started("host:1234", "2", "1") is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("", "2", "0"), f"{COORDINATOR} is missing: expected host:port of process 0, or auto"),
        (("", "", "0"), f"{COORDINATOR} is missing"),
        (("host", "2", "0"), f"{COORDINATOR} is 'host': expected host:port"),
        ((":12", "2", "0"), f"{COORDINATOR} is ':12': expected host:port"),
        (("host:", "2", "0"), f"{COORDINATOR} is 'host:': expected host:port"),
        (("host:http", "2", "0"), f"{COORDINATOR} is 'host:http': expected host:port"),
        (("host:0", "2", "0"), f"{COORDINATOR} is 'host:0': expected host:port"),
        (("host:65536", "2", "0"), f"{COORDINATOR} is 'host:65536': expected host:port"),
        (("host:1", "", "0"), f"{PROCESSES} is missing: expected a whole number from 1"),
        (("host:1", "0", "0"), f"{PROCESSES} is '0': expected a whole number from 1"),
        (("host:1", "two", "0"), f"{PROCESSES} is 'two'"),
        (("host:1", "2.0", "0"), f"{PROCESSES} is '2.0'"),
        (("host:1", "2", ""), f"{NUMBER} is missing: expected a whole number from 0 to 1"),
        (("host:1", "2", "2"), f"{NUMBER} is '2': expected a whole number from 0 to 1"),
        (("host:1", "2", "-1"), f"{NUMBER} is '-1': expected a whole number from 0 to 1"),
        (("host:1", "1", "1"), f"{NUMBER} is '1': expected a whole number from 0 to 0"),
        (("host:1", "2", "1", "0"), f"{HEARTBEAT} is '0': expected a whole number from 1"),
        (("auto", "", "", "1.5"), f"{HEARTBEAT} is '1.5': expected a whole number from 1"),
        (("auto", "2", ""), f"{COORDINATOR} is 'auto': expected no {PROCESSES} and no {NUMBER}"),
        (("auto", "", "1"), f"{COORDINATOR} is 'auto': expected no"),
    ],
)
def test_variables_that_make_no_sense_are_refused(started, values, message):
    with pytest.raises(BadInput) as e:
        started(*values)
    assert message in str(e.value) and "\n" not in str(e.value)


def test_a_cluster_that_jax_does_not_recognise_is_refused(monkeypatch):
    monkeypatch.setenv(COORDINATOR, "auto")

    def initialize(**arguments):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    with pytest.raises(BadInput, match="MONOSEM_COORDINATOR is 'auto': JAX recognises no cluster"):
        start_processes()


def test_a_port_that_is_taken_is_refused_by_process_0_alone(started):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        coordinator = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(BadInput, match="cannot listen there"):
            started(coordinator, "2", "0")
        assert started(coordinator, "2", "1")["process_id"] == 1


def test_a_port_that_is_free_can_be_had_by_process_0(started):
    with socket.create_server(("127.0.0.1", 0)) as s:
        coordinator = f"127.0.0.1:{s.getsockname()[1]}"
    assert started(coordinator, "2", "0")["process_id"] == 0


def test_one_process_is_the_first_and_waits_for_no_one():
    assert this_process() == (0, 1) and first_process()
    barrier("nobody else")
