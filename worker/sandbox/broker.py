"""The embedded broker: librdkafka's mock cluster inside this process, for people and tests that have no Kafka.

What it can: produce and fetch, consumer groups, plain commits with their metadata. What it cannot, and what follows:

- It accepts transactions and drops their offsets, so a worker on it runs GUARANTEE=at_least_once. It is never a place
  to test a guarantee.
- It cannot create topics. A topic appears when it is first asked for, always with 4 partitions.
- Nothing is kept: it ends, with all that is on it, with `close` or with the process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from worker.sandbox.interruption import signals_held_back

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

try:
    from confluent_kafka import Producer
except ImportError as exc:
    raise ImportError("the sandbox needs its extra: pip install 'track-intake[sandbox]'") from exc

PARTITIONS = 4  # librdkafka's default, which no setting of a client changes
GUARANTEE = "at_least_once"
# The mock cluster holds a group's first rebalance open for 3 s and each later one for a second less than the session
# time-out, even when everybody is there.
SESSION_SECONDS = 4
_ASK_SECONDS = 10.0
_LOG_ERRORS_ONLY = 3  # syslog's scale; the mock announces itself on standard error otherwise


class EmbeddedBroker:
    """Listens on a free port of the loopback from its creation until `close`. Raises KafkaException if it cannot."""

    def __init__(self, topics: Iterable[str] = ()) -> None:
        # The cluster lives as long as the client that asked for it. A signal that interrupts the cluster's poll ends
        # the cluster and frees it; closing it then hangs or crashes.
        with signals_held_back():
            self._client = Producer({"test.mock.num.brokers": 1, "log_level": _LOG_ERRORS_ONLY})
            brokers = self._client.list_topics(timeout=_ASK_SECONDS).brokers.values()
        self.address = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
        for topic in topics:
            self.partitions(topic)

    def __repr__(self) -> str:
        return f"<EmbeddedBroker {self.address}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def partitions(self, topic: str) -> int:
        """Count a topic's partitions; the topic exists afterwards."""
        return len(self._client.list_topics(topic, timeout=_ASK_SECONDS).topics[topic].partitions)

    def close(self) -> None:
        """End the cluster; everything on it is gone."""
        self._client.close()
