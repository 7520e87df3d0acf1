"""An outage stops admission, not the clock of any track alone: with `wait` it turns no track into a review."""

from __future__ import annotations

import pytest

from tests.fake_analyst import FakeAnalyst
from tests.pipeline.scene import Scene
from tests.virtual_time import elapse, until, virtual
from worker.flow.breaker import BreakerPolicy
from worker.flow.course import RetryPolicy
from worker.flow.faults import FaultKind
from worker.flow.replies import Fault
from worker.flow.service import OutagePolicy
from worker.pipeline.facts import AdmissionHeld, OutageBegan, OutageEnded

DOWN = Fault(FaultKind.UNAVAILABLE, "503")
REFUSED = Fault(FaultKind.KEY_REFUSED, "403")
RETRY = RetryPolicy(max_attempts=3, base_seconds=0.5, max_seconds=5, deadline_seconds=120)
BREAKER = BreakerPolicy(consecutive=5, concurrency=16)
TRACKS = 60


def _submitted(generation: int) -> Scene:
    scene = Scene(partitions=2, analyst=FakeAnalyst(generation, seconds=10))
    for number in range(TRACKS):
        scene.submit(f"track-{number}", partition=number % 2)
    return scene


@pytest.mark.parametrize("generation", [1, 2])
@virtual
async def test_an_outage_of_an_hour_sends_nothing_to_review(generation: int) -> None:
    """Nobody's attempts or time run out; probes are few; afterwards all are decided on their merits, bought once."""
    scene = _submitted(generation)
    worker = scene.worker(retry=RETRY, breaker=BREAKER, first_poll=9.0)
    await until(lambda: len(scene.broker.visible) >= 10)
    scene.analyst.refusing = DOWN
    await until(lambda: worker.seen(OutageBegan))
    await elapse(60)
    status = worker.worker.status()
    assert (status.outage, status.breaker, status.held) == ("unavailable", "open", None)
    before = len(scene.analyst.asked("submit"))
    await elapse(3600)
    assert len(scene.analyst.asked("submit")) - before <= 3600 / 60 + 2
    scene.analyst.refusing = None
    await scene.decided(seconds=600)
    assert {decision["decision"] for decision in scene.decisions().values()} == {"approve"}
    assert set(scene.analyst.purchases.values()) == {1}
    assert len(worker.seen(OutageEnded)) == 1
    assert worker.worker.status().breaker == "closed"


@virtual
async def test_recovery_is_no_stampede() -> None:
    """After the first answered probe the number of tracks under way doubles with what is answered, no faster."""
    scene = _submitted(1)
    worker = scene.worker(retry=RETRY, breaker=BREAKER)
    scene.analyst.refusing = DOWN
    await until(lambda: worker.seen(OutageBegan))
    await elapse(300)
    scene.analyst.refusing = None
    calls = len(scene.analyst.calls)
    await until(lambda: len(scene.analyst.calls) > calls)
    await elapse(9)
    assert len(scene.analyst.calls) - calls == 1
    await elapse(10)
    assert len(scene.analyst.calls) - calls <= 3
    await scene.decided(seconds=600)


@virtual
async def test_with_review_an_outage_goes_to_people() -> None:
    """The other policy: attempts run out as always, and what failed says so."""
    scene = _submitted(1)
    scene.analyst.refusing = DOWN
    scene.worker(retry=RETRY, breaker=BREAKER, outage=OutagePolicy.REVIEW)
    await scene.decided(seconds=1200)
    assert {decision["reason"] for decision in scene.decisions().values()} == {"analysis_failed"}


@virtual
async def test_a_hold_of_an_hour_runs_out_nobodys_deadline() -> None:
    """Tracks that were waiting for a retry when the key was refused have lost no time when it is accepted again."""
    scene = Scene()
    for number in range(20):
        scene.submit(f"track-{number}")
        scene.analyst.submissions[f"track-{number}"].append(DOWN)
    worker = scene.worker(slots=20, retry=RETRY, probe=30.0)
    await until(lambda: len(scene.analyst.calls) == 20)
    scene.analyst.refusing = REFUSED
    await until(lambda: worker.seen(AdmissionHeld))
    await elapse(3600)
    scene.analyst.refusing = None
    await scene.decided(seconds=300)
    assert {decision["decision"] for decision in scene.decisions().values()} == {"approve"}


@pytest.mark.parametrize("slots", [1, 4])
@virtual
async def test_a_track_that_is_refused_alone_stops_nobody_for_long(slots: int) -> None:
    """One partition, and the refused track is its lowest offset: others are probed, and it ends as its own failure."""
    scene = Scene()
    for number in range(20):
        scene.submit(f"track-{number}")
    scene.analyst.submissions["track-0"].extend([REFUSED] * 1000)
    scene.worker(slots=slots, probe=5.0)
    await scene.decided(seconds=300)
    decisions = scene.decisions()
    assert decisions["track-0"]["reason"] == "analysis_failed"
    assert {decision["decision"] for name, decision in decisions.items() if name != "track-0"} == {"approve"}
