"""A reference store shared by the tests of several files."""

import pytest

from tests.activations.store.small import content, write_store


@pytest.fixture(scope="package")
def whole(tmp_path_factory) -> dict[str, bytes]:
    """Every file of a store that one process wrote undisturbed."""
    path = tmp_path_factory.mktemp("whole")
    write_store(path)
    return content(path)
