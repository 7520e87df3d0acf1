"""The AsyncAPI document names the five topics, holds together, and points to the two schemas."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contracts import ASYNCAPI, DECISION, SUBMITTED, validator
from worker.domain.deadletter import OWN_HEADERS
from worker.domain.decision import NAMESPACE
from worker.domain.submission import ReadError
from worker.settings import Settings

FILES = {"": ASYNCAPI, "./track-submitted.v1.json": SUBMITTED, "./track-decision.v1.json": DECISION}
CHANNELS = ("submitted", "approve", "review", "reject", "deadLetter")


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
    names = ("topic_submitted", "topic_approve", "topic_review", "topic_reject", "topic_dead_letter")
    defaults = [Settings.model_fields[name].default for name in names]
    assert [ASYNCAPI["channels"][channel]["address"] for channel in CHANNELS] == defaults


def test_each_channel_has_one_operation_and_only_the_input_is_read() -> None:
    operations = list(ASYNCAPI["operations"].values())
    actions = {operation["channel"]["$ref"].split("/")[-1]: operation["action"] for operation in operations}
    assert len(operations) == len(CHANNELS)
    assert actions == dict.fromkeys(CHANNELS, "send") | {"submitted": "receive"}


def payload(channel: str, message: str) -> dict[str, Any]:
    found: dict[str, Any] = resolve(ASYNCAPI["channels"][channel]["messages"][message]["$ref"])["payload"]
    return found


def test_the_payloads_are_the_two_schemas() -> None:
    assert resolve(payload("submitted", "trackSubmitted")["schema"]["$ref"]) is SUBMITTED
    envelope = resolve(payload("submitted", "trackSubmittedStructured")["schema"]["$ref"])
    assert resolve(envelope["properties"]["data"]["$ref"]) is SUBMITTED
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
