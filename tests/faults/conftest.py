"""What the tests of the fault catalogue share: each runs over both transports."""

from __future__ import annotations

import pytest

from tests.support.kinds import KINDS, Kind


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Both transports."""
    return KINDS[request.param]
