"""What is found out about the rows before a dictionary is trained."""

from __future__ import annotations

import numpy as np
import pytest

from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.trainer import _check_squares


@pytest.mark.parametrize(("largest", "refused"), [(1.8e19, False), (1.9e19, True), (3e38, True)])
def test_rows_whose_squares_overflow_are_refused_with_what_was_found(largest, refused):
    rows = np.ones((5, 4), np.float32)
    rows[2, 1] = -largest
    if refused:
        with pytest.raises(
            BadInput, match=r"^x\.npy: the squares of 1 of the first 5 rows overflow float32 \(largest "
        ):
            _check_squares("x.npy", rows)
    else:
        _check_squares("x.npy", rows)
