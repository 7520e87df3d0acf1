"""What of one partition is bought and not yet decided, or meant to be: the jobs of single tracks, the intents of sets.

The commit metadata carries them; `version` and `committed` tell whether it does already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.flow import commit_point
from worker.flow.job_intent import reserved_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from worker.flow.commit_point import CommitPoint
    from worker.flow.entry import Entry
    from worker.flow.job_intent import Intent


class Purchases:
    """See the module's rules. Begins with what the partition's last owner committed."""

    __slots__ = ("_intents", "_intents_bytes", "_job_bytes", "committed", "undelivered", "version")

    def __init__(self, start: CommitPoint) -> None:
        self.undelivered = dict(start.jobs)  # of records not yet delivered again; then they live in their entries
        self._job_bytes = sum(map(commit_point.job_bytes, start.jobs.values()))
        self.version = self.committed = 0
        self._keep(start.intents)

    def __repr__(self) -> str:
        return f"<Purchases intents={self._intents} bytes={self.size_bytes} version={self.version}/{self.committed}>"

    @property
    def size_bytes(self) -> int:
        """Upper bound of the metadata that they take."""
        return self._job_bytes + self._intents_bytes

    @property
    def intents(self) -> tuple[Intent, ...]:
        """What is meant to become of which sets of tracks."""
        return self._intents

    def mean(self, intents: Iterable[Intent]) -> None:
        """Record other intents, from the next commit on."""
        self._keep(tuple(intents))
        self.version += 1

    def keep(self, intents: tuple[Intent, ...]) -> None:
        """Drop those that a commit has just left out."""
        if intents != self._intents:
            self._keep(intents)

    def _keep(self, intents: tuple[Intent, ...]) -> None:
        self._intents = intents
        self._intents_bytes = sum(map(reserved_bytes, intents))

    def claims(self, offset: int) -> bool:
        """Whether the record belongs to a set."""
        return any(intent.covers(offset) for intent in self._intents)

    def awaits(self, next_offset: int) -> bool:
        """Whether records of a set are still to be delivered: its job needs all of them at once."""
        return any(intent.last >= next_offset for intent in self._intents)

    def deliver(self, offset: int) -> str | None:
        """The record is here: its entry keeps the job from now on."""
        return self.undelivered.pop(offset, None)

    def delivered_below(self, next_offset: int) -> None:
        """Forget jobs of records that were compacted away: they are never to be decided."""
        for offset in [offset for offset in self.undelivered if offset < next_offset]:
            self._job_bytes -= commit_point.job_bytes(self.undelivered.pop(offset))
            self.version += 1

    def bought(self, entry: Entry, job_id: str | None) -> None:
        """A record's job was bought, or (None) is lost or of no use any more."""
        self.decided(entry)
        if entry.job_id is not None:
            self.version += 1
        entry.job_id = job_id
        if job_id is not None:
            self._job_bytes += commit_point.job_bytes(job_id)
            self.version += 1

    def decided(self, entry: Entry) -> None:
        """The commit that decided the record has dropped its job."""
        if entry.job_id is not None:
            self._job_bytes -= commit_point.job_bytes(entry.job_id)

    def jobs(self, entries: Mapping[int, Entry], next_offset: int, without: set[int]) -> dict[int, str]:
        """All jobs of single tracks, by offset, but those of these records."""
        if not self._job_bytes:
            return {}
        jobs = {offset: job_id for offset, job_id in self.undelivered.items() if offset >= next_offset}
        for offset, entry in entries.items():
            if entry.job_id is not None and offset not in without:
                jobs[offset] = entry.job_id
        return jobs
