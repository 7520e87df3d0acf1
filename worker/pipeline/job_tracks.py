"""The tracks of one job: which of them a result is of, and their decisions.

The event loop is never held for long: whatever goes over all tracks of a job pauses now and then.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from worker.domain.analysis import Analysis, AnalysisStatus
from worker.domain.jobs import MAX_PER_PAGE, JobItem
from worker.domain.submission import Unreadable
from worker.flow.entry import Stage
from worker.flow.job_intent import item_id, offset_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Literal

    from worker.domain.decider import Decided
    from worker.flow.bulk_job import Job
    from worker.flow.entry import Entry
    from worker.flow.job_book import JobBook
    from worker.pipeline.lane import Lane
    from worker.pipeline.outcomes import Outcomes

BREATH = 100  # tracks between two turns of the event loop
ROOM_OF_ALL = 8192  # decisions of all partitions that may wait for their commit, a page under way counted as whole


class Reading:
    """Who reads a page now, of all jobs. `on_free` is called when one has been read.

    Without a bound of all, the pages of many jobs fill the memory, and hold up the commits that would free it.
    """

    def __init__(self, unpublished: Callable[[], int], on_free: Callable[[], object]) -> None:
        self._unpublished, self._on_free = unpublished, on_free
        self._jobs: set[Job] = set()

    def __repr__(self) -> str:
        return f"<Reading pages={len(self._jobs)}>"

    def has_room(self, job: Job) -> bool:
        """Whether this job may read a page now, or does so."""
        return job in self._jobs or self._unpublished() + len(self._jobs) * MAX_PER_PAGE < ROOM_OF_ALL

    @contextmanager
    def page(self, job: Job) -> Iterator[None]:
        """Take the room of one page for as long as the block runs."""
        self._jobs.add(job)
        try:
            yield
        finally:
            self._jobs.discard(job)
            self._on_free()


class JobTracks:
    """See the module's rules. `began_at`: the loop's time when this owner first saw the job, then of its acceptance.

    `trace` is the job's span, where it has one.
    """

    def __init__(self, lane: Lane, book: JobBook, job: Job, outcomes: Outcomes) -> None:
        self._lane, self._book, self._job = lane, book, job
        self._outcomes = outcomes
        self._loop = asyncio.get_running_loop()
        self.began_at = self._loop.time()
        self.trace = outcomes.trace_job(lane.partition, job.intent.first, self.left())

    def __repr__(self) -> str:
        return f"<JobTracks {len(self.left())} of {self._job!r}>"

    def left(self) -> list[Entry]:
        """Those without an outcome, as far as they are delivered."""
        return self._book.tracks(self._job)

    async def items(self) -> list[JobItem]:
        """What the creation asks for."""
        items: list[JobItem] = []
        for number, entry in enumerate(self.left(), 1):
            track = self._outcomes.read(entry.record)
            if isinstance(track, Unreadable):  # it was an event under the policies of an earlier owner: it is buried
                self._settle(entry, Analysis(AnalysisStatus.FAILED))
            else:
                name = item_id(self._lane.partition, entry.record.offset)
                items.append(JobItem(name, track.url, track.file_id, {"item_id": track.item_id}))
            await breathe(number)
        return items

    def settle(
        self, item: str, analysis: Analysis, may_decide: Callable[[Decided], bool] | None = None
    ) -> Literal["decided", "late", "foreign", "incomplete"]:
        """Decide the track that this result is of, unless it has its decision, or `may_decide` wants more."""
        offset = offset_of(item, self._lane.partition)
        if offset is None or not self._job.intent.covers(offset):
            return "foreign"
        entry = self._book.track(self._job, offset)
        if entry is None:
            return "late"
        if may_decide is not None and not self._permits(may_decide, entry, analysis):
            return "incomplete"
        self._settle(entry, analysis)
        return "decided"

    def _permits(self, may_decide: Callable[[Decided], bool], entry: Entry, analysis: Analysis) -> bool:
        track = self._outcomes.read(entry.record)
        return isinstance(track, Unreadable) or may_decide(self._outcomes.rule(entry, track, analysis, 1))

    async def give_up(self, entries: Sequence[Entry], status: AnalysisStatus, detail: str) -> None:
        """Let people decide these, as far as they have no outcome yet."""
        for number, entry in enumerate(entries, 1):
            if self._book.track(self._job, entry.record.offset) is entry:
                self._settle(entry, Analysis(status, error=detail, job_id=self._job.intent.job_id))
            await breathe(number)

    def _settle(self, entry: Entry, analysis: Analysis) -> None:
        if self._book.is_first(entry):
            self._decide(entry, analysis)
        else:
            self._book.hold(entry, partial(self._decide, entry, analysis))
            entry.note(Stage.KEY, self._loop.time())

    def _decide(self, entry: Entry, analysis: Analysis) -> None:
        track = self._outcomes.read(entry.record)
        if isinstance(track, Unreadable):
            self._outcomes.bury(self._lane, entry, track)
            return
        self._outcomes.decide(
            self._lane,
            entry,
            track,
            analysis,
            attempts=1 + entry.jobs_failed,
            took=self._loop.time() - self.began_at,
            waited=max(0.0, self.began_at - entry.received_at),
            job=self.trace,
        )


async def breathe(number: int) -> None:
    """Give the event loop a turn after every `BREATH` tracks; `number` counts them from 1."""
    if number % BREATH == 0:
        await asyncio.sleep(0)
