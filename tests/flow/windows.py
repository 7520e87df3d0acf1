"""What a server sees of a pacer: when requests left, and how many of them the fullest of its windows holds."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from worker.flow.pacing import MINUTE, Pacer

if TYPE_CHECKING:
    from collections.abc import Iterable

FUZZ = 1e-6  # seconds; floating point at the ends of a window


def leave(pacer: Pacer, start: float, waits: Iterable[float]) -> list[float]:
    """Each request comes so long after the one before left, and leaves as soon as it may."""
    now, left = start, []
    for wait in waits:
        now = max(now + wait, pacer.ready_at())
        pacer.take(now)
        left.append(now)
    return left


def fullest_window(times: list[float]) -> int:
    """The most in any half-open minute; one that is fullest begins with a request."""
    return max(bisect_left(times, first + MINUTE - FUZZ) - at for at, first in enumerate(times))
