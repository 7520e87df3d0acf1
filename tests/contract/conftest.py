"""Each contract test runs twice: over the fakes, and (marked `broker`) over Kafka."""

from __future__ import annotations

import gc
import uuid
from typing import TYPE_CHECKING

import pytest

from tests.broker.conftest import cluster  # noqa: F401 - the suite's broker, as a fixture of these tests, too
from tests.contract.sides import FakeSide, KafkaSide

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.contract.sides import Side


# A fenced producer is abandoned, not stopped; aiokafka complains of that when it is collected.
ABANDONED = pytest.mark.filterwarnings("ignore:Unclosed AIOKafkaProducer:ResourceWarning")


@pytest.fixture(params=["fakes", pytest.param("kafka", marks=(pytest.mark.broker, ABANDONED))])
def side(request: pytest.FixtureRequest) -> Iterator[Side]:
    """One of the two."""
    if request.param == "fakes":
        yield FakeSide()
    else:
        yield KafkaSide(request.getfixturevalue("cluster"), f"contract-{uuid.uuid4().hex[:8]}")
        gc.collect()  # while the mark above stands
