"""What the simulated API tells of jobs without being asked: signed, retried, and as unreliable as one switches it.

A delivery is a job and a rank; its body is made when it is sent. However many are waiting, there is one task a job,
and `webhook_connections` that send.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
from contextlib import suppress
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Final

import aiohttp

from worker.sandbox.api.faults import Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from worker.sandbox.api.bulk_jobs import BulkJob
    from worker.sandbox.api.config import SimulationConfig
    from worker.sandbox.api.faults import FaultSwitches
    from worker.sandbox.api.ledger import Ledger

TROUBLES: Final = (
    Trouble.WEBHOOK_LOST,
    Trouble.WEBHOOK_DELAYED,
    Trouble.WEBHOOK_REORDERED,
    Trouble.WEBHOOK_DUPLICATED,
    Trouble.WEBHOOK_FORGED,
)
_TAKEN: Final = 2  # the class of statuses that acknowledge; a redirect does not
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10)
_FIRST_RETRY_SECONDS: Final = 1.0  # simulated; each further one waits five times as long
_RETRY_GROWTH: Final = 5.0
_LONGEST_RETRY_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event of a job on its way: its rank, or -1 for the job's end."""

    job: BulkJob
    rank: int
    attempt: int = 1
    forged: bool = False


def signature(secret: str, body: bytes) -> str:
    """Write the header as documented."""
    return f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"


class Webhooks:
    """Sends the events of every job it watches to the job's own address. `told` is called after each outcome."""

    def __init__(self, config: SimulationConfig, *, monotonic: Callable[[], float], told: Callable[[], None]) -> None:
        self._config = config
        self._monotonic = monotonic
        self._told = told
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Webhooks tasks={len(self._tasks)} later={len(self._later)}>"

    def begin(self, ledger: Ledger, faults: FaultSwitches) -> None:
        """Forget every job and delivery; from now on count here, and go wrong as these switches say."""
        for task in self._tasks:
            task.cancel()
        self._tasks = set()
        self._ledger = ledger
        self._faults = faults
        self._numbers = count()
        self._later: list[tuple[float, int, Delivery]] = []
        self._news = asyncio.Event()
        self._ready: asyncio.Queue[Delivery] = asyncio.Queue(maxsize=2 * self._config.webhook_connections)

    async def close(self) -> None:
        """End every task and connection."""
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def watch(self, job: BulkJob) -> None:
        """Tell the job's address of everything that happens to it, each thing when it happens."""
        if not self._tasks:
            for _ in range(self._config.webhook_connections):
                self._start(self._send())
            self._start(self._remind())
        self._start(self._tell(job))

    async def fetch(self, url: str) -> bytes | None:
        """Fetch a manifest."""
        try:
            async with self._open().get(url, timeout=_TIMEOUT, allow_redirects=False) as response:
                return await response.read() if response.status // 100 == _TAKEN else None
        except (aiohttp.ClientError, OSError):
            return None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        return self._session

    def _start(self, work: Coroutine[None, None, None]) -> None:
        self._tasks.add(asyncio.get_running_loop().create_task(work))

    async def _tell(self, job: BulkJob) -> None:
        held: list[Delivery] = []
        for moment, rank in job.moments():
            if moment == math.inf:
                return
            delay = moment - self._monotonic()
            if delay > 0:
                await asyncio.sleep(delay)
            overtaken, held = held, []
            await self._offer(Delivery(job, rank), held)
            for delivery in overtaken:
                await self._ready.put(delivery)
        for delivery in held:
            await self._ready.put(delivery)

    async def _offer(self, delivery: Delivery, held: list[Delivery]) -> None:
        trouble = self._faults.strike("webhook", TROUBLES)
        if trouble is not None:
            self._ledger.faults[trouble] += 1
        match trouble:
            case Trouble.WEBHOOK_LOST:
                self._ledger.webhooks["lost"] += 1
            case Trouble.WEBHOOK_DELAYED:
                self._postpone(delivery, self._config.webhook_delay_seconds)
            case Trouble.WEBHOOK_REORDERED:
                held.append(delivery)
            case Trouble.WEBHOOK_DUPLICATED:
                await self._ready.put(delivery)
                await self._ready.put(delivery)
            case Trouble.WEBHOOK_FORGED:
                await self._ready.put(replace(delivery, forged=True))
            case _:
                await self._ready.put(delivery)

    def _postpone(self, delivery: Delivery, seconds: float) -> None:
        moment = self._monotonic() + seconds / self._config.time_scale
        heappush(self._later, (moment, next(self._numbers), delivery))
        self._news.set()

    async def _remind(self) -> None:
        while True:
            delay = self._later[0][0] - self._monotonic() if self._later else None
            if delay is not None and delay <= 0:
                await self._ready.put(heappop(self._later)[2])
                continue
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._news.wait()

    async def _send(self) -> None:
        while True:
            delivery = await self._ready.get()
            outcome = await self._post(delivery)
            self._ledger.webhooks[outcome] += 1
            if outcome != "delivered":
                self._retry(delivery)
            self._told()

    def _retry(self, delivery: Delivery) -> None:
        if delivery.attempt >= self._config.webhook_attempts:
            self._ledger.webhooks["given_up"] += 1
            return
        wait = _FIRST_RETRY_SECONDS * _RETRY_GROWTH ** (delivery.attempt - 1)
        self._postpone(replace(delivery, attempt=delivery.attempt + 1), min(wait, _LONGEST_RETRY_SECONDS))

    async def _post(self, delivery: Delivery) -> str:
        body = delivery.job.event(delivery.rank)
        secret = "not the secret" if delivery.forged else self._config.webhook_secret
        headers = {"Content-Type": "application/json", "X-HS-Signature": signature(secret, body)}
        url = delivery.job.webhook_url or ""
        try:
            async with self._open().post(
                url, data=body, headers=headers, timeout=_TIMEOUT, allow_redirects=False
            ) as response:
                await response.read()
                return "delivered" if response.status // 100 == _TAKEN else "refused"
        except (aiohttp.ClientError, OSError):
            return "failed"
