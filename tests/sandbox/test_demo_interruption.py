"""A signal ends the coroutine once, and lets it clean up whatever else arrives meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import worker
from worker.sandbox.interruption import Interrupted, until_signalled

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(worker.__file__).parents[1]
# A process that is signalled again before every line of what catches signals, and of what sets their handlers.
RELENTLESS = """
import asyncio, os, signal, sys

from worker.sandbox import interruption

number, begun = signal.Signals[sys.argv[1]], False

def trace(frame, event, arg):
    code = frame.f_code
    if begun and event == "line" and (
        code.co_filename == interruption.__file__ or code.co_name == "remove_signal_handler"
    ):
        os.kill(os.getpid(), number)
    return trace

async def work():
    global begun
    begun = True
    os.kill(os.getpid(), number)
    try:
        await asyncio.sleep(60)
    finally:
        for _ in range(100):
            await asyncio.sleep(0)
        print("cleaned up", flush=True)

sys.settrace(trace)
try:
    asyncio.run(interruption.until_signalled(work()))
except interruption.Interrupted as interrupted:
    print(interrupted, flush=True)
"""

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


@pytest.mark.parametrize("number", SIGNALS)
def test_there_is_no_moment_at_which_a_further_signal_cuts_the_cleaning_up(number: signal.Signals) -> None:
    command = [sys.executable, "-c", RELENTLESS, number.name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"cleaned up\n{number.name}\n", "")


async def test_a_flood_of_signals_is_not_complained_of(capfd: pytest.CaptureFixture[str]) -> None:
    """The loop's own handlers complain of each signal beyond some hundred, which filled a pipe that nobody read."""

    async def work() -> None:
        for _ in range(5000):
            os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()

    with pytest.raises(Interrupted):
        await until_signalled(work())
    assert capfd.readouterr() == ("", "")
