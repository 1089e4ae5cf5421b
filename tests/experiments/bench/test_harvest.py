"""The suite of harvests: what is counted, and what it prints where transformers is not installed."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.bench import harvest_peer, harvest_suite, suites
from experiments.bench.harvest_suite import HarvestBenchConfig, Metered
from monosem_jax.models.llama import Llama
from monosem_jax.runtime.errors import BadInput

SMALL = HarvestBenchConfig(
    layers=2, middle=1, vocab_size=64, context_length=16, contexts=4, rows_per_context=6, batches=(2, 4), rounds=1
)


def params_of(config: HarvestBenchConfig):
    return jax.eval_shape(Llama(config.model).init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]


def test_flops_are_those_of_the_kernels_and_of_attention_to_all_positions():
    block = params_of(SMALL)["blocks_0"]
    kernels = sum(np.prod(layer["kernel"].shape) for layer in block.values() if "kernel" in layer)
    assert SMALL.flops(1) == 2 * kernels + 2 * 2 * 16 * 9 * 64 and SMALL.flops(2) == 2 * SMALL.flops(1)


def test_every_parameter_has_a_name_in_transformers_and_its_shape_there():
    zeros = jax.tree.map(lambda p: np.zeros(p.shape, np.float32), params_of(SMALL))
    found = harvest_peer.state_dict(SMALL.model, zeros)
    assert len(found) == len(jax.tree.leaves(zeros))
    assert sum(v.size for v in found.values()) == sum(v.size for v in jax.tree.leaves(zeros))
    assert found["model.layers.1.self_attn.k_proj.weight"].shape == (3 * 64, 576)
    assert found["model.layers.0.mlp.down_proj.weight"].shape == (576, 1536)
    assert found["model.embed_tokens.weight"].shape == (64, 576)


def test_a_metered_way_knows_the_rates_of_its_last_turns(monkeypatch):
    clock = iter([0.0, 2.0, 10.0, 11.0])
    monkeypatch.setattr(harvest_suite.time, "process_time", lambda: next(clock))
    way = Metered(lambda: 8.0)
    assert (way(), way()) == (8.0, 8.0) and way.last(1) == [8.0] and way.last(2) == [4.0, 8.0]


@pytest.mark.slow
def test_without_transformers_ours_is_measured_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(harvest_peer, "why_missing", lambda: "transformers is not compared: no torch")
    suites.run(tmp_path / "b", suites.BenchConfig(suite="harvest", harvest=SMALL))
    found = json.loads((tmp_path / "b" / "bench.json").read_text())["suites"]
    shown = capsys.readouterr().out
    assert "transformers is not compared: no torch\n" in shown and " tokens/s of a processor\n" in shown
    assert list(found) == [f"residual stream after layer {n} of 2" for n in (1, 2)]
    for figures in found.values():
        assert set(figures["tokens_per_second"]) == {"ours", "ours, into a store"}
        assert all(rate > 0 for rate in figures["tokens_per_second"].values())
        shares = [value for name, (value, _) in figures["ratios"].items() if name.startswith("share of the matmul")]
        assert len(shares) == 2 and min(shares) > 0 and not any("transformers" in name for name in figures["ratios"])
    assert not (tmp_path / "b" / "data").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batches": (3,)}, r"config.harvest.batches is \(3,\): expected divisors of contexts 4"),
        ({"batches": ()}, "expected divisors"),
        ({"middle": 3}, "middle is at most layers"),
        ({"rows_per_context": 16}, "rows_per_context below context_length"),
        ({"rounds": 0}, "config.harvest.rounds is 0"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(BadInput, match=message):
        dataclasses.replace(SMALL, **changes).check()
