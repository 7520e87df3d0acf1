"""Jobs and their results as they are read: no bytes raise, no break is laid to somebody else's track."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.domain.analyses import JSON
from worker.domain.analysis import Analysis, AnalysisStatus, TierValue
from worker.domain.jobs import (
    JobState,
    JobStatus,
    ResultFlaw,
    TrackResult,
    UnreadableResult,
    is_job_id,
    result_of,
    result_of_line,
    result_too_long,
    state_of,
)
from worker.domain.normalise import UnknownShape, analysis_of
from worker.domain.recovery import item_id_in

RESULT = {
    "item_id": "17",
    "id": "r1",
    "status": "success",
    "verdict": "suspicious",
    "tier_verdicts": {"press_safe": None, "human_safe": "human", "recall": "suspicious"},
    "scores": {"truth_score": 0.6, "geo_score": 0.5},
    "origin": "suno",
    "risk_series": [0.1, 0.2],
    "metadata": {"item_id": "customer-4", "n": [1, {"item_id": "deep"}]},
}
LINE = orjson.dumps(RESULT)


def test_a_line_is_the_same_analysis_as_the_single_calls() -> None:
    found = result_of_line(LINE, job_id="job-1")
    single = analysis_of(RESULT, job_id="job-1")
    assert found == TrackResult("17", single)  # type: ignore[arg-type]
    assert isinstance(single, Analysis)
    assert (single.job_id, single.recall) == ("job-1", TierValue.SUSPICIOUS)


@pytest.mark.parametrize("error", [None, "audio_load_failed"])
def test_a_failed_track_is_a_failed_analysis_with_its_error_and_its_job(error: str | None) -> None:
    record = {"item_id": "17", "status": "failed", "verdict": None} | ({"error": error} if error else {})
    found = result_of(record, job_id="job-1")
    assert isinstance(found, TrackResult)
    assert (found.analysis.status, found.analysis.error, found.analysis.job_id) == (
        AnalysisStatus.FAILED,
        error,
        "job-1",
    )


@pytest.mark.parametrize(
    ("record", "item_id", "flaw"),
    [
        ([], None, ResultFlaw.NOT_AN_OBJECT),
        (None, None, ResultFlaw.NOT_AN_OBJECT),
        ({}, None, ResultFlaw.NO_ITEM_ID),
        (RESULT | {"item_id": 17}, None, ResultFlaw.NO_ITEM_ID),
        (RESULT | {"item_id": ""}, None, ResultFlaw.NO_ITEM_ID),
        (RESULT | {"item_id": "x" * 513}, None, ResultFlaw.NO_ITEM_ID),
        ({"item_id": "17", "status": "processing", "verdict": None}, "17", ResultFlaw.UNFINISHED),
        (RESULT | {"status": "processing"}, "17", ResultFlaw.UNFINISHED),
        (RESULT | {"status": "nobody_documented_this"}, "17", ResultFlaw.UNFINISHED),
        ({"item_id": "17"}, "17", ResultFlaw.UNFINISHED),
        ({"item_id": "17", "verdict": None}, "17", ResultFlaw.UNFINISHED),
        ({"item_id": "17", "status": "success"}, "17", ResultFlaw.UNKNOWN_SHAPE),
        ({"item_id": "17", "status": ["success"]}, "17", ResultFlaw.UNKNOWN_SHAPE),
    ],
)
def test_what_is_no_result_says_so_and_whose_it_is(record: Any, item_id: str | None, flaw: ResultFlaw) -> None:
    assert result_of(record, job_id="job-1") == UnreadableResult(item_id, flaw)
    assert result_of_line(orjson.dumps(record), job_id="job-1") == UnreadableResult(item_id, flaw)


def test_a_result_without_a_status_word_counts_if_it_has_a_verdict() -> None:
    assert isinstance(result_of({"item_id": "17", "verdict": "human"}, job_id="j"), TrackResult)


@given(cut=st.integers(0, len(LINE) - 1))
def test_a_line_cut_anywhere_is_laid_to_its_own_track_or_to_nobody(cut: int) -> None:
    found = result_of_line(LINE[:cut], job_id="job-1")
    assert isinstance(found, UnreadableResult)
    assert found.flaw is ResultFlaw.NOT_JSON
    assert found.item_id == ("17" if cut >= len(b'{"item_id":"17"') else None)


@pytest.mark.parametrize("byte", [*b'{}[]:,"\\0tn e', 0, 10, 0x7F, 0xC3, 0xFF])
def test_a_spoilt_byte_never_lays_a_record_to_another_track(byte: int) -> None:
    """At every place but those of the id itself and the quote that ends it."""
    for place in (*range(len(b'{"item_id":"')), *range(len(b'{"item_id":"17"'), len(LINE))):
        assert item_id_in(LINE[:place] + bytes([byte]) + LINE[place + 1 :]) in (None, "17")


@given(record=st.dictionaries(st.text(max_size=4), JSON, max_size=4), item_id=st.text(min_size=1, max_size=9))
def test_an_own_id_is_found_wherever_it_stands_and_a_deeper_one_never(record: dict[str, Any], item_id: str) -> None:
    record.pop("item_id", None)
    nested = {"m": {"item_id": "other"}, "l": [{"item_id": "other"}], "s": '"item_id":"other"', "v": "item_id"}
    assert item_id_in(orjson.dumps(nested | record | {"item_id": item_id})) == item_id
    assert item_id_in(orjson.dumps(nested | record)) is None


def test_a_stray_quote_ends_what_is_believed() -> None:
    assert item_id_in(b'{"error":"no " quote","item_id":"17"}') is None
    assert item_id_in(b'{"item_id":"17","error":"no " quote"}') == "17"
    assert item_id_in(b'{"item_id":17}') is None
    assert item_id_in(b'{"item_id":"\xff"}') is None
    assert item_id_in(b'{"item_id" : "a\\"b", "x') == 'a"b'
    assert item_id_in(b'["item_id":"17"') is None


@given(line=st.binary(max_size=60) | JSON.map(orjson.dumps))
def test_no_line_raises(line: bytes) -> None:
    for found in (result_of_line(line, job_id="j"), result_too_long(line)):
        assert isinstance(found, TrackResult | UnreadableResult)


def test_an_overlong_line_says_whose_it_was() -> None:
    assert result_too_long(LINE[:60]) == UnreadableResult("17", ResultFlaw.TOO_LONG)


JOB = {
    "id": "job-1",
    "name": "Intake",
    "status": "processing",
    "total": 10,
    "processed": 4,
    "succeeded": 3,
    "failed": 1,
    "verdict_counts": {"human": 3},
    "created_at": "2026-05-01T00:00:00Z",
    "completed_at": None,
}


def test_a_job_object_is_read() -> None:
    running = JobState("job-1", JobStatus.RUNNING, "processing", total=10, processed=4, succeeded=3, failed=1)
    assert state_of(JOB) == state_of(JOB, job_id="job-1") == running


@pytest.mark.parametrize(
    ("word", "status", "shown"),
    [
        ("complete", JobStatus.COMPLETE, "complete"),
        ("failed", JobStatus.FAILED, "failed"),
        ("queued", JobStatus.RUNNING, "queued"),
        ("completed", JobStatus.RUNNING, "completed"),
        ("Complete", JobStatus.RUNNING, "Complete"),
        ("https://x.example/?t=1", JobStatus.RUNNING, "unreadable"),
        ("", JobStatus.RUNNING, "unreadable"),
    ],
)
def test_only_two_words_end_a_job(word: str, status: JobStatus, shown: str) -> None:
    found = state_of(JOB | {"status": word})
    assert isinstance(found, JobState)
    assert (found.status, found.word) == (status, shown)


@pytest.mark.parametrize("value", [-1, 1.5, True, "3", None, 2**60, [3]])
def test_a_count_that_is_none_is_absent(value: Any) -> None:
    found = state_of(JOB | {"total": value, "processed": 3.0})
    assert isinstance(found, JobState)
    assert (found.total, found.processed) == (None, 3)


def test_a_creation_may_leave_out_its_word_and_a_question_its_id_but_never_another_ones() -> None:
    assert isinstance(state_of({"id": "job-1"}), JobState)
    assert isinstance(state_of({"job_id": "job-1"}), JobState)
    assert isinstance(state_of({"status": "complete"}, job_id="job-1"), JobState)
    assert state_of({"status": "complete"}) == UnknownShape(("status",))
    assert isinstance(state_of({"id": "job-1"}, job_id="job-1"), UnknownShape)
    assert isinstance(state_of(JOB, job_id="job-2"), UnknownShape)
    assert isinstance(state_of(JOB | {"status": 17}), UnknownShape)
    assert isinstance(state_of(JOB | {"id": ".."}), UnknownShape)


@given(body=JSON | st.dictionaries(st.sampled_from(list(JOB)), JSON), job_id=st.none() | st.just("job-1"))
def test_no_job_object_raises(body: Any, job_id: str | None) -> None:
    found = state_of(body, job_id=job_id)
    if isinstance(found, JobState):
        assert is_job_id(found.job_id)
        assert job_id in (None, found.job_id)
