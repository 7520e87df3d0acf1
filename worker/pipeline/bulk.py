"""Jobs of many tracks, of all lanes: which lane works by jobs, what is gathered, and what the API tells unasked.

- Each lane chooses for itself (`mode`); what runs one by one goes on while a job is gathered, and the other way round.
- A job is gathered when it would be whole, when no more can come, or when its oldest track has waited long enough.
- A webhook is believed as far as it goes: what rests on a signal that it lacks, or shows one to a reviewer, waits for
  the page. Whatever webhooks lose, the questions and pages of `job_driver` bring.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from worker.domain.jobs import JobStatus
from worker.domain.submission import Unreadable
from worker.domain.webhook import JobComplete, JobFailed, Signal, TrackComplete, parse
from worker.flow.entry import Stage, State
from worker.flow.job_book import JobBook
from worker.flow.job_intent import Scope
from worker.flow.mode import Mode, ModeChooser, ModeSetting, direct_rate
from worker.pipeline.ending import Group
from worker.pipeline.facts import JobGathered, JobResult, ModeChanged
from worker.pipeline.job_driver import JobDriver
from worker.pipeline.job_tracks import Reading, breathe

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from worker.domain.decider import Decided
    from worker.flow.bulk_job import Job
    from worker.flow.job_book import BookPolicy
    from worker.flow.ledger import Ledger
    from worker.flow.mode import ModePolicy
    from worker.pipeline.calls import Calls
    from worker.pipeline.job_driver import Means
    from worker.pipeline.lane import Lane
    from worker.pipeline.ports import Notices, Source

TICK_SECONDS = 1.0  # between two looks at what waits
# What a decision shows at its top level; every other word (people decide it, or it carries a certificate) shows all.
_SHOWN_BY: Mapping[str, frozenset[Signal]] = {
    "approve": frozenset({Signal.TIERS, Signal.TRUTH_SCORE}),
    "reject": frozenset({Signal.TIERS, Signal.TRUTH_SCORE, Signal.GEO_SCORE, Signal.ORIGIN}),
    "rejected": frozenset({Signal.TIERS, Signal.PROTO_SCORE, Signal.ORIGIN}),
}


class Bulk:
    """See the module's rules. `webhook_url`: where the API reaches us, `notices` brings what it tells; or neither."""

    def __init__(
        self,
        means: Means,
        calls: Calls,
        source: Source,
        *,
        group: str,
        topic: str,
        book: BookPolicy,
        mode: ModePolicy,
        webhook_url: str | None = None,
        notices: Notices | None = None,
    ) -> None:
        self._means = means
        self._calls = calls
        self._source = source
        self._group, self._topic = group, topic
        self.book_policy, self._mode_policy = book, mode
        self._webhook_url = webhook_url
        self._notices = notices
        self._loop = loop = asyncio.get_running_loop()
        self.reading = Reading(lambda: calls.unpublished, on_free=lambda: loop.call_soon(self.wake))
        self._lanes: list[Lane] = []
        self._drivers: dict[Job, JobDriver] = {}
        self._tasks: dict[asyncio.Task[None], Lane | None] = {}
        self._own = Group()
        self._looking: set[Lane] = set()

    def __repr__(self) -> str:
        return f"<Bulk lanes={len(self._lanes)} jobs={len(self._drivers)}>"

    @property
    def least_records(self) -> int:
        """Records that a partition must be able to hold for a whole job."""
        return 1 if self._mode_policy.setting is ModeSetting.DIRECT else self.book_policy.max_items

    # Life.

    def begin(self, tasks: asyncio.TaskGroup) -> None:
        """Run jobs in this group: a fault of our own ends the whole group."""
        self._own.tasks = tasks
        self._start(None, tasks.create_task(self._watch()))
        if self._notices is not None:
            self._start(None, tasks.create_task(self._listen(self._notices)))

    def end(self) -> None:
        """Cancel everything that runs. What the API works on goes on there, and is found by the intents."""
        self._own.tasks = None
        for task in list(self._tasks):
            task.cancel()

    def new_book(self, partition: int, ledger: Ledger) -> JobBook:
        """The book of a lane that has just been opened."""
        scope = Scope(self._group, self._topic, partition)
        request = f"{self._group}\0{self._topic}\0{self._address(partition) or ''}".encode()
        return JobBook(ledger, self.book_policy, scope, request)

    def join(self, lane: Lane) -> None:
        """Look after this lane from now on."""
        before = self._owned
        lane.chooser = ModeChooser(self._mode_policy, self._means.job_time)
        self._lanes.append(lane)
        self._follow(before)

    def leave(self, lane: Lane) -> None:
        """Forget a sealed lane."""
        before = self._owned
        self._lanes.remove(lane)
        self._follow(before)
        for task in [task for task, owner in self._tasks.items() if owner is lane]:
            task.cancel()
        self._looking.discard(lane)  # its task may never have begun
        if lane.book is not None:
            for job in lane.book.jobs:
                self._drivers.pop(job, None)

    @property
    def _owned(self) -> frozenset[int]:
        return frozenset(lane.partition for lane in self._lanes)

    def _follow(self, before: frozenset[int]) -> None:
        if self._notices is not None:
            self._notices.assigned(self._owned, kept=before & self._owned)

    async def _watch(self) -> None:
        """Look at what waits, now and then: time alone can make a job due."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.wake()

    async def _listen(self, notices: Notices) -> None:
        while True:
            for number, (partition, body) in enumerate(await notices.fetch(), 1):
                self.notice(partition, body)
                await breathe(number)

    def wake(self) -> None:
        """Something may have changed: do what is due. A fault of our own ends the group, whoever has called us."""
        with self._own:
            self._do_what_is_due()

    def _do_what_is_due(self) -> None:
        direct_per_second = self._direct_rate()
        for lane in list(self._lanes):
            if lane.ledger is None or lane.book is None or lane.sealed:
                continue
            for job in lane.book.swept():
                if (driver := self._drivers.pop(job, None)) is not None:
                    driver.wake()  # to say that it has ended
                lane.changed()
            for job in lane.book.jobs:
                self._drive(lane, lane.book, lane.ledger, job)
            if lane.may_start:
                self._choose(lane, lane.ledger, direct_per_second)
                self._gather(lane, lane.book)
                if lane.book.unblock():
                    self._loop.call_soon(self._calls.wake)

    # Which way.

    def _choose(self, lane: Lane, ledger: Ledger, direct_per_second: float) -> None:
        chooser = lane.chooser
        if chooser is None:
            return
        waiting = ledger.count(State.READY) + ledger.count(State.BLOCKED)
        end = self._source.end(lane.partition)
        waiting += max(0, end - ledger.next_offset) if end is not None else 0
        mode = chooser.decide(self._loop.time(), waiting, direct_per_second)
        if mode is not lane.mode:
            lane.mode = mode
            self._means.observe(ModeChanged(lane.partition, mode.value, waiting, chooser.estimate_seconds))
            self._loop.call_soon(self._calls.wake)

    def _direct_rate(self) -> float:
        busy = sum(1 for lane in self._lanes if lane.ledger is not None and lane.ledger.buffered)
        return direct_rate(
            slots=self._means.service.max_limit,
            analysis_seconds=self._means.outcomes.analysis_seconds,
            requests_per_minute=self._means.gate.allowed_per_minute,
            requests_per_track=1.0,
            lanes=busy,
        )

    # Gathering.

    def _gather(self, lane: Lane, book: JobBook) -> None:
        due = lane.mode is Mode.BULK and book.is_due(self._loop.time(), full=lane.paused)
        if due and lane not in self._looking and self._own.tasks is not None:
            self._looking.add(lane)
            self._start(lane, self._own.tasks.create_task(self._make_job(lane, book)))

    async def _make_job(self, lane: Lane, book: JobBook) -> None:
        """Read what waits, a little at a time: what is no event goes alone. Then gather at once what is left."""
        try:
            for number, entry in enumerate(book.candidates(), 1):
                if not lane.may_start:  # perhaps stopped by what was read so far
                    return
                if entry.is_event is None:
                    entry.is_event = not isinstance(self._means.outcomes.read(entry.record), Unreadable)
                    lane.saw(readable=entry.is_event)
                if not entry.is_event:
                    book.leave_alone(entry)
                await breathe(number)
        finally:
            self._looking.discard(lane)
        if lane.may_start and lane.mode is Mode.BULK:
            self._gather_now(lane, book)
        self._calls.wake()

    def _gather_now(self, lane: Lane, book: JobBook) -> None:
        expected = self._means.job_time.seconds(book.size)
        job = book.gather(expected_seconds=expected)
        if job is None or lane.ledger is None:
            return
        now, tracks = self._loop.time(), book.tracks(job)
        for entry in tracks:
            entry.note(Stage.JOB, now)
        waited = now - tracks[0].received_at
        self._means.observe(JobGathered(lane.partition, job.intent.first, job.intent.last, len(tracks), waited))
        lane.changed()
        self._drive(lane, book, lane.ledger, job)

    # Driving.

    def _drive(self, lane: Lane, book: JobBook, ledger: Ledger, job: Job) -> None:
        driver = self._drivers.get(job)
        if driver is not None:
            driver.wake()
        elif self._own.tasks is not None:
            name = f"{self._topic}/{lane.partition}/{job.intent.first}-{job.intent.last}"
            address = self._address(lane.partition)
            driver = self._drivers[job] = JobDriver(
                lane, book, ledger, job, self._means, reading=self.reading, name=name, webhook_url=address
            )
            task = self._own.tasks.create_task(driver.run())
            self._start(lane, task)
            task.add_done_callback(lambda _: self._drivers.pop(job, None) if job not in book.jobs else None)

    def _start(self, lane: Lane | None, task: asyncio.Task[None]) -> None:
        self._tasks[task] = lane
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        if not task.cancelled() and task.exception() is not None:
            self._own.tasks = None  # the group is ending: it takes no more tasks
        self._loop.call_soon(self.wake)

    def _address(self, partition: int) -> str | None:
        return None if self._webhook_url is None else f"{self._webhook_url}?partition={partition}"

    # What the API tells unasked.

    def notice(self, partition: int, body: bytes) -> None:
        """Take an event that was verified when it came in; one that is of no open job is nobody's any more."""
        event = parse(body)
        if not isinstance(event, TrackComplete | JobComplete | JobFailed):
            return
        driver = self._driver(partition, event.job_id)
        if driver is None:
            self._means.observe(JobResult("webhook", "unknown_job"))
        elif isinstance(event, TrackComplete):
            may_decide = partial(is_enough, lacking=event.lacking)
            outcome = driver.tracks.settle(event.item_id, event.analysis, may_decide)
            self._means.observe(JobResult("webhook", outcome))
        else:
            ended = JobStatus.COMPLETE if isinstance(event, JobComplete) else JobStatus.FAILED
            driver.end(ended)

    def _driver(self, partition: int, job_id: str) -> JobDriver | None:
        books = [lane.book for lane in self._lanes if lane.partition == partition and lane.book is not None]
        job = next((job for book in books if (job := book.of(job_id)) is not None), None)
        return None if job is None else self._drivers.get(job)


def is_enough(decided: Decided, *, lacking: Collection[Signal]) -> bool:
    """Whether the decision rests on nothing that the event lacks, and shows none of it to a reviewer."""
    shown = _SHOWN_BY.get(decided.decision, frozenset(Signal))
    return not shown & frozenset(lacking)
