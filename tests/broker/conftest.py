"""One broker for the whole suite; each test has topics, a group, a simulator and workers of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.broker.artifacts import MissingToolError, kafka_classpath
from tests.broker.kafka import KafkaCluster
from tests.broker.scene import Scene, scene

if TYPE_CHECKING:
    from pathlib import Path

SetStage = Callable[..., AbstractAsyncContextManager[Scene]]


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """One broker, started once."""
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


@pytest.fixture
def stage(cluster: KafkaCluster, tmp_path: Path, request: pytest.FixtureRequest) -> SetStage:
    """Give a test its scene, under the test's own name; the arguments are those of `scene`."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    return partial(scene, cluster, tmp_path, name.removeprefix("test-"))
