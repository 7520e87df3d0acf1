"""The breaker and shares of failures: what stays closed, and what opens without a run."""

from __future__ import annotations

import pytest

from worker.flow.breaker import Breaker, BreakerPolicy
from worker.flow.faults import FaultKind


@pytest.mark.parametrize("failing", [0.0, 0.3, 0.5])
def test_a_service_that_mostly_answers_stays_closed(failing: float) -> None:
    """Failures spread evenly below the share, for longer than the window."""
    breaker, failures = Breaker(BreakerPolicy()), 0
    for call in range(2000):
        due = int((call + 1) * failing) > failures
        failures += due
        if due:
            assert not breaker.failed(breaker.start(), FaultKind.SERVER_ERROR, "500", call * 0.5)
        else:
            breaker.answered(breaker.start(), call * 0.5)


def test_a_share_of_failures_opens_without_a_run() -> None:
    """Two in three, never three in a row: as soon as enough calls were seen."""
    breaker = Breaker(BreakerPolicy())
    for call in range(100):
        if call % 3 == 0:
            breaker.answered(breaker.start(), call * 1.0)
        elif breaker.failed(breaker.start(), FaultKind.OUTCOME_UNKNOWN, "read time-out", call * 1.0):
            break
    assert call == 19
