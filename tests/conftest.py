"""For every test: one broker for those that ask for it, started by the first of them; examples without a deadline."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.broker.artifacts import MissingToolError, kafka_classpath
from tests.broker.kafka import KafkaCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

# 200 ms an example is Hypothesis' default: on a busy machine that tests the machine. Each test has its time-out.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """One broker, started once. Where a tool is missing the test fails and says what to install."""
    try:
        kafka_classpath()
    except MissingToolError as missing:
        pytest.fail(str(missing), pytrace=False)
    kafka = KafkaCluster(tmp_path_factory.mktemp("kafka"))
    try:
        asyncio.run(kafka.start())
        yield kafka
    finally:
        kafka.stop()
