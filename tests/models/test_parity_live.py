"""Pretrained architectures against `transformers` itself, on models drawn anew: it needs the extra `parity`.

python -m tests.models.test_parity_live [SEED]      prints the largest differences as a table
"""

import pathlib
import sys
import tempfile

import pytest

from tests.models.golden.cases import CASES
from tests.models.parity import Loaded, differences, table

pytest.importorskip("torch", reason="needs the extra parity")
pytest.importorskip("transformers", reason="needs the extra parity")

from tests.models.golden.make import Tapped, make

MOST = 1e-4
SEED = 7


@pytest.mark.parametrize("name", CASES)
def test_a_model_drawn_anew_computes_what_transformers_does(name, tmp_path):
    make(name, tmp_path / name, SEED)
    off = differences(Loaded(tmp_path / name))
    assert all(value <= MOST for value in off.values()), off


@pytest.mark.parametrize("name", CASES)
def test_what_is_kept_is_what_transformers_computes(name):
    """Catches a version of `transformers` that computes something else, or reads its own files in another way."""
    from transformers import AutoModelForCausalLM

    kept = pathlib.Path(__file__).parent / "golden" / name
    expected = Loaded(kept).expected
    model = AutoModelForCausalLM.from_pretrained(kept).eval()
    assert abs(Tapped(model).logits(expected["tokens"].astype("int64")) - expected["logits"]).max() <= MOST


if __name__ == "__main__":
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            path = pathlib.Path(folder) / case
            make(case, path, int(sys.argv[1]) if len(sys.argv) > 1 else SEED)
            rows[case] = differences(Loaded(path))
    print(table(rows))
