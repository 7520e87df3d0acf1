"""The schemas are the source: what they show is what the code does."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import jsonschema_rs
import orjson
import pytest

from tests.contracts import DECISION, DECISION_VALUE, SUBMITTED, SUBMITTED_VALUE
from worker.domain.analysis import Analysis, AnalysisStatus, TierValue
from worker.domain.decider import Decider, Topics
from worker.domain.policies import BUILT_IN
from worker.domain.policy import GUARDS
from worker.domain.record import Record
from worker.domain.submission import ID_MAX_CHARS, METADATA_MAX_DEPTH, URL_MAX_CHARS, TrackSubmitted

DECIDER = Decider(BUILT_IN, "two-tier", Topics("in", "a", "r", "j", "d"))
TIERS = {"human": TierValue.HUMAN, "suspicious": TierValue.SUSPICIOUS, None: TierValue.NOT_EVALUATED}


def analysis_behind(shown: dict[str, Any]) -> Analysis:
    """Build the analysis that a decision was made of, from the decision."""
    shown = dict(shown)
    tiers = {name: TIERS.get(word, TierValue.UNKNOWN) for name, word in shown.pop("tier_verdicts").items()}
    scores = dict(shown.pop("scores"))
    scores["proto_score"] = scores.pop("proto_score_v1")
    for name in ("risk_series", "risk_segments"):
        shown[name] = None if shown[name] is None else tuple(shown[name])
    return Analysis(**{**shown, **tiers, **scores, "status": AnalysisStatus(shown["status"])})


def name_of(example: dict[str, Any]) -> str:
    return f"{example['policy']['name']}-{example['decision']}-{example.get('reason')}"


@pytest.mark.parametrize("schema", [SUBMITTED, DECISION])
def test_the_schemas_are_valid_schemas_of_their_draft(schema: dict[str, Any]) -> None:
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema_rs.meta.validate(schema)


@pytest.mark.parametrize("example", SUBMITTED["examples"])
def test_submitted_examples_are_valid(example: dict[str, Any]) -> None:
    SUBMITTED_VALUE.validate(example)


@pytest.mark.parametrize("example", DECISION["examples"], ids=name_of)
def test_the_code_makes_each_decision_example_of_its_analysis(example: dict[str, Any]) -> None:
    DECISION_VALUE.validate(example)
    source, policy = example["source"], example["policy"]["name"]
    timestamp_ms = round(datetime.fromisoformat(source["timestamp"]).timestamp() * 1000)
    record = Record(source["topic"], source["partition"], source["offset"], timestamp_ms, None, b"", ())
    track = TrackSubmitted(example["item_id"], "https://x", metadata=example["metadata"], policy=policy)
    decided = DECIDER.decide(
        record,
        track,
        analysis_behind(example["analysis"]),
        attempts=example["attempts"],
        at=datetime.fromisoformat(example["decided_at"]),
    )
    made = orjson.loads(decided.message.value or b"")
    assert list(made) == list(example)
    assert {**made, "policy": None} == {**example, "policy": None}  # a digest in a document only shows its form


def test_every_outcome_of_the_built_in_policies_has_an_example() -> None:
    outcomes = [rule.outcome for policy in BUILT_IN.values() for rule in (*policy.rules, *GUARDS)]
    outcomes += [policy.default for policy in BUILT_IN.values()]
    shown = {(example["decision"], example.get("reason")) for example in DECISION["examples"]}
    assert {(outcome.decision, outcome.reason) for outcome in outcomes} == shown


MUTATIONS = [
    {"certificate": {}},
    {"error": "x", "certificate": None},
    {"decision": "maybe"},
    {"decision_id": "8dbe24ab-e0e8-4413-b96a-b453cdd2cafd"},
    {"policy": {"name": "two-tier"}},
    {"analysis": {}},
    {"decided_at": "2026-09-14"},
    {"confidence": "recall"},
]


@pytest.mark.parametrize("example", DECISION["examples"], ids=name_of)
@pytest.mark.parametrize("mutation", MUTATIONS, ids="+".join)
def test_the_decision_schema_refuses_what_it_should(example: dict[str, Any], mutation: dict[str, Any]) -> None:
    assert not DECISION_VALUE.is_valid({**example, **mutation})


@pytest.mark.parametrize("example", DECISION["examples"], ids=name_of)
def test_every_field_of_an_example_is_required_and_named(example: dict[str, Any]) -> None:
    assert example.keys() <= DECISION["properties"].keys()
    for name in example:
        without = {key: value for key, value in example.items() if key != name}
        assert not DECISION_VALUE.is_valid(without), name


def test_the_bounds_of_the_code_are_those_of_the_schema() -> None:
    properties = SUBMITTED["properties"]
    assert properties["item_id"]["maxLength"] == properties["file_id"]["maxLength"] == ID_MAX_CHARS
    assert properties["url"]["maxLength"] == URL_MAX_CHARS
    assert f"up to {METADATA_MAX_DEPTH} levels" in properties["metadata"]["description"]
