"""Memory for batches: used again, but never while anything can see it."""

import gc

import jax
import numpy as np

from monosem_jax.activations.stream.stream import _Memory


def test_memory_is_used_again_only_when_no_view_of_it_is_left():
    memory, dtype = _Memory(), np.dtype(np.float32)
    x = memory.empty((4, 256, 8), dtype)
    x[:] = 1
    on_device = jax.device_put(x, jax.devices()[0])
    view, place = x[1:, 3], x.ctypes.data
    del x
    for held in ("device", "view"):
        other = memory.empty((4, 256, 8), dtype)
        assert other.ctypes.data != place, held
        other[:] = 2
        del other
        gc.collect()
        memory._free.clear()
        if held == "device":
            assert float(on_device.sum()) == 4 * 256 * 8
            del on_device
            gc.collect()
    assert (view == 1).all()
    del view
    gc.collect()
    assert memory.empty((4, 256, 8), dtype).ctypes.data == place


def test_batches_that_are_kept_do_not_change(tmp_path):
    rows = np.arange(64_000, dtype=np.float32).reshape(-1, 2)
    np.save(tmp_path / "x.npy", rows)
    from monosem_jax.activations.store.store import open_rows
    from monosem_jax.activations.stream.stream import StreamConfig, open_stream
    from tests.conftest import mesh_of

    stream = open_stream(open_rows(tmp_path / "x.npy"), 64, 0, mesh_of(1, 1), config=StreamConfig("disk"))
    kept = [stream(i, 2) for i in range(0, 20, 2)]
    copies = [np.array(b) for b in kept]
    for i in range(20, 60, 2):
        stream(i, 2)
    assert all(np.array_equal(a, b) for a, b in zip(kept, copies, strict=True))
