"""Any history of events, faults, rebalances and crashes over two or three workers ends the same way.

Every event has exactly one outcome at read_committed, and the outcomes of each key are in offset order. Where a
history holds nothing that can take a worker unawares, nothing is bought twice either.
"""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.pipeline.histories import Happening, generations, planned, unfold, unplanned
from tests.virtual_time import run


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(generations, st.lists(unplanned, min_size=5, max_size=40))
def test_every_history_ends_with_one_outcome_for_each_event(generation: int, happenings: list[Happening]) -> None:
    run(unfold(generation, happenings))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(generations, st.lists(planned, min_size=5, max_size=40))
def test_planned_changes_buy_nothing_twice(generation: int, happenings: list[Happening]) -> None:
    history = run(unfold(generation, happenings))
    assert set(history.scene.analyst.purchases.values()) <= {1}
