"""The group coordinator of the fakes: eager rebalances, sessions that expire, members that notice it late."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.virtual_time import elapse

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from tests.fakes import FakeSource

REBALANCE_SECONDS = 30.0


class FakeGroup:
    """Who is in, and who owns what; one rebalance at a time."""

    def __init__(self, partitions: int) -> None:
        self.members: list[FakeSource] = []
        self.rebalances = 0
        self._partitions = partitions
        self._stale = False
        self._task: asyncio.Task[None] | None = None
        self._notices: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<FakeGroup {self.members} stable={self.stable}>"

    @property
    def stable(self) -> bool:
        """Whether every member has the assignment that goes with the members there are."""
        return not self._stale and (self._task is None or self._task.done())

    def join(self, source: FakeSource) -> None:
        """A member joins, or joins again after it was expelled."""
        if source not in self.members and not source.stopped and not source.dead:
            self.members.append(source)
            source.gone.clear()
            self.rebalance()

    def leave(self, source: FakeSource) -> None:
        """A member leaves for good."""
        source.stopped = True
        self._remove(source)

    def expire(self, source: FakeSource, notices_after: float) -> None:
        """A member's session expires: the group goes on, it learns that later, and joins again."""
        if source in self.members:
            source.lost = True
            self._remove(source)
            self._later(self._notice(source, notices_after))

    def _remove(self, source: FakeSource) -> None:
        if source in self.members:
            self.members.remove(source)
            source.gone.set()
            self.rebalance()

    async def _notice(self, source: FakeSource, seconds: float) -> None:
        await elapse(seconds)
        await source.revoke()
        self.join(source)

    def rebalance(self) -> None:
        """Begin a rebalance; with one in progress, it takes the change into account or another follows."""
        self._stale = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._coordinate())

    async def _coordinate(self) -> None:
        while self._stale:
            await self._gather_members()
            self._stale = False
            self.rebalances += 1
            shares = zip(self.members, _ranges(self._partitions, len(self.members)), strict=True)
            results = await asyncio.gather(*(source.assign(share) for source, share in shares), return_exceptions=True)
            assert not any(isinstance(result, AssertionError) for result in results), results

    async def _gather_members(self) -> None:
        """Wait for everybody to join again; who does not answer in time is out."""
        joined: set[FakeSource] = set()
        while missing := [source for source in self.members if source not in joined]:
            await asyncio.gather(*(self._prepare(source) for source in missing))
            joined.update(missing)

    async def _prepare(self, source: FakeSource) -> None:
        gone = self._later(source.gone.wait())
        revoking = self._later(source.revoke())
        await asyncio.wait({gone, revoking}, timeout=REBALANCE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        if not revoking.done() and source in self.members:
            self.members.remove(source)
            source.gone.set()
            revoking.add_done_callback(lambda _: self.join(source))

    def _later(self, coroutine: Coroutine[object, object, object]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(_ignoring(coroutine))
        self._notices.add(task)
        task.add_done_callback(self._notices.discard)
        return task


async def _ignoring(coroutine: Coroutine[object, object, object]) -> None:
    await coroutine


def _ranges(partitions: int, members: int) -> list[list[int]]:
    """Range assignment: contiguous, the first members get one more."""
    each, more = divmod(partitions, members) if members else (0, 0)
    shares, start = [], 0
    for index in range(members):
        end = start + each + (index < more)
        shares.append(list(range(start, end)))
        start = end
    return shares
