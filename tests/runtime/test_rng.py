"""Random streams with different names or numbers differ, and equal ones agree on every machine."""

import itertools

import jax
import numpy as np
import pytest

from monosem_jax.runtime.rng import entropy, jax_key, stream
from tests.test_layers import FILES, ROOT, short

GOLDEN = [356, 569, 964, 885, 572]


def first(rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(rng.integers(1 << 63, size=4).tolist())


def test_numbers_alone_do_not_keep_streams_apart_and_names_do():
    assert first(np.random.default_rng([1, 5])) == first(np.random.default_rng([1, 5, 0]))  # why there are names
    streams = [
        ("a", 1, 5), ("a", 1, 5, 0), ("a", 1, 50), ("a", 15), ("a", 1, 5, 0, 0), ("a", 5, 1), ("a",), ("a", 0),
        ("b", 1, 5), ("a1", 5), ("a", 1 << 64), ("a", -1), ("", 1, 5), ("a, 1", 5), ('a", 1', 5),
    ]  # fmt: skip
    for one, other in itertools.combinations(streams, 2):
        assert entropy(*one) != entropy(*other) and first(stream(*one)) != first(stream(*other)), (one, other)


def test_a_stream_is_the_same_everywhere():
    assert first(stream("harvest.bucket", 0, 3)) == first(stream("harvest.bucket", np.uint32(0), np.int64(3)))
    assert stream("harvest.bucket", 0, 3).integers(1000, size=5).tolist() == GOLDEN


@pytest.mark.parametrize("seed", [0, 7, (1 << 32) - 1])
def test_keys_of_other_names_or_seeds_are_others_also_in_compiled_programs(seed):
    key = lambda *a: tuple(jax.random.key_data(jax_key(*a)).tolist())  # noqa: E731
    assert len({key("a", seed), key("b", seed), key("a", seed ^ 1), key("sae.init", seed)}) == 4
    traced = jax.jit(lambda s: jax_key("a", s))(np.uint32(seed))
    assert tuple(jax.random.key_data(traced).tolist()) == key("a", seed)


def test_the_package_makes_generators_in_one_place():
    made = {short(f) for f in FILES if "default_rng(" in f.read_text() or "SeedSequence(" in f.read_text()}
    inside = {name for name in made if name.startswith("monosem_jax/")}
    assert inside == {"monosem_jax/runtime/rng.py"} and (ROOT / "monosem_jax/runtime/rng.py").exists()
