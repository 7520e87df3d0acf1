"""The one gate through which requests leave, in the order that decides most tracks with them.

- The first polls of a job go first, of the job that was accepted longest ago: each most likely ends a track. They are
  no more than a few for each submission, so they starve nothing.
- Later polls take turns with submissions, in the order in which they are due: neither can use up what the other needs,
  however many jobs hang.
"""

from __future__ import annotations

import asyncio
from collections import deque
from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

from worker.pipeline.statuses import QuotaStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from worker.flow.pacing import Pacer
    from worker.flow.replies import Quota

    Turn = asyncio.Future[None]


class Gate:
    """Waits for the pacer. `on_ready` is called when a submission that was refused may try again."""

    __slots__ = (
        "_first",
        "_later",
        "_loop",
        "_numbers",
        "_offering",
        "_on_ready",
        "_pacer",
        "_refused_at",
        "_timer",
        "_told",
        "_told_at",
        "_yields",
    )

    def __init__(self, pacer: Pacer, on_ready: Callable[[], None]) -> None:
        self._pacer = pacer
        self._on_ready = on_ready
        self._loop = asyncio.get_running_loop()
        self._first: list[tuple[float, int, Turn]] = []  # a heap, by when the job was accepted
        self._later: deque[Turn] = deque()
        self._numbers = count()
        self._yields = False  # whether the next poll of `_later` lets a submission go before it
        self._offering = False
        self._refused_at: float | None = None  # since when a submission has waited
        self._told: Quota | None = None
        self._told_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Gate waiting={self.waiting} ready_in={self._pacer.ready_at() - self._loop.time():.3f}s>"

    @property
    def waiting(self) -> int:
        """Polls that wait for quota."""
        return len(self._first) + len(self._later)

    @property
    def ready_at(self) -> float:
        """The loop's time from which one request may leave; infinite before an assignment."""
        return self._pacer.ready_at()

    @property
    def allowed_per_minute(self) -> float | None:
        """The part of the limit that is ours; None is no limit."""
        return self._pacer.allowed

    @property
    def is_short(self) -> bool:
        """Whether a request would have to wait now."""
        return bool(self.waiting) or self._pacer.ready_at() > self._loop.time()

    def is_open(self) -> bool:
        """Whether a submission may leave now; if not, `on_ready` will be called."""
        if (self._offering or not self.waiting) and self._pacer.ready_at() <= self._loop.time():
            return True
        if self._refused_at is None:
            self._refused_at = self._loop.time()
        self._arm()
        return False

    def take(self) -> float:
        """A submission leaves (after `is_open`); returns for how long the quota has held it back."""
        now, since = self._loop.time(), self._refused_at
        self._refused_at = None
        self._pacer.take(now)
        return 0.0 if since is None else now - since

    async def wait(self, accepted_at: float, *, first: bool) -> float:
        """Wait until a poll may leave, and take its place; returns the seconds. `first`: most likely it is done."""
        began = self._loop.time()
        if not self.waiting and self._pacer.ready_at() <= began:
            self._pacer.take(began)
            return 0.0
        turn = self._loop.create_future()
        place = (accepted_at, next(self._numbers), turn)
        if first:
            heappush(self._first, place)
        else:
            self._later.append(turn)
        self._arm()
        try:
            await turn
        finally:
            if turn.cancelled():
                self._forget(place)
        return self._loop.time() - began

    def _forget(self, place: tuple[float, int, Turn]) -> None:
        if place in self._first:
            self._first.remove(place)
            heapify(self._first)
        elif place[-1] in self._later:
            self._later.remove(place[-1])

    # What the limit is, and what the API says.

    def assigned(self, partitions: Collection[int], of: int) -> None:
        """These partitions of the input topic are held now, of so many in all: their part of the limit is ours."""
        now = self._loop.time()
        self._pacer.assigned(partitions, of, now)
        if self._refused_at is not None:
            self._refused_at = now  # until now it waited for partitions, not for quota
        self._arm_anew()

    def revoked(self) -> None:
        """No partition is held: nothing leaves before an assignment."""
        self._pacer.revoked()
        self._arm_anew()

    def observe(self, quota: Quota | None) -> None:
        """Heed the headers of a reply."""
        now = self._loop.time()
        if quota is not None:
            self._told, self._told_at = quota, now
        self._pacer.observe(quota, now)

    def pause(self, seconds: float) -> None:
        """Let nothing leave for so long: the API asked for it."""
        self._pacer.pause(seconds, self._loop.time())

    def status(self, retries_left: float) -> QuotaStatus:
        """The quota as it stands now."""
        now, pacer, told = self._loop.time(), self._pacer, self._told
        ready_at, allowed = pacer.ready_at(), pacer.allowed
        reset = told.reset_seconds if told is not None else None
        return QuotaStatus(
            limit_per_minute=pacer.limit or None,
            share=1.0 if allowed is None else allowed / pacer.limit,
            allowed_per_minute=allowed,
            used_per_minute=pacer.used(now),
            waiting_polls=self.waiting,
            ready_in_seconds=max(0.0, ready_at - now) if ready_at < float("inf") else None,
            api_limit=told.limit if told is not None else None,
            api_remaining=told.remaining if told is not None else None,
            api_reset_seconds=None if reset is None else max(0.0, reset - (now - self._told_at)),
            retries_left=retries_left,
        )

    # Turns.

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _arm_anew(self) -> None:
        self.close()
        self._timer = None
        if self.waiting or self._refused_at is not None:
            self._arm()

    def _arm(self) -> None:
        ready_at = self._pacer.ready_at()
        if self._timer is None and ready_at < float("inf"):
            self._timer = self._loop.call_at(ready_at, self._tick)

    def _tick(self) -> None:
        self._timer = None
        while self.waiting and self._pacer.ready_at() <= self._loop.time():
            turn = self._next()
            if turn is not None and not turn.cancelled():  # its task may be cancelled and not have run since
                self._pacer.take(self._loop.time())
                turn.set_result(None)
        if self.waiting or self._pacer.ready_at() > self._loop.time():
            self._arm()
        else:
            self._on_ready()
            if self._pacer.ready_at() <= self._loop.time():
                self._refused_at = None  # nobody wanted it

    def _next(self) -> Turn | None:
        """The poll whose turn it is; None where a submission has just taken it."""
        if self._first:
            return heappop(self._first)[-1]
        if self._yields and self._offered():
            self._yields = False
            return None
        self._yields = True
        return self._later.popleft()

    def _offered(self) -> bool:
        """Let submissions go before the polls that wait; returns whether one did."""
        before = self._pacer.ready_at()
        self._offering = True
        try:
            self._on_ready()
        finally:
            self._offering = False
        return self._pacer.ready_at() > before
