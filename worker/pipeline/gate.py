"""The one gate through which requests leave: polls first (they end work), submissions when no poll waits."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.flow.pacing import Pacer
    from worker.flow.replies import Quota


class Gate:
    """Waits for the pacer. `on_ready` is called when a submission that was refused may try again."""

    __slots__ = ("_loop", "_on_ready", "_pacer", "_timer", "_waiters")

    def __init__(self, pacer: Pacer, on_ready: Callable[[], None]) -> None:
        self._pacer = pacer
        self._on_ready = on_ready
        self._loop = asyncio.get_running_loop()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Gate waiting={len(self._waiters)} ready_in={self._pacer.ready_at() - self._loop.time():.3f}s>"

    @property
    def waiting(self) -> int:
        """Polls that wait for quota."""
        return len(self._waiters)

    def is_open(self) -> bool:
        """Whether a submission may leave now; if not, `on_ready` will be called."""
        if not self._waiters and self._pacer.ready_at() <= self._loop.time():
            return True
        self._arm()
        return False

    def take(self) -> None:
        """A submission leaves (after `is_open`)."""
        self._pacer.take(self._loop.time())

    async def wait(self) -> None:
        """Wait until a poll may leave, and take its place."""
        if self.is_open():
            self.take()
            return
        turn = self._loop.create_future()
        self._waiters.append(turn)
        try:
            await turn
        finally:
            if turn.cancelled() and turn in self._waiters:
                self._waiters.remove(turn)

    def observe(self, quota: Quota | None) -> None:
        """Heed the headers of a reply."""
        self._pacer.observe(quota, self._loop.time())

    def pause(self, seconds: float) -> None:
        """Let nothing leave for so long: the API asked for it."""
        self._pacer.pause(seconds, self._loop.time())

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_at(self._pacer.ready_at(), self._tick)

    def _tick(self) -> None:
        self._timer = None
        while self._waiters and self._pacer.ready_at() <= self._loop.time():
            turn = self._waiters.popleft()
            if not turn.cancelled():  # its task may be cancelled and not have run since
                self.take()
                turn.set_result(None)
        if self._waiters or self._pacer.ready_at() > self._loop.time():
            self._arm()
        else:
            self._on_ready()
