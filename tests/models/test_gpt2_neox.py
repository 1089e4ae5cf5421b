"""GPT-2 and NeoX: names in files of several vintages, parameters stored as one, sites, limits, direct paths."""

import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from monosem_jax.models import build_model
from monosem_jax.models.base import named_site
from monosem_jax.models.gpt2 import Gpt2Config
from monosem_jax.models.llama import LlamaConfig
from monosem_jax.models.neox import NeoxConfig
from monosem_jax.models.norms import layer_norm
from monosem_jax.models.pretrained import open_pretrained
from monosem_jax.models.sharding import bytes_per_device
from monosem_jax.models.weights.base import From
from monosem_jax.runtime.errors import BadInput

GOLDEN = pathlib.Path(__file__).parent / "golden"


def copy(name, folder, change, **values):
    """The files of a golden model with other tensors and other values in its config.json."""
    shutil.copytree(GOLDEN / name, folder)
    save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))
    return open_pretrained(str(folder))


def equal(a, b):
    return jax.tree.all(jax.tree.map(np.array_equal, a, b))


def test_gpt2_as_openai_published_it(tmp_path):
    """Without a prefix, with buffers of masks; and with an unembedding although it is tied."""

    def change(tensors):
        tensors = {name.removeprefix("transformer."): t for name, t in tensors.items()}
        return tensors | {"h.0.attn.bias": np.ones((1, 1, 64, 64), np.float32), "lm_head.weight": tensors["wte.weight"]}

    found = copy("gpt2", tmp_path / "m", change)
    assert equal(found.params(), open_pretrained(str(GOLDEN / "gpt2")).params())


def test_an_unembedding_of_its_own(tmp_path):
    other = np.random.default_rng(0).normal(size=(48, 24)).astype(np.float32)
    found = copy("gpt2", tmp_path / "m", lambda t: t | {"lm_head.weight": other}, tie_word_embeddings=False)
    assert not found.config.tied and np.array_equal(found.params()["unembed"]["kernel"], other.T)


def test_neox_with_buffers_and_the_later_name_of_the_unembedding(tmp_path):
    def change(tensors):
        kept = {name.replace("embed_out.", "lm_head."): t for name, t in tensors.items()}
        masks = {"attention.bias": (1, 1, 64, 64), "attention.masked_bias": (), "attention.rotary_emb.inv_freq": (3,)}
        return kept | {f"gpt_neox.layers.0.{name}": np.ones(shape, np.float32) for name, shape in masks.items()}

    found = copy("gpt_neox", tmp_path / "m", change)
    assert equal(found.params(), open_pretrained(str(GOLDEN / "gpt_neox")).params())


def test_a_fused_matrix_of_another_shape_is_one_line(tmp_path):
    name = "transformer.h.1.attn.c_attn.weight"
    found = copy("gpt2", tmp_path / "m", lambda t: t | {name: t[name][:, :-1].copy()})
    with pytest.raises(BadInput, match=rf"{name} has shape \[24, 71\]: expected \[24, 72\]"):
        found.params()


class Stored:
    """One tensor, which says which parts of it were read."""

    where = "memory"

    def __init__(self, tensor):
        self.tensor, self.asked = tensor, []
        self.shapes = {"t": tensor.shape}

    def read(self, name, index=None):
        assert all(isinstance(s, slice) for s in index)
        self.asked.append(index)
        return self.tensor[index]


