"""Every record becomes one message, on the topic of its outcome, that the contracts describe."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta, timezone

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contracts import check
from tests.domain.analyses import HEADERS, RECORDS, SECRET, TRACKS, analyses
from worker.domain.analysis import Analysis, AnalysisStatus, TierValue
from worker.domain.deadletter import OWN_HEADERS
from worker.domain.decider import Decider, Topics
from worker.domain.decision import ERROR_MAX_CHARS, NAMESPACE
from worker.domain.policies import BUILT_IN
from worker.domain.record import Headers, Record
from worker.domain.submission import ReadError, TrackSubmitted, Unreadable

TOPICS = Topics("in", "approve", "review", "reject", "dead")
DECIDER = Decider(BUILT_IN, "two-tier", TOPICS)
SANDBOX = Decider(BUILT_IN, "two-tier", TOPICS, sandbox=True)
AT = datetime(2026, 9, 14, 9, 31, 0, 250_999, UTC)
TIMES = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-7, minutes=-30))]))
TRACK = TrackSubmitted("item", "https://audio.example.com/a.mp3")
HUMAN = Analysis(AnalysisStatus.SUCCESS, TierValue.HUMAN, TierValue.HUMAN, TierValue.HUMAN)


def record(key: bytes | None = None, headers: Headers = (), value: bytes | None = b"{}") -> Record:
    return Record("in", 3, 41, 1_789_378_200_250, key, value, headers)


@given(RECORDS, TRACKS, analyses(), st.integers(0, 9), TIMES, st.sampled_from([DECIDER, SANDBOX]))
def test_every_decision_obeys_the_contracts(  # noqa: PLR0917 - one argument for each thing generated
    record: Record, track: TrackSubmitted, analysis: Analysis, attempts: int, at: datetime, decider: Decider
) -> None:
    decided = decider.decide(record, track, analysis, attempts=attempts, at=at)
    check(decided.message, TOPICS)
    value = orjson.loads(decided.message.value or b"")
    assert value["metadata"] == track.metadata
    assert value["item_id"] == track.item_id
    assert value["attempts"] == attempts
    assert (value["source"]["topic"], value["source"]["partition"]) == (record.topic, record.partition)
    assert value["source"]["offset"] == record.offset
    assert abs(datetime.fromisoformat(value["decided_at"]) - at) < timedelta(milliseconds=1)
    assert (value["decision"], value.get("reason")) == (decided.decision, decided.reason)
    assert value["policy"] == {"name": decided.policy, "digest": decided.policy_digest}
    assert decided.policy == (track.policy or "two-tier")
    assert decided.policy_digest == BUILT_IN[decided.policy].digest
    assert decided.output_topic == decided.message.topic
    assert value["decision_id"] == decided.decision_id


@given(RECORDS, TRACKS, analyses())
def test_no_decision_carries_an_address_or_a_token(record: Record, track: TrackSubmitted, analysis: Analysis) -> None:
    decided = DECIDER.decide(record, track, analysis, attempts=1, at=AT)
    assert SECRET not in repr(decided)
    assert SECRET.encode() not in (decided.message.value or b"")
    value = orjson.loads(decided.message.value or b"")
    assert len(value["analysis"]["error"] or "") <= ERROR_MAX_CHARS
    assert len(value.get("error") or "") <= ERROR_MAX_CHARS


@given(RECORDS, TRACKS, analyses())
def test_a_review_shows_every_signal_of_the_reviewers_table(
    record: Record, track: TrackSubmitted, analysis: Analysis
) -> None:
    decided = DECIDER.decide(record, track, analysis, attempts=1, at=AT)
    value = orjson.loads(decided.message.value or b"")
    shown, scores = value["analysis"], value["analysis"]["scores"]
    assert [scores[name] for name in ("truth_score", "geo_score", "proto_score_v1")] == [
        analysis.truth_score,
        analysis.geo_score,
        analysis.proto_score,
    ]
    assert [scores[f"head_{each}"] for each in "abc"] == [analysis.head_a, analysis.head_b, analysis.head_c]
    assert shown["risk_series"] == (None if analysis.risk_series is None else list(analysis.risk_series))
    assert shown["risk_segments"] == (None if analysis.risk_segments is None else list(analysis.risk_segments))
    assert shown["origin"] == analysis.origin
    spoken = {"human": "human", "suspicious": "suspicious", "not_evaluated": None, "unknown": "unknown"}
    assert shown["tier_verdicts"] == {str(tier): spoken[word] for tier, word in analysis.tiers.items()}


@given(RECORDS)
def test_the_id_is_the_uuid_of_the_events_place(record: Record) -> None:
    one = DECIDER.decide(record, TRACK, HUMAN, attempts=1, at=AT)
    assert one.decision_id == str(uuid.uuid5(NAMESPACE, f"{record.topic}/{record.partition}/{record.offset}"))


def test_the_id_does_not_depend_on_time_policy_or_analysis() -> None:
    failed = Analysis(AnalysisStatus.FAILED)
    strict = TrackSubmitted("item", "https://x", policy="strict")
    first = DECIDER.decide(record(), TRACK, HUMAN, attempts=1, at=AT)
    again = SANDBOX.decide(record(b"k"), strict, failed, attempts=4, at=AT + timedelta(days=1))
    assert first.decision_id == again.decision_id


@pytest.mark.parametrize(
    ("outcome", "topic"),
    [
        ("approve", "approve"),
        ("certified", "approve"),
        ("manual_review", "review"),
        ("review", "review"),
        ("reject", "reject"),
        ("rejected", "reject"),
    ],
)
def test_each_outcome_has_its_topic(outcome: str, topic: str) -> None:
    assert TOPICS.of(outcome) == topic


@pytest.mark.parametrize(("key", "expected"), [(b"k", b"k"), (b"", b""), (None, "ü".encode())])
def test_the_events_key_is_kept_or_else_the_item_id_is_it(key: bytes | None, expected: bytes) -> None:
    track = TrackSubmitted("ü", "https://x")
    assert DECIDER.decide(record(key), track, HUMAN, attempts=1, at=AT).message.key == expected


def test_headers_are_the_cloudevents_attributes_the_outcome_and_the_events_trace() -> None:
    trace: Headers = (("traceparent", b"00-1"), ("TraceState", b"a=b"), ("baggage", b"u=1"), ("X-B3-TraceId", b"9"))
    others: Headers = (("ce_id", b"theirs"), ("content-type", b"text/plain"), ("b3", None), ("cookie", b"c"))
    failed = DECIDER.decide(record(headers=trace + others), TRACK, Analysis(AnalysisStatus.FAILED), attempts=1, at=AT)
    assert failed.message.headers == (
        ("ce_specversion", b"1.0"),
        ("ce_type", b"track.decision.v1"),
        ("ce_source", b"/track-intake"),
        ("content-type", b"application/json"),
        ("ce_id", failed.decision_id.encode()),
        ("ce_time", b"2026-09-14T09:31:00.250Z"),
        ("ce_subject", b"item"),
        ("decision", b"manual_review"),
        ("reason", b"analysis_failed"),
        *trace,
    )
    approved = DECIDER.decide(record(), TRACK, HUMAN, attempts=1, at=AT)
    assert "reason" not in dict(approved.message.headers)


def test_mock_results_decide_in_the_sandbox_only() -> None:
    mock = Analysis(AnalysisStatus.SUCCESS, human_safe=TierValue.HUMAN, recall=TierValue.HUMAN, mock=True)
    outside = DECIDER.decide(record(), TRACK, mock, attempts=1, at=AT)
    inside = SANDBOX.decide(record(), TRACK, mock, attempts=1, at=AT)
    assert (outside.decision, outside.reason, inside.decision) == ("manual_review", "mock_result", "approve")


def test_every_outcome_of_every_policy_is_told_with_its_topic() -> None:
    told = DECIDER.outcomes()
    assert len(told) == len(set(told)) == sum(len(policy.outcomes) for policy in BUILT_IN.values())
    assert {topic for topic, decision, _, _ in told if decision == "rejected"} == {TOPICS.reject}
    assert (TOPICS.approve, "approve", None, "two-tier") in told
    assert (TOPICS.review, "manual_review", "mock_result", "certification") in told


def test_a_default_that_is_not_loaded_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="'nope'"):
        Decider(BUILT_IN, "nope", TOPICS)


@given(RECORDS)
def test_what_is_read_is_decided_and_what_is_not_becomes_a_dead_letter(record: Record) -> None:
    found = DECIDER.read(record)
    if isinstance(found, Unreadable):
        check(DECIDER.dead_letter(record, found, at=AT), TOPICS)
    else:
        check(DECIDER.decide(record, found, HUMAN, attempts=1, at=AT).message, TOPICS)


@given(RECORDS, st.sampled_from(ReadError), st.sampled_from(["", "/url", "/data/item_id"]))
def test_a_dead_letter_is_the_record_and_why(record: Record, code: ReadError, path: str) -> None:
    letter = DECIDER.dead_letter(record, Unreadable(code, path), at=AT)
    check(letter, TOPICS)
    assert letter.key == record.key
    assert (letter.value or b"") == (record.value or b"")
    assert letter.headers[:-6] == tuple(each for each in record.headers if each[0] not in OWN_HEADERS)
    assert letter.headers[-6:] == (
        ("dlq_error", code.value.encode()),
        ("dlq_path", path.encode()),
        ("dlq_topic", record.topic.encode()),
        ("dlq_partition", str(record.partition).encode()),
        ("dlq_offset", str(record.offset).encode()),
        ("dlq_time", b"2026-09-14T09:31:00.250Z"),
    )


@given(HEADERS, st.none() | st.binary(max_size=3))
def test_a_replayed_dead_letter_that_fails_again_carries_one_set_of_reasons(
    headers: Headers, value: bytes | None
) -> None:
    first = DECIDER.dead_letter(record(None, headers, value), Unreadable(ReadError.NOT_JSON), at=AT)
    replayed = record(first.key, first.headers, first.value)
    assert DECIDER.dead_letter(replayed, Unreadable(ReadError.NOT_JSON), at=AT) == first


def test_a_dead_letter_always_has_something_to_send() -> None:
    tombstone = Unreadable(ReadError.TOMBSTONE)
    assert DECIDER.dead_letter(record(b"k", (), None), tombstone, at=AT).value is None
    assert DECIDER.dead_letter(record(None, (), None), tombstone, at=AT).value == b""
