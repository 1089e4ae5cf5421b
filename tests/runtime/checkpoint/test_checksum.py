"""Checksums: equal for every sharding of an array, different for different arrays."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from monosem_jax.runtime.checkpoint.checksum import checksums
from tests.conftest import mesh_of

GOLDEN, FIRST, SECOND = np.uint32(0x9E3779B9), np.uint32(0x85EBCA6B), np.uint32(0xC2B2AE35)


def reference(x) -> int:
    """MurmurHash3's finaliser of every element's bits and its place, summed modulo 2³²."""
    if isinstance(x, jax.Array) and jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
        x = jax.random.key_data(x)
    x = np.ascontiguousarray(np.asarray(x)).reshape(-1)
    bits = x.view(f"u{x.dtype.itemsize}").astype(np.uint32)
    place = np.arange(x.size, dtype=np.uint64).astype(np.uint32)
    with np.errstate(over="ignore"):
        h = bits ^ (place * GOLDEN)
        h = (h ^ (h >> np.uint32(16))) * FIRST
        h = (h ^ (h >> np.uint32(13))) * SECOND
        h = h ^ (h >> np.uint32(16))
        return int(h.astype(np.uint64).sum()) % (1 << 32)


def one(x) -> int:
    return checksums({"x": x})["x"]


def normal(*shape) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


ARRAYS = {
    "fp32": normal(3, 5, 7),
    "fp32 of one axis": normal(1000),
    "bfloat16": jnp.asarray(normal(9, 11), jnp.bfloat16),
    "float16": normal(9, 11).astype(np.float16),
    "int32": np.arange(-20, 20, dtype=np.int32).reshape(5, 8),
    "uint32": np.arange(2**32 - 40, 2**32, dtype=np.uint32),
    "uint8": np.arange(256, dtype=np.uint8).reshape(4, 4, 16),
    "int8": np.arange(-128, 128, dtype=np.int8),
    "bool": normal(6, 6) > 0,
    "0-d": np.float32(3.25),
    "0-d integer": np.int32(-1),
    "key": jax.random.key(7),
    "keys": jax.random.split(jax.random.key(7), 5),
    "zero-size": np.zeros((0, 4), np.float32),
    "special": np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-42], np.float32),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_a_checksum_is_that_of_the_reference(name):
    assert one(jnp.asarray(ARRAYS[name])) == reference(ARRAYS[name])


def test_the_value_is_the_one_that_checkpoints_on_disks_have():
    assert one(jnp.arange(10, dtype=jnp.float32)) == 1911261670
    assert one(jnp.asarray([True, False])) == one(jnp.asarray([1, 0], jnp.uint8)) == 3826800581


@pytest.mark.parametrize("name", ["fp32", "bfloat16", "int32", "0-d", "keys", "special"])
def test_arrays_of_the_host_have_the_checksum_of_those_on_a_device(name):
    if name != "keys":
        assert one(np.asarray(ARRAYS[name])) == one(jnp.asarray(ARRAYS[name]))
    assert one(jax.device_put(ARRAYS[name], jax.devices()[3])) == reference(ARRAYS[name])


SPECS = [PartitionSpec(), PartitionSpec("data"), PartitionSpec("data", "model"), PartitionSpec(None, ("model", "data"))]


@pytest.mark.parametrize("shape", [(1, 1), (8, 1), (1, 8), (2, 4)])
@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_checksum_is_the_same_for_every_sharding(shape, spec, dtype):
    x = jnp.asarray(normal(16, 24), dtype)
    assert one(jax.device_put(x, NamedSharding(mesh_of(*shape), spec))) == reference(x)


def flipped(x: np.ndarray, n: int):
    """`x` with one bit changed, n times."""
    rng = np.random.default_rng(0)
    for i in range(n):
        data = bytearray(x.tobytes())
        data[rng.integers(len(data))] ^= 1 << i % 8
        yield np.frombuffer(data, x.dtype).reshape(x.shape)


@pytest.mark.parametrize("name", ["fp32", "bfloat16", "int32", "uint8", "0-d"])
def test_any_flipped_bit_changes_it(name):
    x = np.asarray(ARRAYS[name])
    assert one(x) not in {one(changed) for changed in flipped(x, 64)}


def test_the_bits_count_and_not_the_numbers():
    assert one(np.float32([0.0])) != one(np.float32([-0.0]))
    quiet, other = np.array([0x7FC00000, 0x7FC00001], np.uint32).view(np.float32)
    assert one(np.float32([quiet])) != one(np.float32([other]))


def test_the_place_of_an_element_counts():
    x = normal(4, 6)
    swapped, rows, columns = x.copy(), x[::-1], x[:, ::-1]
    swapped[0, 1], swapped[1, 0] = x[1, 0], x[0, 1]
    assert len({one(y) for y in (x, swapped, rows, columns, x.T)}) == 5


def test_elements_that_are_equal_do_not_cancel():
    assert one(np.zeros(8, np.float32)) != one(np.zeros(16, np.float32)) != 0


def test_names_are_those_of_the_tree_whatever_its_types():
    pair = collections.namedtuple("Pair", ["mu", "nu"])
    tree = {"rest": {"opt": (pair(np.float32(1), np.float32(2)), ()), "stats": {}}, "params": {"W": np.float32(3)}}
    plain = {"rest": {"opt": [{"mu": np.float32(1), "nu": np.float32(2)}, None]}, "params": {"W": np.float32(3)}}
    assert checksums(tree) == checksums(plain)
    assert checksums(tree).keys() == {"rest/opt/0/mu", "rest/opt/0/nu", "params/W"}
    assert len(set(checksums(tree).values())) == 3
