"""Settings of JAX that come from outside: set aside where something is computed, and put back afterwards."""

from __future__ import annotations

import pathlib
import threading
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src import config as jax_config
from jax._src import xla_bridge

from monosem_jax.runtime import ambient
from monosem_jax.runtime.ambient import pinned, pinned_stage, pool, unguarded
from monosem_jax.runtime.checkpoint import Checkpoints, check_step, load_params, load_placed, load_slice
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import read_json, write_json
from monosem_jax.runtime.workdir import RunDir

PACKAGE = pathlib.Path(ambient.__file__).parents[1]

# Another value of every option that is pinned.
OTHER = {
    "jax_enable_x64": True,
    "jax_explicit_x64_dtypes": jax_config.ExplicitX64Mode.ERROR,
    "jax_numpy_dtype_promotion": "strict",
    "jax_default_matmul_precision": "bfloat16",
    "jax_allow_f16_reductions": False,
    "jax_softmax_custom_jvp": True,
    "jax_default_prng_impl": "rbg",
    "jax_threefry_partitionable": False,
    "jax_threefry_gpu_kernel_lowering": True,
    "jax_random_seed_offset": 7,
    "jax_high_dynamic_range_gumbel": True,
    "jax_enable_custom_prng": True,
    "jax_disable_jit": True,
    "jax_use_direct_linearize": False,
    "jax_remat3": True,
    "jax_scan3": True,
    "jax_custom_vjp3": True,
    "eager_constant_folding": True,
    "jax_use_simplified_jaxpr_constants": True,
    "jax_use_shardy_partitioner": False,
    "jax_compiler_enable_remat_pass": False,
    "jax_exec_time_optimization_effort": 0.5,
    "jax_memory_fitting_effort": 0.5,
    "jax_memory_fitting_level": "O0",
    "jax_optimization_level": "O1",
    "jax_numpy_rank_promotion": "raise",
    "jax_transfer_guard": "disallow",
    "jax_transfer_guard_host_to_device": "disallow",
    "jax_transfer_guard_device_to_device": "disallow",
    "jax_transfer_guard_device_to_host": "disallow",
    "jax_debug_nans": True,
    "jax_debug_infs": True,
    "jax_debug_key_reuse": True,
    "jax_check_tracer_leaks": True,
    "jax_error_checking_behavior_nan": "raise",
    "jax_error_checking_behavior_divide": "raise",
    "jax_error_checking_behavior_oob": "raise",
    "jax_legacy_prng_key": "error",
    "jax_no_tracing": True,
    "jax_no_execution": True,
    "jax_thread_guard": True,
    "jax_disallow_mesh_context_manager": True,
    "jax_mutable_array_checks": False,
    "jax_auto_pcast": False,
    "check_vma": True,
}

# Options of JAX that are left to the user: they change neither numbers nor whether a correct program runs.
FREE = """
jax2tf_associative_scan_reductions jax2tf_default_native_serialization jax_array_garbage_collection_guard
jax_bcoo_cusparse_lowering jax_captured_constants_report_frames jax_captured_constants_warn_bytes
jax_check_static_indices jax_compilation_cache_check_contents jax_compilation_cache_dir
jax_compilation_cache_expect_pgle jax_compilation_cache_include_metadata_in_key jax_compilation_cache_max_size
jax_cpu_collectives_implementation jax_cpu_get_global_topology_timeout_minutes
jax_cpu_get_local_topology_timeout_minutes jax_debug_leaked_clients_on_clear_backends jax_debug_log_modules
jax_default_device jax_disable_bwd_checks jax_disable_vmap_shmap_error jax_distributed_debug
jax_embedded_constants_max_bytes jax_enable_checks jax_enable_compilation_cache jax_enable_pgle
jax_enable_preemption_service jax_enable_recoverability jax_experimental_unsafe_xla_runtime_errors
jax_explain_cache_misses jax_export_calling_convention_version jax_export_ignore_forward_compatibility
jax_hlo_source_file_canonicalization_regex jax_include_full_tracebacks_in_locations jax_log_checkpoint_residuals
jax_log_compiles jax_logging_level jax_mosaic_allow_hlo jax_num_cpu_devices jax_pallas_enable_debug_checks
jax_pallas_poison_buffers jax_pallas_use_mosaic_gpu jax_persistent_cache_enable_xla_caches
jax_persistent_cache_min_compile_time_secs jax_persistent_cache_min_entry_size_bytes jax_pgle_aggregation_percentile
jax_pgle_profiling_runs jax_pjrt_client_create_options jax_platforms jax_pprint_use_color
jax_ragged_dot_use_gpu_pallas_triton_lowering jax_ragged_dot_use_ragged_dot_instruction
jax_raise_persistent_cache_errors jax_refs_to_pins jax_remove_custom_partitioning_ptr_from_cache_key
jax_remove_size_one_mesh_axis_from_type jax_send_traceback_to_runtime jax_serialization_version
jax_share_binary_between_hosts jax_share_binary_between_hosts_timeout_ms jax_source_url_schema jax_traceback_filtering
jax_traceback_in_locations_limit jax_use_emit_pipeline_primitive jax_use_magma jax_xla_profile_version
""".split()  # noqa: SIM905


