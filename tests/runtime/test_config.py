from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import math
import textwrap
from typing import Any

import pytest

from monosem_jax.activations.harvest import HarvestConfig
from monosem_jax.activations.online import OnlineConfig
from monosem_jax.activations.stream.stream import StreamConfig
from monosem_jax.analysis.metrics import EvaluateConfig
from monosem_jax.models.transformer import TransformerConfig
from monosem_jax.runtime.config import (
    check_bounds,
    difference,
    field,
    from_dict,
    identity_of,
    moved,
    moved_key,
    sections,
    to_dict,
    unknown_key,
    upgrade,
)
from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.architectures.relu import ReluConfig
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.stages.train_sae import SaeRunConfig
from monosem_jax.stages.train_transformer import TransformerRunConfig
from monosem_jax.text.pack import TextConfig
from monosem_jax.training.config import TrainConfig

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
    with pytest.raises(BadInput, match=r"unknown key config\.zzz: known keys: batch_contexts, contexts, split$"):
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


@dataclasses.dataclass(frozen=True)
class Part:
    size: int = field(2, at_least=1, identity=False)
    share: float = field(0.5, at_least=0, at_most=1)


@moved("whole", {"size": "part.size", "part": "part.share", "gone": "other.size"})
@dataclasses.dataclass(frozen=True)
class Whole:
    kind: str = field("a", choices=("a", "b", "c"))
    rate: float = field(1.0, above=0)
    decay: float = field(0.5, at_least=0, below=1)
    part: Part = Part()
    other: Part = field(Part(), identity=False)
    free: int = field(0, identity=False)


@dataclasses.dataclass(frozen=True)
class Outer:
    whole: Whole = Whole()
    free: int = 0


def test_a_configuration_within_its_bounds_passes():
    check_bounds(Whole(), "whole.")
    check_bounds(Whole(kind="c", rate=1e-9, decay=0.0, part=Part(1, 1.0)), "whole.")


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (Whole(kind="d"), "whole.kind is 'd': expected a, b or c"),
        (Whole(rate=0.0), "whole.rate is 0.0: expected more than 0"),
        (Whole(rate=math.inf), "whole.rate is inf: expected more than 0"),
        (Whole(decay=1.0), "whole.decay is 1.0: expected 0 or more, and less than 1"),
        (Whole(decay=math.nan), "whole.decay is nan: expected 0 or more, and less than 1"),
        (Whole(part=Part(0)), "whole.part.size is 0: expected 1 or more"),
        (Whole(part=Part(share=1.5)), "whole.part.share is 1.5: expected 0 to 1"),
        (Whole(other=Part(share=-0.5)), "whole.other.share is -0.5: expected 0 to 1"),
    ],
)
def test_a_value_out_of_bounds_is_named_with_its_path(config, line):
    with pytest.raises(BadInput) as e:
        check_bounds(config, "whole.")
    assert str(e.value) == line


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: Whole(size=3), "whole.size is now whole.part.size"),
        (lambda: Whole(part=0.25), "whole.part is now whole.part.share"),
        (lambda: from_dict(Outer, {"whole": {"size": 3}}), "whole.size is now whole.part.size"),
        (lambda: from_dict(Outer, {"whole": {"part": 0.25}}), "whole.part is now whole.part.share"),
        (lambda: from_dict(Outer, {"whole": {"gone": 3}}, prefix="run"), "run.whole.gone is now run.whole.other.size"),
    ],
)
def test_a_key_with_a_new_name_is_answered_with_it(make, line):
    with pytest.raises(BadInput) as e:
        make()
    assert str(e.value) == line


def test_a_section_that_has_the_name_of_an_old_key_is_taken():
    assert from_dict(Outer, {"whole": {"part": {"share": 0.25}}}) == Outer(Whole(part=Part(share=0.25)))


@pytest.mark.parametrize(
    ("key", "new"),
    [
        ("whole.size", "whole.part.size"),
        ("whole.part", "whole.part.share"),
        ("whole.part.size", None),
        ("size", None),
        ("free.size", None),
        ("whole.kind", None),
    ],
)
def test_a_dotted_key_has_a_new_name_or_none(key, new):
    assert moved_key(Outer, key) == new


def test_values_of_an_earlier_version_are_put_under_the_new_names():
    old = {"free": 1, "whole": {"kind": "b", "size": 7, "part": 0.25, "gone": 5}}
    new = {"free": 1, "whole": {"kind": "b", "part": {"size": 7, "share": 0.25}, "other": {"size": 5}}}
    assert upgrade(Outer, old) == new == upgrade(Outer, new)
    assert old == {"free": 1, "whole": {"kind": "b", "size": 7, "part": 0.25, "gone": 5}}
    both = {"whole": {"other": {"share": 0.75}, "gone": 5}}
    assert upgrade(Outer, both) == {"whole": {"other": {"share": 0.75, "size": 5}}}


@pytest.mark.parametrize("section", [None, 3, [], "x"])
def test_values_of_an_earlier_version_that_make_no_sense_are_no_failure(section):
    assert upgrade(Outer, {"whole": section}) == {"whole": section}
    assert upgrade(Outer, {"whole": {"other": section, "gone": 5}}) == {"whole": {"other": {"size": 5}}}


def test_the_identity_leaves_out_what_is_declared_to_be_free_and_nothing_else():
    """A key of the same name elsewhere stays, and so do keys that the class does not know."""
    values = to_dict(Outer())
    assert identity_of(Outer, {**values, "odd": {"size": 1}}) == {
        "free": 0, "whole": {"kind": "a", "rate": 1.0, "decay": 0.5, "part": {"share": 0.5}}, "odd": {"size": 1},
    }  # fmt: skip


@pytest.mark.parametrize("cls", [TrainConfig, *sections(TrainConfig).values()])
def test_every_key_of_training_is_described_below_its_field(cls):
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body
    for statement, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign):
            said = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and after.value.value
            assert isinstance(said, str) and said.endswith("."), statement.target.id
