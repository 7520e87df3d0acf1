"""What a publisher owes when no broker answers."""

from __future__ import annotations

import asyncio
import gc
import warnings
from typing import Any

from worker.adapters.kafka.connection import Connection
from worker.adapters.kafka.publisher import TransactionalPublisher


async def test_an_abandoned_publisher_leaves_nothing_to_complain_of() -> None:
    """Its transaction cannot be aborted, so it is dropped; aiokafka would call that a leak of ours."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    publisher = TransactionalPublisher(
        Connection("127.0.0.1:9", "test"), group_id="g", topic="t", partition=0, transaction_timeout_seconds=1.0
    )
    publisher._in_transaction = True
    await publisher.close()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        del publisher
        gc.collect()
    assert [str(each.message) for each in warned] == []
    assert complaints == []
