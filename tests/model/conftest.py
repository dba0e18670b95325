"""Fixtures for tests of models."""

from typing import Any

import pytest
from tiny import KINDS, tiny_model


@pytest.fixture(params=KINDS)
def model(request: pytest.FixtureRequest) -> Any:
    """A tiny model of each kind."""
    return tiny_model(request.param)
