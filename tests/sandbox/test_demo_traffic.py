"""The sample traffic: every case in it, and every expectation agrees with what the worker's own rules make of it."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.domain.analysis import Analysis, AnalysisStatus
from worker.domain.decider import Decider, Topics
from worker.domain.normalise import UnknownShape, analysis_of
from worker.domain.policies import BUILT_IN
from worker.domain.record import Record
from worker.domain.submission import ReadError, TrackSubmitted, Unreadable
from worker.sandbox.api.config import CATALOGUE
from worker.sandbox.api.findings import Findings
from worker.sandbox.api.scenarios import SCENARIOS, scenario_of
from worker.sandbox.cases import DEAD_LETTER, MALFORMED, cases_of, smallest_count
from worker.sandbox.outcomes import Board, Submitted, outcome_of
from worker.sandbox.surroundings import TOPICS
from worker.sandbox.traffic import SampleEvent, backlog_events, sample_events, smallest_backlog

if TYPE_CHECKING:
    from worker.domain.record import Message

NAMES = Topics(**{name.removeprefix("TOPIC_").lower(): topic for name, topic in TOPICS.items()})
DECIDER = Decider(BUILT_IN, "two-tier", NAMES)
NOW = datetime(2026, 10, 1, tzinfo=UTC)
GENERATIONS = st.sampled_from([1, 2])
STREAMS = st.builds(
    lambda seed, more, generation: sample_events(seed, smallest_count(generation) + more, generation=generation),
    st.integers(0, 2**32),
    st.integers(0, 60),
    GENERATIONS,
)


def record_of(event: SampleEvent, offset: int = 0) -> Record:
    return Record(TOPICS["TOPIC_SUBMITTED"], 0, offset, 1_790_000_000_000, event.key, event.value, event.headers)


@given(seed=st.integers(), more=st.integers(0, 40), generation=GENERATIONS)
def test_the_same_arguments_give_the_same_events(seed: int, more: int, generation: int) -> None:
    count = smallest_count(generation) + more
    first = sample_events(seed, count, generation=generation)
    assert first == sample_events(seed, count, generation=generation)
    assert len(first) == count


@given(events=STREAMS)
def test_every_case_comes_and_no_two_events_share_an_address_or_an_id(events: list[SampleEvent]) -> None:
    generation = 1 if any(event.case == "file_id" for event in events) else 2
    cases = {case.name for case in cases_of(generation)} | {malformed.name for malformed in MALFORMED}
    assert {event.case for event in events} == cases
    tracks = [DECIDER.read(record_of(event)) for event in events]
    audios = Counter(track.url or track.file_id for track in tracks if isinstance(track, TrackSubmitted))
    ids = Counter(track.item_id for track in tracks if isinstance(track, TrackSubmitted))
    assert max(audios.values()) == max(ids.values()) == 1


@given(events=STREAMS)
def test_what_waits_for_its_deadline_holds_nobody_back(events: list[SampleEvent]) -> None:
    keys = Counter(event.key for event in events)
    waiting = [number for number, event in enumerate(events) if event.expected.reason == "analysis_timeout"]
    assert len(waiting) == 2
    assert max(waiting) < len(events) // 4
    assert all(events[number].key and keys[events[number].key] == 1 for number in waiting)


@given(seed=st.integers(), more=st.integers(0, 300))
def test_a_backlog_has_every_track_of_its_generation_but_those_that_time_out(seed: int, more: int) -> None:
    events = backlog_events(seed, smallest_backlog() + more)
    assert events == backlog_events(seed, smallest_backlog() + more)
    assert {event.case for event in events} == {case.name for case in cases_of(1) if not case.times_out}
    tracks = [DECIDER.read(record_of(event)) for event in events]
    audios = {track.url or track.file_id for track in tracks if isinstance(track, TrackSubmitted)}
    assert len(audios) == len(events) == smallest_backlog() + more


def test_a_backlog_of_fewer_tracks_than_cases_is_refused() -> None:
    with pytest.raises(ValueError, match=str(smallest_backlog())):
        backlog_events(0, smallest_backlog() - 1)


@pytest.mark.parametrize("generation", [1, 2])
def test_fewer_events_than_cases_are_refused(generation: int) -> None:
    with pytest.raises(ValueError, match=str(smallest_count(generation))):
        sample_events(0, smallest_count(generation) - 1, generation=generation)


def test_every_way_of_being_malformed_is_in_it() -> None:
    assert Counter(each.code for each in MALFORMED) == Counter(error.value for error in ReadError)


def test_every_policy_is_named_and_every_decision_comes() -> None:
    cases = [*cases_of(1), *cases_of(2)]
    assert {case.policy for case in cases} == {None, *BUILT_IN}
    assert {case.scenario for case in cases} <= SCENARIOS.keys()
    words = {"approve", "manual_review", "reject", "certified", "review", "rejected"}
    assert {case.decision for case in cases} == words


def analysed(track: TrackSubmitted, generation: int) -> Analysis:
    """What the simulated API finds, as the worker reads it; a track that never comes to an end times out."""
    if track.file_id is not None and generation == 2:
        return Analysis(AnalysisStatus.FAILED)
    scenario = scenario_of(track.url or track.file_id or "", seed=0, catalogue=CATALOGUE)
    if not scenario.ends or scenario.slowness > 1:
        return Analysis(AnalysisStatus.TIMEOUT)
    findings = Findings(seed=0)
    if generation == 1:
        body = findings.generation_1(scenario, scan_id="1", now=0.0)
    else:
        body = findings.generation_2(scenario, job_id="1", full=True, now=0.0)
    found = analysis_of(orjson.loads(body))
    assert not isinstance(found, UnknownShape)
    return found


def processed(event: SampleEvent, offset: int, generation: int) -> Message:
    record = record_of(event, offset)
    track = DECIDER.read(record)
    if isinstance(track, Unreadable):
        return DECIDER.dead_letter(record, track, at=NOW)
    return DECIDER.decide(record, track, analysed(track, generation), attempts=1, at=NOW).message


@pytest.mark.parametrize("generation", [1, 2])
@settings(max_examples=10)
@given(seed=st.integers(0, 1000))
def test_the_workers_rules_and_the_expectations_agree(generation: int, seed: int) -> None:
    """The expectations were written by hand; a board over the worker's own messages finds nothing wrong."""
    board, due = Board(), 0
    for offset, event in enumerate(sample_events(seed, 60, generation=generation)):
        message = processed(event, offset, generation)
        board.submit((0, offset), Submitted(event, generation, 0))
        board.add(outcome_of(Record(message.topic, 0, offset, 0, message.key, message.value, message.headers)))
        due += event.expected.credits
    assert board.problems(credits_bought=due, bought_again={}) == []
    free = {each.event.case for each in board.submitted.values() if each.event.expected.credits == 0}
    assert all(case == "file_id refused" or case.startswith("malformed") for case in free)


def test_both_modes_of_cloudevents_and_trace_headers_come() -> None:
    events = sample_events(0, 60)
    structured, binary = (
        next(event for event in events if event.case == f"CloudEvent, {mode}") for mode in ("structured", "binary")
    )
    assert orjson.loads(structured.value or b"")["specversion"] == "1.0"
    assert dict(structured.headers)["content-type"] == b"application/cloudevents+json; charset=utf-8"
    assert dict(binary.headers)["ce_specversion"] == b"1.0"
    for event in events:
        assert re.fullmatch(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-01", dict(event.headers)["traceparent"] or b"")
        assert event.expected.outcome != DEAD_LETTER or event.expected.credits == 0
