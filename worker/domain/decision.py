"""What a decision is, and the message that carries it (schemas/track-decision.v1.json is the source).

- The top level has the fields that the seeds give for the outcome, under their names; everything else a reviewer
  or an auditor needs stands in `analysis`, every key of it always present, null where the API said nothing.
- The outcome's word alone chooses the fields, and the topic: whatever policy said `approve`, it is an approval.
- `decision_id` depends on the event's topic, partition and offset only: deciding the same event again, in another
  process or under another policy, gives the same id.
- No address leaves here: the audio's URL and the evidence URL are not part of a decision, and texts that may quote
  one are cut and cleansed. Only `metadata` is echoed as the sender gave it.
- Texts are valid Unicode and numbers finite: they came out of JSON.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson

from worker.domain import cloudevents, trace
from worker.domain.analysis import AnalysisStatus, TierValue
from worker.domain.certificate import PRESS_SAFE, certificate
from worker.domain.record import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from worker.domain.analysis import Analysis
    from worker.domain.policy import Policy, Ruling
    from worker.domain.record import Headers, Record
    from worker.domain.submission import TrackSubmitted
    from worker.domain.trace import TraceContext

NAMESPACE = uuid.UUID("8a0d3a5e-2b7c-4c0b-9c51-6f1f5d1f9e3a")  # of decision ids: part of the contract, never changed
EVENT_TYPE = "track.decision.v1"
EVENT_SOURCE = "/track-intake"
ERROR_MAX_CHARS = 500

_NAMESPACE_HASH = hashlib.sha1(NAMESPACE.bytes, usedforsecurity=False)
_RFC4122_VARIANT = "89ab"
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC by definition; a zone would only be cut off again
_LAST_TIMESTAMP_MS = 253_402_300_799_999  # the end of year 9999, beyond which RFC 3339 has no words
_SAME_FOR_ALL: Headers = (
    ("ce_specversion", cloudevents.SPECVERSION.encode()),
    ("ce_type", EVENT_TYPE.encode()),
    ("ce_source", EVENT_SOURCE.encode()),
    ("content-type", b"application/json"),
)
_ADDRESS = re.compile(r"\S*://\S*")
_TIER_WORDS: Mapping[TierValue, str | None] = {
    TierValue.HUMAN: "human",
    TierValue.SUSPICIOUS: "suspicious",
    TierValue.NOT_EVALUATED: None,
    TierValue.UNKNOWN: "unknown",
}
_NEEDS_EXPERT = "The press-safe tier does not settle who made this track; an expert has to."
_REVIEW_MESSAGES: Mapping[str | None, str] = {
    "origin_contradicts_tier": "The press-safe tier says human, the origin names a generator; an expert has to decide.",
}


@dataclass(frozen=True, slots=True)
class Decision:
    """One decided track: all that its message is made of. `decided_at` is RFC 3339, UTC; `span` is our own, if any."""

    decision_id: str
    record: Record
    track: TrackSubmitted
    analysis: Analysis
    policy: Policy
    ruling: Ruling
    attempts: int
    decided_at: str
    span: TraceContext | None = None


def decision_id(record: Record) -> str:
    """UUIDv5 of `topic/partition/offset` (a topic's name has no slash) in our namespace.

    hashlib from a prepared state takes a quarter of uuid.uuid5's time.
    """
    state = _NAMESPACE_HASH.copy()
    state.update(f"{record.topic}/{record.partition}/{record.offset}".encode())
    hexed = state.hexdigest()
    variant = _RFC4122_VARIANT[int(hexed[16], 16) & 3]
    return f"{hexed[:8]}-{hexed[8:12]}-5{hexed[13:16]}-{variant}{hexed[17:20]}-{hexed[20:32]}"


def rfc3339(at: datetime) -> str:
    """Milliseconds, UTC. `at` is aware."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def message(decision: Decision, topic: str) -> Message:
    """Encode one decision for its topic."""
    record = decision.record
    key = decision.track.item_id.encode() if record.key is None else record.key
    return Message(topic, key, orjson.dumps(compose(decision), default=dict), _headers(decision))


def compose(decision: Decision) -> dict[str, Any]:
    """Lay out the decision's JSON value."""
    record, track, ruling = decision.record, decision.track, decision.ruling
    head: dict[str, Any] = {"item_id": track.item_id, "decision": ruling.decision}
    if ruling.reason is not None:
        head["reason"] = ruling.reason
    return {
        **head,
        **_LAYOUTS[ruling.decision](decision.analysis, ruling.reason),
        "decision_id": decision.decision_id,
        "policy": {"name": decision.policy.name, "digest": decision.policy.digest},
        "analysis": _analysis(decision.analysis),
        "source": {
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "timestamp": _timestamp(record.timestamp_ms),
        },
        "metadata": track.metadata,
        "attempts": decision.attempts,
        "decided_at": decision.decided_at,
    }


def _headers(decision: Decision) -> Headers:
    ruling = decision.ruling
    reason: Headers = () if ruling.reason is None else (("reason", ruling.reason.encode()),)
    return (
        *_SAME_FOR_ALL,
        ("ce_id", decision.decision_id.encode()),
        ("ce_time", decision.decided_at.encode()),
        ("ce_subject", decision.track.item_id.encode()),
        ("decision", ruling.decision.encode()),
        *reason,
        *trace.passed_on(trace.carried(decision.record.headers, decision.track.trace), decision.span),
    )


def _approved(analysis: Analysis, _reason: str | None) -> dict[str, Any]:
    return {"truth_score": analysis.truth_score}


def _refused(analysis: Analysis, _reason: str | None) -> dict[str, Any]:
    return {
        "truth_score": analysis.truth_score,
        "geo_score": analysis.geo_score,
        "origin": analysis.origin,
    }


def _for_review(analysis: Analysis, _reason: str | None) -> dict[str, Any]:
    if analysis.status is not AnalysisStatus.SUCCESS:
        return {"error": _publishable(analysis.error)}
    return {
        "truth_score": analysis.truth_score,
        "geo_score": analysis.geo_score,
        "risk_series": analysis.risk_series,
    }


def _certified(analysis: Analysis, _reason: str | None) -> dict[str, Any]:
    return {
        "confidence": PRESS_SAFE,
        "proto_score": analysis.proto_score,
        "message": "The acoustic evidence agrees with a human origin at the press-safe tier.",
        "certificate": certificate(analysis),
    }


def _not_certified(analysis: Analysis, _reason: str | None) -> dict[str, Any]:
    return {
        "confidence": PRESS_SAFE,
        "proto_score": analysis.proto_score,
        "origin": analysis.origin,
        "message": "The acoustic evidence points to an AI generator at the press-safe tier.",
    }


def _for_expert(analysis: Analysis, reason: str | None) -> dict[str, Any]:
    return {
        "confidence": "inconclusive",
        "human_safe_verdict": _TIER_WORDS[analysis.human_safe],
        "proto_score": analysis.proto_score,
        "message": _REVIEW_MESSAGES.get(reason, _NEEDS_EXPERT),
    }


_LAYOUTS: Mapping[str, Callable[[Analysis, str | None], dict[str, Any]]] = {
    "approve": _approved,
    "manual_review": _for_review,
    "reject": _refused,
    "certified": _certified,
    "review": _for_expert,
    "rejected": _not_certified,
}


def _analysis(analysis: Analysis) -> dict[str, Any]:
    return {
        "status": analysis.status.value,
        "verdict": analysis.verdict,
        "tier_verdicts": {
            "press_safe": _TIER_WORDS[analysis.press_safe],
            "human_safe": _TIER_WORDS[analysis.human_safe],
            "recall": _TIER_WORDS[analysis.recall],
        },
        "tier_words": analysis.tier_words,
        "scores": {
            "truth_score": analysis.truth_score,
            "geo_score": analysis.geo_score,
            "proto_score_v1": analysis.proto_score,
            "head_a": analysis.head_a,
            "head_b": analysis.head_b,
            "head_c": analysis.head_c,
        },
        "confidence": analysis.confidence,
        "risk_series": analysis.risk_series,
        "risk_segments": analysis.risk_segments,
        "origin": analysis.origin,
        "origin_confidence": analysis.origin_confidence,
        "origin_map": _origin_map(analysis.origin_map),
        "model_version": analysis.model_version,
        "calibration_version": analysis.calibration_version,
        "processed_at": analysis.processed_at,
        "job_id": analysis.job_id,
        "error": _publishable(analysis.error),
        "mock": analysis.mock,
    }


def _origin_map(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Named members only: replies put the evidence URL, which carries an access token, beside them."""
    if found is None:
        return None
    return {
        "nearest_population": _publishable(found.get("nearest_population")),
        "summary_line": _publishable(found.get("summary_line")),
        "neighborhood": _neighborhood(found.get("neighborhood")),
    }


def _neighborhood(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "k": found.get("k"),
        "counts": found.get("counts"),
        "dominant": _publishable(found.get("dominant")),
    }


def _publishable(text: str | None) -> str | None:
    """Cut first: cleansing takes quadratic time at worst."""
    if text is None:
        return None
    cut = text[:ERROR_MAX_CHARS]
    return _ADDRESS.sub("[address]", cut)[:ERROR_MAX_CHARS] if "://" in cut else cut


def _timestamp(unix_ms: int) -> str | None:
    """None where the broker kept no time (-1), or one that no calendar has."""
    if not 0 <= unix_ms <= _LAST_TIMESTAMP_MS:
        return None
    return (_EPOCH + timedelta(milliseconds=unix_ms)).isoformat(timespec="milliseconds") + "Z"
