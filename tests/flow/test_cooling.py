"""Calls of milliseconds for analyses of a minute: how often the limit may be lowered."""

from __future__ import annotations

from worker.flow.concurrency import AdaptiveLimit, LimitPolicy


def test_a_second_of_refused_calls_costs_one_decrease_where_analyses_are_long() -> None:
    """Generation 2: calls take milliseconds, and what comes back of a decrease takes an analysis."""
    limit = AdaptiveLimit(LimitPolicy(64, start=64))
    for number in range(64):
        limit.answered(0.1 * number, 45 + 0.1 * number, 64)
    before = limit.limit
    for step in range(100):
        limit.overloaded(60 + step / 100, 60 + step / 100 + 0.005)
    assert limit.limit == int(before * 0.7)
    limit.overloaded(70.1, 70.2)
    assert limit.limit == int(before * 0.7 * 0.7)
