"""What a config.json means: both forms of transformers' files, what they leave out, and what we cannot compute."""

import json

import numpy as np
import pytest

from monosem_jax.models.rope import Rope
from monosem_jax.models.weights import TABLES, find_table
from monosem_jax.runtime.errors import BadInput

LLAMA = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4,
    "num_attention_heads": 8, "num_key_value_heads": 2, "max_position_embeddings": 512, "vocab_size": 100,
}  # fmt: skip
GPT2 = {"model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32, "vocab_size": 40}
NEOX = {
    "model_type": "gpt_neox", "hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2,
    "num_attention_heads": 4, "max_position_embeddings": 32, "vocab_size": 40,
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip


def config(base, **values):
    found = find_table(base | values, "there").config(base | values)
    found.check()
    return found


def test_both_forms_of_rotary_settings_mean_the_same():
    old = config(LLAMA, rope_theta=5e5, rope_scaling=LLAMA3)
    assert old == config(LLAMA, rope_parameters=LLAMA3 | {"rope_theta": 5e5})
    assert old.rope == Rope(5e5, "llama3", 8.0, 64, 1.0, 4.0)
    assert config(LLAMA, rope_theta=5e5).rope == Rope(5e5) == config(LLAMA, rope_parameters={"rope_theta": 5e5}).rope
    assert config(LLAMA, rope_scaling={"type": "linear", "factor": 2.0}).rope == Rope(kind="linear", factor=2.0)
    assert config(LLAMA).rope == config(LLAMA, rope_scaling=None, rope_theta=None).rope == Rope()
    # Where a file has both, as after a change by hand, rope_scaling counts; what it lacks is outside.
    both = {"rope_parameters": {"rope_theta": 7.0}, "rope_scaling": LLAMA3, "rope_theta": 5e5}
    assert config(LLAMA, **both) == old


def test_the_earlier_length_of_contexts():
    yarn = {"rope_type": "yarn", "factor": 4.0}
    assert config(LLAMA, rope_scaling=yarn).rope.original_length == 512
    assert config(LLAMA, rope_scaling=yarn | {"original_max_position_embeddings": 64}).rope.original_length == 64
    # Beside the other sizes it counts more (Phi-3).
    outside = config(LLAMA, original_max_position_embeddings=32, rope_scaling=LLAMA3)
    assert outside.rope.original_length == 32
    lengthened = {"rope_type": "yarn", "factor": None, "original_max_position_embeddings": 64}
    assert config(LLAMA, rope_scaling=lengthened).rope.factor == 8.0


def test_the_attention_factor_of_yarn():
    yarn = {"rope_type": "yarn", "factor": 40.0, "original_max_position_embeddings": 64}
    assert config(LLAMA, rope_scaling=yarn).rope.scale == pytest.approx(0.1 * np.log(40) + 1)
    assert config(LLAMA, rope_scaling=yarn | {"attention_factor": 0.7}).rope.scale == 0.7
    deepseek = yarn | {"mscale": 2.0, "mscale_all_dim": 0.5}
    ratio = (0.2 * np.log(40) + 1) / (0.05 * np.log(40) + 1)
    assert config(LLAMA, rope_scaling=deepseek).rope.scale == pytest.approx(ratio)
    assert config(LLAMA, rope_scaling=yarn | {"truncate": False}).rope.truncate is False


def test_yarn_without_rounded_bounds_equals_the_paper():
    rope, width = Rope(1e4, "yarn", 4.0, 4096, truncate=False), 64
    plain = 1e4 ** -(np.arange(32) / 32)
    turns = 4096 * plain / (2 * np.pi)
    low, high = (width * np.log(4096 / (b * 2 * np.pi)) / (2 * np.log(1e4)) for b in (32, 1))
    ramp = np.clip((np.arange(32) - low) / (high - low), 0, 1)
    np.testing.assert_allclose(rope.angles(width), plain * (1 - ramp) + plain / 4 * ramp, rtol=1e-6)
    assert np.all(np.asarray(rope.angles(width))[turns > 32] == np.float32(plain)[turns > 32])
    assert np.any(rope.angles(width) != Rope(1e4, "yarn", 4.0, 4096).angles(width))


def test_windows_are_those_that_transformers_takes():
    mistral, qwen = LLAMA | {"model_type": "mistral"}, LLAMA | {"model_type": "qwen2"}
    assert config(mistral).windows == (4096,) * 4  # left out is not null
    assert config(mistral, sliding_window=None).windows == config(mistral, sliding_window=0).windows == ()
    assert config(mistral, sliding_window=9).windows == (9,) * 4
    local = ["sliding_attention", "full_attention", "full_attention", "sliding_attention"]
    assert config(mistral, sliding_window=9, layer_types=local).windows == (9, 0, 0, 9)
    ministral = config(mistral | {"model_type": "ministral"}, sliding_window=9, layer_types=local)
    assert ministral.windows == (9, 0, 0, 9)
    assert config(qwen, sliding_window=9).windows == ()
    used = {"use_sliding_window": True, "sliding_window": 9}
    assert config(qwen, **used, max_window_layers=3).windows == (0, 0, 0, 9)
    assert config(qwen, **used).windows == (0,) * 4  # from layer 28
    assert config(qwen, use_sliding_window=True, max_window_layers=0).windows == (4096,) * 4
    assert config(qwen, **used, layer_types=local).windows == (9, 0, 0, 9)
    assert config(LLAMA, sliding_window=9).windows == ()  # llama has none


def test_biases_and_heads_are_those_of_the_kind():
    biased = {"attention_bias": True, "mlp_bias": True}

    def of(kind, **values):
        c = config(LLAMA | {"model_type": kind}, **values)
        return c.qkv_bias, c.out_bias, c.mlp_bias, c.qk_norm, c.head_dim

    assert of("llama") == (False, False, False, False, 8) and of("llama", **biased) == (True, True, True, False, 8)
    assert of("mistral", **biased) == (False, False, False, False, 8)
    assert of("qwen2", **biased) == of("qwen2") == (True, False, False, False, 8)
    assert of("qwen3", **biased) == (True, True, False, True, 128) and of("qwen3", head_dim=32)[-1] == 32
    assert of("llama", head_dim=None)[-1] == 8
    assert config(LLAMA, num_key_value_heads=None).n_kv_heads == 8


def test_gpt2_and_neox():
    c = config(GPT2)
    assert (c.d_mlp, c.nonlinearity, c.tied, c.norm_eps) == (64, "gelu_tanh", True, 1e-5)
    assert config(GPT2, n_inner=20, activation_function="relu").d_mlp == 20
    c = config(NEOX)
    assert (c.rotary, c.parallel, c.nonlinearity, c.attn_bias, c.tied) == (4, True, "gelu", True, False)
    old = config(NEOX, rotary_pct=0.5, rotary_emb_base=500, use_parallel_residual=False)
    new = {"rope_parameters": {"partial_rotary_factor": 0.5, "rope_theta": 500.0}, "use_parallel_residual": False}
    assert old == config(NEOX, **new) and (old.rotary, old.rope) == (8, Rope(500.0))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (LLAMA | {"rope_scaling": {"type": "dynamic"}}, 'rope_type is "dynamic": expected one of default, linear'),
        (LLAMA | {"rope_parameters": {"rope_type": "longrope"}}, 'rope_type is "longrope": expected one of default'),
        (LLAMA | {"rope_scaling": {"type": "linear"}}, "config.json has no factor"),
        (LLAMA | {"rope_scaling": [1]}, r"rope_scaling is \[1\]: expected an object"),
        (LLAMA | {"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5: expected 1"),
        (LLAMA | {"hidden_act": "gelu"}, 'hidden_act is "gelu": expected "silu" or "swish"'),
        (LLAMA | {"model_type": "mistral", "layer_types": ["chunked"] * 4}, "layer_types is .*: expected sliding_att"),
        (GPT2 | {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is true: expected false"),
        (GPT2 | {"scale_attn_weights": False}, "scale_attn_weights is false: expected true"),
        (GPT2 | {"add_cross_attention": True}, "add_cross_attention is true: expected false"),
        (GPT2 | {"activation_function": "mish"}, 'activation_function is "mish": expected one of gelu, '),
        (GPT2 | {"n_head": 3}, "d_model 16 is not divisible by n_heads 3"),
        (NEOX | {"num_attention_heads": 0}, "num_attention_heads is 0: expected a divisor of hidden_size 64"),
        (NEOX | {"rotary_pct": 0.2}, "rotary is 3: expected an even number of the 16 columns of a head"),
        (NEOX | {"rotary_pct": 2}, "rotary is 32: expected an even number of the 16 columns of a head"),
        ({"model_type": "bloom"}, 'model_type is "bloom": expected one of gemma, .*gpt2, gpt_neox, llama'),
    ],
)  # fmt: skip
def test_what_cannot_be_computed_is_one_line(values, message):
    with pytest.raises(BadInput, match=message) as found:
        config(values)
    assert "\n" not in str(found.value)


def test_every_table_survives_a_file_that_says_nothing():
    for kind in TABLES:
        with pytest.raises(BadInput, match=r"config\.json"):
            config(json.loads(json.dumps({"model_type": kind})))
