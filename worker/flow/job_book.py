"""The jobs of many tracks of one partition: which tracks go into which, and what becomes of those that a job leaves.

- An intent comes first: the set and the key of its job are in the commit metadata before the request leaves. Whoever
  owns the partition next finds it, waits until all records of the set are delivered again, and repeats the request
  under that key: also where records have gone since, or a setting has changed, it stands for what may be bought.
- The size of the next job halves with every refusal, and doubles with every acceptance. So a track that spoils its job
  is found by halving, and nothing of the search need outlive a crash. A job that was refused with few tracks is given
  up as a job: those go one by one.
- What a failed job leaves goes into other jobs, smaller ones, so many times; then it has failed, too.
- Sets never overlap: what of a range is not in the set is excluded by name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Final

from worker.flow.bulk_job import Job, JobPolicy
from worker.flow.commit_point import BUDGET_BYTES, INTENT_SPACE
from worker.flow.entry import State
from worker.flow.job_intent import HEAD_BYTES, ID_BYTES, Aim, Intent, key_of, reserved_bytes
from worker.flow.packing import runs_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from worker.flow.entry import Entry
    from worker.flow.job_intent import Scope
    from worker.flow.ledger import Ledger

SINGLES: Final = 8  # a refused job of so many tracks, or fewer, is sought in no further


@dataclass(frozen=True, slots=True)
class BookPolicy:
    """Bounds of one partition's jobs. `open_jobs`: at a time. `tries`: failed jobs that a track may be in."""

    max_items: int = 10_000
    max_wait_seconds: float = 30.0
    open_jobs: int = 2
    tries: int = 3
    job: JobPolicy = field(default_factory=JobPolicy)


