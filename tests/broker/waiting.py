"""Waiting for facts: the only place of the broker tests that sleeps."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


async def wait_until(
    what: str, fact: Callable[[], Awaitable[T | None]], seconds: float, every_seconds: float = 0.05
) -> T:
    """Ask until the answer is true, and return it; AssertionError with the last answer when time is up."""
    deadline = time.monotonic() + seconds
    while not (answer := await fact()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}; the last answer was {answer!r}")
        await asyncio.sleep(every_seconds)
    return answer
