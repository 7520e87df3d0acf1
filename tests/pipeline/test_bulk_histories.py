"""Any history of jobs of many tracks ends like any other, and the account of what was bought is exact.

Every event has exactly one outcome, in the order of its key, and no job buys what another has bought: also after
kills, fences, outages, lost replies, jobs that die or are forgotten, and webhooks that are lost, late, doubled or
strangers'. Where nothing takes a worker unawares, no direct call does so either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.pipeline.job_histories import job_planned, job_unplanned, unfold_jobs, ways
from tests.virtual_time import run
from worker.flow.mode import ModeSetting

if TYPE_CHECKING:
    from tests.pipeline.histories import Happening
    from tests.pipeline.job_histories import Way

SLOW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@SLOW
@given(ways(ModeSetting.BULK), st.lists(job_unplanned, min_size=4, max_size=25))
def test_every_history_in_bulk_mode(way: Way, happenings: list[Happening]) -> None:
    run(unfold_jobs(way, happenings))


@SLOW
@given(ways(ModeSetting.AUTO), st.lists(job_unplanned, min_size=4, max_size=25))
def test_every_history_in_auto_mode(way: Way, happenings: list[Happening]) -> None:
    run(unfold_jobs(way, happenings))


@SLOW
@given(ways(ModeSetting.AUTO), st.lists(job_planned, min_size=4, max_size=25))
def test_planned_changes_buy_nothing_twice_in_auto_mode(way: Way, happenings: list[Happening]) -> None:
    history = run(unfold_jobs(way, happenings))
    history.check_account_of_all()
