from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from monosem_jax.activations.harvest import HarvestConfig
from monosem_jax.activations.online import OnlineConfig
from monosem_jax.activations.stream.stream import StreamConfig
from monosem_jax.analysis.metrics import EvaluateConfig
from monosem_jax.models.transformer import TransformerConfig
from monosem_jax.runtime.config import difference, from_dict, to_dict, unknown_key
from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.architectures.relu import ReluConfig
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.stages.train_sae import SaeRunConfig
from monosem_jax.stages.train_transformer import TransformerRunConfig
from monosem_jax.text.pack import TextConfig
from monosem_jax.training.step import TrainConfig

PARTS = [
    ReluConfig, TrainConfig, ResampleConfig, HarvestConfig, StreamConfig, OnlineConfig, TextConfig, TransformerConfig,
    EvaluateConfig,
]  # fmt: skip
ALL = [*PARTS, SaeRunConfig, TransformerRunConfig]


def changed(value: Any) -> Any:
    """Another value of the same type."""
    if dataclasses.is_dataclass(value):
        return dataclasses.replace(
            value, **{f.name: changed(getattr(value, f.name)) for f in dataclasses.fields(value)}
        )
    if isinstance(value, tuple):
        return (*value, 0.5)
    if isinstance(value, bool):
        return not value
    if value == "relu":
        return value  # it decides the class
    return value + "x" if isinstance(value, str) else value + 1


@pytest.mark.parametrize("cls", ALL)
def test_a_config_survives_the_way_through_json(cls):
    for config in (cls(), changed(cls())):
        assert from_dict(cls, json.loads(json.dumps(to_dict(config)))) == config
    assert changed(cls()) != cls()


@pytest.mark.parametrize("cls", ALL)
def test_missing_keys_take_their_defaults(cls):
    assert from_dict(cls, {}) == cls()


@pytest.mark.parametrize("cls", ALL)
def test_a_config_cannot_be_changed(cls):
    field = dataclasses.fields(cls)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(cls(), field, getattr(cls(), field))


@pytest.mark.parametrize("cls", PARTS)
def test_the_defaults_are_possible(cls):
    if cls is ResampleConfig:
        cls().resolve(TrainConfig())
    else:
        cls().check()


def test_tuples_become_lists():
    assert to_dict(ResampleConfig(steps=(1, 2)))["steps"] == [1, 2]


def test_a_misspelt_key_is_answered_with_the_nearest():
    with pytest.raises(BadInput, match=r"unknown key config\.learning_rat: did you mean 'learning_rate'\?"):
        from_dict(TrainConfig, {"learning_rat": 0.1})


def test_a_key_like_no_other_is_answered_with_the_known_ones():
    with pytest.raises(BadInput, match=r"unknown key config\.zzz: known keys: batch_contexts, contexts$"):
        from_dict(EvaluateConfig, {"zzz": 1})


def test_a_misspelt_key_of_a_part_is_named_with_its_path():
    with pytest.raises(BadInput, match=r"unknown key run\.train\.stepz: did you mean 'steps'\?"):
        from_dict(SaeRunConfig, {"train": {"stepz": 1}}, prefix="run")


def test_a_suggestion_does_not_depend_on_the_order_of_the_known_keys():
    assert unknown_key("k", "aab", ["aac", "aaa"]) == unknown_key("k", "aab", ["aaa", "aac"])


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        (TrainConfig, {"steps": "10"}, r"config\.steps is '10': expected int"),
        (TrainConfig, {"steps": 10.0}, r"config\.steps is 10\.0: expected int"),
        (TrainConfig, {"steps": True}, r"config\.steps is True: expected int"),
        (TrainConfig, {"learning_rate": "1e-4"}, r"config\.learning_rate is '1e-4': expected float"),
        (TrainConfig, {"learning_rate": True}, r"config\.learning_rate is True: expected float"),
        (TrainConfig, {"mesh": None}, r"config\.mesh is None: expected str"),
        (ResampleConfig, {"steps": [0.1, "x"]}, r"config\.steps is 'x': expected float"),
        (SaeRunConfig, {"sae": {"n_features": "8"}}, r"config\.sae\.n_features is '8': expected int"),
        (SaeRunConfig, {"sae": 8}, r"config\.sae is 8"),
        (SaeRunConfig, {"sae": "relu"}, r"config\.sae is 'relu'"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(cls, values, message):
    with pytest.raises(BadInput, match=message):
        from_dict(cls, values)


def test_whole_numbers_are_taken_for_floats():
    found = from_dict(TrainConfig, {"learning_rate": 1})
    assert found.learning_rate == 1.0 and type(found.learning_rate) is float


def test_a_single_value_is_taken_for_a_tuple():
    assert from_dict(ResampleConfig, {"steps": 0.5}).steps == (0.5,)


def test_an_empty_list_is_an_empty_tuple():
    assert from_dict(ResampleConfig, {"steps": []}).steps == ()


def test_equal_configs_do_not_differ():
    assert difference(to_dict(SaeRunConfig()), to_dict(SaeRunConfig())) == []


def test_differences_are_named_with_their_path_and_both_values():
    old, new = SaeRunConfig(seed=1), SaeRunConfig(seed=2, train=TrainConfig(steps=7))
    assert difference(to_dict(old), to_dict(new)) == ["config.seed: 1 -> 2", "config.train.steps: 1000000 -> 7"]


def test_a_key_that_only_one_side_has_is_a_difference():
    assert difference({"a": 1}, {"b": {"c": 2}}, prefix="x") == ["x.a: 1 -> None", "x.b: None -> {'c': 2}"]