class JobBook:
    """See the module's rules. Begins with the ledger's intents; `request` is what a creation says beside its items."""

    def __init__(self, ledger: Ledger, policy: BookPolicy, scope: Scope, request: bytes) -> None:
        self._ledger = ledger
        self._policy = policy
        self._scope = scope
        self._request = request
        self._versions: dict[Job, int] = {}
        self.size = policy.max_items  # of the next job, at most
        self.jobs = [Job(intent, policy.job, may_exist=True) for intent in ledger.purchases.intents]
        self._found = frozenset(self.jobs)  # and it is not known yet whether their records still exist
        self._given_up = frozenset[bytes]()  # keys that would bring back a job that was refused, or has failed

    def __repr__(self) -> str:
        return f"<JobBook size={self.size} {self.jobs}>"

    # Gathering.

    def may_gather(self) -> bool:
        """Whether there is room for one more job, of one track at least."""
        open_jobs = len(self.jobs)
        return open_jobs < self._policy.open_jobs and not self._ledger.sealed and self._space >= HEAD_BYTES + ID_BYTES

    @property
    def _space(self) -> int:
        """Bytes of the metadata for one more intent: it must not crowd out jobs of tracks that run one by one."""
        space = INTENT_SPACE - sum(reserved_bytes(job.intent) for job in self.jobs)
        if not self._ledger.count(State.RUNNING):
            return space
        return min(space, int(BUDGET_BYTES * (1 - self._ledger.metadata_used)))

    def is_due(self, now: float, *, full: bool) -> bool:
        """Whether the next job should be gathered: it would be whole, or `full`: no more can come, or it has waited."""
        if not (self._ledger.count(State.READY) or self._ledger.count(State.BLOCKED)) or not self.may_gather():
            return False
        waiting = self.candidates()
        if not waiting or full or len(waiting) >= self.size:
            return bool(waiting)
        return now >= waiting[0].received_at + self._policy.max_wait_seconds

    def due_at(self) -> float | None:
        """When the lowest that waits has waited long enough; None where nothing waits, or there is no room."""
        lowest = next(self._ledger.states.gatherable(), None) if self.may_gather() else None
        return None if lowest is None else lowest.received_at + self._policy.max_wait_seconds

    def unblock(self) -> bool:
        """Let go alone what every open job waits for, where no other can be made; True if there was any.

        Results are HELD behind records that ran alone when their owner died, and now are in no job.
        """
        ledger = self._ledger
        moves = any(map(ledger.count, (State.RUNNING, State.WAITING, State.GATHERED, State.FINISHED)))
        if moves or not ledger.count(State.HELD) or self.may_gather() or not all(map(self.is_here, self.jobs)):
            return False
        keys = {entry.record.key for entry in ledger.entries() if entry.state is State.HELD}
        stuck = [each for each in ledger.states.gatherable() if each.state is State.READY and each.record.key in keys]
        for entry in stuck:
            self.leave_alone(entry)
        return bool(stuck)

    def candidates(self) -> list[Entry]:
        """What the next job would be of: the lowest offsets that wait."""
        in_window = takewhile(self._ledger.is_in_window, self._ledger.states.gatherable())
        return list(islice(in_window, self.size))

    def leave_alone(self, entry: Entry) -> None:
        """Let a record that waits go into no job."""
        self._ledger.states.leave_alone(entry)

    def gather(self, *, expected_seconds: float = 0.0) -> Job | None:
        """Make the next job, of what was read and is an event."""
        chosen = [entry for entry in self.candidates() if entry.is_event]
        intent = self._intent(chosen)
        if intent is None:
            return None
        chosen = [entry for entry in chosen if intent.covers(entry.record.offset)]
        self._ledger.states.gather(chosen)
        job = Job(intent, self._policy.job, expected_seconds=expected_seconds)
        self.jobs.append(job)
        self._tell(job)
        return job

    def _intent(self, chosen: Sequence[Entry]) -> Intent | None:
        """Name the set, or as much of it as the metadata has space for."""
        space = self._space
        while chosen:
            first, last = chosen[0].record.offset, chosen[-1].record.offset
            taken = {entry.record.offset for entry in chosen}
            others = [entry.record.offset for entry in self._ledger.entries()]
            excluded = runs_of([offset for offset in others if first < offset < last and offset not in taken])
            intent = Intent(first, last, Aim.CREATE, excluded=excluded, key=self._key(chosen))
            if reserved_bytes(intent) <= space and intent.key not in self._given_up:
                return intent
            chosen = chosen[: len(chosen) // 2]
        return None

    def _key(self, entries: Iterable[Entry]) -> bytes:
        return key_of(self._scope, (entry.record for entry in entries), self._request)

    def _tell(self, changed: Job | None = None) -> None:
        self._ledger.purchases.mean(job.intent for job in self.jobs)
        if changed is not None:
            self._versions[changed] = self._ledger.purchases.version

    # One job.

    def of(self, job_id: str) -> Job | None:
        """The open job with this id."""
        return next((job for job in self.jobs if job.intent.job_id == job_id), None)

    def tracks(self, job: Job) -> list[Entry]:
        """Its tracks without an outcome, as far as they are delivered, lowest offset first."""
        return self._ledger.states.gathered(job.intent)

    def track(self, job: Job, offset: int) -> Entry | None:
        """The track at this offset, where it waits for this job."""
        return self._ledger.states.gathered_at(job.intent, offset)

    def is_first(self, entry: Entry) -> bool:
        """Whether no earlier record with its key is without an outcome."""
        return self._ledger.states.is_first(entry)

    def hold(self, entry: Entry, decide: Callable[[], None]) -> None:
        """Keep a result until the earlier records of its key have their outcomes; then `decide` is called."""
        self._ledger.states.hold(entry, decide)

    def is_here(self, job: Job) -> bool:
        """Whether all records of the set have been delivered."""
        return self._ledger.next_offset > job.intent.last

    def may_create(self, job: Job) -> bool:
        """Whether the request may leave: its intent is committed, and its records are here."""
        return self.is_here(job) and self._ledger.purchases.committed >= self._versions.get(job, 0)

    def accepted(self, job: Job) -> None:
        """The API has made it: its id takes the key's place."""
        self.size = min(self._policy.max_items, 2 * self.size)
        self._tell(job)

    # Its end.

    def spent(self, job: Job) -> list[Entry]:
        """The job has failed: those of its tracks without a result that have been in enough such jobs."""
        entries = self.tracks(job)
        for entry in entries:
            entry.jobs_failed += 1
        return [entry for entry in entries if entry.jobs_failed >= self._policy.tries]

    def split(self, job: Job) -> list[Entry]:
        """There is no job, or it has failed: its tracks go into smaller ones, or alone. Returns them."""
        entries = self.tracks(job)
        self._forget(job)
        self._tell()
        for entry in entries:
            entry.alone = len(entries) <= SINGLES
            self._ledger.states.ungather(entry)
        self._given_up |= {self._key(entries)}
        self.size = min(self._policy.max_items, max(SINGLES, len(entries) // 2)) if entries else self.size
        return entries

    def swept(self) -> list[Job]:
        """Forget the jobs of which everything is done and committed, or has vanished; returns them."""
        kept = self._ledger.purchases.intents
        gone = [job for job in self.jobs if job.intent not in kept or self._has_vanished(job)]
        for job in gone:
            self._forget(job)
        if any(job.intent in kept for job in gone):
            self._tell()
        return gone

    def _has_vanished(self, job: Job) -> bool:
        """Whether no record is left of a set that was found: retention or compaction took them."""
        if job not in self._found or not self.is_here(job):
            return False
        self._found -= {job}
        return not self._ledger.is_open(job.intent)

    def _forget(self, job: Job) -> None:
        self.jobs.remove(job)
        self._versions.pop(job, None)
