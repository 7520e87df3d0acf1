"""The contracts as the verifier reads them: schemas/ itself, and the names of the headers that it describes."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import orjson

from tests.broker.processes import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from worker.domain.record import Headers, Record

SCHEMAS = REPOSITORY / "schemas"
ATTRIBUTES = ("ce_specversion", "ce_type", "ce_source", "ce_id", "ce_time", "ce_subject", "content-type", "decision")
ECHOES = {"ce_id": "decision_id", "ce_time": "decided_at", "ce_subject": "item_id", "decision": "decision"}
SOURCE_PARTITION, SOURCE_OFFSET = "dlq_partition", "dlq_offset"
DEAD_LETTER_HEADERS = ("dlq_error", "dlq_path", "dlq_topic", SOURCE_PARTITION, SOURCE_OFFSET, "dlq_time")


@cache
def _decision_schema() -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(orjson.loads((SCHEMAS / "track-decision.v1.json").read_bytes()))


def decision_mistakes(decision: Mapping[str, Any], headers: Headers) -> Iterator[str]:
    """What is wrong with a decision and its headers, as far as a consumer without our code can tell."""
    for error in _decision_schema().iter_errors(dict(decision)):
        yield f"/{'/'.join(map(str, error.instance_path))}: {error.message[:200]}"
    given = dict(headers)
    yield from (f"no header {name}" for name in ATTRIBUTES if not given.get(name))
    for name, field in ECHOES.items():
        if given.get(name) != str(decision[field]).encode():
            yield f"header {name} is {given.get(name)!r}, the decision's {field} is {decision[field]!r}"


def dead_letter_mistakes(event: Record, letter: Record) -> Iterator[str]:
    """What of the event is missing or changed in its dead letter."""
    nothing = event.key is None and event.value is None  # Kafka clients refuse to send that
    if letter.value != (b"" if nothing else event.value):
        yield "other bytes than the event's"
    if letter.headers[: len(event.headers)] != event.headers:
        yield "other headers than the event's"
    if tuple(name for name, _ in letter.headers[len(event.headers) :]) != DEAD_LETTER_HEADERS:
        yield f"headers {[name for name, _ in letter.headers]}"
    if dict(letter.headers).get("dlq_topic") != event.topic.encode():
        yield "another source topic"


def source_of_dead_letter(record: Record) -> tuple[int, int]:
    """Partition and offset that a dead letter's headers name."""
    given = dict(record.headers)
    return int(given[SOURCE_PARTITION] or b""), int(given[SOURCE_OFFSET] or b"")
