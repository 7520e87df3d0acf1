"""What a ledger and its book of jobs must know of sets of tracks: the model of one owner that makes jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.flow.ledger_model import Owner, drain
from worker.domain.jobs import JobState, JobStatus
from worker.flow.commit_point import METADATA_LIMIT, decode, encode
from worker.flow.entry import Limits, State
from worker.flow.job_book import SINGLES, BookPolicy, JobBook
from worker.flow.job_intent import Aim, Scope
from worker.flow.job_replies import JobReply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.flow.broker_model import Broker
    from worker.domain.record import Record
    from worker.flow.bulk_job import Job
    from worker.flow.entry import Batch, Entry
    from worker.flow.job_intent import Intent

SCOPE = Scope("group", "topic", 0)
NOW = 1000.0


@dataclass(eq=False)
class Set:
    """One job's tracks as they were gathered."""

    members: frozenset[int]
    key: bytes

    @property
    def last(self) -> int:
        return max(self.members)


class GatheringOwner(Owner):
    """An owner that also makes jobs of many tracks. `sets`: what is meant, by job; `alone`: what goes into none."""

    def __init__(self, broker: Broker, limits: Limits, policy: BookPolicy, known: dict[bytes, Set]) -> None:
        super().__init__(broker, limits)
        self.known = known  # every set that was ever gathered, by key and by id: what the API remembers
        self.book = JobBook(self.ledger, policy, SCOPE, b"request")
        self.sets = {job: self._recalled(job.intent) for job in self.book.jobs}
        self.alone = set(self.jobs)
        self.held: dict[int, int] = {}  # offset -> size of the outcome to come
        self.is_sealed = False

    def _recalled(self, intent: Intent) -> Set:
        return self.known[intent.key if intent.aim is Aim.CREATE else (intent.job_id or "").encode()]

    # What happens to it.

    def deliver(self, records: Sequence[Record]) -> None:
        before = set(self.states)
        super().deliver(records)
        for offset in self.states.keys() - before:
            self.entries[offset].is_event = self.broker.log[offset].size_bytes % 9 != 5  # some are poison
            if self.claimed(offset):
                self.states[offset] = State.GATHERED
        for job in self.book.swept():
            assert not self.sets.pop(job).members & self.states.keys(), "swept with tracks undone"

    def claimed(self, offset: int) -> bool:
        return any(offset in each.members for each in self.sets.values())

    def start(self, *, only_alone: bool = False) -> int | None:
        started = self._start_alone() if only_alone else super().start()
        if started is not None:
            assert not self.claimed(started), "started in another way"
            self.alone.add(started)
        return started

    def _start_alone(self) -> int | None:
        expected = self._startable([offset for offset in self.of(State.READY) if offset in self.alone])
        entry = self.ledger.start(only_alone=True)
        assert (entry.record.offset if entry else None) == expected
        if expected is not None:
            self.states[expected] = State.RUNNING
        return expected

    def leave_alone(self, offset: int) -> None:
        self.book.leave_alone(self.entries[offset])
        if self.states[offset] in {State.READY, State.BLOCKED}:
            self.alone.add(offset)

    def gather(self) -> bool:
        """Make a job of what waits; False where none could be made."""
        may, waiting = self.book.may_gather(), self._gatherable()
        assert self.book.is_due(NOW, full=True) is (may and bool(self._in_window(waiting)))
        for offset in waiting:
            if not self.entries[offset].is_event:
                self.leave_alone(offset)
        job = self.book.gather() if may else None
        if job is None:
            assert not may or not self._in_window(self._gatherable()), "due and not gathered"
            return False
        members = frozenset(entry.record.offset for entry in self.book.tracks(job))
        assert sorted(members) == self._gatherable()[: len(members)], "others before the lowest"
        assert not any(self.claimed(offset) for offset in members), "sets overlap"
        self.sets[job] = self.known[job.intent.key] = Set(members, job.intent.key)
        self.states |= dict.fromkeys(members, State.GATHERED)
        return True

    def unblock(self) -> None:
        """Where all sets wait for records that are in none, and no other can be made, those go alone."""
        keys = {self.broker.log[offset].key for offset in self.of(State.HELD)}
        ready = [offset for offset in self.of(State.READY) if offset not in self.alone]
        moves = self.of(State.RUNNING, State.WAITING, State.GATHERED, State.FINISHED)
        stuck = not moves and not self.book.may_gather() and all(map(self.book.is_here, self.sets))
        freed = [offset for offset in ready if stuck and self.broker.log[offset].key in keys]
        assert self.book.unblock() is bool(freed)
        self.alone |= set(freed)

    def _gatherable(self) -> list[int]:
        return [offset for offset in self.of(State.READY, State.BLOCKED) if offset not in self.alone]

    def _in_window(self, offsets: list[int]) -> list[int]:
        return [offset for offset in offsets if offset < self.watermark + self.limits.window]

    def accept(self, job: Job, job_id: str) -> None:
        """Only what is committed may be asked for; the API gives back what it was asked for under this key."""
        if job.intent.aim is not Aim.CREATE or not self.book.may_create(job):
            return
        found = {intent.key: intent for intent in decode(*self.broker.committed).intents}
        assert job.intent.key in found, "asked for before the intent was committed"
        assert self.next_offset > self.sets[job].last
        job.call_started(NOW)
        job.answered(JobReply(JobState(job_id, JobStatus.RUNNING, "processing")), NOW, 0.5)
        if job.intent.job_id is not None:
            self.known[job_id.encode()] = self.sets[job]
            self.book.accepted(job)

    def split(self, job: Job) -> None:
        """It was refused, or is lost: HELD outcomes stay."""
        left = [offset for offset in sorted(self.sets.pop(job).members) if self.states.get(offset) is State.GATHERED]
        assert [entry.record.offset for entry in self.book.split(job)] == left
        if len(left) <= SINGLES:
            self.alone |= set(left)
        for offset in left:
            self.states[offset] = State.BLOCKED
        for offset in left:
            if self._queue(self.broker.log[offset])[:1] in ([offset], []):
                self.states[offset] = State.READY

    def result(self, offset: int, size: int, *, given_up: bool = False) -> None:
        """A result has come for a track of a job, also of one that has its result: decided at once, or when it may."""
        job = next((job for job, each in self.sets.items() if offset in each.members), None)
        if job is not None and job.intent.aim is Aim.CREATE and not given_up:
            return  # there is no job yet
        entry = self.book.track(job, offset) if job is not None else None
        gathered = self.states[offset] is State.GATHERED
        assert (entry is self.entries[offset]) is gathered
        if not gathered or entry is None:
            return
        record, first = entry.record, self.book.is_first(entry)
        assert first is (self._queue(record)[:1] in ([offset], [])), "first of its key"
        if first:
            self.finish(offset, size)
        else:
            self.book.hold(entry, lambda: self._decide_held(entry))
            self.states[offset], self.held[offset] = State.HELD, size

    def _decide_held(self, entry: Entry) -> None:
        offset = entry.record.offset
        assert self.states[offset] is State.HELD
        super().finish(offset, self.held.pop(offset))

    def finish(self, offset: int, size: int = 0) -> None:
        super().finish(offset, size)
        while self.ledger.freed:
            freed = self.ledger.freed.popleft()
            assert freed.decide is not None
            freed.decide()

    def learn(self) -> None:
        super().learn()
        for job in self.book.swept():
            assert not self.sets.pop(job).members & self.states.keys(), "swept with tracks undone"

    def seal(self) -> None:
        super().seal()
        self.is_sealed = True

    def wake_as_zombie(self) -> None:
        super().wake_as_zombie()
        assert not self.book.may_gather()

    # What must be true of it.

    def _check_batch(self, batch: Batch) -> None:
        super()._check_batch(batch)
        assert len(encode(batch.commit)) <= METADATA_LIMIT
        taken = {entry.record.offset for entry in batch.entries}
        self.check_intents(batch.commit.intents, self.states.keys() - taken)
        assert decode(batch.commit.watermark, encode(batch.commit)).intents == batch.commit.intents

    def check_intents(self, intents: Sequence[Intent], undone: set[int]) -> None:
        """Each set is there until all of it is done, and covers of what is undone its own tracks and no others."""
        expected = [each for each in self.sets.values() if each.members & undone or each.last >= self.next_offset]
        assert [self._recalled(intent) for intent in intents] == expected
        for intent, each in zip(intents, expected, strict=True):
            assert {offset for offset in undone if intent.covers(offset)} == each.members & undone

    def check(self) -> None:
        super().check()
        for offset, entry in self.entries.items():
            assert (entry.decide is not None) is (self.states[offset] is State.HELD)
            if self.states[offset] in {State.READY, State.BLOCKED}:
                assert entry.alone is (offset in self.alone)
        for job, each in self.sets.items():
            waiting = [offset for offset in sorted(each.members) if self.states.get(offset) is State.GATHERED]
            assert [entry.record.offset for entry in self.book.tracks(job)] == waiting
        assert list(self.sets) == self.book.jobs

    def check_drained(self) -> None:
        super().check_drained()
        assert self.book.jobs == []
        assert decode(*self.broker.committed).intents == ()


