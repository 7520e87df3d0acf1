"""One track's way through the API: for every sequence of replies it ends, within its bounds, and buys no more."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.domain.analysis import Analysis, AnalysisStatus
from worker.flow.course import Course, Decide, Hold, PollIn, RetryPolicy, Step, SubmitIn, full_jitter, half_jitter
from worker.flow.faults import FAULTS, FaultKind, Repeat
from worker.flow.replies import Accepted, Fault, Finished, Quota, Reply, Running

FIRST_POLL = 25.0
DONE = Finished(Analysis(AnalysisStatus.SUCCESS))
CHANCES = st.floats(0, 1, exclude_max=True)
SECONDS = st.one_of(st.none(), st.floats(0, 2000))
QUOTAS = st.one_of(st.none(), st.builds(Quota, st.just(60), st.sampled_from([None, 0, 1]), SECONDS))
HOLDING = {kind for kind, row in FAULTS.items() if row.holds}
NOT_HOLDING = [kind for kind in FaultKind if kind not in HOLDING]
PUSHED_BACK = {FaultKind.THROTTLED, FaultKind.UNAVAILABLE}
TO_A_SUBMISSION = st.sampled_from([kind for kind in FaultKind if kind is not FaultKind.JOB_UNKNOWN])
POLICIES = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 6),
    base_seconds=st.sampled_from([0.01, 1.0, 5.0]),
    max_seconds=st.sampled_from([1.0, 60.0]),
    unknown_repeats=st.integers(0, 3),
    deadline_seconds=st.sampled_from([1.0, 60.0, 900.0]),
    poll_interval_seconds=st.sampled_from([0.01, 5.0, 40.0]),
    poll_growth=st.sampled_from([1.0, 1.5]),
    poll_max_seconds=st.sampled_from([5.0, 30.0]),
)


def faults(kinds: st.SearchStrategy[FaultKind]) -> st.SearchStrategy[Fault]:
    return st.builds(Fault, kinds, st.just("detail"), SECONDS)


SUBMITTED = st.one_of(faults(TO_A_SUBMISSION), faults(TO_A_SUBMISSION), st.just(Accepted("job")), st.just(DONE))
RUNNING = st.just(Running())
POLLED = st.one_of(faults(st.sampled_from(FaultKind)), RUNNING, RUNNING, st.just(DONE))


@dataclass(frozen=True)
class Answer:
    """What comes if the next call is a submission, and if it is a poll; how long it takes; what the headers say."""

    submitted: Fault | Accepted | Finished
    polled: Fault | Running | Finished
    took: float
    late: float  # how much later than asked for the call left: a slot, quota, the gate
    quota: Quota | None
    chance: float


ANSWERS = st.lists(
    st.builds(Answer, SUBMITTED, POLLED, st.floats(0, 50), st.sampled_from([0.0, 0.0, 1.0, 300.0]), QUOTAS, CHANCES),
    min_size=1,
    max_size=40,
)


class Journey:
    """Makes the calls that a course asks for, as the pipeline does, and counts."""

    def __init__(self, course: Course) -> None:
        self.course, self.now = course, 1000.0
        self.job = course.job_id
        self.submissions = self.failed = self.unknown = self.holds = 0
        self.ended: Analysis | None = None

    def call(self, answer: Answer) -> None:
        course = self.course
        self.now += answer.late
        if self.now >= course.deadline:
            self.end(course.expire())
            return
        course.call_started(self.now)
        self.now += answer.took
        self.submissions += self.job is None
        result = answer.submitted if self.job is None else answer.polled
        deadline, before = course.deadline, (course.attempts, course.failures, course.unknown_repeats)
        step = course.follow(Reply(result, answer.quota), self.now, answer.chance, FIRST_POLL)
        self.check(step, result, answer, deadline)
        if isinstance(step, Hold):
            self.check_hold(step, before)

    def check(self, step: Step, result: object, answer: Answer, deadline: float) -> None:
        assert isinstance(step, Decide | PollIn | SubmitIn | Hold)
        was = self.job
        match result:
            case Accepted(job_id):
                self.job = job_id
            case Fault(FaultKind.JOB_UNKNOWN):
                self.job = None
        assert self.course.job_id == self.job
        match step:
            case Decide():
                self.end(step)
            case PollIn(seconds):
                assert self.job is not None
                assert 0 <= seconds <= deadline - self.now
                self.check_floor(seconds, result, answer, deadline)
                self.now += seconds
            case SubmitIn(seconds, kind, may_buy_again):
                assert isinstance(result, Fault)
                assert was is None or kind is FaultKind.JOB_UNKNOWN, "submitted again while an analysis is in flight"
                assert may_buy_again is FAULTS[kind].may_be_billed
                assert self.now + seconds < deadline
                self.failed += FAULTS[kind].repeat is not Repeat.FREELY
                self.unknown += FAULTS[kind].repeat is Repeat.ONCE_UNKNOWN
                self.check_floor(seconds, result, answer, deadline)
                self.now += seconds
            case Hold():
                self.holds += 1
        if self.now > deadline and not isinstance(step, Hold):
            assert isinstance(step, Decide)

    def check_floor(self, seconds: float, result: object, answer: Answer, deadline: float) -> None:
        """Never sooner than the API asked for, except to be decided at the deadline."""
        if isinstance(result, Fault) and result.kind in PUSHED_BACK:
            reset = answer.quota.reset_seconds if answer.quota is not None and answer.quota.remaining == 0 else None
            floor = max(result.retry_after_seconds or 0.0, reset or 0.0)
            assert seconds >= min(floor, deadline - self.now)

    def check_hold(self, step: Hold, before: tuple[int, int, int]) -> None:
        """Nothing is used up: no attempt, no repeat, and the deadline starts anew with the next call."""
        assert step.kind in HOLDING
        assert (self.course.attempts, self.course.failures, self.course.unknown_repeats) == before
        assert self.course.deadline == math.inf
        assert self.course.first_call_at is None

    def end(self, step: Decide) -> None:
        self.ended = step.analysis


@given(POLICIES, ANSWERS, st.sampled_from([None, "taken over"]))
@settings(max_examples=1000, deadline=None)
def test_every_journey_keeps_its_bounds(policy: RetryPolicy, answers: list[Answer], job_id: str | None) -> None:
    """Attempts, repeats of unknown outcomes and time are bounded, whatever the API answers and however late."""
    journey = Journey(Course(policy, job_id))
    for answer in answers:
        if journey.ended is None:
            journey.call(answer)
        assert journey.failed < policy.max_attempts
        assert journey.unknown <= policy.unknown_repeats
        assert journey.course.attempts == journey.submissions


@given(POLICIES, ANSWERS)
@settings(deadline=None)
def test_every_journey_ends(policy: RetryPolicy, answers: list[Answer]) -> None:
    """With any answers repeated for ever, unless the operator's problem stays: the deadline at the latest."""
    journey = Journey(Course(policy))
    if any({type(a.submitted), type(a.polled)} & {Fault} and _holds(a) for a in answers):
        return
    for _ in range(20_000):
        for answer in answers:
            if journey.ended is None:
                journey.call(replace(answer, took=answer.took + 0.01, late=0.0))
        if journey.ended is not None:
            break
    assert journey.ended is not None


