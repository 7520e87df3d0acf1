"""The AsyncAPI document names every topic of ours, holds together, points to the two schemas."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from tests.contracts import ASYNCAPI, DECISION, SUBMITTED, validator
from worker.domain.deadletter import OWN_HEADERS, dead_letter
from worker.domain.decision import NAMESPACE
from worker.domain.record import Record
from worker.domain.replay import REPLAYED_FROM, from_dead_letter, of_dead_letter
from worker.domain.submission import ReadError, Unreadable
from worker.flow.replay_ledger import ReplayLedger, ledger_topic
from worker.settings import Settings

FILES = {"": ASYNCAPI, "./track-submitted.v1.json": SUBMITTED, "./track-decision.v1.json": DECISION}
CHANNELS = ("submitted", "approve", "review", "reject", "deadLetter", "webhook")
LEDGERS = {"deadLetterReplayed": "deadLetter", "reviewReplayed": "review"}


def references(value: object) -> list[str]:
    if isinstance(value, list):
        return [found for each in value for found in references(each)]
    if not isinstance(value, dict):
        return []
    own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
    return own + [found for each in value.values() for found in references(each)]


def resolve(reference: str) -> Any:
    file, _, pointer = reference.partition("#")
    found: Any = FILES[file]
    for step in pointer.split("/")[1:]:
        found = found[step]
    return found


@pytest.mark.parametrize("reference", sorted(set(references(ASYNCAPI))))
def test_every_reference_leads_somewhere(reference: str) -> None:
    assert resolve(reference) is not None


def test_nothing_is_defined_that_nobody_refers_to() -> None:
    defined = {f"#/components/{kind}/{name}" for kind, names in ASYNCAPI["components"].items() for name in names}
    assert defined <= set(references(ASYNCAPI))


def test_it_is_asyncapi_3_with_the_members_that_version_knows() -> None:
    assert ASYNCAPI["asyncapi"] == "3.0.0"
    assert ASYNCAPI.keys() <= {"asyncapi", "id", "info", "defaultContentType", "channels", "operations", "components"}
    assert {"title", "version"} <= ASYNCAPI["info"].keys()
    assert all({"address", "messages"} <= channel.keys() for channel in ASYNCAPI["channels"].values())
    assert {operation["action"] for operation in ASYNCAPI["operations"].values()} == {"send", "receive"}


def test_each_topic_has_its_channel_under_the_settings_default() -> None:
    names = ("topic_submitted", "topic_approve", "topic_review", "topic_reject", "topic_dead_letter", "topic_webhook")
    defaults = [Settings.model_fields[name].default for name in names]
    assert [ASYNCAPI["channels"][channel]["address"] for channel in CHANNELS] == defaults


def test_each_topic_of_replays_is_named_as_the_code_names_it() -> None:
    channels = ASYNCAPI["channels"]
    assert channels.keys() == {*CHANNELS, *LEDGERS}
    for ledger, source in LEDGERS.items():
        assert channels[ledger]["address"] == ledger_topic(channels[source]["address"])


def test_each_channel_is_used_as_the_worker_and_the_replays_use_it() -> None:
    operations = ASYNCAPI["operations"].values()
    used = sorted((operation["channel"]["$ref"].split("/")[-1], operation["action"]) for operation in operations)
    both = [*LEDGERS, "submitted", "deadLetter", "review", "webhook"]
    assert used == sorted(
        [
            *((channel, action) for channel in both for action in ("send", "receive")),
            ("approve", "send"),
            ("reject", "send"),
        ]
    )


REPLAYED_EVENT = {"item_id": "i", "url": "https://audio.example.com/a.flac", "policy": "none"}


def test_what_a_replay_writes_is_what_the_document_says() -> None:
    """Its header, and the message in which it remembers."""
    event = Record("track-submitted", 3, 7, 0, b"k", orjson.dumps(REPLAYED_EVENT), ())
    at = datetime(2026, 5, 1, tzinfo=UTC)
    made = dead_letter(event, Unreadable(ReadError.UNKNOWN_POLICY, "/policy"), topic="track-dead-letter", at=at)
    letter = Record(made.topic, 2, 11, 0, made.key, made.value, made.headers)
    candidate = of_dead_letter(letter)
    assert candidate.origin is not None
    back = from_dead_letter(candidate, candidate.origin, letter, 16).message
    told = {name: (content or b"").decode() for name, content in back.headers}
    headers = validator("asyncapi.yaml#/components/schemas/submittedHeaders")
    assert told == {REPLAYED_FROM: "track-dead-letter/2/11"}
    assert headers.is_valid(told)
    assert not headers.is_valid({REPLAYED_FROM: "track-dead-letter/2"})
    message = ASYNCAPI["components"]["messages"]["replayed"]
    for key, value in ReplayLedger().entries([candidate.origin]).items():
        assert re.search(message["bindings"]["kafka"]["key"]["pattern"], key.decode())
        assert re.search(message["payload"]["pattern"], value.decode())


def payload(channel: str, message: str) -> dict[str, Any]:
    found: dict[str, Any] = resolve(ASYNCAPI["channels"][channel]["messages"][message]["$ref"])["payload"]
    return found


def test_the_payloads_are_the_two_schemas() -> None:
    assert resolve(payload("submitted", "trackSubmitted")["schema"]["$ref"]) is SUBMITTED
    envelope = resolve(payload("submitted", "trackSubmittedStructured")["schema"]["$ref"])
    plain, encoded = (form["properties"] for form in envelope["oneOf"])
    assert resolve(plain["data"]["$ref"]) is SUBMITTED
    assert resolve(encoded["data_base64"]["contentSchema"]["$ref"]) is SUBMITTED
    for channel, message in (("approve", "approved"), ("review", "inReview"), ("reject", "rejected")):
        assert resolve(payload(channel, message)["schema"]["$ref"]) is DECISION


def test_the_dead_letter_headers_are_those_that_the_code_writes() -> None:
    headers = ASYNCAPI["components"]["schemas"]["deadLetterHeaders"]
    assert set(headers["required"]) == set(headers["properties"]) == OWN_HEADERS
    assert headers["properties"]["dlq_error"]["enum"] == list(ReadError)


def test_the_namespace_of_decision_ids_is_published() -> None:
    assert str(NAMESPACE) in DECISION["properties"]["decision_id"]["description"]


@pytest.mark.parametrize("name", ["decisionHeaders", "deadLetterHeaders"])
def test_headers_may_not_be_missing(name: str) -> None:
    assert not validator(f"asyncapi.yaml#/components/schemas/{name}").is_valid({})
