"""Parameters that are still in files: a part that is looked up is read, and nothing else; a mesh is read onto."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from monosem_jax.models.joined import join
from monosem_jax.models.tapped import TappedModel
from monosem_jax.models.unread import Unread
from tests.conftest import mesh_of
from tests.models.small import LLAMA, write_model

SITE = "mlp_hidden.1"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "llama", LLAMA)


@pytest.fixture
def unread(found, monkeypatch):
    """The parameters of the model, and the parts that were read to the host."""
    read: list[str] = []
    params = type(found).params

    def noted(self, mesh=None, *args, under="", **options):
        read.append(f"{under or 'all'} on {mesh and dict(mesh.shape)}")
        return params(self, mesh, *args, under=under, **options)

    monkeypatch.setattr(type(found), "params", noted)
    return Unread(found), read


def tokens() -> np.ndarray:
    return np.random.default_rng(1).integers(1, 96, (8, 6))


def equal(a, b) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_part_is_read_when_it_is_looked_up(found, unread):
    params, read = unread
    assert list(params) == ["blocks_0", "blocks_1", "embed", "ln_final", "unembed"] and len(params) == 5
    assert "blocks_2" not in params and not read
    directions = np.eye(48, dtype=np.float32)
    tapped = TappedModel(found.model(), params, SITE, 0)
    effect = tapped.model.direct_effect(tapped.params, SITE, directions)
    assert read == ["blocks_1 on None", "ln_final on None", "unembed on None"]
    np.testing.assert_array_equal(effect, tapped.model.direct_effect(found.params(), SITE, directions))
    equal(dict(params), found.params())


def test_a_mesh_is_read_onto_once(found, unread):
    params, read = unread
    mesh = mesh_of(2, 4)
    first = TappedModel(found.model(), params, SITE, 0).on(mesh)
    second = TappedModel(found.model(), params, "resid_pre.0", 0).on(mesh)
    assert first.params is second.params and read == ["all on {'data': 2, 'model': 4}"]
    equal(first.params, found.params())
    assert first.params["embed"]["embedding"].sharding.spec[0] == "model"
    whole = TappedModel(found.model(), Unread(found), SITE, 0).on(None).params
    assert all(isinstance(p, jax.Array) and len(p.sharding.device_set) == 1 for p in jax.tree.leaves(whole))
    equal(whole, found.params())


def test_it_stands_for_the_parameters_in_compiled_functions_and_outside(found, unread):
    params, _ = unread
    tapped, plain = (TappedModel(found.model(), p, SITE, 0) for p in (params, found.params()))
    rows = jax.jit(lambda tapped, tokens: tapped.rows(tokens))
    np.testing.assert_array_equal(rows(tapped, tokens()), rows(plain, tokens()))
    np.testing.assert_array_equal(tapped.rows(tokens()), plain.rows(tokens()))


def test_the_parts_of_joined_models_are_read_onto_a_mesh(found, unread):
    params, read = unread
    plain = join([TappedModel(found.model(), found.params(), SITE, 0)] * 2)
    read.clear()
    joined = join([TappedModel(found.model(), params, SITE, 0)] * 2)
    assert not read
    on = joined.on(mesh_of(1, 8))
    assert read == ["all on {'data': 1, 'model': 8}"]
    np.testing.assert_allclose(jax.jit(lambda t, x: t.rows(x))(on, tokens()), plain.rows(tokens()), atol=1e-5)


def test_what_tells_its_content_from_others_reads_nothing(found, unread, tmp_path):
    params, read = unread
    other = Unread(write_model(tmp_path / "other", LLAMA | {"rms_norm_eps": 1e-3, "vocab_size": 80}))
    same, different = (TappedModel(found.model(), p, SITE, 0).content for p in (Unread(found), other))
    np.testing.assert_array_equal(TappedModel(found.model(), params, SITE, 0).content, same)
    assert not np.array_equal(same, different) and not read
    assert params == params and params != Unread(found) and not read


def test_what_is_divided_stays_where_it_is_for_a_call_without_a_mesh(unread):
    """The model may be too large for one device."""
    params, read = unread
    divided = params.on(mesh_of(2, 4))
    assert params.on(None) is divided and len(read) == 1
    whole = params.on(mesh_of(8, 1))
    assert params.on(None) is not whole and len(read) == 3
    assert params.on(None) is params.on(None) and len(read) == 3