def _holds(answer: Answer) -> bool:
    results = (answer.submitted, answer.polled)
    return any(isinstance(result, Fault) and result.kind in HOLDING for result in results)


def begun(policy: RetryPolicy | None = None, job_id: str | None = None) -> Course:
    course = Course(policy or RetryPolicy(), job_id)
    course.call_started(0.0)
    return course


def answer(course: Course, kind: FaultKind, chance: float = 0.5, retry_after: float | None = None) -> Step:
    return course.follow(Reply(Fault(kind, "detail", retry_after)), 1.0, chance, FIRST_POLL)


@pytest.mark.parametrize("kind", FaultKind)
def test_a_submission_is_treated_as_its_row_says(kind: FaultKind) -> None:
    """Until it may be repeated no more, exactly as often as the table and the policy allow."""
    row, policy = FAULTS[kind], RetryPolicy(deadline_seconds=math.inf, unknown_repeats=2)
    course = begun(policy)
    steps = [answer(course, kind) for _ in range(30)]
    if row.holds:
        assert steps == [Hold(kind, "detail")] * 30
        return
    repeats = {Repeat.FREELY: 30, Repeat.ATTEMPTS: 4, Repeat.ONCE_UNKNOWN: 2, Repeat.NEVER: 0}[row.repeat]
    for step in steps[:repeats]:
        assert isinstance(step, SubmitIn)
        assert (step.kind, step.may_buy_again) == (kind, row.may_be_billed)
    for step in steps[repeats:]:
        assert step == Decide(Analysis(AnalysisStatus.FAILED, error="detail"))


