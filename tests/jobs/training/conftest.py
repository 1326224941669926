"""Generated images to learn from."""

from pathlib import Path

import pytest

from jobs.synthetic import generate


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The annotation file of eight images."""
    return generate(tmp_path_factory.mktemp("shapes"), num_images=8, seed=1)
