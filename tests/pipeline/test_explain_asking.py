"""Asking what waits changes nothing, and shows nothing that is not for everybody's eyes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson
import pytest

from tests.fake_analyst import FakeAnalyst
from tests.fake_broker import Step, Way
from tests.fake_jobs import FakeJobs
from tests.pipeline.scene import Running, Scene
from tests.virtual_time import elapse, run, until, virtual
from worker.flow.breaker import BreakerPolicy
from worker.flow.bulk_job import JobPolicy
from worker.flow.course import RetryPolicy
from worker.flow.entry import Stage, State
from worker.flow.faults import FaultKind
from worker.flow.job_book import BookPolicy
from worker.flow.replies import Fault
from worker.pipeline.explain import FIRST_RECORDS
from worker.pipeline.explanation import JobWaitsFor, WaitsFor
from worker.pipeline.facts import JobEnded

if TYPE_CHECKING:
    from worker.pipeline.facts import Fact

SECRET = "hunter2-hunter2"  # noqa: S105 - what must not be shown
DOWN = Fault(FaultKind.UNAVAILABLE, "HTTP 503")

BOOK = BookPolicy(
    max_items=30, max_wait_seconds=2.0, job=JobPolicy(poll_seconds=1.0, poll_max_seconds=10.0, per_page=9)
)


def bad_day(*, asking: bool, jobs: bool) -> list[tuple[float, Fact]]:
    """Everything at once; returns what happened, and when."""

    async def day() -> list[tuple[float, Fact]]:
        api = FakeJobs(seconds=7) if jobs else None
        scene = Scene(partitions=3, analyst=FakeAnalyst(2, seconds=3, per_minute=120), jobs=api)
        for number in range(60):
            scene.submit(f"track-{number}", number % 3, key=b"%d" % (number % 11))
        for number in range(0, 60, 7):
            scene.analyst.submissions[f"track-{number}"].append(DOWN)
        for partition in range(3):
            scene.broker.faults[partition].extend([(Step.COMMIT, Way.FAILS)])
        if api is not None:
            api.bad, api.missing, api.dying = {"track-14"}, {"track-27"}, 2
            api.faults.append(DOWN)
        loop = asyncio.get_running_loop()
        worker = scene.worker(
            per_minute=120, slots=8, buffered_records=48, retry=RetryPolicy(base_seconds=2), book=BOOK
        )
        happened: list[tuple[float, Fact]] = []
        while len(scene.broker.visible) < 60:
            await elapse(0.25)
            happened += [(loop.time(), fact) for fact in worker.facts[len(happened) :]]
            if asking:
                for only in (None, 0, 1, 2):
                    orjson.dumps(worker.worker.explanation(only))
        await scene.decided()
        return happened

    return run(day())


@virtual
async def test_asking_arms_no_timer() -> None:
    """Quota is short: whoever only looks must not be taken for one that waits for it."""
    scene = Scene(analyst=FakeAnalyst(seconds=60))
    scene.submit("track-0")
    worker = scene.worker(per_minute=7)
    await until(lambda: scene.analyst.calls)
    lane, gate = worker.calls._lanes[0], worker.calls.gate
    assert lane.ledger is not None
    [entry] = lane.ledger.entries()
    lane.ledger.resume(entry)
    gate.close()
    gate._timer = gate._refused_at = None  # as if nobody had ever asked
    found = worker.worker.explanation(0).partitions[0].holder
    assert found is not None
    assert found.waits_for is WaitsFor.QUOTA
    assert (gate._timer, gate._refused_at) == (None, None)


STAGES = {
    State.BLOCKED: {Stage.QUEUED},
    State.READY: {Stage.QUEUED},
    State.RUNNING: {Stage.QUEUED, Stage.QUOTA, Stage.CALL, Stage.NEXT_POLL},
    State.WAITING: {Stage.RETRY, Stage.RETRY_BUDGET, Stage.ASIDE},
    State.GATHERED: {Stage.QUEUED, Stage.JOB},  # by an earlier owner, or here
    State.HELD: {Stage.KEY},
    State.FINISHED: {Stage.PUBLICATION},
}


@pytest.mark.parametrize("generation", [1, 2])
@virtual
async def test_what_a_record_waits_for_always_fits_its_state(generation: int) -> None:
    """Through retries, an outage, a refused key and failed commits, looked at all the time."""
    scene = Scene(analyst=FakeAnalyst(generation, seconds=3))
    for number in range(60):
        scene.submit(f"track-{number}", key=b"%d" % (number % 11))
        scene.analyst.submissions[f"track-{number}"].extend([DOWN] * (number % 3))
    scene.broker.faults[0].extend([(Step.COMMIT, Way.FAILS)] * 12)
    worker = scene.worker(
        slots=8, retry=RetryPolicy(base_seconds=2), breaker=BreakerPolicy(consecutive=4, concurrency=8), per_minute=200
    )
    seen = set[tuple[State, Stage]]()
    refusals = {20: DOWN, 60: None, 80: Fault(FaultKind.KEY_REFUSED, "HTTP 401"), 110: None}
    for tick in range(100_000):
        await elapse(0.25)
        scene.analyst.refusing = refusals.get(tick, scene.analyst.refusing)
        for lane in worker.calls._lanes:
            seen |= {(entry.state, entry.stage) for entry in (lane.ledger.entries() if lane.ledger else ())}
        if len(scene.broker.visible) == 60:
            break
    await scene.decided()
    assert [each for each in seen if each[1] not in STAGES[each[0]]] == []
    assert {state for state, _ in seen} == set(State) - {State.GATHERED, State.HELD}


@pytest.mark.parametrize("jobs", [False, True])
def test_asking_changes_nothing(jobs: bool) -> None:
    """The same day with and without somebody who asks four times a second: every fact is the same, at the same time."""
    quiet = bad_day(asking=False, jobs=jobs)
    assert bad_day(asking=True, jobs=jobs) == quiet
    assert any(isinstance(fact, JobEnded) for _, fact in quiet) is jobs


def shown_as_it_is(worker: Running) -> set[JobWaitsFor]:
    """Whatever is told of the jobs and records of the partitions adds up; returns what their jobs wait for."""
    seen = set[JobWaitsFor]()
    lanes = {lane.partition: lane for lane in worker.calls._lanes}
    for number, lane in lanes.items():
        [found] = worker.worker.explanation(number).partitions
        if lane.ledger is None or lane.book is None:
            assert found.jobs is None
            continue
        assert found.jobs is not None
        entries, behind = {entry.record.offset: entry for entry in lane.ledger.entries()}, found.behind
        counted = behind.queued + behind.in_flight + behind.retrying + behind.unpublished
        counted += behind.in_jobs + behind.behind_key + (found.holder is not None)
        assert counted == len(entries)
        assert sum(job.tracks for job in found.jobs.jobs) == found.jobs.tracks == lane.ledger.count(State.GATHERED)
        assert found.jobs.open == len(found.jobs.jobs)
        for record in found.records:
            assert (record.state == "in_job") is (record.waits_for is WaitsFor.JOB)
            if record.state == "in_job":
                [mine] = [job for job in found.jobs.jobs if job.first_offset <= record.offset <= job.last_offset]
                assert (record.job_id, record.deadline_seconds) == (mine.job_id, mine.deadline_seconds)
            if record.waits_for is WaitsFor.KEY:
                assert record.predecessor is not None
                assert record.predecessor < record.offset
        seen |= {job.waits_for for job in found.jobs.jobs}
    return seen


@virtual
async def test_what_a_record_waits_for_fits_its_state_where_there_are_jobs() -> None:
    """Through refused and failed jobs, a track without a result, faults of the API and commits that fail."""
    scene = Scene(jobs=FakeJobs(seconds=7), partitions=2)
    for number in range(80):
        scene.submit(f"track-{number}", number % 2, key=b"%d" % (number % 11) if number % 3 else None)
    assert scene.jobs is not None
    scene.jobs.bad, scene.jobs.missing, scene.jobs.dying = {"track-14"}, {"track-27"}, 2
    scene.broker.faults[0].extend([(Step.COMMIT, Way.FAILS)] * 7)
    worker = scene.worker(slots=4, book=BOOK, per_minute=200)
    seen, jobs = set[tuple[State, Stage]](), set[JobWaitsFor]()
    for tick in range(100_000):
        await elapse(0.13)
        if tick in {30, 70, 110}:
            scene.jobs.faults.append(DOWN)
            scene.broker.faults[1].extend([(Step.COMMIT, Way.FAILS)] * 3)
        jobs |= shown_as_it_is(worker)
        for lane in worker.calls._lanes:
            seen |= {(entry.state, entry.stage) for entry in (lane.ledger.entries() if lane.ledger else ())}
        if len(scene.broker.visible) == 80:
            break
    await scene.decided()
    assert [each for each in seen if each[1] not in STAGES[each[0]]] == []
    assert {state for state, _ in seen} >= {State.GATHERED, State.HELD, State.READY, State.BLOCKED, State.FINISHED}
    assert jobs >= {JobWaitsFor.REPLY, JobWaitsFor.TIME, JobWaitsFor.INTENT, JobWaitsFor.PARTITION, JobWaitsFor.COMMIT}


@virtual
async def test_no_address_no_payload_and_no_key_is_shown() -> None:
    """Neither an audio's address with its token, nor metadata, nor a Kafka key, in any state."""
    scene = Scene(analyst=FakeAnalyst(seconds=30))
    value = {"item_id": "track-0", "url": f"https://audio.example/a.mp3?token={SECRET}", "metadata": {"note": SECRET}}
    for number in range(3):
        scene.submit_raw(f"track-{number}", orjson.dumps(value), key=SECRET.encode())
    scene.submit_raw("poison", orjson.dumps({"item_id": SECRET, "url": SECRET}))
    scene.analyst.submissions["track-0"].append(DOWN)
    worker = scene.worker()
    shown = b""
    while len(scene.broker.visible) < 4:
        shown += orjson.dumps(worker.worker.explanation()) + orjson.dumps(worker.worker.explanation(0))
        await elapse(0.5)
    assert b"track-0" in shown
    assert SECRET.encode() not in shown
    assert b"://" not in shown


@virtual
async def test_detail_is_bounded_and_only_for_the_partition_that_was_asked_for() -> None:
    scene = Scene(analyst=FakeAnalyst(seconds=30))
    for number in range(50):
        scene.submit(f"track-{number}")
    worker = scene.worker()
    await until(lambda: scene.analyst.calls)
    [full], [brief] = (worker.worker.explanation(only).partitions for only in (0, None))
    assert [each.offset for each in full.records] == list(range(FIRST_RECORDS))
    assert (brief.records, brief.done_above, brief.holder) == ((), None, full.holder)
    assert worker.worker.explanation(7).partitions == ()
    await scene.decided()
