"""Each outcome carries the fields that the seeds give it, and no other outcome's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.domain.analyses import ORIGINS, analyses
from worker.domain.analysis import Analysis, AnalysisStatus, TierValue
from worker.domain.certificate import certificate
from worker.domain.decider import Decider, Topics
from worker.domain.policies import BUILT_IN
from worker.domain.record import Record
from worker.domain.submission import TrackSubmitted

DECIDER = Decider(BUILT_IN, "two-tier", Topics("in", "a", "r", "j", "d"))
AT = datetime(2026, 9, 14, tzinfo=UTC)
HUMAN, SUSPICIOUS, NULL, UNKNOWN = (
    TierValue.HUMAN,
    TierValue.SUSPICIOUS,
    TierValue.NOT_EVALUATED,
    TierValue.UNKNOWN,
)
EVERYWHERE = {
    "item_id",
    "decision",
    "decision_id",
    "policy",
    "analysis",
    "source",
    "metadata",
    "attempts",
    "decided_at",
}


def decide(policy: str, analysis: Analysis, timestamp_ms: int = 0) -> dict[str, Any]:
    record = Record("in", 0, 0, timestamp_ms, None, b"", ())
    track = TrackSubmitted("item", "https://x", policy=policy)
    decided = DECIDER.decide(record, track, analysis, attempts=1, at=AT)
    found: dict[str, Any] = orjson.loads(decided.message.value or b"")
    return found


def analysed(press_safe: TierValue, human_safe: TierValue, recall: TierValue, **more: Any) -> Analysis:
    signals = {"truth_score": 0.1, "geo_score": 0.2, "proto_score": 0.3, "risk_series": (0.4, 0.5), "origin": "human"}
    return Analysis(AnalysisStatus.SUCCESS, press_safe, human_safe, recall, **{**signals, **more})


@pytest.mark.parametrize(
    ("policy", "analysis", "expected"),
    [
        ("two-tier", analysed(NULL, HUMAN, HUMAN), {"decision": "approve", "truth_score": 0.1}),
        (
            "two-tier",
            Analysis(AnalysisStatus.FAILED, error="audio_load_failed"),
            {"decision": "manual_review", "reason": "analysis_failed", "error": "audio_load_failed"},
        ),
        (
            "certification",
            Analysis(AnalysisStatus.TIMEOUT),
            {"decision": "manual_review", "reason": "analysis_timeout", "error": None},
        ),
        (
            "two-tier",
            analysed(NULL, HUMAN, SUSPICIOUS),
            {
                "decision": "manual_review",
                "reason": "recall_suspicious_borderline",
                "truth_score": 0.1,
                "geo_score": 0.2,
                "risk_series": [0.4, 0.5],
            },
        ),
        (
            "two-tier",
            analysed(NULL, SUSPICIOUS, SUSPICIOUS, origin="suno"),
            {
                "decision": "reject",
                "reason": "human_safe_suspicious",
                "truth_score": 0.1,
                "geo_score": 0.2,
                "origin": "suno",
            },
        ),
        (
            "certification",
            analysed(HUMAN, HUMAN, HUMAN, calibration_version="c", processed_at="t"),
            {
                "decision": "certified",
                "confidence": "press-safe",
                "proto_score": 0.3,
                "certificate": {
                    "confidence_tier": "press-safe",
                    "proto_score_v1": 0.3,
                    "calibration_version": "c",
                    "processed_at": "t",
                    "origin": "human",
                },
            },
        ),
        (
            "certification",
            analysed(SUSPICIOUS, SUSPICIOUS, SUSPICIOUS, origin="udio"),
            {
                "decision": "rejected",
                "reason": "press_safe_suspicious",
                "confidence": "press-safe",
                "proto_score": 0.3,
                "origin": "udio",
            },
        ),
        (
            "certification",
            analysed(NULL, HUMAN, HUMAN),
            {
                "decision": "review",
                "reason": "inconclusive",
                "confidence": "inconclusive",
                "human_safe_verdict": "human",
                "proto_score": 0.3,
            },
        ),
        (
            "certification",
            analysed(HUMAN, UNKNOWN, HUMAN, origin="udio"),
            {
                "decision": "review",
                "reason": "origin_contradicts_tier",
                "confidence": "inconclusive",
                "human_safe_verdict": "unknown",
                "proto_score": 0.3,
            },
        ),
    ],
)
def test_each_outcome_has_its_fields_and_no_others(policy: str, analysis: Analysis, expected: dict[str, Any]) -> None:
    found = decide(policy, analysis)
    message = found.pop("message", None)
    assert {name: found[name] for name in found.keys() - (EVERYWHERE - {"decision"})} == expected
    assert (message is not None) == (expected["decision"] in {"certified", "rejected", "review"})


def test_a_review_that_contradicts_itself_says_so() -> None:
    contradiction = decide("certification", analysed(HUMAN, HUMAN, HUMAN, origin="udio"))
    assert "origin" in contradiction["message"]
    assert contradiction["message"] != decide("certification", analysed(NULL, HUMAN, HUMAN))["message"]


@given(ORIGINS)
def test_a_certificate_names_a_human_origin_or_none(origin: str | None) -> None:
    said = certificate(Analysis(AnalysisStatus.SUCCESS, origin=origin))["origin"]
    assert said == ("human" if origin in {"human", "Human"} else None)


@given(analyses())
def test_whoever_is_certified_no_generator_is_named(analysis: Analysis) -> None:
    found = decide("certification", analysis)
    if found["decision"] == "certified":
        assert found["analysis"]["origin"] in {None, "human", "Human", "uncertain", "unknown", ""}
        assert found["analysis"]["tier_verdicts"]["press_safe"] == "human"


@given(st.integers(0, 253_402_300_799_999))
@example(0)
@example(253_402_300_799_999)
def test_the_source_tells_kafkas_timestamp_to_the_millisecond(unix_ms: int) -> None:
    told = datetime.fromisoformat(decide("two-tier", Analysis(AnalysisStatus.FAILED), unix_ms)["source"]["timestamp"])
    assert (told - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1) == unix_ms


@pytest.mark.parametrize("unix_ms", [-1, -(2**63), 253_402_300_800_000, 2**63 - 1])
def test_no_timestamp_is_null(unix_ms: int) -> None:
    assert decide("two-tier", Analysis(AnalysisStatus.FAILED), unix_ms)["source"]["timestamp"] is None


def test_only_named_members_of_the_origin_map_are_shown() -> None:
    shown = {
        "nearest_population": "udio",
        "summary_line": "near udio",
        "neighborhood": {"k": 5, "counts": {"udio": 5}, "dominant": "udio"},
    }
    given_map = {**shown, "origin_map_evidence": "token", "neighborhood": {**shown["neighborhood"], "more": 1}}  # type: ignore[dict-item]
    found = decide("two-tier", analysed(NULL, HUMAN, SUSPICIOUS, origin_map=given_map))
    assert found["analysis"]["origin_map"] == shown
    bare = decide("two-tier", analysed(NULL, HUMAN, SUSPICIOUS, origin_map={"neighborhood": {}}))
    assert bare["analysis"]["origin_map"] == {
        "nearest_population": None,
        "summary_line": None,
        "neighborhood": {"k": None, "counts": None, "dominant": None},
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("audio_load_failed", "audio_load_failed"),
        ("GET https://a/b.mp3?s=1 failed", "GET [address] failed"),
        ("é" * 600, "é" * 500),
        ("x://" * 300, "[address]"),
        ("a " * 248 + "b://c", "a " * 248 + "[add"),
    ],
)
def test_errors_are_bounded_and_quote_no_address(text: str, shown: str) -> None:
    found = decide("two-tier", Analysis(AnalysisStatus.FAILED, error=text))
    assert found["error"] == shown
    assert found["analysis"]["error"] == shown
