"""Reading onto a mesh: every tensor once, one after the other, each device only its part."""

from __future__ import annotations

import math

import jax
import numpy as np
import pytest

from monosem_jax.models.weights.place import read_params
from tests.conftest import mesh_of
from tests.models.small import GEMMA, LLAMA, Noted, write_model


@pytest.fixture(scope="module", params=["llama", "gemma"])
def opened(request, tmp_path_factory):
    config = {"llama": LLAMA, "gemma": GEMMA}[request.param]
    return write_model(tmp_path_factory.mktemp("model") / request.param, config)


def read(opened, mesh=None, files=None, **options):
    noted = Noted(opened.source)
    noted.files = files or opened.source.files
    return read_params(opened.model(), opened._parameters, noted, mesh, **options), noted.read_parts


@pytest.mark.parametrize("shape", [(2, 4), (1, 8), (8, 1)], ids=str)
def test_every_number_is_read_once_whatever_the_devices(opened, shape):
    mesh = mesh_of(*shape)
    params, parts = read(opened, mesh)
    whole, _ = read(opened)
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(whole), strict=True):
        np.testing.assert_array_equal(a, b)
    assert sum(math.prod(s) for _, s in parts) == sum(p.size for p in jax.tree.leaves(whole))
    divided = [s for name, s in parts if name.endswith("down_proj.weight")]
    assert set(divided) == {(32, 48 // shape[1])} and len(divided) == 2 * shape[1]
    names = [name for name, _ in parts]
    assert all(names[i] == names[i - 1] or names[i] not in names[:i] for i in range(1, len(names)))


def test_numbers_become_the_type_that_is_asked_for(opened):
    params, _ = read(opened, mesh_of(1, 2), dtype=jax.numpy.bfloat16)
    assert {str(p.dtype) for p in jax.tree.leaves(params)} == {"bfloat16"}


def test_without_a_mesh_each_array_is_put_before_the_next_is_read(opened):
    order: list[str] = []
    noted = Noted(opened.source)
    read_params(opened.model(), opened._parameters, noted, put=lambda a: order.append(noted.read_parts[-1][0]))
    assert order == [name for name, _ in noted.read_parts] and len(order) > 10


@pytest.mark.parametrize("shape", [(2, 4), (8, 1)], ids=str)
def test_of_a_file_elsewhere_no_row_is_read_twice(opened, shape):
    """There, columns are read with the rows that they are in."""
    params, parts = read(opened, mesh_of(*shape), files=["elsewhere"])
    whole, _ = read(opened)
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(whole), strict=True):
        np.testing.assert_array_equal(a, b)
    assert sum(math.prod(s) for _, s in parts) == sum(p.size for p in jax.tree.leaves(whole))
    assert [s for name, s in parts if name.endswith("down_proj.weight")] == [(32, 48)] * 2
    assert [s for name, s in parts if name.endswith("up_proj.weight")] == [(48 // shape[1], 32)] * 2 * shape[1]
