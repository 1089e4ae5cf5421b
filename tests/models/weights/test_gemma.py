"""config.json and names of tensors of the Gemma family, in all forms in which they are published."""

from __future__ import annotations

import json
import pathlib

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from monosem_jax.models.pretrained import Pretrained
from monosem_jax.models.rope import Rope
from monosem_jax.models.weights import hf
from monosem_jax.models.weights.gemma import config
from monosem_jax.runtime.errors import BadInput

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "gemma3"
SMALL = {"num_hidden_layers": 8, "hidden_size": 640, "intermediate_size": 2048, "vocab_size": 262_144}
# As google/gemma-3-4b-pt's: what is as in the classes of transformers is left out.
TEXT_4B = {
    "hidden_size": 2560, "intermediate_size": 10_240, "model_type": "gemma3_text", "num_hidden_layers": 34,
    "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024,
}  # fmt: skip


def test_what_a_multimodal_model_leaves_out_is_as_in_transformers():
    found = config({"model_type": "gemma3", "text_config": TEXT_4B, "vision_config": {}})
    assert (found.n_heads, found.n_kv_heads, found.head_dim, found.vocab_size) == (8, 4, 256, 262_208)
    assert (found.context_length, found.query_scalar, found.tied, found.qk_norm) == (131_072, 256.0, True, True)
    assert (found.attn_softcap, found.final_softcap, found.norm_eps) == (0.0, 0.0, 1e-6)
    assert found.rope == Rope(theta=1e6, kind="linear", factor=8.0) and found.local_rope == Rope(theta=1e4)
    assert found.windows == tuple(1024 * ((i + 1) % 6 > 0) for i in range(34))


def test_both_forms_of_rotary_positions_give_the_same():
    common = {"model_type": "gemma3_text", "sliding_window": 512, **SMALL}
    before = {
        "rope_theta": 1e6, "rope_local_base_freq": 1e4, "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        "sliding_window_pattern": 6,
    }  # fmt: skip
    since = {
        "rope_parameters": {
            "full_attention": {"rope_theta": 1e6, "rope_type": "linear", "factor": 8.0},
            "sliding_attention": {"rope_theta": 1e4, "rope_type": "default"},
        },
        "layer_types": ["full_attention" if i == 5 else "sliding_attention" for i in range(8)],
    }
    assert config(common | before) == config(common | since)
    assert config(common | before).windows == (512,) * 5 + (0,) + (512,) * 2


def test_gemma2_bounds_scores_and_logits_unless_it_says_null():
    found = config({"model_type": "gemma2", **SMALL})
    assert (found.attn_softcap, found.final_softcap, found.windows) == (50.0, 30.0, (4096, 0) * 4)
    assert found.rope == found.local_rope == Rope(theta=1e4) and found.post_norms and not found.qk_norm
    nulls = {"attn_logit_softcapping": None, "final_logit_softcapping": None}
    found = config({"model_type": "gemma2", **SMALL, **nulls})
    assert (found.attn_softcap, found.final_softcap) == (0.0, 0.0)


def test_the_first_gemma_has_no_post_norms_and_writes_gelu_for_its_approximation():
    found = config({"model_type": "gemma", "hidden_act": "gelu", "head_dim": 192, **SMALL})
    assert (found.post_norms, found.windows, found.final_softcap, found.query_scalar) == (False, (), 0.0, 192.0)
    assert found.n_heads == found.n_kv_heads == 16


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"hidden_activation": "silu"}, "hidden_activation is .silu.: expected .gelu_pytorch_tanh."),
        ({"use_bidirectional_attention": True}, "use_bidirectional_attention is true: expected false"),
        ({"attn_logit_softcapping": 50.0}, "attn_logit_softcapping is 50.0: expected null"),
        ({"layer_types": ["sliding_attention"] * 7}, "layer_types is .*: expected sliding_attention or full_attention"),
        ({"layer_types": ["chunked_attention"] * 8}, "layer_types is .*: expected sliding_attention or full_attention"),
        ({"sliding_window_pattern": 0}, "sliding_window_pattern is 0: expected at least 1"),
        ({"query_pre_attn_scalar": "x"}, "query_pre_attn_scalar is .x.: expected a number"),
        ({"rope_parameters": {"sliding_attention": 3}}, "sliding_attention is 3: expected an object"),
    ],
    ids=lambda x: "",
)
def test_a_shape_that_we_cannot_compute_is_refused(changes, line):
    with pytest.raises(BadInput, match=line):
        config({"model_type": "gemma3_text", **SMALL, **changes}).check()


def test_a_text_config_that_is_no_object_is_refused():
    with pytest.raises(BadInput, match="text_config is 3: expected an object"):
        config({"model_type": "gemma3", "text_config": 3})


@pytest.mark.parametrize("beginning", ["model.", "language_model.model.", "model.language_model."])
def test_the_text_of_a_multimodal_model_is_read_under_every_name(tmp_path, beginning):
    text = json.loads((GOLDEN / "config.json").read_text())
    tensors = load_file(GOLDEN / "model.safetensors")
    renamed = {name.replace("model.", beginning, 1): tensor for name, tensor in tensors.items()}
    save_file({**renamed, "vision_tower.weight": np.zeros(3, np.float32)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma3", "text_config": text}))
    found, alone = (Pretrained(str(d), hf.Directory(d)) for d in (tmp_path, GOLDEN))
    assert found.config == alone.config
    for a, b in zip(jax.tree.leaves(found.params()), jax.tree.leaves(alone.params()), strict=True):
        np.testing.assert_array_equal(a, b)
