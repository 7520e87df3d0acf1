"""Which tracks go into which job, and what becomes of those that a job leaves: one rule a test."""

from __future__ import annotations

import pytest

from tests.flow.broker_model import numbered
from tests.flow.job_books import NOW, Books, books
from worker.flow.commit_point import BUDGET_BYTES, CommitPoint, decode, encode
from worker.flow.entry import State
from worker.flow.job_book import SINGLES
from worker.flow.job_intent import Aim, Intent


def test_nothing_is_due_where_all_that_waits_goes_alone() -> None:
    """Otherwise whoever looks would look again at once, for ever."""
    scene = books(8)
    scene.refuse(scene.gather())
    assert scene.waiting() == 8
    assert not scene.book.is_due(NOW, full=False)
    assert not scene.book.is_due(NOW, full=True)


def test_nothing_is_due_beyond_the_window() -> None:
    scene = Books([*numbered(0, 1), *numbered(1 << 20, 200)])
    job = scene.gather()
    assert scene.book.tracks(job)[-1].record.offset == 0
    assert not scene.book.is_due(NOW, full=True)
    scene.finish(job)
    scene.commit()
    assert scene.book.is_due(NOW, full=False)


def test_what_is_due_is_gathered_however_full_the_metadata_is() -> None:
    """A set with many gaps takes all the space: then no other job is due."""
    keep_out = set(range(0, 12_000, 2))
    scene = books(12_000, max_items=10_000)
    for entry in list(scene.ledger.entries()):
        if entry.record.offset in keep_out:
            scene.book.leave_alone(entry)
    first = scene.gather()
    assert len(scene.book.tracks(first)) > 1000
    assert scene.book.is_due(NOW, full=True) is (scene.book.gather() is not None)


def test_a_track_that_is_bought_goes_into_no_job() -> None:
    """A predecessor has its job; and so has one that waits here for its next attempt."""
    scene = Books(list(numbered(0, 20)), point=CommitPoint(0, frozenset(), {3: "a", 7: "b"}))
    entry = scene.ledger.start()
    assert entry is not None
    scene.ledger.wait(entry)
    scene.ledger.resume(entry)
    offsets = [each.record.offset for each in scene.book.tracks(scene.gather())]
    assert offsets == [at for at in range(20) if at not in (entry.record.offset, 3, 7)]
    assert scene.run_alone() == [0, 3, 7]


def test_sets_whose_records_have_vanished_hold_no_place() -> None:
    """Retention took them while nobody owned the partition."""
    intents = (
        Intent(0, 9, Aim.CREATE, key=bytes(16)),
        Intent(10, 19, Aim.FETCH, job_id="gone"),
    )
    scene = Books(list(numbered(20, 50)), point=CommitPoint(0, intents=intents))
    scene.book.swept()
    assert scene.book.jobs == []
    assert scene.ledger.unpublished
    scene.commit()
    assert scene.point.intents == ()
    assert scene.book.is_due(NOW, full=True)


def test_only_events_that_were_read_are_gathered() -> None:
    """One that came while others were read might be none: then it is buried like every other, by the stop rule."""
    scene = books(30)
    late = list(scene.ledger.entries())[20:]
    for entry in late:
        entry.is_event = None
    late[-1].is_event = False
    assert [entry.record.offset for entry in scene.book.tracks(scene.gather())] == list(range(20))


def test_a_job_that_was_given_up_does_not_come_back_under_its_key() -> None:
    """The size may have grown again meanwhile: the same set would bring the same job."""
    scene = books(40, max_items=20, open_jobs=3)
    first, second = scene.gather(), scene.gather()
    key = first.intent.key
    scene.refuse(first)
    scene.accept(second)
    assert scene.book.size == 20
    assert scene.gather().intent.key != key


def test_nothing_can_go_alone_for_ever_without_leaving_a_trace() -> None:
    """What starts and is forgotten by everybody would pile up."""
    scene = books(0)
    for first in range(0, 3000, 100):
        scene.records = list(numbered(first, 100))
        scene.deliver()
        scene.finish(scene.gather())
        scene.commit()
        assert scene.ledger.start(only_alone=True) is None
    assert len(scene.ledger.states._ready) == 0


def test_an_api_that_refuses_every_job_costs_few_creations() -> None:
    scene = books(1000)
    creations = 0
    while scene.waiting():
        scene.refuse(scene.gather())
        scene.run_alone()
        scene.commit()
        creations += 1
    assert creations <= 1000 / SINGLES + 5


