"""One job of many tracks against an API with every fault: it ends, makes one job, asks seldom, reads no page twice."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.flow.job_model import KEY, POLICY, START, Api, Mishap, Run, accepted, called, new_job, taken_over, told
from worker.domain.jobs import JobStatus
from worker.flow.bulk_job import CallKind, Job, Turn
from worker.flow.faults import FaultKind
from worker.flow.job_intent import Aim, Intent
from worker.flow.replies import Quota

COMMON = [None, None, FaultKind.THROTTLED, FaultKind.OUTCOME_UNKNOWN, FaultKind.UNAVAILABLE]
# An adapter never says these of a creation: it says JobRefused.
KINDS = st.sampled_from([*COMMON, *(kind for kind in FaultKind if kind is not FaultKind.INVALID_REQUEST)])
QUOTAS = st.sampled_from([None, Quota(60, 0, 30.0), Quota(60, 5, 30.0), Quota(60, 0, None)])
MISHAPS = st.builds(
    Mishap,
    KINDS,
    st.booleans(),
    st.sampled_from([None, 0.0, 7.0, 90.0]),
    st.sampled_from([0.0, 0.0, 5.0, 400.0]),
    st.sampled_from([0.0, 0.3, 30.0]),
    QUOTAS,
)
APIS = st.builds(
    Api,
    tracks=st.integers(1, 60),
    queued_seconds=st.sampled_from([0.0, 30.0, 2000.0]),
    work_seconds=st.sampled_from([1.0, 45.0, 900.0, 10_000.0, math.inf]),
    fails=st.booleans(),
    lacking=st.one_of(st.just(frozenset[int]()), st.frozensets(st.integers(0, 59), max_size=3)),
    late_seconds=st.sampled_from([0.0, 0.0, 60.0, math.inf]),
    page_cap=st.sampled_from([1, 7, 1000]),
    beyond=st.sampled_from([None, FaultKind.JOB_UNKNOWN, FaultKind.INVALID_REQUEST]),
    same_page=st.booleans(),
    counts=st.booleans(),
)
CHANCES = st.floats(0, 1, exclude_max=True)
WEBHOOKS = st.sampled_from([None, 0.0, 15.0, 3000.0])
SMALL = replace(POLICY, per_page=10)


@given(APIS, st.lists(MISHAPS, max_size=40), CHANCES, WEBHOOKS, st.booleans())
@settings(max_examples=400, deadline=None)
def test_every_job_ends_under_one_key(
    api: Api, mishaps: list[Mishap], chance: float, webhook_after: float | None, taken: bool
) -> None:
    """Whatever goes wrong: one job, one key, no page twice in a round, questions ever rarer, the deadline at last."""
    job = taken_over(api.tracks, SMALL) if taken else new_job(api.tracks, SMALL)
    given_mishaps = list(mishaps)
    run = Run(api, job, mishaps, chance, webhook_after).go()
    assert len(api.jobs) <= 1
    assert run.keys <= {KEY}
    assert job.rounds <= POLICY.rounds
    assert job.questions == run.calls.count(CallKind.ASK)
    if not job.over and run.unsettled:
        assert run.now >= job.deadline
        assert run.first_call_at is not None
        assert job.deadline >= run.first_call_at + POLICY.deadline_seconds
    if run.turns and run.turns[-1] is Turn.LOST:
        unknown = sum(mishap.kind is FaultKind.JOB_UNKNOWN for mishap in given_mishaps)
        assert unknown >= POLICY.max_attempts
    if job.over and run.unsettled and not any(mishap.kind for mishap in given_mishaps):
        assert api.fails or api.lacking or api.late_seconds or api.same_page


WORKING = st.builds(
    Api,
    tracks=st.integers(1, 60),
    queued_seconds=st.sampled_from([0.0, 30.0, 500.0]),
    work_seconds=st.sampled_from([1.0, 45.0, 900.0, 10_000.0]),
    late_seconds=st.sampled_from([0.0, 60.0, 200.0]),
    page_cap=st.sampled_from([1, 7, 1000]),
    counts=st.booleans(),
)


@given(WORKING, WEBHOOKS, CHANCES)
@settings(deadline=None)
def test_a_job_that_works_is_read_whole(api: Api, webhook_after: float | None, chance: float) -> None:
    """With or without webhooks, in pages of any size, and no page more than its results need, where they are there."""
    run = Run(api, new_job(api.tracks, SMALL), [], chance, webhook_after).go()
    assert not run.unsettled
    assert run.turns[-1] is Turn.READ_TO_THE_END
    if not api.late_seconds:
        assert run.calls.count(CallKind.READ) == math.ceil(api.tracks / min(SMALL.per_page, api.page_cap))


# Questions.


def ask_until_done(job: Job, seconds: float, total: int = 10_000) -> tuple[int, float]:
    """Questions until it is seen complete, and how late that was; it works evenly."""
    while True:
        now = job.next_at
        done = min(1.0, (now - START) / seconds)
        status = JobStatus.COMPLETE if done == 1 else JobStatus.RUNNING
        if called(job, told(status, int(done * total), total), now) is Turn.COMPLETE:
            return job.questions, now - START - seconds


@given(st.floats(1, 1100))
def test_an_even_job_needs_few_questions(seconds: float) -> None:
    """One for its pace, one at its end; late by the allowance, the shortest pause, or a step of its counts."""
    questions, late = ask_until_done(accepted(), seconds)
    assert questions <= 3
    assert late <= max(POLICY.poll_seconds, 0.1 * seconds)


@given(st.floats(1100, 6 * 3600))
def test_a_long_job_is_asked_for_every_ten_minutes(seconds: float) -> None:
    questions, late = ask_until_done(accepted(), seconds)
    assert questions <= 3 + seconds / POLICY.poll_max_seconds
    assert late <= POLICY.poll_max_seconds


@given(st.floats(20, 600), st.floats(0.8, 0.999))
def test_a_job_of_the_expected_length_needs_one_question(expected: float, share: float) -> None:
    questions, late = ask_until_done(accepted(expected_seconds=expected), expected * share)
    assert questions == 1
    assert late <= expected * (1 - share) + 1e-6


def test_a_job_that_was_taken_over_is_asked_for_at_once_and_its_pace_is_what_is_seen_here() -> None:
    """Not what was processed before this owner came, nor what a new job would be expected to need."""
    job = Job(Intent(500, 599, Aim.FETCH, job_id="job"), POLICY, expected_seconds=400.0)
    assert (job.due, job.next_at) == (CallKind.ASK, -math.inf)
    called(job, told(JobStatus.RUNNING, 9000, 10_000), START)
    assert job.next_at == START + POLICY.poll_seconds
    called(job, told(JobStatus.RUNNING, 9100, 10_000), job.next_at)
    assert job.next_at == pytest.approx(START + 20 + 900 / 5 * 1.05)


def test_the_time_in_the_queue_is_no_pace() -> None:
    """300 s without a track, then ten a second."""
    job = accepted()
    for at in (20, 40, 60, 90, 135, 202):
        called(job, told(JobStatus.RUNNING, 0, 10_000), START + at)
    assert job.next_at == START + 202 + 101
    called(job, told(JobStatus.RUNNING, 0, 10_000), START + 303)
    called(job, told(JobStatus.RUNNING, 1000, 10_000), START + 403)
    assert job.next_at == pytest.approx(START + 403 + 600)  # 945, but not later than the longest pause
    called(job, told(JobStatus.RUNNING, 7000, 10_000), START + 1003)
    assert job.next_at == pytest.approx(START + 1003 + 300 * 1.05)


@pytest.mark.parametrize("processed", [None, 0, 9999, 10_000])
@pytest.mark.parametrize("total", [None, 0, 10_000])
def test_a_job_that_stands_still_is_asked_for_ever_more_rarely(processed: int | None, total: int | None) -> None:
    job = accepted()
    asked = [START]
    while job.next_at < job.deadline:
        asked.append(job.next_at)
        assert called(job, told(JobStatus.RUNNING, processed, total), job.next_at) is Turn.RUNNING
    assert len(asked) < 100
    pauses = [after - before for before, after in pairwise(asked)]
    assert sorted(pauses[2:]) == pytest.approx(pauses[2:])
    assert max(pauses) == POLICY.poll_max_seconds
