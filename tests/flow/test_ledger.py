"""The ledger against a model of the broker, through crashes, failed and doubtful commits, and changes of owner."""

from __future__ import annotations

import sys
from time import perf_counter
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.flow.ledger_model import Broker, Owner, numbered, outcome_of
from worker.flow.commit_point import METADATA_LIMIT, WINDOW, CommitPoint, decode, encode
from worker.flow.entry import Entry, Limits, State
from worker.flow.ledger import Ledger

if TYPE_CHECKING:
    from worker.flow.entry import Batch

KEYS = st.sampled_from([None, None, b"", b"a", b"b"])
GAPS = st.sampled_from([0, 0, 0, 1, 3, 40, WINDOW + 1])
JOB_IDS = st.one_of(
    st.uuids().map(str),
    st.sampled_from(["j", "\ud800", "x" * 256, "\N{GRINNING FACE}" * 256, "\N{CJK STROKE T}" * 256]),
)
LIMITS = st.builds(
    Limits,
    window=st.sampled_from([1, 2, 5, 64, WINDOW]),
    unpublished=st.sampled_from([1, 3, 4096]),
    batch_records=st.sampled_from([1, 2, 1024]),
    batch_bytes=st.sampled_from([1, 40, 8 << 20]),
    job_reserve_bytes=st.sampled_from([0, 20, 800]),
)
ANY = st.integers(0, 63)  # picks one of what there is


