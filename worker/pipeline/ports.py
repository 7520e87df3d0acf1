"""What the pipeline needs of the outside: narrow Protocols, implemented in adapters, joined in app.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Sequence

    from worker.domain.jobs import JobItem
    from worker.domain.record import Message, Record
    from worker.domain.submission import TrackSubmitted
    from worker.domain.trace import TraceContext
    from worker.flow.job_replies import JobReply, PageRecord
    from worker.flow.publication import Committed
    from worker.flow.replies import Reply


class Analyst(Protocol):
    """The analysis API. Never raises for what the API or the network does: that is a Fault in the Reply."""

    async def submit(self, track: TrackSubmitted) -> Reply:
        """Buy one analysis. Finished (generation 1), Accepted (generation 2) or Fault."""
        ...

    async def poll(self, job_id: str) -> Reply:
        """Ask for an accepted job: Finished, Running or Fault. Free of charge, not of quota."""
        ...


class JobAnalyst(Protocol):
    """The API's jobs of many tracks. Never raises for what the API or the network does."""

    async def create_job(self, key: str, name: str, items: Sequence[JobItem], webhook_url: str | None) -> JobReply:
        """Buy the analyses of these tracks: JobState, JobRefused or Fault. The same key always means the same job."""
        ...

    async def job(self, job_id: str) -> JobReply:
        """Ask how far a job is: JobState or Fault. Free of charge, not of quota."""
        ...

    def results(self, job_id: str, *, page: int, per_page: int) -> AsyncGenerator[PageRecord, None]:
        """Read one page (from 1) of the results; the last value, and only it, is a PageEnd."""
        ...


class Notices(Protocol):
    """What the API tells of jobs unasked, of the partitions that are ours; whichever replica was told."""

    def assigned(self, partitions: Collection[int], *, kept: Collection[int] = ()) -> None:
        """These are all partitions owned now; those in `kept` were before."""
        ...

    async def fetch(self) -> list[tuple[int, bytes]]:
        """What came by now, as partition and verified body. Returns within a second or so; never raises for brokers."""
        ...


class Tracer(Protocol):
    """Begins spans. The facts that name one say what happened in it, and end it."""

    def track(self, record: Record, age_seconds: float, parent: TraceContext | None) -> TraceContext | None:
        """Begin the span of a track that was received so long ago. None: not traced."""
        ...

    def job(self, partition: int, first_offset: int, tracks: Sequence[TraceContext]) -> TraceContext | None:
        """Begin the span of a job, in a trace of its own; `tracks`: what some of its tracks came with."""
        ...


class Publisher(Protocol):
    """The one writer of one lane: messages and commit point become visible together, or not at all."""

    async def start(self) -> None:
        """Become the partition's writer: fences and settles any predecessor. Raises PublishFailedError."""
        ...

    async def publish(self, messages: Sequence[Message], commit: Committed) -> None:
        """Publish and commit. Raises PublishFailedError or FencedError."""
        ...

    async def close(self) -> None:
        """Give up whatever is open. Bounded; never raises."""
        ...


class Rebalanced(Protocol):
    """What the source calls around a rebalance; both are awaited before the group goes on."""

    async def revoked(self, partitions: Collection[int], *, lost: bool) -> None:
        """These partitions may go elsewhere; `lost`: the group has gone on without us, they are gone already."""
        ...

    async def assigned(self, partitions: Collection[int]) -> None:
        """These are all partitions assigned now. Fetching is paused until the pipeline resumes it."""
        ...


class Source(Protocol):
    """The consumer of one input topic."""

    async def start(self, rebalanced: Rebalanced) -> None:
        """Join the group."""
        ...

    @property
    def partitions(self) -> int:
        """How many the topic had when the last assignment was made; 0 before the first."""
        ...

    async def fetch(self) -> Sequence[tuple[int, Sequence[Record]]]:
        """Records of the partitions that are not paused, by partition, in offset order. Returns within a second."""
        ...

    async def committed(self, partition: int) -> Committed | None:
        """The stable commit point, None where the group never committed. Raises SourceFailedError."""
        ...

    async def seek(self, partition: int, offset: int | None) -> int:
        """Fetch from here next (None: from the configured reset position); returns the offset."""
        ...

    def end(self, partition: int) -> int | None:
        """The offset after the partition's last record, as the broker told it last; None if it has not yet."""
        ...

    def pause(self, partition: int) -> None:
        """Fetch no more of this partition until resume."""
        ...

    def resume(self, partition: int) -> None:
        """Fetch this partition again."""
        ...

    async def stop(self) -> None:
        """Leave the group. Bounded; never raises."""
        ...