def test_an_intent_leaves_the_jobs_of_single_tracks_in_the_metadata() -> None:
    """They run already: without their jobs a crash would buy them again."""
    scene = books(3000)
    ran = []
    while (entry := scene.ledger.start()) is not None:
        scene.ledger.note_job(entry, f"{entry.record.offset:0>60}")
        ran.append(entry)
    for entry in list(scene.ledger.entries())[::2]:
        scene.book.leave_alone(entry)
    while scene.book.may_gather():
        if scene.book.gather() is None:
            break
    batch = scene.ledger.snapshot()
    assert batch is not None
    assert scene.ledger.metadata_used * BUDGET_BYTES <= BUDGET_BYTES
    assert decode(0, encode(batch.commit)).jobs.keys() == {entry.record.offset for entry in ran}


@pytest.mark.parametrize("count", [1, SINGLES])
def test_few_that_were_refused_go_alone(count: int) -> None:
    scene = books(count)
    scene.refuse(scene.gather())
    assert scene.run_alone() == list(range(count))


def test_more_that_were_refused_go_into_smaller_jobs() -> None:
    scene = books(SINGLES + 1)
    scene.refuse(scene.gather())
    assert scene.run_alone() == []
    assert len(scene.book.tracks(scene.gather())) == SINGLES


def test_a_track_that_was_in_enough_failed_jobs_has_failed() -> None:
    scene = books(20, tries=2)
    first = scene.gather()
    assert scene.book.spent(first) == []
    scene.book.split(first)
    second = scene.gather()
    assert [each.record.offset for each in scene.book.spent(second)] == list(range(10))


def test_an_intent_that_was_found_keeps_its_key_whatever_became_of_its_records() -> None:
    """It stands for what may be bought already."""
    scene = books(20)
    key = scene.gather().intent.key
    scene.records = scene.records[1:]
    scene.begin()
    (job,) = scene.book.jobs
    assert job.intent.key == key
    assert scene.book.may_create(job)


def test_an_intent_is_kept_until_its_last_record_is_done() -> None:
    scene = books(20, key=b"k")
    job = scene.gather()
    scene.accept(job)
    last = scene.book.tracks(job)[-1]
    scene.settle(last)
    assert scene.ledger.count(State.HELD) == 1
    scene.finish(job, 18)
    scene.commit()
    assert [intent.job_id for intent in scene.point.intents] == ["job"]
    scene.finish(job)
    assert scene.ledger.count(State.HELD) == 0
    scene.commit()
    assert scene.point.intents == ()
    assert scene.book.jobs == []


def test_what_all_jobs_wait_for_goes_alone() -> None:
    """It ran alone when an earlier owner died: no job has it, and no other can be made."""
    intents = (Intent(2, 9, Aim.FETCH, job_id="a"), Intent(10, 19, Aim.FETCH, job_id="b"))
    scene = Books(list(numbered(0, 40, b"k")), point=CommitPoint(0, intents=intents))
    for job in scene.book.jobs:
        scene.finish(job)
    assert not scene.book.may_gather()
    assert scene.run_alone() == []
    assert scene.book.unblock()
    assert not scene.book.unblock()
    assert scene.run_alone() == [0]
    assert not scene.book.unblock()  # a commit is due: it may make room for a job
    scene.commit()
    assert scene.book.unblock()
    assert scene.run_alone() == [1]
    scene.commit()
    assert scene.point.watermark == 20
    assert not scene.book.unblock()


def test_the_next_owner_finds_exactly_the_set_and_waits_for_all_of_it() -> None:
    """What is between its tracks, and was not done, belongs to nobody; half of the set makes no job."""
    scene = books(40)
    for entry in list(scene.ledger.entries())[5:30:3]:
        scene.book.leave_alone(entry)
    members = [entry.record.offset for entry in scene.book.tracks(scene.gather())]
    assert len(members) == 31
    records, scene.records = scene.records, scene.records[:39]
    scene.begin()
    (job,) = scene.book.jobs
    assert not scene.book.may_create(job)
    scene.records = records
    scene.deliver()
    assert scene.book.may_create(job)
    assert [entry.record.offset for entry in scene.book.tracks(job)] == members
    assert scene.ledger.count(State.READY) == 9
