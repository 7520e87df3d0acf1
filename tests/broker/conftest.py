"""Each test has topics, a group, a simulator and workers of its own, on the session's one broker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.broker.kafka import KafkaCluster
from tests.broker.scene import Scene, scene

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


SetStage = Callable[..., AbstractAsyncContextManager[Scene]]


@pytest.fixture
def stage(cluster: KafkaCluster, tmp_path: Path, request: pytest.FixtureRequest) -> SetStage:
    """Give a test its scene, under the test's own name; the arguments are those of `scene`."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    return partial(scene, cluster, tmp_path, name.removeprefix("test-"))


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """A broker behind a proxy, started once for the tests of a module."""
    kafka = KafkaCluster(tmp_path_factory.mktemp("proxied"), proxied=True)
    try:
        asyncio.run(kafka.start())
        yield kafka
    finally:
        kafka.stop()