class LedgerMachine(RuleBasedStateMachine):
    """Every record is published exactly once, in the order of its key, whatever happens in between."""

    @initialize(first=st.sampled_from([0, 7, 1 << 40]), limits=LIMITS)
    def open(self, first: int, limits: Limits) -> None:
        self.broker, self.limits = Broker(first), limits
        self.owner = Owner(self.broker, limits)
        self.zombies: list[Owner] = []

    def pick(self, which: int, *states: State) -> int | None:
        offsets = self.owner.of(*states)
        return offsets[which % len(offsets)] if offsets else None

    # The log.

    @rule(records=st.lists(st.tuples(GAPS, KEYS, st.integers(0, 9)), min_size=1, max_size=8))
    def produce(self, records: list[tuple[int, bytes | None, int]]) -> None:
        for gap, key, size in records:
            self.broker.append(gap, key, size)

    @rule(which=ANY)
    def compact(self, which: int) -> None:
        """A record that was not delivered to this owner vanishes, with the job that a former one bought for it."""
        ahead = [at for at in self.broker.log if at >= self.owner.next_offset and at not in self.broker.published]
        if ahead:
            del self.broker.log[ahead[which % len(ahead)]]

    @rule(count=st.integers(0, 9))
    def deliver(self, count: int) -> None:
        self.owner.deliver(self.broker.fetch(self.owner.next_offset, count))

    @rule(count=st.integers(1, 9), back=st.integers(1, 50))
    def deliver_again(self, count: int, back: int) -> None:
        """A position that went back: known records come once more, perhaps with new ones behind them."""
        known = [at for at in self.broker.log if at < self.owner.next_offset][-back:]
        if known:
            unread = len(known) + count
            self.owner.deliver(self.broker.fetch(known[0], unread))

    # The calls.

    @rule(times=st.integers(1, 6))
    def start(self, times: int) -> None:
        for _ in range(times):
            self.owner.start()

    @rule(which=ANY, size=st.integers(0, 30))
    def finish(self, which: int, size: int) -> None:
        if (offset := self.pick(which, State.RUNNING)) is not None:
            self.owner.finish(offset, size)

    @rule(which=ANY)
    def wait(self, which: int) -> None:
        if (offset := self.pick(which, State.RUNNING)) is not None:
            self.owner.wait(offset)

    @rule(which=ANY)
    def resume(self, which: int) -> None:
        if (offset := self.pick(which, State.WAITING, State.RUNNING)) is not None:
            self.owner.resume(offset)

    @rule(which=ANY, job_id=JOB_IDS)
    def note_job(self, which: int, job_id: str) -> None:
        if (offset := self.pick(which, State.RUNNING)) is not None:
            self.owner.note_job(offset, job_id)

    @rule(which=ANY)
    def lose_job(self, which: int) -> None:
        if (offset := self.pick(which, State.RUNNING)) is not None:
            self.owner.note_job(offset, None)

    @rule(which=ANY)
    def out_of_place(self, which: int) -> None:
        """Whatever is not running cannot finish, wait or get a job."""
        offset = self.pick(which, State.BLOCKED, State.READY, State.WAITING, State.FINISHED)
        if offset is not None:
            self.owner.finish(offset)
            self.owner.wait(offset)
            self.owner.note_job(offset, "late")

    @rule(which=ANY)
    def resumed_out_of_place(self, which: int) -> None:
        if (offset := self.pick(which, State.BLOCKED, State.READY, State.FINISHED)) is not None:
            self.owner.resume(offset)

    # The publication: other rules run between its steps, as they do while a lane awaits the broker.

    @precondition(lambda self: self.owner.batch is None)
    @rule()
    def snapshot(self) -> None:
        self.owner.snapshot()

    @precondition(lambda self: self.owner.batch is not None)
    @rule(applied=st.booleans())
    def publish(self, *, applied: bool) -> None:
        """Not learnt yet: the answer is on its way, or lost; a failed one may be tried again with the same batch."""
        self.owner.publish(applied=applied)

    @precondition(lambda self: self.owner.batch is not None)
    @rule()
    def learn(self) -> None:
        self.owner.learn()

    # Owners.

    @rule()
    def crash(self) -> None:
        self.owner = Owner(self.broker, self.limits)

    @rule(limits=LIMITS)
    def restart_with_other_limits(self, limits: Limits) -> None:
        self.limits = limits
        self.owner = Owner(self.broker, limits)

    @rule()
    def move(self) -> None:
        """The partition goes to a new owner; the old one's calls and its publication are still under way."""
        self.owner.seal()
        self.zombies.append(self.owner)
        self.owner = Owner(self.broker, self.limits)

    @precondition(lambda self: self.zombies)
    @rule(which=ANY)
    def zombie_wakes(self, which: int) -> None:
        zombie = self.zombies[which % len(self.zombies)]
        assert zombie.ledger.start() is None
        assert zombie.ledger.snapshot() is None
        for entry in zombie.entries.values():
            assert zombie.ledger.finish(entry, outcome_of(entry)) is False
            zombie.ledger.note_job(entry, "bought too late")
            zombie.ledger.wait(entry)
            zombie.ledger.resume(entry)
        if zombie.batch is not None and not zombie.applied:
            assert zombie.publish(applied=True) is False

    @rule(count=st.integers(0, 9))
    def come_back(self, count: int) -> None:
        """A suspended lane that was given back seeks to where its ledger reads next; what was fetched is read again."""
        self.owner.deliver(self.broker.fetch(self.owner.ledger.next_offset, count))

    @invariant()
    def agrees_with_the_model(self) -> None:
        self.owner.check()
        for zombie in self.zombies:
            zombie.check_sealed()

    def teardown(self) -> None:
        if hasattr(self, "owner"):
            drain(self.owner)
            assert set(self.broker.log) <= set(self.broker.published)


def drain(owner: Owner) -> None:
    """Let everything through; each round must publish, or hand out, something."""
    if owner.batch is not None:
        owner.learn()
    owner.deliver(owner.broker.fetch(owner.next_offset, len(owner.broker.log)))
    for offset in owner.of(State.WAITING):
        owner.resume(offset)
    while owner.states or owner.ledger.unpublished:
        while owner.start() is not None:
            owner.check()
        for offset in owner.of(State.RUNNING):
            owner.finish(offset)
        owner.snapshot()
        assert owner.publish(applied=True)
        owner.learn()
    owner.check()
    owner.check_drained()


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)


# The bounds at their full size.


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
