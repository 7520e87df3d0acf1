"""The schemas as validators: whatever a test sees the worker publish goes through `check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import orjson
import yaml

if TYPE_CHECKING:
    from worker.domain.decider import Topics
    from worker.domain.record import Headers, Message

SCHEMAS = Path(__file__).parents[1] / "schemas"
SUBMITTED: dict[str, Any] = orjson.loads((SCHEMAS / "track-submitted.v1.json").read_bytes())
DECISION: dict[str, Any] = orjson.loads((SCHEMAS / "track-decision.v1.json").read_bytes())
ASYNCAPI: dict[str, Any] = yaml.safe_load((SCHEMAS / "asyncapi.yaml").read_text(encoding="utf-8"))

_BASE = "https://schemas.invalid"
_FILES = {"track-submitted.v1.json": SUBMITTED, "track-decision.v1.json": DECISION, "asyncapi.yaml": ASYNCAPI}
_REGISTRY = jsonschema_rs.Registry([(f"{_BASE}/{name}", value) for name, value in _FILES.items()])


def validator(place: str) -> jsonschema_rs.Validator:
    """Build a validator for `file#/pointer`; formats are annotations, as 2020-12 has it by default."""
    schema = {"$schema": SUBMITTED["$schema"], "$ref": f"{_BASE}/{place}"}
    found: jsonschema_rs.Validator = jsonschema_rs.validator_for(schema, registry=_REGISTRY)
    return found


SUBMITTED_VALUE = validator("track-submitted.v1.json")
ENVELOPE = validator("asyncapi.yaml#/components/schemas/envelope")
DECISION_VALUE = validator("track-decision.v1.json")
DECISION_HEADERS = validator("asyncapi.yaml#/components/schemas/decisionHeaders")
DEAD_LETTER_HEADERS = validator("asyncapi.yaml#/components/schemas/deadLetterHeaders")

_OF_DEAD_LETTERS = frozenset(ASYNCAPI["components"]["schemas"]["deadLetterHeaders"]["required"])
_OF_DECISIONS = frozenset(ASYNCAPI["components"]["schemas"]["decisionHeaders"]["allOf"][1]["properties"])


def texts(headers: Headers, names: frozenset[str]) -> dict[str, str]:
    """Read the named headers as UTF-8 text; of a repeated name the last counts."""
    return {name: value.decode() for name, value in headers if name in names and value is not None}


def check(message: Message, topics: Topics) -> None:
    """Hold one published message against the contracts. Raises what is wrong with it."""
    if message.topic == topics.dead_letter:
        DEAD_LETTER_HEADERS.validate(texts(message.headers, _OF_DEAD_LETTERS))
        return
    value = orjson.loads(message.value or b"")
    DECISION_VALUE.validate(value)
    DECISION_HEADERS.validate(texts(message.headers, _OF_DECISIONS))
    assert value.keys() <= DECISION["properties"].keys(), "a field that the schema does not name"
    assert message.topic == topics.of(value["decision"]), f"{value['decision']} on {message.topic}"
