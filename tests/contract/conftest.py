"""Each contract test runs twice: over the fakes, and (marked `broker`) over Kafka."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from tests.contract.sides import FakeSide, KafkaSide

if TYPE_CHECKING:
    from tests.contract.sides import Side


@pytest.fixture(params=["fakes", pytest.param("kafka", marks=pytest.mark.broker)])
def side(request: pytest.FixtureRequest) -> Side:
    """One of the two."""
    if request.param == "fakes":
        return FakeSide()
    return KafkaSide(request.getfixturevalue("cluster"), f"contract-{uuid.uuid4().hex[:8]}")