def value(name: str):
    """An option in this thread."""
    return jax_config.config_states[name].value


def test_every_option_of_jax_is_pinned_or_known_to_be_harmless():
    pinned_ones = {**ambient.NUMBERS, **ambient.ERRORS}
    assert pinned_ones.keys() == OTHER.keys()
    assert jax_config.config_states.keys() - pinned_ones.keys() == set(FREE)


@pytest.mark.parametrize("name", OTHER)
def test_an_option_is_set_inside_and_as_before_afterwards(name):
    usual = value(name)
    with jax_config.config_states[name](OTHER[name]):
        assert value(name) != usual
        other = value(name)
        with pinned():
            assert value(name) == ("allow" if "transfer_guard" in name else usual)
            with pinned():  # a stage inside a stage
                pass
            assert value(name) != other
        assert value(name) == other
    assert value(name) == usual


@pytest.mark.parametrize("name", ["jax_enable_x64", "jax_numpy_rank_promotion"])
def test_settings_of_the_process_are_aside_in_our_threads_and_stay_in_those_of_the_user(name):
    usual, found = value(name), []
    jax.config.update(name, OTHER[name])
    try:
        with pinned(), pool(2, "ours") as threads:
            inside = list(threads.map(value, [name] * 4))
            user = threading.Thread(target=lambda: found.append(value(name)))
            user.start()
            user.join()
        assert value(name) == OTHER[name]
    finally:
        jax.config.update(name, usual)
    assert inside == [usual] * 4 and found == [OTHER[name]]


def test_numbers_are_the_same_and_nothing_is_compiled_twice():
    traced = []

    @jax.jit
    def program(x):
        traced.append(x.dtype)
        return jax.random.normal(jax.random.key(3), x.shape) + x @ x.T

    x = np.ones((4, 4))
    expected = np.asarray(program(x))
    with pinned(), pool(1, "ours") as threads:
        assert np.array_equal(program(x), expected) and np.array_equal(threads.submit(program, x).result(), expected)
    assert len(traced) == 1
    with jax.enable_x64(True), jax.default_matmul_precision("bfloat16"), pinned():
        assert np.array_equal(program(x), expected)
    assert len(traced) == 1


def test_errors_of_numpy_that_the_user_asked_for_are_not_raised_inside():
    with np.errstate(all="raise"):
        with pinned(), warnings.catch_warnings(action="ignore"):
            assert np.float32(1e-30) * np.float32(1e-30) == 0 and np.isinf(np.float32(1e30) * np.float32(1e30))
        with pytest.raises(FloatingPointError):
            np.float32(1e30) * np.float32(1e30)


@pytest.mark.parametrize("name", ambient.GUARDS)
def test_in_a_stage_no_library_is_forbidden_to_move_arrays_in_its_own_threads(name):
    found = []

    def library():
        found.append(np.asarray(jnp.arange(3) + np.ones(3)))

    jax.config.update(name, "disallow_explicit")
    try:
        with pinned_stage(), pinned_stage(), unguarded():
            thread = threading.Thread(target=library)
            thread.start()
            thread.join()
        assert value(name) == "disallow_explicit" and len(found) == 1
    finally:
        jax.config.update(name, None)
    assert value("jax_transfer_guard") is None


def test_after_an_error_the_settings_are_those_of_the_user():
    with jax.enable_x64(True):
        with pytest.raises(KeyError), pinned():
            raise KeyError
        assert jnp.zeros(1, float).dtype == np.float64