def drain_sets(owner: GatheringOwner, *, by_jobs: bool) -> None:
    """Let everything through, the rest `by_jobs` or one by one; each round must publish something."""
    if owner.batch is not None:
        owner.learn()
    owner.deliver(owner.broker.fetch(owner.next_offset, len(owner.broker.log)))
    while not all(map(owner.book.is_here, owner.book.jobs)):  # the last of its records was compacted away
        owner.broker.append(0, None, 1)
        owner.deliver(owner.broker.fetch(owner.next_offset, 1))
    for offset in owner.of(State.WAITING):
        owner.resume(offset)
    while by_jobs and (owner.states or owner.ledger.unpublished):
        _round(owner)
    for offset in owner.of(State.GATHERED):
        if owner.states[offset] is State.GATHERED:
            owner.result(offset, 0, given_up=True)
    drain(owner)


def _round(owner: GatheringOwner) -> None:
    """What a lane in bulk mode does: whatever goes alone, jobs as they are due, their results, a commit."""
    while owner.gather():
        owner.check()
    owner.unblock()
    while owner.start(only_alone=True) is not None:
        owner.check()
    for offset in owner.of(State.RUNNING, State.GATHERED):
        if owner.states[offset] is State.RUNNING:
            owner.finish(offset)
        elif owner.states[offset] is State.GATHERED:
            owner.result(offset, 0, given_up=True)
    owner.snapshot()
    assert owner.publish(applied=True), "a deadlock"
    owner.learn()
