import pytest

from monosem_jax.load import load_transformer
from tests import planted


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    """The text of the planted transformer."""
    root = tmp_path_factory.mktemp("planted")
    planted.write_runs(root)
    return load_transformer(root / "transformer").text
