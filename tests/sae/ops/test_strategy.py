"""The choice of the matmul strategy from device, dtype and configuration."""

import jax.numpy as jnp
import pytest

from monosem_jax.sae.ops.gathered_matmul import GatherRows, VisitRows
from monosem_jax.sae.ops.strategy import Dense, Gather, VisitNonzero, resolve

WIDE, NARROW = ((64, 2048), 128), ((64, 32), 8)


@pytest.mark.parametrize(
    ("platform", "dtype", "key", "kind"),
    [
        ("cpu", "float32", "auto", VisitNonzero),
        ("cpu", "bfloat16", "auto", Dense),
        ("cpu", "float32", "never", Dense),
        ("cpu", "float32", "gather", Gather),
        ("tpu", "bfloat16", "auto", Dense),
        ("gpu", "float32", "auto", Dense),
        ("gpu", "bfloat16", "gather", Gather),
    ],
)
def test_a_strategy_is_resolved_from_device_dtype_and_key(platform, dtype, key, kind):
    found = resolve(platform, dtype, key)
    assert type(found) is kind and found.dtype == jnp.dtype(dtype) and found.count_bits == (platform == "cpu")


def test_small_products_are_dense_and_only_chosen_features_are_gathered():
    visit, gather, dense = VisitNonzero(), Gather(jnp.dtype(jnp.bfloat16)), Dense()
    assert visit.visits(*WIDE) and not visit.visits(*NARROW)
    assert isinstance(visit.by_index(*WIDE), VisitRows) and visit.by_index(*NARROW) is None
    assert gather.by_index(*NARROW) == GatherRows(jnp.dtype(jnp.bfloat16)) and not gather.visits(*WIDE)
    assert dense.by_index(*WIDE) is None and not dense.visits(*WIDE)
