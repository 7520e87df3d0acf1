"""Webhooks: only the API's own are believed, and whatever they hold is a value."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.domain.analyses import JSON
from worker.domain.analysis import AnalysisStatus
from worker.domain.normalise import analysis_of
from worker.domain.webhook import (
    MAX_EVENT_BYTES,
    EventFlaw,
    JobComplete,
    JobFailed,
    Signal,
    TrackComplete,
    Unreadable,
    parse,
    sign,
    verify,
)

SECRET = b"whsec-17"
TRACK = {
    "event": "track.complete",
    "job_id": "job-1",
    "item_id": "17",
    "status": "success",
    "verdict": "suspicious",
    "tier_verdicts": {"press_safe": None, "human_safe": "human", "recall": "suspicious"},
    "scores": {"truth_score": 0.6, "geo_score": 0.5, "proto_score_v1": 0.1, "head_a": 0.2, "head_b": 0.3},
    "processed_at": "2026-05-01T00:00:00Z",
}
SPOKEN = dict.fromkeys(("origin", "risk_series"))


def read(event: Any) -> Any:
    return parse(orjson.dumps(event))


@given(body=st.binary(max_size=60), secret=st.binary(min_size=1, max_size=20))
def test_what_is_signed_verifies_with_the_same_secret_and_bytes_alone(body: bytes, secret: bytes) -> None:
    header = sign(secret, body)
    assert header == f"sha256={hmac.new(secret, body, hashlib.sha256).hexdigest()}"
    assert verify(secret, body, header)
    assert verify(secret, body, "sha256=" + header[7:].upper())
    assert not verify(secret + b"x", body, header)
    assert not verify(secret, body + b" ", header)


@given(place=st.integers(0, 63), digit=st.sampled_from("0123456789abcdef"))
def test_a_signature_with_one_digit_changed_does_not_verify(place: int, digit: str) -> None:
    header = sign(SECRET, b"{}")
    changed = header[: 7 + place] + digit + header[8 + place :]
    assert verify(SECRET, b"{}", changed) is (changed == header)


@given(header=st.none() | st.text(max_size=80) | st.text("0123456789abcdef", max_size=70).map("sha256={}".format))
def test_no_header_raises_and_none_of_these_verifies(header: str | None) -> None:
    assert not verify(SECRET, b"{}", header)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda given: given[:0],
        lambda given: given[7:],
        lambda given: given.replace("sha256", "SHA256"),
        lambda given: given.replace("sha256", "sha1"),
        lambda given: f" {given}",
        lambda given: f"{given}\n",
        lambda given: f"{given}00",
        lambda given: given[:-1],
        lambda given: f"{given},{given}",
        lambda given: given[:-2] + "zz",
        lambda given: given[:-1] + "\u0661",
    ],
)  # fmt: skip
def test_a_malformed_header_does_not_verify(spoil: Any) -> None:
    assert not verify(SECRET, b"{}", spoil(sign(SECRET, b"{}")))


def test_an_empty_secret_verifies_nothing() -> None:
    assert not verify(b"", b"{}", sign(b"", b"{}"))


def test_a_finished_track_is_its_analysis_and_what_it_did_not_speak_of() -> None:
    found = read(TRACK)
    assert found == TrackComplete(
        "job-1",
        "17",
        analysis_of(TRACK, job_id="job-1"),  # type: ignore[arg-type]
        frozenset({Signal.ORIGIN, Signal.RISK, Signal.HEAD_C}),
    )


@pytest.mark.parametrize("signal", Signal)
def test_each_signal_is_lacking_where_the_event_is_silent_and_a_null_is_not_silent(signal: Signal) -> None:
    whole: dict[str, Any] = (
        TRACK | SPOKEN | {"scores": dict.fromkeys(s.value for s in Signal if "score" in s or "head" in s)}
    )
    assert read(whole).lacking == frozenset()
    scores = {name: value for name, value in whole["scores"].items() if name != signal}
    silent = {name: value for name, value in whole.items() if name != signal} | {"scores": scores}
    assert read(silent).lacking == {signal}


@pytest.mark.parametrize("scores", [None, [], "0.5"])
def test_scores_that_cannot_be_read_are_lacking(scores: Any) -> None:
    assert Signal.TRUTH_SCORE in read(TRACK | {"scores": scores}).lacking


def test_a_failed_track_lacks_nothing() -> None:
    found = read({"event": "track.complete", "job_id": "j", "item_id": "17", "status": "failed", "error": "x"})
    assert (found.analysis.status, found.analysis.error, found.analysis.job_id) == (AnalysisStatus.FAILED, "x", "j")
    assert found.lacking == frozenset()


def test_the_jobs_ends_are_read() -> None:
    summary = {"total": 3, "succeeded": 2, "failed": 1, "verdict_counts": {}}
    done = {"event": "job.complete", "job_id": "j", "job_name": "n", "completed_at": "T", "summary": summary}
    assert read(done) == JobComplete("j", "T", 3, 2, 1)
    assert read(done | {"summary": None, "completed_at": 1}) == JobComplete("j")
    assert read(done | {"summary": {"total": -1, "failed": True}}) == JobComplete("j", "T")
    assert read({"event": "job.failed", "job_id": "j", "error": "no_manifest"}) == JobFailed("j", "no_manifest")
    assert read({"event": "job.failed", "id": "j", "error": "https://x.example/?token=1"}) == JobFailed("j")


@pytest.mark.parametrize(
    ("event", "flaw"),
    [
        ([], EventFlaw.NOT_AN_OBJECT),
        ({}, EventFlaw.UNKNOWN_EVENT),
        ({"event": "job.started", "job_id": "j"}, EventFlaw.UNKNOWN_EVENT),
        ({"event": ["track.complete"], "job_id": "j"}, EventFlaw.UNKNOWN_EVENT),
        (TRACK | {"job_id": None}, EventFlaw.NO_JOB_ID),
        (TRACK | {"job_id": None, "id": "scan-1"}, EventFlaw.NO_JOB_ID),
        (TRACK | {"job_id": "x" * 257}, EventFlaw.NO_JOB_ID),
        ({"event": "job.failed"}, EventFlaw.NO_JOB_ID),
        (TRACK | {"item_id": None}, EventFlaw.NO_RESULT),
        (TRACK | {"status": "processing"}, EventFlaw.NO_RESULT),
        ({"event": "track.complete", "job_id": "j", "item_id": "17", "status": "success"}, EventFlaw.NO_RESULT),
    ],
)
def test_what_is_no_event_says_why(event: Any, flaw: EventFlaw) -> None:
    assert read(event) == Unreadable(flaw)


def test_an_event_is_bounded() -> None:
    body = orjson.dumps(TRACK)
    assert isinstance(parse(body.ljust(MAX_EVENT_BYTES)), TrackComplete)
    assert parse(body.ljust(MAX_EVENT_BYTES + 1)) == Unreadable(EventFlaw.TOO_LONG)
    assert parse(b"[" * 100_000) == Unreadable(EventFlaw.NOT_JSON)


EVENTS = st.fixed_dictionaries(
    {"event": st.sampled_from(["track.complete", "job.complete", "job.failed"]) | JSON},
    optional={name: JSON for name in [*TRACK, "summary", "completed_at", "error"] if name != "event"},
)


@given(body=st.binary(max_size=60) | JSON.map(orjson.dumps) | EVENTS.map(orjson.dumps))
def test_no_body_raises(body: bytes) -> None:
    assert isinstance(parse(body), TrackComplete | JobComplete | JobFailed | Unreadable)


@given(
    job_id=st.text(min_size=1, max_size=9).filter(lambda text: text not in {".", ".."}),
    item_id=st.text(min_size=1, max_size=9),
)
def test_ids_come_back_as_they_were_given(job_id: str, item_id: str) -> None:
    found = read(TRACK | {"job_id": job_id, "item_id": item_id})
    assert (found.job_id, found.item_id) == (job_id, item_id)
