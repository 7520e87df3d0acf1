"""A signal ends the coroutine once, and lets it clean up whatever else arrives meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest

from worker.sandbox.interruption import Interrupted, until_signalled

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TURNS = 10  # of the loop, in which a signal to ourselves certainly arrives


@pytest.fixture(autouse=True)
def dispositions() -> Iterator[None]:
    """An interrupted process ignores signals for the rest of its life; this one lives on."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


async def signalled(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    for _ in range(TURNS):
        await asyncio.sleep(0)


@pytest.mark.parametrize("first", SIGNALS)
async def test_further_signals_do_not_cut_the_cleaning_up(first: signal.Signals) -> None:
    steps = []

    async def work() -> None:
        try:
            await signalled(first)
            steps.append("not cancelled")
        finally:
            await signalled(signal.SIGTERM)
            steps.append("cleaned up")

    with pytest.raises(Interrupted, match=first.name) as interrupted:
        await until_signalled(work())
    assert interrupted.value.number == first
    await signalled(first)  # what comes after the cleaning up is as harmless
    assert steps == ["cleaned up"]


async def test_what_is_not_interrupted_returns_and_leaves_no_handler() -> None:
    before = signal.getsignal(signal.SIGTERM)

    async def work() -> int:
        return 17

    assert await until_signalled(work()) == 17
    assert signal.getsignal(signal.SIGTERM) == before


async def test_a_cancellation_that_no_signal_caused_stays_one() -> None:
    async def work() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await until_signalled(work())