def test_a_stage_names_once_what_it_sets_aside(monkeypatch, capsys):
    monkeypatch.setattr(ambient, "_told", set())
    with jax.enable_x64(True), jax.transfer_guard("disallow"), jax.default_device(jax.devices()[1]):
        for _ in range(2):
            with pinned_stage():
                assert jnp.zeros(1).devices() == {jax.devices()[0]}
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "jax_enable_x64 is True" in err and "jax_transfer_guard is 'disallow'" in err
    assert "jax_default_device is " in err and "guard_host" not in err
    with pinned_stage():
        pass
    assert not capsys.readouterr().err


@pytest.mark.parametrize("error", [RuntimeError("Unable to initialize backend 'cuda': none\nmore"), AssertionError()])
def test_devices_that_are_not_there_are_one_line(monkeypatch, error):
    def missing():
        raise error

    monkeypatch.setattr(xla_bridge, "backends_are_initialized", lambda: False)
    monkeypatch.setattr(jax, "devices", missing)
    with pytest.raises(BadInput, match=r"^JAX_PLATFORMS is 'cpu': [^\n]+$"), pinned():
        jax.devices()
    with pytest.raises(BadInput, match=r"^mine$"), pinned():
        raise BadInput("mine")


@pytest.mark.parametrize("read", [load_params, check_step, load_placed, load_slice])
def test_a_checkpoint_is_not_called_damaged_where_no_devices_are_there(tmp_path, monkeypatch, read):
    store = Checkpoints(tmp_path / "checkpoints")
    store.save(4, {"W": jnp.ones((2, 3))}, {"step": jnp.int32(4)}, needed=True)
    store.close()
    monkeypatch.setattr(ambient, "_no_backend", lambda: "JAX_PLATFORMS is 'tpu': there is none")
    more = {load_placed: (lambda shapes: shapes,), load_slice: ("W", ...)}.get(read, ())
    with pytest.raises(BadInput, match=r"^JAX_PLATFORMS is 'tpu': there is none$"):
        read(store.path, 4, *more)


def test_an_error_that_has_nothing_to_do_with_devices_stays_what_it_is(monkeypatch):
    monkeypatch.setattr(xla_bridge, "backends_are_initialized", lambda: False)
    with pytest.raises(RuntimeError, match=r"^other$"), pinned():
        raise RuntimeError("other")


def test_threads_come_from_the_pool_that_pins_them():
    places = {p.name for p in PACKAGE.rglob("*.py") if "ThreadPoolExecutor(" in p.read_text()}
    assert places == {"ambient.py", "processes.py"}  # the latter waits for others and computes nothing


def resumed(path: pathlib.Path, capsys, **changed) -> str:
    """What resuming a run says whose record has other surroundings."""
    RunDir(path, "toy", {}, {}).close()
    record = read_json(path / "config.json")
    versions = {k: v for k, v in changed.items() if k in record["versions"]}
    surroundings = {k: v for k, v in changed.items() if k not in versions}
    record["surroundings"] |= surroundings
    record["versions"] |= versions
    write_json(path / "config.json", record)
    with RunDir(path, "toy", {}, {}) as run:
        run.once(dict)
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({}, ""),
        ({"devices": 3}, ""),
        ({"platform": "tpu"}, "platform: 'tpu' -> 'cpu'"),
        ({"device_kind": "H100"}, "device_kind: 'H100' -> 'cpu'"),
        ({"XLA_FLAGS": "--xla_fast=1"}, "XLA_FLAGS: '--xla_fast=1' -> ''"),
        ({"jax": "0.0.1"}, "jax: '0.0.1' -> "),
    ],
)
def test_a_run_that_is_resumed_elsewhere_says_in_what_it_differs(tmp_path, capsys, monkeypatch, changed, named):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=8 --xla_dump_to=x")
    err = resumed(tmp_path / "run", capsys, **changed)
    assert named in err and err.count("\n") == bool(named)


def test_a_record_without_surroundings_is_resumed_in_silence(tmp_path, capsys):
    RunDir(tmp_path / "run", "toy", {}, {}).close()
    record = read_json(tmp_path / "run" / "config.json")
    del record["surroundings"]
    write_json(tmp_path / "run" / "config.json", record)
    with RunDir(tmp_path / "run", "toy", {}, {}) as run:
        run.once(dict)
    assert not capsys.readouterr().err
