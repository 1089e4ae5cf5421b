"""The part of a command line that is about the configuration."""

import pytest

from experiments.overrides import Override, apply, leaves, split, unknown_key
from monosem_jax.runtime.errors import BadInput


def values() -> dict:
    sae = {"architecture": "relu", "n_features": 64, "steps": 5}
    return {"seed": 0, "sae": sae, "train": {"rate": 0.1, "fast": False, "sizes": [1, 2], "steps": 9}}


def after(*tokens: str) -> dict:
    found = values()
    apply(split(tokens).overrides, found)
    return leaves(found)


def test_what_is_about_the_configuration_is_taken_out_wherever_it_stands():
    line = split(["--config.a=1", "--workdir=w", "--config=topk", "--plan", "-config.b.c", "x=y", "--noconfig.d"])
    assert line.own == ["--workdir=w", "--plan"] and line.config == "topk"
    assert line.overrides == [Override("a", "1"), Override("b.c", "x=y"), Override("d", None, True)]


def test_of_two_configurations_the_last_is_taken():
    assert split(["--config=a", "--config", "b"]).config == "b"


def test_a_flag_whose_name_only_begins_like_it_is_not_about_the_configuration():
    assert split(["--configs=a", "--config_file=b"]).own == ["--configs=a", "--config_file=b"]


def test_after_two_dashes_nothing_is_about_the_configuration():
    assert split(["--", "--config=a"]) == split(["--", "--config=a"]).__class__(["--", "--config=a"], "", [])


@pytest.mark.parametrize("tokens", [["--config"], ["--config="], ["--noconfig"], ["--config", "--workdir=w"]])
def test_a_configuration_without_a_name_is_refused(tokens):
    with pytest.raises(BadInput, match="--config has no value"):
        split(tokens)


@pytest.mark.parametrize(
    ("token", "key", "value"),
    [
        ("--config.seed=-3", "seed", -3),
        ("--config.seed=1_000", "seed", 1000),
        ("--config.seed=1e6", "seed", 1_000_000),
        ("--config.seed=0x10", "seed", 16),
        ("--config.sae.architecture=a=b", "sae.architecture", "a=b"),
        ("--config.sae.architecture=", "sae.architecture", ""),
        ("--config.train.rate=2", "train.rate", 2.0),
        ("--config.train.fast", "train.fast", True),
        ("--config.train.fast=True", "train.fast", True),
        ("--config.train.fast=0", "train.fast", False),
        ("--config.train.sizes=(3,4)", "train.sizes", (3, 4)),
        ("--config.train.sizes=3,4", "train.sizes", (3, 4)),
        ("--config.train.sizes=3", "train.sizes", (3,)),
        ("--config.train.sizes=()", "train.sizes", ()),
        ("--config.train.sizes=a/b,c", "train.sizes", ("a/b", "c")),
    ],
)
def test_a_value_is_read_as_what_the_key_is(token, key, value):
    found = after(token)
    assert found == {**leaves(values()), key: value} and type(found[key]) is type(value)


def test_a_value_may_follow_a_blank_and_may_be_negative():
    assert after("--config.seed", "-3")["seed"] == -3 and after("--config.train.rate", "-.5")["train.rate"] == -0.5


def test_a_switch_is_turned_off_by_its_opposite():
    assert after("--config.train.fast", "--noconfig.train.fast")["train.fast"] is False


def test_a_tuple_given_several_times_is_put_together_and_of_other_values_the_last_is_taken():
    found = after("--config.train.sizes=3", "--config.seed=1", "--config.train.sizes=(4,5)", "--config.seed=2")
    assert found["train.sizes"] == (3, 4, 5) and found["seed"] == 2


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("--config.seed=many", "--config.seed is 'many': expected a whole number"),
        ("--config.seed=1.5", "--config.seed is '1.5': expected a whole number"),
        ("--config.seed=inf", "--config.seed is 'inf': expected a whole number"),
        ("--config.train.rate=fast", "--config.train.rate is 'fast': expected a number"),
        ("--config.train.fast=maybe", "--config.train.fast is 'maybe': expected true or false"),
        (
            "--config.train.sizes=(1",
            "--config.train.sizes is '(1': expected values such as (1,2), quoted for the shell",
        ),
        ("--config.seed", "--config.seed has no value: write --config.seed=VALUE"),
        ("--noconfig.seed", "--config.seed has no value: write --config.seed=VALUE"),
        ("--config.sae=5", "config.sae is a section: set one of its keys, such as --config.sae.architecture"),
        ("--config.sae.n_featurs=5", "unknown key config.sae.n_featurs: did you mean --config.sae.n_features?"),
        ("--config.n_features=5", "unknown key config.n_features: did you mean --config.sae.n_features?"),
        ("--config.steps=5", "unknown key config.steps: did you mean --config.sae.steps or --config.train.steps?"),
        ("--config.colour=5", "unknown key config.colour: config has seed, sae, train; --help lists all keys"),
        ("--config.=5", "unknown key config.: config has seed, sae, train; --help lists all keys"),
        (
            "--config.train.colour=5",
            "unknown key config.train.colour: config.train has rate, fast, sizes, steps; --help lists all keys",
        ),
        (
            "--config.sae.deep.colour=5",
            "unknown key config.sae.deep.colour: config.sae has architecture, n_features, steps; --help lists all keys",
        ),
    ],
)
def test_what_cannot_be_set_is_refused_with_the_key_the_value_and_what_was_expected(token, message):
    with pytest.raises(BadInput) as refused:
        after(token)
    assert str(refused.value) == message


def test_at_most_three_keys_are_suggested():
    assert unknown_key("x", [f"{s}.x" for s in "abcde"]).count("--config.") == 3
