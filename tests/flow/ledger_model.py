"""What a ledger must know of its records: the model that its state machine compares it with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.flow.broker_model import outcome_of
from worker.flow.commit_point import BUDGET_BYTES, WINDOW, decode, done_bytes, encode, job_bytes
from worker.flow.entry import State
from worker.flow.job_intent import reserved_bytes
from worker.flow.ledger import ADMIT_BELOW, Ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.flow.broker_model import Broker
    from worker.domain.record import Record
    from worker.flow.commit_point import CommitPoint
    from worker.flow.entry import Batch, Entry, Limits


class Owner:
    """One ledger, and beside it what must be true of it."""

    def __init__(self, broker: Broker, limits: Limits) -> None:
        self.broker, self.limits = broker, limits
        start = decode(*broker.committed)
        self.ledger = Ledger(start, limits)
        self.entries: dict[int, Entry] = {}
        self.states: dict[int, State] = {}
        self.jobs = dict(start.jobs)
        self.recorded = dict(start.jobs)  # jobs that the last commit spoke of
        self.next_offset = start.watermark
        self.batch: Batch | None = None
        self.applied = False  # by the broker, which this owner may not know yet
        broker.owner = self

    # What happens to it.

    def deliver(self, records: Sequence[Record]) -> None:
        self.ledger.receive(records, now=1.0)
        for record in records:
            if record.offset >= self.next_offset:
                self.next_offset = record.offset + 1
                if record.offset not in self.broker.published:
                    self.states[record.offset] = State.BLOCKED if self._queue(record) else State.READY
        self.jobs = {at: job for at, job in self.jobs.items() if at >= self.next_offset or at in self.states}
        self.entries = {entry.record.offset: entry for entry in self.ledger.entries()}
        assert list(self.entries) == sorted(self.states)

    def _queue(self, record: Record) -> list[int]:
        """Those of this key that are not finished, lowest first; a null key has no others."""
        if record.key is None:
            return []
        unfinished = (at for at, state in self.states.items() if state is not State.FINISHED)
        return sorted(at for at in unfinished if self.broker.log[at].key == record.key)

    def start(self) -> int | None:
        expected = self._startable(self.of(State.READY))
        entry = self.ledger.start()
        assert (entry.record.offset if entry else None) == expected
        if expected is None:
            others = (State.RUNNING, State.WAITING, State.GATHERED, State.HELD, State.FINISHED)
            assert not self.states or self.of(*others), "a deadlock"
            return None
        assert expected not in self.broker.published, "done again"
        assert expected < self.watermark + self.limits.window
        self.states[expected] = State.RUNNING
        return expected

    def _startable(self, ready: list[int]) -> int | None:
        finished, running = self.of(State.FINISHED), self.of(State.RUNNING)
        if not ready or ready[0] >= self.watermark + self.limits.window or len(finished) >= self.limits.unpublished:
            return None
        space = ready[0] in self.jobs or not running or self.ledger.metadata_used < ADMIT_BELOW
        return ready[0] if space else None

    def finish(self, offset: int, size: int = 0) -> None:
        entry = self.entries[offset]
        in_time = self.states[offset] in {State.RUNNING, State.GATHERED, State.HELD}
        assert self.ledger.finish(entry, outcome_of(entry, size)) is in_time
        if in_time:
            self.states[offset] = State.FINISHED
            for successor in self._queue(entry.record)[:1]:
                if self.states[successor] is State.BLOCKED:
                    self.states[successor] = State.READY

    def wait(self, offset: int) -> None:
        self.ledger.wait(self.entries[offset])
        if self.states[offset] is State.RUNNING:
            self.states[offset] = State.WAITING

    def resume(self, offset: int) -> None:
        self.ledger.resume(self.entries[offset])
        if self.states[offset] in {State.RUNNING, State.WAITING}:
            self.states[offset] = State.READY

    def note_job(self, offset: int, job_id: str | None) -> None:
        self.ledger.note_job(self.entries[offset], job_id)
        if self.states[offset] is State.RUNNING:
            self.jobs.pop(offset, None)
            self.jobs |= {offset: job_id} if job_id is not None else {}

    def snapshot(self) -> None:
        before = _state_of(self.ledger)
        self.batch, again = self.ledger.snapshot(), self.ledger.snapshot()
        assert self.batch == again
        assert _state_of(self.ledger) == before
        assert (self.batch is None) is not self.ledger.unpublished
        self.applied = False
        if self.batch is not None:
            self._check_batch(self.batch)

    def _check_batch(self, batch: Batch) -> None:
        taken = [entry.record.offset for entry in batch.entries]
        assert all(self.states[offset] is State.FINISHED for offset in taken)
        assert bool(taken) is bool(self.of(State.FINISHED)), "nothing published although something is due"
        assert len(taken) <= self.limits.batch_records
        sizes = [message.size_bytes for message in batch.messages]
        assert len(sizes) <= 1 or sum(sizes) <= self.limits.batch_bytes
        assert batch.commit.watermark == min(self.states.keys() - set(taken), default=self.next_offset)
        expected = {offset: job for offset, job in self.jobs.items() if offset not in taken}
        assert batch.commit.jobs == expected
        _check_jobs_written(batch.commit)

    def publish(self, *, applied: bool) -> bool:
        """Hand the batch to the broker; without `applied` the transaction fails. True if it took effect."""
        assert self.batch is not None
        text = encode(self.batch.commit)
        if applied and not self.applied:
            self.applied = self.broker.apply(self, self.batch, text)
        return self.applied

    def learn(self) -> None:
        """Compare the commit point with what was wanted, as a lane does after any doubt."""
        assert self.batch is not None
        wanted = (self.batch.commit.watermark, encode(self.batch.commit))
        if self.applied:
            assert self.broker.committed == wanted
            self.ledger.committed(self.batch)
            for entry in self.batch.entries:
                del self.states[entry.record.offset], self.entries[entry.record.offset]
                self.jobs.pop(entry.record.offset, None)
            self.recorded = dict(self.batch.commit.jobs)
        self.batch, self.applied = None, False

    def seal(self) -> None:
        assert self.ledger.seal() == sum(offset not in self.jobs for offset in self.of(State.RUNNING))

    def wake_as_zombie(self) -> None:
        """Sealed, but its calls end only now: nothing of them counts, and the broker refuses its publication."""
        assert self.ledger.start() is None
        assert self.ledger.snapshot() is None
        for entry in self.entries.values():
            assert self.ledger.finish(entry, outcome_of(entry)) is False
            self.ledger.note_job(entry, "bought too late")
            self.ledger.wait(entry)
            self.ledger.resume(entry)
        if self.batch is not None and not self.applied:
            assert self.publish(applied=True) is False

    def check_sealed(self) -> None:
        """Everything stands as it stood when the partition went."""
        assert {offset: entry.state for offset, entry in self.entries.items()} == self.states
        assert {entry.job_id for entry in self.entries.values()} <= {None, *self.jobs.values()}

    # What must be true of it.

    @property
    def watermark(self) -> int:
        return min(self.states, default=self.next_offset)

    def of(self, *states: State) -> list[int]:
        return sorted(offset for offset, state in self.states.items() if state in states)

    def check(self) -> None:
        ledger = self.ledger
        assert {offset: entry.state for offset, entry in self.entries.items()} == self.states
        assert {offset: entry.job_id for offset, entry in self.entries.items()} == {
            offset: self.jobs.get(offset) for offset in self.states
        }
        for state in State:
            assert ledger.count(state) == len(self.of(state))
        assert ledger.buffered == len(self.states) - len(self.of(State.FINISHED))
        assert ledger.buffered_bytes == sum(_size(entry) for entry in self.entries.values())
        assert ledger.in_purchase == sum(offset not in self.jobs for offset in self.of(State.RUNNING))
        assert ledger.watermark == self.watermark
        assert ledger.next_offset == self.next_offset
        assert ledger.oldest is self.entries.get(self.watermark)
        self._check_keys()
        self._check_bounds()

    def _check_keys(self) -> None:
        busy = [self.broker.log[offset].key for offset in self.of(State.READY, State.RUNNING, State.WAITING)]
        keyed = [key for key in busy if key is not None]
        assert len(keyed) == len(set(keyed)), "two of one key at once"

    def _check_bounds(self) -> None:
        ledger = self.ledger
        assert ledger.unpublished or not (self.of(State.FINISHED) or self.jobs != self.recorded)
        batch = ledger.snapshot()
        if batch is not None:
            real = sum(job_bytes(job) for job in batch.commit.jobs.values())
            assert ledger.metadata_used * BUDGET_BYTES >= real

    def check_drained(self) -> None:
        ledger = self.ledger
        assert ledger.watermark == ledger.next_offset
        assert not any((ledger._open, ledger._order, ledger.states._keys._queues, ledger.purchases.undelivered))
        assert ledger.purchases.size_bytes == ledger.buffered_bytes == 0
        assert decode(*self.broker.committed).jobs == {}


def _size(entry: Entry) -> int:
    return entry.message.size_bytes if entry.message is not None else entry.record.size_bytes


def _state_of(ledger: Ledger) -> dict[str, object]:
    """Everything a ledger keeps, copied one level deep."""
    kept = vars(ledger).items()
    return {name: value.copy() if hasattr(value, "copy") else value for name, value in kept}


def _check_jobs_written(point: CommitPoint) -> None:
    """Whole where the space allows, else those of the lowest offsets."""
    written = decode(point.watermark, encode(point)).jobs
    assert list(written.items()) == sorted(point.jobs.items())[: len(written)]
    bound = done_bytes(len(point.done), WINDOW) + sum(map(job_bytes, point.jobs.values()))
    bound += sum(map(reserved_bytes, point.intents))
    assert len(written) == len(point.jobs) or bound > BUDGET_BYTES


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
