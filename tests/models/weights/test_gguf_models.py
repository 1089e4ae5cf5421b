"""Every architecture as llama.cpp's converter writes it: its values are those that `transformers` computed."""

import pathlib

import gguf
import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from monosem_jax.models.pretrained import open_pretrained
from monosem_jax.models.weights.gguf_names import llama3_scaling
from tests.models.weights.gguf_files import gguf_of, rope_factors

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
# GGUF has no windows for those of mistral and qwen2.
NAMES = [
    "llama", "llama_biases_tied", "llama_linear", "llama_llama3", "llama_yarn", "qwen3", "gemma", "gemma2", "gemma3",
    "gpt2", "gpt_neox", "gpt_neox_sequential",
]  # fmt: skip
F16 = gguf.GGMLQuantizationType.F16


@pytest.fixture(scope="module", params=NAMES)
def pair(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "m.gguf"
    folder = GOLDEN / request.param
    return (
        open_pretrained(str(folder)),
        open_pretrained(str(gguf_of(folder, path))),
        load_file(folder / "expected.safetensors"),
    )


def test_a_converted_model_computes_what_transformers_does(pair):
    _, found, expected = pair
    logits = jax.jit(lambda params, tokens: found.model().apply({"params": params}, tokens))
    np.testing.assert_allclose(logits(found.params(), expected["tokens"]), expected["logits"], atol=1e-4)


def test_its_parameters_and_parts_of_them_are_those_of_the_directory(pair, mesh8):
    near, found, _ = pair
    ours, theirs = found.params(), near.params()
    assert jax.tree.map(np.shape, ours) == jax.tree.map(np.shape, theirs)
    jax.tree.map(np.testing.assert_array_equal, found.params(mesh8), ours)
    if not near.source.config["model_type"].startswith("gemma"):  # where queries are scaled for the test
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_a_norm_in_16_bits_is_read_in_32(tmp_path):
    path = gguf_of(GOLDEN / "gemma", tmp_path / "m.gguf", kind=lambda name, array: F16)
    norm = open_pretrained(str(path)).params()["ln_final"]["scale"]
    exact = open_pretrained(str(GOLDEN / "gemma")).params()["ln_final"]["scale"]
    assert norm.dtype == np.float32
    np.testing.assert_allclose(norm, exact, atol=2e-3)


@pytest.mark.parametrize(
    "theta, width, factor, original", [(5e5, 128, 8.0, 8192), (5e5, 64, 32.0, 8192), (1e4, 16, 4.0, 128)]
)
def test_the_scaling_of_llama_3_is_found_from_its_divisors(theta, width, factor, original):
    scaling = {"rope_theta": theta, "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": original}  # fmt: skip
    found = llama3_scaling(rope_factors(scaling, width), theta, 131_072)
    assert {**found, "rope_theta": theta} == {**scaling, "rope_type": "llama3"}
    assert llama3_scaling(np.linspace(1, 3, width // 2), theta, 131_072) is None