@pytest.mark.parametrize("turned", [False, True], ids=["as_stored", "transposed"])
def test_parts_of_what_is_stored_as_one(turned):
    whole = np.arange(4 * 24).reshape(4, 24)  # ours [4, 8]: three of them, by runs of 2
    stored = Stored(whole.T if turned else whole)
    for i in range(3):
        source = From("t", transposed=turned, part=(i, 3, 2))
        assert source.stored((4, 8)) == stored.tensor.shape
        ours = whole.reshape(4, 4, 3, 2)[:, :, i].reshape(4, 8)
        assert np.array_equal(source.read(stored), ours)
        for index in ((slice(0, 4), slice(2, 6)), (slice(1, 3), slice(5, 8)), (slice(0, 4), slice(3, 3))):
            assert np.array_equal(source.read(stored, index), ours[index])
    # From the first output that is asked for to the last, and no further: 2 … 5 of the last are 10, 11, 16, 17.
    stored.asked.clear()
    source.read(stored, (slice(0, 4), slice(2, 6)))
    assert stored.asked == [(slice(0, 4), slice(10, 18))[:: -1 if turned else 1]]


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox"])
def test_straight_onto_a_mesh_each_device_has_its_part(name, mesh8):
    found = open_pretrained(str(GOLDEN / name))
    on, host = found.params(mesh8), found.params()
    assert equal(on, host)
    for matrix in ("q", "v", "up", "attn_proj", "down"):
        assert len({s.data.nbytes for s in on["blocks_0"][matrix]["kernel"].addressable_shards}) == 1
        assert (
            on["blocks_0"][matrix]["kernel"].addressable_shards[0].data.size * 4
            == host["blocks_0"][matrix]["kernel"].size
        )
    assert max(bytes_per_device(on).values()) < 0.6 * sum(a.nbytes for a in jax.tree.leaves(host))


def test_side_by_side_there_is_no_stream_between_attention_and_mlp():
    parallel, one_by_one = (build_model(NeoxConfig(vocab_size=8, parallel=p)) for p in (True, False))
    assert [s for s in one_by_one.sites if s not in parallel.sites] == ["resid_mid.0", "resid_mid.1"]
    for site in ("resid_mid.1", "blocks.1.hook_resid_mid"):
        assert one_by_one.width(named_site(site)) == 64
        with pytest.raises(
            BadInput, match=r"site '.*' does not exist: expected one of resid_pre.N, attn_z.N, attn_out.N, mlp"
        ):
            parallel.width(named_site(site))
    assert parallel.sites[-1] == "resid_post.1" and parallel.width("attn_z.1") == 64


def test_gpt2_has_no_position_after_its_last():
    model = build_model(Gpt2Config(context_length=6, vocab_size=8))
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 6), jnp.int32)))
    with pytest.raises(BadInput, match="contexts have 7 tokens: expected at most 6, GPT-2 has no more positions"):
        jax.eval_shape(lambda p: model.apply(p, jnp.zeros((1, 7), jnp.int32)), params)
    with pytest.raises(BadInput, match="contexts have 7 tokens"):
        model.memory(1, 7)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (NeoxConfig(rotary=5), "rotary is 5: expected an even number of the 16 columns"),
        (
            NeoxConfig(nonlinearity="gelu_new"),
            "nonlinearity is 'gelu_new': expected one of relu, gelu, gelu_tanh, silu",
        ),
        (Gpt2Config(n_heads=5), "d_model 64 is not divisible by n_heads 5"),
        (LlamaConfig(head_dim=9), "head_dim is 9: rotary positions need an even number"),
    ],
)
def test_impossible_shapes(config, message):
    with pytest.raises(BadInput, match=message):
        config.check()


def test_a_norm_of_values_far_from_zero_keeps_its_digits():
    x = 5000 + np.random.default_rng(0).normal(size=(3, 64))
    norm = layer_norm(1e-5)
    found = norm.apply(norm.init(jax.random.key(0), jnp.asarray(x, jnp.float32)), jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(found, (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True), atol=2e-3)


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "gpt_neox_sequential", "llama", "llama_biases_tied"])
def test_the_direct_effect_equals_the_definition(name):
    found = open_pretrained(str(GOLDEN / name))
    model, params = found.model(), jax.tree.map(lambda p: p.astype(np.float64), found.params())
    unembed = params["embed"]["embedding"].T if model.config.tied else params["unembed"]["kernel"]
    for site in model.sites:
        kind, layer = site.split(".")
        d = np.random.default_rng(0).normal(size=(3, model.width(site)))
        if kind == "mlp_in":
            with pytest.raises(BadInput, match=f"logit weights at {site}: the MLP after it is not linear"):
                model.direct_effect(params, site, d)
            continue
        block = params[f"blocks_{layer}"]
        written = d @ block["down"]["kernel"] if kind == "mlp_hidden" else d
        written = d @ block["attn_proj"]["kernel"] if kind == "attn_z" else written
        if "llama" not in name:
            written = written - written.mean(-1, keepdims=True)
        expected = (written * params["ln_final"]["scale"]) @ unembed
        np.testing.assert_allclose(model.direct_effect(params, site, d), expected, rtol=1e-4, atol=1e-4)
