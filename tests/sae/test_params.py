"""The table of parameters: sharding and feature axis follow from the shape, folding from the units."""

import numpy as np
import pytest
from jax.sharding import PartitionSpec

from monosem_jax.sae import architectures as sae_lib
from monosem_jax.sae.params import FEATURE_AXIS, PARAMETERS, RULES, unscale


def test_features_are_divided_over_model_and_all_else_is_replicated():
    assert RULES["W_enc"] == PartitionSpec(None, "model") and RULES["W_dec"] == PartitionSpec("model", None)
    assert RULES["b_dec"] == RULES["W_skip"] == PartitionSpec() and RULES["r_mag"] == PartitionSpec("model")
    assert FEATURE_AXIS["W_enc"] == 1 and FEATURE_AXIS["W_dec"] == 0 and "b_dec" not in FEATURE_AXIS


@pytest.mark.parametrize("architecture", sae_lib.ARCHITECTURES)
def test_every_parameter_of_an_architecture_is_in_the_table(architecture):
    recipe = sae_lib.find(architecture)().recipe()
    assert recipe.parameters.keys() <= PARAMETERS.keys() and recipe.sparsity_key in vars(recipe_config(architecture))
    assert recipe.coefficient is None or hasattr(recipe_config(architecture), recipe.coefficient)
    assert not recipe.same_form_as or recipe.same_form_as in sae_lib.ARCHITECTURES


def recipe_config(architecture: str):
    return sae_lib.find(architecture)()


def test_units_of_parameters_fold_by_their_exponents():
    ones = {name: np.ones(2) for name in ("W_enc", "b_enc", "W_dec", "b_dec", "r_mag", "threshold")}
    found = unscale(ones, 2.0, 8.0)
    expected = {"W_enc": 2 / 8, "b_enc": 1 / 8, "W_dec": 1, "b_dec": 1 / 8, "r_mag": 1, "threshold": 1 / 8}
    assert {name: float(value[0]) for name, value in found.items()} == expected