@pytest.mark.parametrize("kind", FaultKind)
def test_a_poll_is_treated_as_its_row_says(kind: FaultKind) -> None:
    """It is free: it repeats until the deadline, and only a job that is gone leads to a submission."""
    row, course = FAULTS[kind], begun(RetryPolicy(unknown_repeats=1), "job")
    step = answer(course, kind)
    if row.holds:
        assert step == Hold(kind, "detail")
    elif row.repeat is Repeat.NEVER:
        assert step == Decide(Analysis(AnalysisStatus.FAILED, error="detail", job_id="job"))
    elif kind is FaultKind.JOB_UNKNOWN:
        assert isinstance(step, SubmitIn)
        assert step.may_buy_again
        assert course.job_id is None
        return
    else:
        assert isinstance(step, PollIn)
        assert not step.first
    assert course.job_id == "job"


@pytest.mark.parametrize(("kind", "job_id"), list(product(NOT_HOLDING, [None, "job"])))
def test_after_the_deadline_every_fault_decides(kind: FaultKind, job_id: str | None) -> None:
    course = begun(RetryPolicy(deadline_seconds=1.0), job_id)
    assert isinstance(answer(course, kind), Decide)


@pytest.mark.parametrize("result", [Accepted("job"), Running()])
def test_after_the_deadline_only_the_timeout_is_left(result: Accepted | Running) -> None:
    course = begun(RetryPolicy(deadline_seconds=1.0), "job")
    course.last_fault = Fault(FaultKind.UNAVAILABLE, "503")
    step = course.follow(Reply(result), 1.0, 0.5, FIRST_POLL)
    assert step == Decide(
        Analysis(AnalysisStatus.TIMEOUT, error="no result before the deadline; last: 503", job_id="job")
    )


@given(st.floats(0, 1e4), st.floats(1, 1e4), st.floats(0, 0.9))
def test_every_accepted_job_is_polled_before_its_deadline(learned: float, deadline: float, share: float) -> None:
    """However late the first poll is thought to be worth it: a job that is never asked for was bought for nothing."""
    course = begun(RetryPolicy(deadline_seconds=deadline))
    now = deadline * share
    step = course.follow(Reply(Accepted("job")), now, 0.5, learned)
    assert isinstance(step, PollIn)
    assert step.first
    assert step.seconds <= learned
    assert now + step.seconds < deadline


@given(st.floats(0, 1e6), CHANCES)
def test_jitter_stays_within_its_bounds(cap: float, chance: float) -> None:
    assert 0 <= full_jitter(cap, chance) <= cap
    assert cap / 2 <= half_jitter(cap, chance) <= cap


@given(POLICIES, st.lists(CHANCES, min_size=1, max_size=60))
def test_backoff_grows_to_its_cap(policy: RetryPolicy, chances: list[float]) -> None:
    """Each delay lies between half its cap and the cap, but for the jitter on top of a floor of zero."""
    course = begun(RetryPolicy(base_seconds=policy.base_seconds, max_seconds=60.0, deadline_seconds=math.inf))
    for count, chance in enumerate(chances):
        step = answer(course, FaultKind.THROTTLED, chance)
        cap = min(60.0, policy.base_seconds * 2.0**count)
        assert isinstance(step, SubmitIn)
        assert cap / 2 <= step.seconds <= max(cap, policy.base_seconds)


def test_polls_grow_and_stay_below_their_bound() -> None:
    course = begun(RetryPolicy(deadline_seconds=math.inf))
    course.follow(Reply(Accepted("job")), 1.0, 0.5, FIRST_POLL)
    steps = [course.follow(Reply(Running()), 1.0, 0.5, FIRST_POLL) for _ in range(50)]
    waits = [step.seconds for step in steps if isinstance(step, PollIn)]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1], len(waits)) == (5.0, 30.0, 50)


def test_a_track_refused_alone_ends_after_its_closings() -> None:
    """Two are forgiven; the third shows that the refusal is the track's own."""
    course = begun(RetryPolicy(max_closings=3))
    answer(course, FaultKind.KEY_REFUSED)
    assert [course.closed_the_gate() for _ in range(2)] == [None, None]
    assert course.closed_the_gate() == Decide(Analysis(AnalysisStatus.FAILED, error="detail"))
