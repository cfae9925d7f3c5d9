"""What a test of the model asks of one backbone, it asks of each."""

from typing import get_args

import pytest

from tests.tiny import Backbone


@pytest.fixture(scope="module", params=get_args(Backbone))
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return request.param
