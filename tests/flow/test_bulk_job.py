"""One job of many tracks, rule by rule: what each answer means for it. `test_bulk_job_course` has all at once."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.flow.job_model import CREATE, KEY, POLICY, READ, START, accepted, called, ended, new_job, read, told
from worker.domain.jobs import JobStatus
from worker.flow.bulk_job import CallKind, Job, Turn
from worker.flow.faults import FaultKind, Repeat
from worker.flow.job_intent import MAX_ID_BYTES, Aim, Intent
from worker.flow.job_replies import JobRefused, JobReply, PageEnd
from worker.flow.replies import Fault, Quota

QUOTAS = st.sampled_from([None, Quota(60, 0, 30.0), Quota(60, 5, 30.0), Quota(60, 0, None)])
CHANCES = st.floats(0, 1, exclude_max=True)
NO_SUCH_PAGE = [kind for kind, row in READ.items() if row.repeat in {Repeat.NEVER, Repeat.ATTEMPTS}]


# What ends a job unasked.


def test_a_webhook_ends_the_wait() -> None:
    job = accepted()
    assert (job.due, job.next_at) == (CallKind.ASK, START + 20)
    job.end(JobStatus.RUNNING, START + 4)
    assert job.due is CallKind.ASK
    job.end(JobStatus.COMPLETE, START + 5)
    assert (job.due, job.next_at) == (CallKind.READ, START + 5)
    job.end(JobStatus.FAILED, START + 6)  # replayed, or wrong: the first word counts
    assert (job.ended, job.next_at) == (JobStatus.COMPLETE, START + 5)


@pytest.mark.parametrize("status", [JobStatus.COMPLETE, JobStatus.FAILED])
def test_a_webhook_is_newer_than_an_answer_on_its_way(status: JobStatus) -> None:
    """Neither the wait nor the page that is being read begins anew."""
    job = accepted()
    job.call_started(START + 20)
    job.end(status, START + 21)
    turn = job.answered(told(JobStatus.RUNNING, 5, 10), START + 22, 0.5)
    assert turn.value == status.value
    assert (job.due, job.next_at) == (CallKind.READ, START + 21)


def test_a_webhook_may_know_of_a_job_whose_acceptance_was_lost() -> None:
    """It is made again, so that its id is known, and read at once."""
    job = new_job()
    called(job, JobReply(Fault(FaultKind.OUTCOME_UNKNOWN, "cut")), START)
    job.end(JobStatus.COMPLETE, START + 1)
    assert (job.due, job.next_at) == (CallKind.CREATE, START + 1)
    assert called(job, told(JobStatus.RUNNING), START + 1) is Turn.ACCEPTED
    assert (job.due, job.next_at) == (CallKind.READ, START + 1)


def test_a_call_that_was_given_up_is_due_again() -> None:
    job = accepted()
    job.call_started(START + 20)
    job.call_dropped()
    assert job.due is CallKind.ASK


# Creation.


def test_a_refused_request_ends_the_job() -> None:
    job = new_job()
    assert called(job, JobReply(JobRefused("422 items: too many")), START) is Turn.REFUSED
    assert (job.over, job.due, job.detail) == (True, None, "422 items: too many")


def test_a_question_cannot_undo_a_job() -> None:
    """Its tracks are bought: as after INVALID_REQUEST, the next question waits as long as any."""
    job = accepted()
    assert called(job, JobReply(JobRefused("422")), START + 20) is Turn.REPEATS
    assert (job.due, job.next_at) == (CallKind.ASK, START + 620)


@pytest.mark.parametrize("kind", FaultKind)
def test_a_creation_follows_the_table(kind: FaultKind) -> None:
    """The same request, as often as the row says."""
    job, row = new_job(), CREATE[kind]
    turns = [called(job, JobReply(Fault(kind, "detail")), START) for _ in range(POLICY.max_attempts) if not job.over]
    assert job.intent == Intent(500, 599, Aim.CREATE, key=KEY)
    assert job.detail == "detail"
    match row.repeat:
        case Repeat.NEVER:
            assert turns == [Turn.REFUSED]
        case Repeat.ATTEMPTS:
            assert turns == [*[Turn.REPEATS] * (POLICY.max_attempts - 1), Turn.HOPELESS]
        case _:
            assert set(turns) == {Turn.REPEATS}
    assert (job.deadline == math.inf) == row.holds


@pytest.mark.parametrize("kind", FaultKind)
def test_a_question_follows_the_table(kind: FaultKind) -> None:
    job, row = accepted(), READ[kind]
    turns = [called(job, JobReply(Fault(kind, "detail")), START) for _ in range(POLICY.max_attempts) if not job.over]
    last = Turn.LOST if kind is FaultKind.JOB_UNKNOWN else Turn.REPEATS
    assert turns == [*[Turn.REPEATS] * (POLICY.max_attempts - 1), last]
    assert (job.deadline == math.inf) == row.holds


def test_only_faults_that_count_end_a_job_and_only_in_a_row() -> None:
    job, unknown, free = accepted(), Fault(FaultKind.JOB_UNKNOWN, "404"), Fault(FaultKind.UNAVAILABLE, "503")
    for fault in [free] * 9 + [unknown] * (POLICY.max_attempts - 1) + [free]:
        assert called(job, JobReply(fault), START) is Turn.REPEATS
    assert called(job, told(JobStatus.RUNNING), START) is Turn.RUNNING
    assert called(job, JobReply(unknown), START) is Turn.REPEATS


def test_an_id_that_cannot_be_remembered_is_no_acceptance() -> None:
    """A worker that took over could not find the job: the key stays, and people decide in the end."""
    job = new_job()
    long = told(JobStatus.RUNNING, job_id="x" * (MAX_ID_BYTES + 1))
    turns = [called(job, long, START) for _ in range(POLICY.max_attempts)]
    assert turns == [*[Turn.REPEATS] * (POLICY.max_attempts - 1), Turn.HOPELESS]
    assert job.intent.aim is Aim.CREATE


@given(st.integers(1, 40), st.sampled_from([None, 0.0, 7.0, 90.0]), QUOTAS, CHANCES)
def test_a_repeat_waits_longer_each_time_and_as_long_as_asked(
    times: int, retry_after: float | None, quota: Quota | None, chance: float
) -> None:
    job = new_job()
    for _ in range(times):
        called(job, JobReply(Fault(FaultKind.THROTTLED, "429", retry_after), quota), START, chance)
    cap = min(POLICY.max_seconds, POLICY.base_seconds * 2.0**times)
    asked = max(retry_after or 0.0, 30.0 if quota == Quota(60, 0, 30.0) else 0.0)
    assert max(cap / 2, asked) <= job.next_at - START <= max(cap, asked + POLICY.base_seconds)


# The deadline.


def test_the_deadline_begins_with_the_first_call_and_stays() -> None:
    job = new_job()
    assert job.deadline == math.inf
    called(job, JobReply(Fault(FaultKind.UNAVAILABLE, "503")), START)
    called(job, told(JobStatus.RUNNING), START + 50)
    assert job.deadline == START + POLICY.deadline_seconds


def test_the_deadline_begins_anew_after_a_fault_of_the_operators() -> None:
    job = accepted()
    called(job, JobReply(Fault(FaultKind.KEY_REFUSED, "401")), START + 20)
    assert job.deadline == math.inf
    called(job, told(JobStatus.RUNNING), START + 9000)
    assert job.deadline == START + 9000 + POLICY.deadline_seconds


@pytest.mark.parametrize(
    ("before", "end"),
    [
        (None, Turn.REFUSED),
        (FaultKind.CONNECT_FAILED, Turn.REFUSED),
        (FaultKind.OUTCOME_UNKNOWN, Turn.HOPELESS),
        (FaultKind.SERVER_ERROR, Turn.HOPELESS),
    ],
)
def test_a_job_that_closes_the_gate_alone_ends(before: FaultKind | None, end: Turn) -> None:
    """Only where none of its calls can have made it may its tracks be bought another way."""
    job = new_job()
    if before is not None:
        called(job, JobReply(Fault(before, "detail")), START)
    for _ in range(POLICY.max_closings - 1):
        called(job, JobReply(Fault(FaultKind.CDN_REFUSED, "1010")), START)
        assert job.closed_the_gate() is None
    called(job, JobReply(Fault(FaultKind.CDN_REFUSED, "1010")), START)
    assert job.closed_the_gate() is end
    assert job.over


def test_what_an_earlier_owner_left_may_exist() -> None:
    job = Job(Intent(5, 9, Aim.CREATE, key=KEY), replace(POLICY, max_closings=1), may_exist=True)
    assert job.closed_the_gate() is Turn.HOPELESS
    assert accepted(policy=replace(POLICY, max_closings=1)).closed_the_gate() is Turn.HOPELESS


def test_a_call_that_was_taken_opens_the_gate_again() -> None:
    job = accepted()
    for _ in range(9):
        assert job.closed_the_gate() is None
        called(job, told(JobStatus.RUNNING), START)


# Results.


def test_reading_stops_with_the_last_result() -> None:
    """No page of proof, and no fault is worth a repeat then."""
    job = ended(tracks=30)
    assert read(job, PageEnd(10), 20) is Turn.NEXT_PAGE
    assert (job.due, job.page, job.next_at) == (CallKind.READ, 2, START)
    assert read(job, PageEnd(5, Fault(FaultKind.OUTCOME_UNKNOWN, "cut")), 0) is Turn.READ_TO_THE_END
    assert job.due is None


def test_a_page_that_breaks_off_is_read_again() -> None:
    job = ended()
    read(job, PageEnd(10), 90)
    assert read(job, PageEnd(3, Fault(FaultKind.OUTCOME_UNKNOWN, "cut")), 87) is Turn.REPEATS
    assert (job.page, job.rounds) == (2, 0)
    assert job.next_at > START


def test_what_a_complete_job_lacks_is_read_again_a_few_times() -> None:
    """Results may show late."""
    job, now, pauses = ended(), START, []
    for _ in range(POLICY.rounds - 1):
        assert read(job, PageEnd(99), 1, now) is Turn.NEXT_PAGE
        assert read(job, PageEnd(0), 1, now) is Turn.REPEATS
        assert job.page == 1
        pauses.append(job.next_at - now)
        now = job.next_at
    assert pauses == [40, 80, 160]
    read(job, PageEnd(99), 1, now)
    assert read(job, PageEnd(0), 1, now) is Turn.HOPELESS
    assert job.detail == "the job is complete and has no result for this track"


@pytest.mark.parametrize("beyond", [PageEnd(0), *(PageEnd(0, Fault(kind, "no")) for kind in NO_SUCH_PAGE)])
def test_a_job_that_failed_is_read_once(beyond: PageEnd) -> None:
    """To the page that is not there, however the API says so."""
    job = ended(JobStatus.FAILED)
    assert read(job, PageEnd(50), 50) is Turn.NEXT_PAGE
    assert read(job, beyond, 50) is Turn.READ_TO_THE_END


def test_results_that_the_api_does_not_know_are_lost() -> None:
    """On the first page: after some repeats, since they may not be known everywhere yet."""
    job = ended()
    end = PageEnd(0, Fault(FaultKind.JOB_UNKNOWN, "404"))
    turns = [read(job, end, 100) for _ in range(POLICY.max_attempts)]
    assert turns == [*[Turn.REPEATS] * (POLICY.max_attempts - 1), Turn.LOST]


def test_a_page_that_was_read_forgives_what_was_before() -> None:
    """Faults that count, and refusals that closed the gate."""
    job = ended()
    for _ in range(POLICY.rounds - 1):
        for _ in range(POLICY.max_attempts - 1):
            assert read(job, PageEnd(0, Fault(FaultKind.JOB_UNKNOWN, "404")), 100) is Turn.REPEATS
        assert job.closed_the_gate() is None
        assert read(job, PageEnd(0), 100) is Turn.REPEATS
        assert job.closed_the_gate() is None


@given(st.integers(1, 300), st.integers(1, 40))
@example(1, 1)
def test_an_api_that_gives_one_page_again_and_again_is_not_followed(tracks: int, lines: int) -> None:
    job = ended(JobStatus.FAILED, tracks)
    pages = 1
    while read(job, PageEnd(lines), 1) is Turn.NEXT_PAGE:
        pages += 1
    assert pages <= 2 * tracks / lines + 1
    assert pages * lines > 2 * tracks


def test_it_says_where_it_stands() -> None:
    job = new_job()
    assert repr(job) == "<Job 500-599 new create>"
    called(job, told(JobStatus.RUNNING), START)
    assert repr(job) == "<Job 500-599 job ask>"
    job.call_started(START)
    assert repr(job) == "<Job 500-599 job no call due>"
