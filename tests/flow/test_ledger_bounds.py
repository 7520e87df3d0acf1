"""The ledger's bounds at their full size, what a predecessor left behind, and the time that a record costs."""

from __future__ import annotations

import sys
from time import perf_counter
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.flow.broker_model import JOB_IDS, Broker, numbered, outcome_of
from tests.flow.ledger_model import Owner, drain
from worker.flow.commit_point import METADATA_LIMIT, WINDOW, CommitPoint, decode, encode
from worker.flow.entry import Entry, Limits
from worker.flow.ledger import ADMIT_BELOW, Ledger

if TYPE_CHECKING:
    from worker.flow.entry import Batch


@given(st.sets(st.integers(0, 40)), st.integers(1, 41))
def test_a_successor_starts_exactly_what_is_not_done(done: set[int], delivered: int) -> None:
    """Whatever holes the predecessor left, in whatever portions the records come again."""
    successor = Ledger(decode(0, encode(CommitPoint(0, frozenset(done)))), Limits())
    for first in range(0, 41, delivered):
        successor.receive(numbered(first, min(delivered, 41 - first)), now=0.0)
    started = []
    while (entry := successor.start()) is not None:
        started.append(entry.record.offset)
    assert started == sorted(set(range(41)) - done)


def test_a_full_window_behind_a_slow_head_starts_nothing_more_and_fits() -> None:
    """Nothing starts at watermark + window, however much was done below it."""
    ledger = Ledger(CommitPoint(0), Limits(unpublished=WINDOW))
    ledger.receive(numbered(0, WINDOW + 100), now=0.0)
    started = []
    while (entry := ledger.start()) is not None:
        started.append(entry)
    assert [entry.record.offset for entry in started] == list(range(WINDOW))
    for entry in started[1::2]:
        ledger.finish(entry, outcome_of(entry))
    for _ in range(WINDOW // 2 // 1024):
        batch = commit(ledger)
        assert len(encode(batch.commit)) <= METADATA_LIMIT
    assert batch.commit.watermark == 0
    assert decode(0, encode(batch.commit)).done == set(range(1, WINDOW, 2))
    assert ledger.start() is None


@pytest.mark.parametrize("job_id", [str(UUID(int=1)), "x" * 256, "\N{CJK STROKE T}" * 256, "y" * 5000])
def test_what_is_started_can_always_be_recorded(job_id: str) -> None:
    """With the space reserved that a job takes, the commit carries every job and the whole done set."""
    reserve = len(job_id.encode()) + 5
    ledger = Ledger(CommitPoint(0), Limits(job_reserve_bytes=reserve))
    ledger.receive(numbered(0, 2000), now=0.0)
    running: list[Entry] = []
    while batch := [entry for _ in range(7) if (entry := ledger.start()) is not None]:
        for entry in batch:
            ledger.note_job(entry, job_id)
        running += batch
    assert len(running) < 2000
    written = decode(0, encode(commit(ledger).commit)).jobs
    assert len(written) == len(running) or len(running) == 1


@given(st.lists(st.booleans(), min_size=30, max_size=30), JOB_IDS)
def test_a_metadata_full_of_jobs_is_worked_off(with_job: list[bool], job_id: str) -> None:
    """However many jobs a predecessor left and wherever they stand, records are started until all are done."""
    jobs = {offset: job_id for offset, has in enumerate(with_job) if has}
    broker = Broker(0)
    for _ in with_job:
        broker.append(0, b"k", 1)
    broker.committed = (0, encode(CommitPoint(0, frozenset(), jobs)))
    drain(Owner(broker, Limits(job_reserve_bytes=800)))
    assert list(broker.published) == list(range(30))


def test_a_job_for_a_compacted_record_frees_its_space() -> None:
    """A record that is gone will never be decided; its job must not count against the metadata for ever."""
    ledger = Ledger(CommitPoint(0, frozenset(), {3: "x" * 256}), Limits())
    ledger.receive(numbered(5, 1), now=0.0)
    entry = ledger.start()
    assert entry is not None
    ledger.finish(entry, outcome_of(entry))
    commit(ledger)
    assert ledger.metadata_used < 0.01


def started(ledger: Ledger) -> Entry:
    entry = ledger.start()
    assert entry is not None
    return entry


def test_jobs_of_records_not_delivered_again_stay_in_the_commit() -> None:
    """A second crash before they come must not have them bought again."""
    ledger = Ledger(CommitPoint(0, frozenset(), {0: "a", 5: "b"}), Limits())
    ledger.receive(numbered(0, 2), now=0.0)
    entry = started(ledger)
    ledger.finish(entry, outcome_of(entry))
    assert commit(ledger).commit.jobs == {5: "b"}


def test_a_job_bought_while_a_commit_is_under_way_is_in_the_next() -> None:
    """The commit that did not know of it makes it neither recorded nor forgotten."""
    ledger = Ledger(CommitPoint(0), Limits())
    ledger.receive(numbered(0, 2), now=0.0)
    first, second = started(ledger), started(ledger)
    ledger.note_job(first, "a")
    batch = ledger.snapshot()
    assert batch is not None
    ledger.note_job(second, "b")
    ledger.committed(batch)
    assert ledger.unpublished
    assert commit(ledger).commit.jobs == {0: "a", 1: "b"}
    assert not ledger.unpublished


def test_what_is_paid_for_starts_however_full_the_metadata_is() -> None:
    """It takes no more space than it has; only what is still to be bought waits."""
    jobs = dict.fromkeys(range(10), "x" * 256)
    ledger = Ledger(CommitPoint(0, frozenset(), jobs), Limits())
    ledger.receive(numbered(0, 12), now=0.0)
    assert ledger.metadata_used > ADMIT_BELOW
    assert [started(ledger).record.offset for _ in jobs] == list(jobs)
    assert ledger.start() is None


def commit(ledger: Ledger) -> Batch:
    batch = ledger.snapshot()
    assert batch is not None
    ledger.committed(batch)
    return batch


# Not a test of anything but a figure: pytest -s shows it.


@pytest.mark.parametrize("keyed", [False, True])
def test_time_per_record(*, keyed: bool) -> None:
    count, per_batch = 50_000, 100
    records = [record for at in range(count) for record in numbered(at, 1, b"%d" % (at % 1000) if keyed else None)]
    ledger = Ledger(CommitPoint(0), Limits())
    message = outcome_of(Entry(records[0], 0.0, None))
    began = perf_counter()
    for first in range(0, count, per_batch):
        ledger.receive(records[first : first + per_batch], now=0.0)
        while (entry := ledger.start()) is not None:
            ledger.finish(entry, message)
        encode(commit(ledger).commit)
    micros = (perf_counter() - began) / count * 1e6
    assert ledger.watermark == count
    sys.stdout.write(f"\nledger, {'keyed' if keyed else 'null keys'}: {micros:.2f} us a record, {per_batch} a batch\n")
